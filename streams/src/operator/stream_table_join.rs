//! **Law.** A record of the stream is joined with the table's row as it is then; of a versioned table, with the row as of the record's time.
//! The record's time is the result's. A record without a value is dropped, and one without a join key unless the join is a left one. With
//! a grace period a record waits for so much stream time before it is joined (KIP-923); one that comes later is joined at once.

use std::{borrow::Cow, marker::PhantomData, sync::Arc};

use millstream_topology::{Children, Data, Error, ErrorKind, Node, Record, TaskContext, store::JoinBuffer};

use crate::{kstream::TableJoiner, ktable::Getter};

/// Which row of the table a record is joined with.
pub(crate) trait JoinKey<K, V, L: Data>: 'static {
    fn find<'a>(&self, key: &'a K, value: &V) -> Option<Cow<'a, L>>;
}

/// The one of the record's own key.
pub(crate) struct OwnKey;

impl<K: Data, V> JoinKey<K, V, K::Present> for OwnKey {
    fn find<'a>(&self, key: &'a K, _: &V) -> Option<Cow<'a, K::Present>> {
        key.present().map(Cow::Borrowed)
    }
}

/// The one that a function says.
pub(crate) struct SelectedKey<D, F> {
    select: Arc<F>,
    key: PhantomData<fn() -> D>,
}

impl<D, F> SelectedKey<D, F> {
    pub fn new(select: Arc<F>) -> Self {
        Self { select, key: PhantomData }
    }
}

impl<K, V, D: Data, F: Fn(&K, &V) -> D + 'static> JoinKey<K, V, D::Present> for SelectedKey<D, F> {
    fn find<'a>(&self, key: &'a K, value: &V) -> Option<Cow<'a, D::Present>> {
        (self.select)(key, value).into_present().map(Cow::Owned)
    }
}

/// A join of a stream of `V` with a table of keys `L` and values `O`.
pub(crate) struct StreamTableJoin<K: Data, V: Data, L, O, R, S> {
    pub left: bool,
    pub key: S,
    pub rows: Box<dyn Getter<L, O>>,
    pub joiner: TableJoiner<K, V::Present, O, R>,
    /// Where records wait, if they do.
    pub buffer: Option<JoinBuffer<K::Present, V::Present>>,
    pub children: Children<K, R>,
}

impl<K: Data, V: Data, L: Data, O: 'static, R: Data, S: JoinKey<K, V, L>> StreamTableJoin<K, V, L, O, R, S> {
    fn join(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let row = match self.key.find(&record.key, &record.value) {
            Some(key) => self.rows.get_as_of(context, &key, record.timestamp)?,
            None => None,
        };
        let row = row.map(|row| row.value);
        match record.value.present() {
            Some(value) if self.left || row.is_some() => {
                let result = (self.joiner)(&record.key, value, row.as_ref());
                self.children.forward(context, record.with_value(result))
            }
            _ => Ok(()),
        }
    }

    /// Joins the records that have waited long enough, each as if it came now.
    fn join_due(&mut self, context: &mut TaskContext, buffer: &JoinBuffer<K::Present, V::Present>) -> Result<(), Error> {
        while let Some(waiting) = buffer.first_due()? {
            if let Some((key, value)) = K::from_present(Some(waiting.key)).zip(V::from_present(Some(waiting.value))) {
                let (timestamp, headers) = (waiting.record.timestamp, waiting.record.headers.clone());
                let now = std::mem::replace(&mut context.record, waiting.record);
                let outcome = self.join(context, Record { key, value, timestamp, headers });
                context.record = now;
                outcome?;
            }
            buffer.remove_first(context);
        }
        Ok(())
    }
}

impl<K: Data, V: Data, L: Data, O: 'static, R: Data, S: JoinKey<K, V, L>> Node<K, V> for StreamTableJoin<K, V, L, O, R, S> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let joinable = self.left || self.key.find(&record.key, &record.value).is_some();
        let Some(value) = record.value.present().filter(|_| joinable) else {
            context.drop_record();
            return Ok(());
        };
        let Some(buffer) = self.buffer.clone() else { return self.join(context, record) };
        let Some(key) = record.key.present() else {
            if context.config.compatibility.is_sound() {
                return self.join(context, record);
            }
            let text = "a record without a key cannot wait for its grace period: filter such records before this join";
            return Err(Error::new(ErrorKind::Null, text));
        };
        match buffer.put(context, key, value)? {
            true => self.join_due(context, &buffer),
            false => self.join(context, record),
        }
    }
}
