//! How keys and values become bytes. A serde never sees null: a null key or value is a record without one.

use std::sync::Arc;

use bytes::Bytes;

use crate::data::Data;

/// A value could not be written or read; the text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SerdeError(pub String);

/// Writes and reads values of one type. Shared by all tasks.
pub trait Serde<T>: Send + Sync {
    /// The bytes of a value.
    fn serialize(&self, value: &T) -> Result<Bytes, SerdeError>;
    /// The value of some bytes.
    fn deserialize(&self, bytes: &Bytes) -> Result<T, SerdeError>;
    /// The bytes by whose hash a record with this key is partitioned; `None`: by all of the key's. A key in a window goes where it goes
    /// without one.
    fn partition_key(&self, _: &T) -> Result<Option<Bytes>, SerdeError> {
        Ok(None)
    }
}

/// A shared serde.
pub type SerdeRef<T> = Arc<dyn Serde<T>>;

/// The serde that follows from a type, in Kafka's own formats: text as UTF-8, numbers big endian.
///
/// ```
/// use millstream_topology::DefaultSerde;
/// assert_eq!(i64::default_serde().serialize(&1).unwrap().as_ref(), [0, 0, 0, 0, 0, 0, 0, 1]);
/// ```
pub trait DefaultSerde: Data {
    /// The serde of the present value.
    fn default_serde() -> SerdeRef<Self::Present>;
}

impl<T: DefaultSerde + Data<Present = T>> DefaultSerde for Option<T> {
    fn default_serde() -> SerdeRef<T> {
        T::default_serde()
    }
}

struct Text;
impl Serde<String> for Text {
    fn serialize(&self, value: &String) -> Result<Bytes, SerdeError> {
        Ok(Bytes::copy_from_slice(value.as_bytes()))
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<String, SerdeError> {
        std::str::from_utf8(bytes).map(String::from).map_err(|e| SerdeError(format!("not UTF-8: {e}")))
    }
}
impl DefaultSerde for String {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(Text)
    }
}

struct Raw;
impl Serde<Bytes> for Raw {
    fn serialize(&self, value: &Bytes) -> Result<Bytes, SerdeError> {
        Ok(value.clone())
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<Bytes, SerdeError> {
        Ok(bytes.clone())
    }
}
impl DefaultSerde for Bytes {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(Raw)
    }
}
impl Serde<Vec<u8>> for Raw {
    fn serialize(&self, value: &Vec<u8>) -> Result<Bytes, SerdeError> {
        Ok(Bytes::copy_from_slice(value))
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<Vec<u8>, SerdeError> {
        Ok(bytes.to_vec())
    }
}
impl DefaultSerde for Vec<u8> {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(Raw)
    }
}

struct Nothing;
impl Serde<()> for Nothing {
    fn serialize(&self, (): &()) -> Result<Bytes, SerdeError> {
        Ok(Bytes::new())
    }
    fn deserialize(&self, _: &Bytes) -> Result<(), SerdeError> {
        Ok(())
    }
}
impl DefaultSerde for () {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(Nothing)
    }
}

struct BigEndian;
macro_rules! big_endian {
    ($($number:ty),+) => { $(
        impl Serde<$number> for BigEndian {
            fn serialize(&self, value: &$number) -> Result<Bytes, SerdeError> {
                Ok(Bytes::copy_from_slice(&value.to_be_bytes()))
            }
            fn deserialize(&self, bytes: &Bytes) -> Result<$number, SerdeError> {
                let size = size_of::<$number>();
                let array = bytes.as_ref().try_into().map_err(|_| SerdeError(format!("{} bytes where {size} are expected", bytes.len())))?;
                Ok(<$number>::from_be_bytes(array))
            }
        }
        impl DefaultSerde for $number {
            fn default_serde() -> SerdeRef<Self> { Arc::new(BigEndian) }
        }
    )+ };
}
big_endian!(i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
