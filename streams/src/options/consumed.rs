use std::sync::Arc;

use millstream_topology::{Data, DefaultSerde, InvalidTimestamp, OffsetReset, SerdeRef, TimestampExtractor};

use super::{SerdeChoice, serdes::serde_options};

/// How a topic is read.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let options = Consumed::new().name("orders").offset_reset(OffsetReset::Earliest).timestamp_extractor(InvalidTimestamp::Skip);
/// let orders = builder.stream_with::<String, i64>(&["orders", "old-orders"], options);
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Consumed<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V::Present>,
    pub(crate) extractor: Arc<dyn TimestampExtractor<K, V>>,
    pub(crate) offset_reset: Option<OffsetReset>,
}

impl<K: DefaultSerde, V: DefaultSerde> Consumed<K, V> {
    /// With the serdes of the types.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Consumed::<String, Option<i64>>::new();
    /// ```
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
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Consumed::<String, i64>::with(String::default_serde(), i64::default_serde());
    /// ```
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V::Present>) -> Self {
        Self::of(SerdeChoice::chosen(key), SerdeChoice::chosen(value))
    }

    fn of(key: SerdeChoice<K::Present>, value: SerdeChoice<V::Present>) -> Self {
        Self { name: None, key, value, extractor: Arc::new(InvalidTimestamp::Fail), offset_reset: None }
    }

    /// Names the source's node.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Consumed::<String, i64>::new().name("orders");
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Takes event time from elsewhere than the record's timestamp, or changes what happens to a negative one.
    ///
    /// ```
    /// # use millstream::*;
    /// /// The time is in the record itself.
    /// struct Own;
    /// impl TimestampExtractor<String, i64> for Own {
    ///     fn extract(&self, record: &Record<String, i64>, _partition_time: i64) -> Result<i64, Error> {
    ///         Ok(record.value)
    ///     }
    /// }
    /// let options = Consumed::<String, i64>::new().timestamp_extractor(Own);
    /// ```
    pub fn timestamp_extractor(self, extractor: impl TimestampExtractor<K, V> + 'static) -> Self {
        Self { extractor: Arc::new(extractor), ..self }
    }

    /// Where to start without a committed offset.
    ///
    /// ```
    /// # use millstream::*;
    /// let last_hour = Consumed::<String, i64>::new().offset_reset(OffsetReset::ByDuration(3_600_000));
    /// ```
    pub fn offset_reset(self, reset: OffsetReset) -> Self {
        Self { offset_reset: Some(reset), ..self }
    }
}

serde_options!(Consumed<K, V>: key_serde of "keys" key K, value_serde of "values" value V);
