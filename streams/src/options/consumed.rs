use std::sync::Arc;

use millstream_topology::{Data, DefaultSerde, InvalidTimestamp, OffsetReset, SerdeRef, TimestampExtractor};

use super::SerdeChoice;

/// How a topic is read.
pub struct Consumed<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V::Present>,
    pub(crate) extractor: Arc<dyn TimestampExtractor<K, V>>,
    pub(crate) offset_reset: Option<OffsetReset>,
}

impl<K: DefaultSerde, V: DefaultSerde> Consumed<K, V> {
    /// With the serdes of the types.
    pub fn new() -> Self {
        Self::of(SerdeChoice::of_type::<K>(), SerdeChoice::of_type::<V>())
    }
}

impl<K: DefaultSerde, V: DefaultSerde> Default for Consumed<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Data, V: Data> Consumed<K, V> {
    /// With these serdes.
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V::Present>) -> Self {
        Self::of(SerdeChoice::chosen(key), SerdeChoice::chosen(value))
    }

    fn of(key: SerdeChoice<K::Present>, value: SerdeChoice<V::Present>) -> Self {
        Self { name: None, key, value, extractor: Arc::new(InvalidTimestamp::Fail), offset_reset: None }
    }

    /// Names the source's node.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Takes event time from elsewhere than the record's timestamp, or changes what happens to a negative one.
    pub fn timestamp_extractor(self, extractor: impl TimestampExtractor<K, V> + 'static) -> Self {
        Self { extractor: Arc::new(extractor), ..self }
    }

    /// Where to start without a committed offset.
    pub fn offset_reset(self, reset: OffsetReset) -> Self {
        Self { offset_reset: Some(reset), ..self }
    }
}
