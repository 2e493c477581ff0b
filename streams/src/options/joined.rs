use millstream_topology::{Data, DefaultSerde, SerdeRef};

use super::{SerdeChoice, serdes::serde_options};

/// How a stream is joined with a table: serdes of the stream, the node's name, and how long stream records wait (KIP-923).
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let orders = builder.stream::<String, i64>("orders");
/// let prices = builder.table_with("prices", Consumed::new(), Materialized::<String, i64>::store("prices").versioned(600_000));
/// // Orders wait a minute for prices that are late.
/// orders.join_table_with(&prices, |n, price| n * price, Joined::new().name("priced").grace_period_ms(60_000));
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Joined<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V::Present>,
    pub(crate) grace_period_ms: Option<i64>,
}

impl<K: DefaultSerde, V: DefaultSerde> Joined<K, V> {
    /// With the serdes that came with the stream, or those of the types.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Joined::<String, i64>::new();
    /// ```
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
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Joined::<String, i64>::with(String::default_serde(), i64::default_serde());
    /// ```
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V::Present>) -> Self {
        Self::of(SerdeChoice::chosen(key), SerdeChoice::chosen(value))
    }

    fn of(key: SerdeChoice<K::Present>, value: SerdeChoice<V::Present>) -> Self {
        Self { name: None, key, value, grace_period_ms: None }
    }

    /// Names the node, and the repartition topic if there is one.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Joined::<String, i64>::new().name("priced");
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Has each record of the stream wait for so many milliseconds of stream time, then joins it with the table as of the record's time.
    /// The table is versioned, with a history of at least that long.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Joined::<String, i64>::new().grace_period_ms(60_000);
    /// ```
    pub fn grace_period_ms(self, grace_period_ms: i64) -> Self {
        Self { grace_period_ms: Some(grace_period_ms), ..self }
    }
}

serde_options!(Joined<K, V>: key_serde of "keys" key K, value_serde of "the stream's values" value V);
