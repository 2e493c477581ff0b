//! **Law.** A stream joined with itself gives what a join of two equal streams gives, in the same order, from one store: first the pairs in
//! which the record is the left one, then those in which it is the right one; the pair with itself takes its place by time among these.

use std::any::Any;

use millstream_topology::{Assembly, Children, Data, Error, ErrorKind, Node, Record, TaskContext};

use super::JoinRows;
use crate::{JoinWindows, kstream::Joiner};

/// A join of a stream with itself. `V` and `O` are one type, known under two names.
pub(crate) struct SelfJoin<K: Data, V: Data, O, R> {
    windows: JoinWindows,
    store: JoinRows<K::Present, V::Present>,
    stream_time: i64,
    joiner: Joiner<K, V::Present, O, R>,
    children: Children<K, R>,
}

impl<K: Data, V: Data, O: 'static, R: Data> SelfJoin<K, V, O, R> {
    pub fn new(windows: JoinWindows, joiner: &Joiner<K, V::Present, O, R>, store: &str, assembly: &Assembly<'_>) -> Result<Self, Error> {
        Ok(Self {
            windows,
            store: JoinRows::open(store, assembly)?,
            stream_time: -1,
            joiner: joiner.clone(),
            children: assembly.children()?,
        })
    }

    fn pair(&self, key: &K, left: &V::Present, right: &V::Present) -> Result<R, Error> {
        let right = (right as &dyn Any)
            .downcast_ref::<O>()
            .ok_or_else(|| Error::new(ErrorKind::ClassCast, "a topic is read as two types and joined with itself: read it once"))?;
        Ok((self.joiner)(key, Some(left), Some(right)))
    }
}

impl<K: Data, V: Data, O: 'static, R: Data> Node<K, V> for SelfJoin<K, V, O, R> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        let (Some(present), Some(value)) = (key.present(), value.present()) else {
            context.drop_record();
            return Ok(());
        };
        let send = |context: &mut TaskContext, value: R, timestamp: i64| {
            self.children.forward(context, Record { key: key.clone(), value, timestamp, headers: headers.copied() })
        };
        let JoinWindows { before_ms, after_ms, grace_ms, .. } = self.windows;
        let with_itself = self.pair(&key, value, value)?;
        self.stream_time = self.stream_time.max(timestamp);
        let retention = self.windows.size_ms() + grace_ms;
        let mut with_itself = (timestamp > self.stream_time - retention + 1).then_some(with_itself);

        let around = |before: i64, after: i64| ((timestamp - before).max(0), (timestamp + after).max(0));
        let (from, to) = around(before_ms, after_ms);
        self.store.visit(present, (from, to), |at, other| send(context, self.pair(&key, value, &other)?, timestamp.max(at)))?;
        let (from, to) = around(after_ms, before_ms);
        self.store.visit(present, (from, to), |at, other| {
            if timestamp < at
                && let Some(result) = with_itself.take()
            {
                send(context, result, timestamp)?;
            }
            send(context, self.pair(&key, &other, value)?, timestamp.max(at))
        })?;
        match with_itself {
            Some(result) => send(context, result, timestamp),
            None => Ok(()),
        }
    }
}
