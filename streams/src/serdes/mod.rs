//! Serdes of more than the types that have one of their own: JSON, Protocol Buffers, and with the feature `avro` Avro.

#[cfg(feature = "avro")]
pub mod avro;
mod json;
mod proto;

pub use json::Json;
pub use proto::Proto;

/// A type whose only field is a key or value, and whose name says how that is written.
macro_rules! newtype {
    ($name:ident) => {
        millstream_topology::data!(impl[T: Clone + 'static] $name<T>);
        impl<T> std::ops::Deref for $name<T> {
            type Target = T;
            fn deref(&self) -> &T {
                &self.0
            }
        }
        impl<T> std::ops::DerefMut for $name<T> {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.0
            }
        }
        impl<T> From<T> for $name<T> {
            fn from(value: T) -> Self {
                Self(value)
            }
        }
    };
}
use newtype;
