//! **Law.** Every record passes unchanged.

use millstream_topology::{Children, Data, Error, Node, Record, TaskContext};

pub(crate) struct PassThrough<K, V>(pub Children<K, V>);

impl<K: Data, V: Clone + 'static> Node<K, V> for PassThrough<K, V> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        self.0.forward(context, record)
    }
}
