//! **Law.** Each record becomes one, with its timestamp and headers.

use std::sync::Arc;

use millstream_topology::{Children, Data, Error, Node, Record, TaskContext};

pub(crate) struct Map<L, W, F> {
    pub mapper: F,
    pub children: Children<L, W>,
}

impl<K: Data, V: Data, L: Data, W: Data, F: Fn(K, V) -> (L, W) + 'static> Node<K, V> for Map<L, W, F> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        let (key, value) = (self.mapper)(key, value);
        self.children.forward(context, Record { key, value, timestamp, headers: headers.copied() })
    }
}

pub(crate) struct MapValues<K, W, F> {
    pub mapper: Arc<F>,
    pub children: Children<K, W>,
}

impl<K: Data, V: Data, W: Data, F: Fn(&K, &V) -> W + 'static> Node<K, V> for MapValues<K, W, F> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let value = (self.mapper)(&record.key, &record.value);
        self.children.forward(context, record.with_value(value))
    }

    fn is_fixed_key(&self) -> bool {
        true
    }
}
