//! **Law.** The action sees every record; `Peek` passes it on unchanged, `ForEach` does not.

use std::sync::Arc;

use millstream_topology::{Children, Data, Error, Node, Record, TaskContext};

pub(crate) struct Peek<K, V, F> {
    pub action: Arc<F>,
    pub children: Children<K, V>,
}

impl<K: Data, V: Data, F: Fn(&K, &V) + 'static> Node<K, V> for Peek<K, V, F> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        (self.action)(&record.key, &record.value);
        self.children.forward(context, record)
    }

    fn is_fixed_key(&self) -> bool {
        true
    }
}

pub(crate) struct ForEach<F>(pub Arc<F>);

impl<K: Data, V: Data, F: Fn(&K, &V) + 'static> Node<K, V> for ForEach<F> {
    fn process(&mut self, _: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        (self.0)(&record.key, &record.value);
        Ok(())
    }
}
