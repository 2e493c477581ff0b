use millstream_topology::{Data, DefaultSerde, SerdeRef, store::StoreType};

use super::{SerdeChoice, serdes::serde_options};

/// How a table or an aggregation keeps its state.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let rows = Materialized::store("counts").store_type(StoreType::InMemory).caching(false).logging(false);
/// let counts = builder.stream::<String, i64>("orders").group_by_key().count_with::<i64>(rows);
/// assert_eq!(counts.queryable_store_name(), Some("counts"));
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Materialized<K: Data, V: Data> {
    pub(crate) store_name: Option<String>,
    pub(crate) node_name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V::Present>,
    pub(crate) store_type: Option<StoreType>,
    pub(crate) caching: bool,
    pub(crate) logging: bool,
    pub(crate) retention_ms: Option<i64>,
    pub(crate) versioned: Option<Versioned>,
}

/// How a versioned store keeps old versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versioned {
    pub history_retention_ms: i64,
    pub segment_interval_ms: Option<i64>,
}

impl<K: DefaultSerde, V: DefaultSerde> Materialized<K, V> {
    /// In a store with a generated name that cannot be queried, with the serdes of the types.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::new();
    /// ```
    pub fn new() -> Self {
        Self::of(SerdeChoice::of_type::<K>(), SerdeChoice::of_type::<V>())
    }

    /// In a store of that name.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::store("counts");
    /// ```
    pub fn store(name: impl Into<String>) -> Self {
        Self::new().store_name(name)
    }
}

impl<K: DefaultSerde, V: DefaultSerde> Default for Materialized<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Data, V: Data> Materialized<K, V> {
    /// With these serdes.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::with(String::default_serde(), i64::default_serde());
    /// ```
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V::Present>) -> Self {
        Self::of(SerdeChoice::chosen(key), SerdeChoice::chosen(value))
    }

    /// With the serdes that came with a stream.
    pub(crate) fn carried(key: Option<SerdeRef<K::Present>>, value: Option<SerdeRef<V::Present>>) -> Self {
        let (none_key, none_value) = (SerdeChoice::none, SerdeChoice::none);
        Self::of(key.map_or_else(none_key, SerdeChoice::chosen), value.map_or_else(none_value, SerdeChoice::chosen))
    }

    /// With the key serde that comes with the stream.
    pub(crate) fn with_value(value: SerdeRef<V::Present>) -> Self {
        Self::of(SerdeChoice::none(), SerdeChoice::chosen(value))
    }

    fn of(key: SerdeChoice<K::Present>, value: SerdeChoice<V::Present>) -> Self {
        Self {
            store_name: None,
            node_name: None,
            key,
            value,
            store_type: None,
            caching: true,
            logging: true,
            retention_ms: None,
            versioned: None,
        }
    }

    /// Names the store, so that it can be queried.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::new().store_name("counts");
    /// ```
    pub fn store_name(self, name: impl Into<String>) -> Self {
        Self { store_name: Some(name.into()), ..self }
    }

    /// Names the node.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::new().name("counting");
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { node_name: Some(name.into()), ..self }
    }

    /// Where the store is kept.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::new().store_type(StoreType::InMemory);
    /// ```
    pub fn store_type(self, store_type: StoreType) -> Self {
        Self { store_type: Some(store_type), ..self }
    }

    /// Whether updates wait in the record cache until a commit. Default: yes.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::store("counts").caching(false);
    /// ```
    pub fn caching(self, caching: bool) -> Self {
        Self { caching, ..self }
    }

    /// Whether updates are written to a changelog topic. Default: yes.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::store("counts").logging(false);
    /// ```
    pub fn logging(self, logging: bool) -> Self {
        Self { logging, ..self }
    }

    /// How long a windowed store keeps its windows; at least the window and its grace.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::store("counts").retention_ms(86_400_000);
    /// ```
    pub fn retention_ms(self, retention_ms: i64) -> Self {
        Self { retention_ms: Some(retention_ms), ..self }
    }

    /// Keeps old versions of each row for so long (KIP-889). The store needs a name.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::store("prices").versioned(3_600_000);
    /// ```
    pub fn versioned(self, history_retention_ms: i64) -> Self {
        Self { versioned: Some(Versioned { history_retention_ms, segment_interval_ms: None }), ..self }
    }

    /// The same, with the interval at which old versions expire together.
    ///
    /// ```
    /// # use millstream::*;
    /// let rows = Materialized::<String, i64>::store("prices").versioned_with_segments(3_600_000, 60_000);
    /// ```
    pub fn versioned_with_segments(self, history_retention_ms: i64, segment_interval_ms: i64) -> Self {
        Self { versioned: Some(Versioned { history_retention_ms, segment_interval_ms: Some(segment_interval_ms) }), ..self }
    }
}

serde_options!(Materialized<K, V>: key_serde of "keys" key K, value_serde of "values" value V);
