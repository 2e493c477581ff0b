//! Which serde is used: the one that the user chose, or the one that came with the stream, or the one of the type.

use millstream_topology::{DefaultSerde, SerdeRef};

pub(crate) struct SerdeChoice<T> {
    chosen: Option<SerdeRef<T>>,
    fallback: Option<SerdeRef<T>>,
}

impl<T> Clone for SerdeChoice<T> {
    fn clone(&self) -> Self {
        Self { chosen: self.chosen.clone(), fallback: self.fallback.clone() }
    }
}

impl<T> SerdeChoice<T> {
    pub fn chosen(serde: SerdeRef<T>) -> Self {
        Self { chosen: Some(serde), fallback: None }
    }

    /// None: only a serde that comes with the stream can be used.
    pub fn none() -> Self {
        Self { chosen: None, fallback: None }
    }

    pub fn of_type<D: DefaultSerde<Present = T>>() -> Self {
        Self { chosen: None, fallback: Some(D::default_serde()) }
    }

    pub fn resolve(&self, carried: Option<&SerdeRef<T>>) -> Option<SerdeRef<T>> {
        self.chosen.as_ref().or(carried).or(self.fallback.as_ref()).cloned()
    }
}

/// The methods that override one serde of an options type.
macro_rules! serde_options {
    ($options:ident<$($type:ident),+>: $($method:ident of $what:literal $field:ident $of:ident),+) => {
        impl<$($type: Data),+> $options<$($type),+> {
            $(
                #[doc = concat!("Overrides the serde of ", $what, ": neither that of the stream nor that of the type is used.")]
                pub fn $method(self, serde: SerdeRef<$of::Present>) -> Self {
                    Self { $field: SerdeChoice::chosen(serde), ..self }
                }
            )+
        }
    };
}
pub(super) use serde_options;
