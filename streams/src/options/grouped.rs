use std::{marker::PhantomData, sync::Arc};

use millstream_topology::{Data, DefaultSerde, SerdeRef, StreamPartitioner};

use super::{SerdeChoice, serdes::serde_options};
use crate::KStream;

/// How records are grouped: serdes, and the base of the repartition topic's name if there is one.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let options = Grouped::new().name("by-hundreds");
/// builder.stream::<String, i64>("orders").group_by_with(|_, amount| amount / 100, options).count();
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Grouped<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V::Present>,
}

impl<K: DefaultSerde, V: DefaultSerde> Grouped<K, V> {
    /// With the serdes that came with the stream, or those of the types.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Grouped::<String, i64>::new();
    /// ```
    pub fn new() -> Self {
        Self { name: None, key: SerdeChoice::of_type::<K>(), value: SerdeChoice::of_type::<V>() }
    }
}

impl<K: DefaultSerde, V: DefaultSerde> Default for Grouped<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Data, V: Data> Grouped<K, V> {
    /// With these serdes.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Grouped::<String, i64>::with(String::default_serde(), i64::default_serde());
    /// ```
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V::Present>) -> Self {
        Self { name: None, key: SerdeChoice::chosen(key), value: SerdeChoice::chosen(value) }
    }

    /// Names the grouping: the repartition topic is `<application>-<name>-repartition`.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Grouped::<String, i64>::new().name("by-hundreds");
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }
}

/// How records are repartitioned.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let options = Repartitioned::new().name("spread").partitions(8);
/// builder.stream::<String, i64>("orders").repartition_with(options).to("copy");
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Repartitioned<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V::Present>,
    pub(crate) partitions: Option<i32>,
    pub(crate) partitioner: Option<StreamPartitioner<K, V>>,
}

impl<K: DefaultSerde, V: DefaultSerde> Repartitioned<K, V> {
    /// With the serdes that came with the stream, or those of the types.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Repartitioned::<String, i64>::new();
    /// ```
    pub fn new() -> Self {
        Self { name: None, key: SerdeChoice::of_type::<K>(), value: SerdeChoice::of_type::<V>(), partitions: None, partitioner: None }
    }
}

impl<K: DefaultSerde, V: DefaultSerde> Default for Repartitioned<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Data, V: Data> Repartitioned<K, V> {
    /// With these serdes.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Repartitioned::<String, i64>::with(String::default_serde(), i64::default_serde());
    /// ```
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V::Present>) -> Self {
        Self { name: None, key: SerdeChoice::chosen(key), value: SerdeChoice::chosen(value), partitions: None, partitioner: None }
    }

    /// Names the topic: `<application>-<name>-repartition`.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Repartitioned::<String, i64>::new().name("spread");
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// How many partitions the topic has; otherwise as many as the streams that it is joined with, or its source.
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Repartitioned::<String, i64>::new().partitions(8);
    /// ```
    pub fn partitions(self, partitions: i32) -> Self {
        Self { partitions: Some(partitions), ..self }
    }

    /// Chooses the partitions of a record; as in [`Produced::partitioner`](crate::Produced::partitioner).
    ///
    /// ```
    /// # use millstream::*;
    /// let options = Repartitioned::<String, i64>::new().partitioner(|_, id, _, n| Some(vec![id.len() as i32 % n]));
    /// ```
    pub fn partitioner(self, partitioner: impl Fn(&str, &K, &V, i32) -> Option<Vec<i32>> + Send + Sync + 'static) -> Self {
        Self { partitioner: Some(Arc::new(partitioner)), ..self }
    }
}

/// A branch of a split: its name, and what becomes of it.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let large = Branched::new().name("large").with_function(|large: KStream<String, i64>| Some(large.map_values(|n| n / 100)));
/// let parts = builder.stream::<String, i64>("orders").split().branch(|_, n| *n > 100, large).no_default_branch();
/// assert_eq!(parts.len(), 1);
/// # builder.build()?;
/// # Ok::<(), Error>(())
/// ```
pub struct Branched<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) chain: Option<Box<dyn FnOnce(KStream<K, V>) -> Option<KStream<K, V>>>>,
    types: PhantomData<(K, V)>,
}

impl<K: Data, V: Data> Branched<K, V> {
    /// The branch itself, under a generated name.
    ///
    /// ```
    /// # use millstream::*;
    /// let branch = Branched::<String, i64>::new();
    /// ```
    pub fn new() -> Self {
        Self { name: None, chain: None, types: PhantomData }
    }

    /// Names the branch: its key in the map is the split's name and this one.
    ///
    /// ```
    /// # use millstream::*;
    /// let branch = Branched::<String, i64>::new().name("large");
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Puts what `chain` makes of the branch into the map; nothing if it makes nothing.
    ///
    /// ```
    /// # use millstream::*;
    /// let branch = Branched::<String, i64>::new().with_function(|large| Some(large.peek(|id, _| println!("{id}"))));
    /// ```
    pub fn with_function(self, chain: impl FnOnce(KStream<K, V>) -> Option<KStream<K, V>> + 'static) -> Self {
        Self { chain: Some(Box::new(chain)), ..self }
    }

    /// Hands the branch to `consumer` and leaves it out of the map.
    ///
    /// ```
    /// # use millstream::*;
    /// let branch = Branched::<String, i64>::new().with_consumer(|large| large.to("large"));
    /// ```
    pub fn with_consumer(self, consumer: impl FnOnce(KStream<K, V>) + 'static) -> Self {
        self.with_function(|branch| {
            consumer(branch);
            None
        })
    }
}

impl<K: Data, V: Data> Default for Branched<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

serde_options!(Grouped<K, V>: key_serde of "keys" key K, value_serde of "values" value V);
serde_options!(Repartitioned<K, V>: key_serde of "keys" key K, value_serde of "values" value V);
