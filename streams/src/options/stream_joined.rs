use millstream_topology::{Data, DefaultSerde, SerdeRef, store::StoreType};

use super::{SerdeChoice, serdes::serde_options};

/// How two streams are joined: serdes, and the names and places of what is kept for it.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let (orders, payments) = (builder.stream::<String, i64>("orders"), builder.stream::<String, i64>("payments"));
/// let options = StreamJoined::new().name("owed").store_name("owed").store_type(StoreType::InMemory).logging(false);
/// orders.join_with(&payments, |a, b| a - b, JoinWindows::of_time_difference_with_no_grace(60_000), options);
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
pub struct StreamJoined<K: Data, V1: Data, V2: Data> {
    pub(crate) name: Option<String>,
    pub(crate) store_name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V1::Present>,
    pub(crate) other_value: SerdeChoice<V2::Present>,
    pub(crate) store_type: Option<StoreType>,
    pub(crate) logging: bool,
}

impl<K: DefaultSerde, V1: DefaultSerde, V2: DefaultSerde> StreamJoined<K, V1, V2> {
    /// With the serdes that came with the streams, or those of the types.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = StreamJoined::<String, i64, i64>::new();
    /// ```
    pub fn new() -> Self {
        Self::of(SerdeChoice::of_type::<K>(), SerdeChoice::of_type::<V1>(), SerdeChoice::of_type::<V2>())
    }
}

impl<K: DefaultSerde, V1: DefaultSerde, V2: DefaultSerde> Default for StreamJoined<K, V1, V2> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Data, V1: Data, V2: Data> StreamJoined<K, V1, V2> {
    /// With these serdes.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = StreamJoined::<String, String, i64>::with(String::default_serde(), String::default_serde(), i64::default_serde());
    /// ```
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V1::Present>, other_value: SerdeRef<V2::Present>) -> Self {
        Self::of(SerdeChoice::chosen(key), SerdeChoice::chosen(value), SerdeChoice::chosen(other_value))
    }

    fn of(key: SerdeChoice<K::Present>, value: SerdeChoice<V1::Present>, other_value: SerdeChoice<V2::Present>) -> Self {
        Self { name: None, store_name: None, key, value, other_value, store_type: None, logging: true }
    }

    /// Names the nodes, and the repartition topics if there are any.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = StreamJoined::<String, i64, i64>::new().name("owed");
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The base of the stores' names.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = StreamJoined::<String, i64, i64>::new().store_name("owed");
    /// ```
    pub fn store_name(self, name: impl Into<String>) -> Self {
        Self { store_name: Some(name.into()), ..self }
    }

    /// Where the stores are kept.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = StreamJoined::<String, i64, i64>::new().store_type(StoreType::InMemory);
    /// ```
    pub fn store_type(self, store_type: StoreType) -> Self {
        Self { store_type: Some(store_type), ..self }
    }

    /// Whether the stores have changelogs. Default: yes.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = StreamJoined::<String, i64, i64>::new().logging(false);
    /// ```
    pub fn logging(self, logging: bool) -> Self {
        Self { logging, ..self }
    }
}

serde_options!(StreamJoined<K, V1, V2>: key_serde of "keys" key K, value_serde of "this stream's values" value V1, other_value_serde of "the other's values" other_value V2);
