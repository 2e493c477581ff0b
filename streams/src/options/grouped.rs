use std::{marker::PhantomData, sync::Arc};

use millstream_topology::{Data, DefaultSerde, SerdeRef, StreamPartitioner};

use super::SerdeChoice;
use crate::KStream;

/// How records are grouped: serdes, and the base of the repartition topic's name if there is one.
pub struct Grouped<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V::Present>,
}

impl<K: DefaultSerde, V: DefaultSerde> Grouped<K, V> {
    /// With the serdes that came with the stream, or those of the types.
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
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V::Present>) -> Self {
        Self { name: None, key: SerdeChoice::chosen(key), value: SerdeChoice::chosen(value) }
    }

    /// Names the grouping: the repartition topic is `<application>-<name>-repartition`.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }
}

/// How records are repartitioned.
pub struct Repartitioned<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) key: SerdeChoice<K::Present>,
    pub(crate) value: SerdeChoice<V::Present>,
    pub(crate) partitions: Option<i32>,
    pub(crate) partitioner: Option<StreamPartitioner<K, V>>,
}

impl<K: DefaultSerde, V: DefaultSerde> Repartitioned<K, V> {
    /// With the serdes that came with the stream, or those of the types.
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
    pub fn with(key: SerdeRef<K::Present>, value: SerdeRef<V::Present>) -> Self {
        Self { name: None, key: SerdeChoice::chosen(key), value: SerdeChoice::chosen(value), partitions: None, partitioner: None }
    }

    /// Names the topic: `<application>-<name>-repartition`.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// How many partitions the topic has; otherwise as many as the streams that it is joined with, or its source.
    pub fn partitions(self, partitions: i32) -> Self {
        Self { partitions: Some(partitions), ..self }
    }

    /// Chooses the partitions of a record; as in [`Produced::partitioner`](crate::Produced::partitioner).
    pub fn partitioner(self, partitioner: impl Fn(&str, &K, &V, i32) -> Option<Vec<i32>> + Send + Sync + 'static) -> Self {
        Self { partitioner: Some(Arc::new(partitioner)), ..self }
    }
}

/// A branch of a split: its name, and what becomes of it.
pub struct Branched<K: Data, V: Data> {
    pub(crate) name: Option<String>,
    pub(crate) chain: Option<Box<dyn FnOnce(KStream<K, V>) -> Option<KStream<K, V>>>>,
    types: PhantomData<(K, V)>,
}

impl<K: Data, V: Data> Branched<K, V> {
    /// The branch itself, under a generated name.
    pub fn new() -> Self {
        Self { name: None, chain: None, types: PhantomData }
    }

    /// Names the branch: its key in the map is the split's name and this one.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Puts what `chain` makes of the branch into the map; nothing if it makes nothing.
    pub fn with_function(self, chain: impl FnOnce(KStream<K, V>) -> Option<KStream<K, V>> + 'static) -> Self {
        Self { chain: Some(Box::new(chain)), ..self }
    }

    /// Hands the branch to `consumer` and leaves it out of the map.
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
