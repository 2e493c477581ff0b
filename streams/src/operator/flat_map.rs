//! **Law.** Each record becomes any number of records, in the mapper's order, with its timestamp and headers.

use std::sync::Arc;

use millstream_topology::{Children, Data, Error, Node, Record, TaskContext};

pub(crate) struct FlatMap<L, W, F> {
    pub mapper: Arc<F>,
    pub children: Children<L, W>,
}

impl<K: Data, V: Data, L: Data, W: Data, I, F> Node<K, V> for FlatMap<L, W, F>
where
    I: IntoIterator<Item = (L, W)>,
    F: Fn(&K, &V) -> I + 'static,
{
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        for (key, value) in (self.mapper)(&record.key, &record.value) {
            self.children.forward(context, Record { key, value, timestamp: record.timestamp, headers: record.headers.copied() })?;
        }
        Ok(())
    }
}

pub(crate) struct FlatMapValues<K, W, F> {
    pub mapper: Arc<F>,
    pub children: Children<K, W>,
}

impl<K: Data, V: Data, W: Data, I, F> Node<K, V> for FlatMapValues<K, W, F>
where
    I: IntoIterator<Item = W>,
    F: Fn(&K, &V) -> I + 'static,
{
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        for value in (self.mapper)(&record.key, &record.value) {
            let key = record.key.clone();
            self.children.forward(context, Record { key, value, timestamp: record.timestamp, headers: record.headers.clone() })?;
        }
        Ok(())
    }

    fn is_fixed_key(&self) -> bool {
        true
    }
}
