use millstream_topology::{Data, DefaultSerde, SerdeRef};

use super::SerdeChoice;

/// How a stream is joined with a table: serdes of the stream, the node's name, and how long stream records wait (KIP-923).
pub struct Joined<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V::Present>,
    pub(crate) grace_period_ms: Option<i64>,
}

impl<K: DefaultSerde, V: DefaultSerde> Joined<K, V> {
    /// With the serdes that came with the stream, or those of the types.
    pub fn new() -> Self {
        Self::of(SerdeChoice::of_type::<K>(), SerdeChoice::of_type::<V>())
    }
}

impl<K: DefaultSerde, V: DefaultSerde> Default for Joined<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Data, V: Data> Joined<K, V> {
    /// With these serdes.
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V::Present>) -> Self {
        Self::of(SerdeChoice::chosen(key), SerdeChoice::chosen(value))
    }

    fn of(key: SerdeChoice<K::Present>, value: SerdeChoice<V::Present>) -> Self {
        Self { name: None, key, value, grace_period_ms: None }
    }

    /// Names the node, and the repartition topic if there is one.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Has each record of the stream wait for so many milliseconds of stream time, then joins it with the table as of the record's time.
    /// The table is versioned, with a history of at least that long.
    pub fn grace_period_ms(self, grace_period_ms: i64) -> Self {
        Self { grace_period_ms: Some(grace_period_ms), ..self }
    }
}
