//! **Law.** A change of a row leaves its old group before it enters its new one; within one group it is a single change (KIP-904). Rows
//! whose new key or value is null belong to no group. Of a versioned table only changes to the newest version count (KIP-914).

use std::{marker::PhantomData, sync::Arc};

use millstream_topology::{Change, Children, Data, Error, Node, Record, TaskContext};

pub(crate) struct TableGroup<K, V, L: Data, W: Data, F> {
    pub selector: Arc<F>,
    pub is_versioned: bool,
    pub children: Children<L::Present, Change<W::Present>>,
    pub types: PhantomData<(K, V)>,
}

impl<K: Data, V: Data, L: Data, W: Data, F: Fn(&K, &V) -> (L, W) + 'static> Node<K, Change<V>> for TableGroup<K, V, L, W, F>
where
    L::Present: PartialEq,
{
    fn process(&mut self, context: &mut TaskContext, record: Record<K, Change<V>>) -> Result<(), Error> {
        let Record { key, value: Change { new, old, is_latest }, timestamp, headers } = record;
        if self.is_versioned && !is_latest {
            return Ok(());
        }
        let select = |value: V| {
            let (key, value) = (self.selector)(&key, &value);
            key.into_present().zip(value.into_present())
        };
        let (new, old) = (new.and_then(select), old.and_then(select));
        let mut forward = |key, new, old| {
            let value = Change { new, old, is_latest };
            self.children.forward(context, Record { key, value, timestamp, headers: headers.copied() })
        };
        match (new, old) {
            (Some((key, new)), Some((old_key, old))) if key == old_key => forward(key, Some(new), Some(old)),
            (new, old) => {
                old.map_or(Ok(()), |(key, old)| forward(key, None, Some(old)))?;
                new.map_or(Ok(()), |(key, new)| forward(key, Some(new), None))
            }
        }
    }
}
