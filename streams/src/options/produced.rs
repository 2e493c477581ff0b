use millstream_topology::{Data, DefaultSerde, PartitionKey, SerdeRef, StreamPartitioner};
use std::sync::Arc;

use super::{SerdeChoice, serdes::serde_options};

/// How a topic is written.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let options = Produced::new().name("copying").partitioner(|_, _, amount, n| Some(vec![(*amount as i32) % n]));
/// builder.stream::<String, i64>("orders").to_with("copy", options);
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Produced<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V::Present>,
    pub(crate) partitioner: Option<StreamPartitioner<K, V>>,
    pub(crate) partition_key: Option<PartitionKey<K>>,
}

impl<K: DefaultSerde, V: DefaultSerde> Produced<K, V> {
    /// With the serdes that came with the stream, or those of the types.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Produced::<String, i64>::new();
    /// ```
    pub fn new() -> Self {
        Self::of(SerdeChoice::of_type::<K>(), SerdeChoice::of_type::<V>())
    }
}

impl<K: DefaultSerde, V: DefaultSerde> Default for Produced<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Data, V: Data> Produced<K, V> {
    /// With these serdes.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Produced::<String, i64>::with(String::default_serde(), i64::default_serde());
    /// ```
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V::Present>) -> Self {
        Self::of(SerdeChoice::chosen(key), SerdeChoice::chosen(value))
    }

    fn of(key: SerdeChoice<K::Present>, value: SerdeChoice<V::Present>) -> Self {
        Self { name: None, key, value, partitioner: None, partition_key: None }
    }

    /// Names the sink's node.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Produced::<String, i64>::new().name("copying");
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Chooses the partitions of a record, given the topic and how many it has: `None` leaves it to the key's hash, no partition drops
    /// the record, several copy it.
    ///
    /// ```
    /// # use millstream::*;
    /// // To all partitions.
    /// let options = Produced::<String, i64>::new().partitioner(|_, _, _, n| Some((0..n).collect()));
    /// ```
    pub fn partitioner(self, partitioner: impl Fn(&str, &K, &V, i32) -> Option<Vec<i32>> + Send + Sync + 'static) -> Self {
        Self { partitioner: Some(Arc::new(partitioner)), ..self }
    }
}

serde_options!(Produced<K, V>: key_serde of "keys" key K, value_serde of "values" value V);
