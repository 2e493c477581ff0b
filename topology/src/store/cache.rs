//! The record cache: writes wait here until a flush, so that a key that changes often is written and forwarded once.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    context::{RecordContext, TaskContext},
    error::Error,
};

/// Called for every entry that leaves the cache: key, new value, old value.
pub type FlushListener = Box<dyn FnMut(&mut TaskContext, &Bytes, Option<Bytes>, Option<Bytes>) -> Result<(), Error>>;

/// An entry that has not been written yet.
pub(crate) struct Entry {
    pub value: Option<Bytes>,
    pub context: RecordContext,
    turn: u64,
}

/// Dirty entries by key.
///
/// **Law.** Entries leave in the order of their last write.
#[derive(Default)]
pub(crate) struct Cache {
    entries: BTreeMap<Bytes, Entry>,
    turns: BTreeMap<u64, Bytes>,
    next_turn: u64,
    bytes: usize,
}

impl Cache {
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub fn put(&mut self, key: Bytes, value: Option<Bytes>, context: RecordContext) {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, key.clone());
        self.bytes += size(&key, &value);
        if let Some(before) = self.entries.insert(key.clone(), Entry { value, context, turn }) {
            self.turns.remove(&before.turn);
            self.bytes -= size(&key, &before.value);
        }
    }

    pub fn pop(&mut self) -> Option<(Bytes, Entry)> {
        let (_, key) = self.turns.pop_first()?;
        let entry = self.entries.remove(&key)?;
        self.bytes -= size(&key, &entry.value);
        Some((key, entry))
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entries from `from` to `to`, both included; `None` is open.
    pub fn range(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> impl DoubleEndedIterator<Item = (&Bytes, &Entry)> {
        use std::ops::Bound::{Included, Unbounded};
        let empty = matches!((from, to), (Some(from), Some(to)) if from > to);
        let bounds = match empty {
            true => (Included(&[][..]), Included(&[][..])),
            false => (from.map_or(Unbounded, Included), to.map_or(Unbounded, Included)),
        };
        self.entries.range::<[u8], _>(bounds).filter(move |_| !empty)
    }
}

/// What Kafka Streams counts for an entry: the bytes and its own bookkeeping.
fn size(key: &Bytes, value: &Option<Bytes>) -> usize {
    const OVERHEAD: usize = 80;
    key.len() + value.as_ref().map_or(0, Bytes::len) + OVERHEAD
}
