//! **Law.** A record passes unchanged if the predicate holds, and not at all otherwise.

use std::sync::Arc;

use millstream_topology::{Children, Data, Error, Node, Record, TaskContext};

pub(crate) struct Filter<K, V, F> {
    pub predicate: Arc<F>,
    pub children: Children<K, V>,
}

impl<K: Data, V: Data, F: Fn(&K, &V) -> bool + 'static> Node<K, V> for Filter<K, V, F> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        if (self.predicate)(&record.key, &record.value) { self.children.forward(context, record) } else { Ok(()) }
    }

    fn is_fixed_key(&self) -> bool {
        true
    }
}
