//! How keys and values become bytes. A serde never sees null: a null key or value is a record without one.

use std::{any::type_name, fmt::Display, sync::Arc};

use bytes::Bytes;
use uuid::Uuid;

use crate::data::Data;

/// A value could not be written or read; the text names its type and says what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SerdeError(pub String);

impl SerdeError {
    /// An error of type `T`, which begins with the type's name.
    ///
    /// ```
    /// let error = millstream_topology::SerdeError::of::<i64>("3 bytes where 8 are expected");
    /// assert_eq!(error.to_string(), "i64: 3 bytes where 8 are expected");
    /// ```
    pub fn of<T>(found: impl Display) -> Self {
        Self(format!("{}: {found}", type_name::<T>()))
    }
}

/// Writes and reads values of one type. Shared by all tasks.
///
/// **Law.** `deserialize` is the inverse of `serialize`: a store finds a row by the bytes of its key.
///
/// ```
/// use millstream_topology::{Serde, SerdeError};
/// use bytes::Bytes;
///
/// /// A temperature in one byte.
/// struct Celsius;
/// impl Serde<i8> for Celsius {
///     fn serialize(&self, value: &i8) -> Result<Bytes, SerdeError> {
///         Ok(Bytes::copy_from_slice(&value.to_be_bytes()))
///     }
///     fn deserialize(&self, bytes: &Bytes) -> Result<i8, SerdeError> {
///         match bytes[..] {
///             [byte] => Ok(byte as i8),
///             _ => Err(SerdeError::of::<i8>(format!("{} bytes where 1 is expected", bytes.len()))),
///         }
///     }
/// }
/// assert_eq!(Celsius.serialize(&-1).unwrap().as_ref(), [255]);
/// ```
pub trait Serde<T>: Send + Sync {
    /// The bytes of a value.
    fn serialize(&self, value: &T) -> Result<Bytes, SerdeError>;
    /// Appends the same bytes: what stores look up rows with. Worth writing where it saves the allocation.
    fn serialize_into(&self, value: &T, bytes: &mut Vec<u8>) -> Result<(), SerdeError> {
        bytes.extend_from_slice(&self.serialize(value)?);
        Ok(())
    }
    /// The value of some bytes.
    fn deserialize(&self, bytes: &Bytes) -> Result<T, SerdeError>;
    /// The same of bytes that belong to a store. Worth writing where a value shares nothing with its bytes.
    fn deserialize_slice(&self, bytes: &[u8]) -> Result<T, SerdeError> {
        self.deserialize(&Bytes::copy_from_slice(bytes))
    }
    /// The bytes by whose hash a record with this key is partitioned; `None`: by all of the key's. A key in a window goes where it goes
    /// without one.
    fn partition_key(&self, _: &T) -> Result<Option<Bytes>, SerdeError> {
        Ok(None)
    }
}

/// A shared serde.
///
/// ```
/// use millstream_topology::{DefaultSerde, SerdeRef};
///
/// let text: SerdeRef<String> = String::default_serde();
/// assert_eq!(text.serialize(&"a".to_string())?.as_ref(), b"a");
/// # Ok::<(), millstream_topology::SerdeError>(())
/// ```
pub type SerdeRef<T> = Arc<dyn Serde<T>>;

/// The serde that follows from a type, in Kafka's own formats: text as UTF-8, numbers big endian, a UUID as its text.
///
/// ```
/// use millstream_topology::DefaultSerde;
/// use uuid::Uuid;
///
/// assert_eq!(i64::default_serde().serialize(&1)?.as_ref(), [0, 0, 0, 0, 0, 0, 0, 1]);
/// assert_eq!(String::default_serde().serialize(&"grüß".into())?.as_ref(), "grüß".as_bytes());
/// assert_eq!(Uuid::default_serde().serialize(&Uuid::nil())?.as_ref(), b"00000000-0000-0000-0000-000000000000");
/// assert_eq!(bool::default_serde().serialize(&true)?.as_ref(), [1]);
/// # Ok::<(), millstream_topology::SerdeError>(())
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
    fn serialize_into(&self, value: &String, bytes: &mut Vec<u8>) -> Result<(), SerdeError> {
        bytes.extend_from_slice(value.as_bytes());
        Ok(())
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<String, SerdeError> {
        self.deserialize_slice(bytes)
    }
    fn deserialize_slice(&self, bytes: &[u8]) -> Result<String, SerdeError> {
        std::str::from_utf8(bytes).map(String::from).map_err(|error| {
            let at = error.valid_up_to();
            SerdeError::of::<String>(format!("byte {:#04x} at {at} of {} is not UTF-8", bytes[at], bytes.len()))
        })
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
    fn serialize_into(&self, value: &Vec<u8>, bytes: &mut Vec<u8>) -> Result<(), SerdeError> {
        bytes.extend_from_slice(value);
        Ok(())
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<Vec<u8>, SerdeError> {
        Ok(bytes.to_vec())
    }
    fn deserialize_slice(&self, bytes: &[u8]) -> Result<Vec<u8>, SerdeError> {
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

struct Boolean;
impl Serde<bool> for Boolean {
    fn serialize(&self, value: &bool) -> Result<Bytes, SerdeError> {
        Ok(Bytes::from_static(if *value { &[1] } else { &[0] }))
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<bool, SerdeError> {
        match bytes[..] {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(SerdeError::of::<bool>(format!("byte {other:#04x} where 0x00 or 0x01 is expected"))),
            _ => Err(SerdeError::of::<bool>(format!("{} bytes where 1 is expected", bytes.len()))),
        }
    }
}
impl DefaultSerde for bool {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(Boolean)
    }
}

struct UuidText;
impl Serde<Uuid> for UuidText {
    fn serialize(&self, value: &Uuid) -> Result<Bytes, SerdeError> {
        Ok(Bytes::copy_from_slice(value.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes()))
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<Uuid, SerdeError> {
        Uuid::try_parse_ascii(bytes).map_err(|error| SerdeError::of::<Uuid>(format!("{} bytes of text: {error}", bytes.len())))
    }
}
impl DefaultSerde for Uuid {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(UuidText)
    }
}

struct BigEndian;
macro_rules! big_endian {
    ($($number:ty),+) => { $(
        impl Serde<$number> for BigEndian {
            fn serialize(&self, value: &$number) -> Result<Bytes, SerdeError> {
                Ok(Bytes::copy_from_slice(&value.to_be_bytes()))
            }
            fn serialize_into(&self, value: &$number, bytes: &mut Vec<u8>) -> Result<(), SerdeError> {
                bytes.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }
            fn deserialize(&self, bytes: &Bytes) -> Result<$number, SerdeError> {
                self.deserialize_slice(bytes)
            }
            fn deserialize_slice(&self, bytes: &[u8]) -> Result<$number, SerdeError> {
                let size = size_of::<$number>();
                let array = bytes.try_into().map_err(|_| SerdeError::of::<$number>(format!("{} bytes where {size} are expected", bytes.len())))?;
                Ok(<$number>::from_be_bytes(array))
            }
        }
        impl DefaultSerde for $number {
            fn default_serde() -> SerdeRef<Self> { Arc::new(BigEndian) }
        }
    )+ };
}
big_endian!(i8, i16, i32, i64, u8, u16, u32, u64, f32, f64);
