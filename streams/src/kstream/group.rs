//! Grouping by key.

use millstream_topology::{Data, DefaultSerde};

use super::KStream;
use crate::{
    KGroupedStream,
    options::{Grouped, Named},
};

impl<K: Data, V: Data> KStream<K, V> {
    /// Groups by the key as it is.
    pub fn group_by_key(&self) -> KGroupedStream<K, V>
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.group_by_key_with(Grouped::new())
    }

    /// The same, with options.
    pub fn group_by_key_with(&self, grouped: Grouped<K, V>) -> KGroupedStream<K, V> {
        KGroupedStream::new(self.clone(), grouped)
    }

    /// Groups by a new key; always repartitions.
    pub fn group_by<L: DefaultSerde>(&self, selector: impl Fn(&K, &V) -> L + Send + Sync + 'static) -> KGroupedStream<L, V>
    where
        V: DefaultSerde,
    {
        self.group_by_with(selector, Grouped::new())
    }

    /// The same, with options.
    pub fn group_by_with<L: Data>(
        &self,
        selector: impl Fn(&K, &V) -> L + Send + Sync + 'static,
        grouped: Grouped<L, V>,
    ) -> KGroupedStream<L, V> {
        let named = grouped.name.clone().map(Named);
        KGroupedStream::new(self.select_key_as(named.as_ref(), selector), grouped)
    }
}
