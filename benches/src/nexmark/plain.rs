//! A plain binary format for the types of the benchmark: numbers big endian, texts and lists behind their length.

use std::marker::PhantomData;

use bytes::Bytes;
use millstream_topology::{Serde, SerdeError};

/// What can be written plainly.
pub trait Plain: Sized {
    /// Appends the value.
    fn write(&self, bytes: &mut Vec<u8>);
    /// Takes a value from the front; `None` if there is none.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

impl Plain for i64 {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_be_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(Self::from_be_bytes(*number))
    }
}

impl Plain for String {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&(self.len() as u32).to_be_bytes());
        bytes.extend_from_slice(self.as_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let text = take(bytes)?;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    }
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (front, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *bytes = rest;
    Some(front)
}

impl<T: Plain> Plain for Vec<T> {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&(self.len() as u32).to_be_bytes());
        self.iter().for_each(|item| item.write(bytes));
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        (0..u32::from_be_bytes(*length)).map(|_| T::read(bytes)).collect()
    }
}

/// The serde of a plain type.
pub struct PlainSerde<T>(PhantomData<fn() -> T>);

impl<T> Default for PlainSerde<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Plain> Serde<T> for PlainSerde<T> {
    fn serialize(&self, value: &T) -> Result<Bytes, SerdeError> {
        let mut bytes = Vec::with_capacity(128);
        value.write(&mut bytes);
        Ok(bytes.into())
    }

    fn serialize_into(&self, value: &T, bytes: &mut Vec<u8>) -> Result<(), SerdeError> {
        value.write(bytes);
        Ok(())
    }

    fn deserialize(&self, bytes: &Bytes) -> Result<T, SerdeError> {
        self.deserialize_slice(bytes)
    }

    fn deserialize_slice(&self, bytes: &[u8]) -> Result<T, SerdeError> {
        let mut rest = bytes;
        let value = T::read(&mut rest).filter(|_| rest.is_empty());
        value.ok_or_else(|| SerdeError(format!("{} bytes are not a {}", bytes.len(), std::any::type_name::<T>())))
    }
}

/// Makes structs that are keys or values of streams, in the plain format.
macro_rules! plain {
    ($( $(#[$doc:meta])* pub struct $name:ident { $( $(#[$field_doc:meta])* pub $field:ident: $type:ty, )+ } )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name { $( $(#[$field_doc])* pub $field: $type, )+ }

        impl $crate::nexmark::plain::Plain for $name {
            fn write(&self, bytes: &mut Vec<u8>) {
                $( $crate::nexmark::plain::Plain::write(&self.$field, bytes); )+
            }
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                Some(Self { $( $field: $crate::nexmark::plain::Plain::read(bytes)?, )+ })
            }
        }
        $crate::nexmark::plain::data_with_plain_serde!($name);
    )+ };
}

/// Makes a type with a plain format usable as key and value.
macro_rules! data_with_plain_serde {
    ($name:ident) => {
        millstream::data!($name);
        impl millstream::DefaultSerde for $name {
            fn default_serde() -> millstream::SerdeRef<Self> {
                std::sync::Arc::new($crate::nexmark::plain::PlainSerde::default())
            }
        }
    };
}

pub(crate) use {data_with_plain_serde, plain};
