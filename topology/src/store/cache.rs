//! The record cache: writes wait here until a flush, so that a key that changes often is written and forwarded once.

use std::ops::Bound;

use bytes::Bytes;

use super::{buffer::overwrite, bytes::OrderedHash};
use crate::{
    context::{RecordContext, TaskContext},
    error::Error,
};

/// Called for every entry that leaves the cache: key, new value, old value.
pub type FlushListener = Box<dyn FnMut(&mut TaskContext, &[u8], Option<&[u8]>, Option<&[u8]>) -> Result<(), Error>>;

/// An entry that has not been written yet.
pub(crate) struct Entry {
    pub value: Option<Vec<u8>>,
    pub context: RecordContext,
    key: Bytes,
    before: usize,
    after: usize,
}

const NONE: usize = usize::MAX;

/// Dirty entries by key.
///
/// **Law.** Entries leave in the order of their last write. Their slots are used again once all have left, as they do at every flush.
pub(crate) struct Cache {
    places: OrderedHash<usize>,
    slots: Vec<Entry>,
    first: usize,
    last: usize,
    bytes: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self { places: OrderedHash::default(), slots: vec![], first: NONE, last: NONE, bytes: 0 }
    }
}

impl Cache {
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.places.get(key).map(|&slot| &self.slots[slot])
    }

    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>, context: &RecordContext) {
        self.bytes += size(key, value);
        match self.places.get(key) {
            Some(&slot) => {
                let entry = &mut self.slots[slot];
                self.bytes -= size(key, entry.value.as_deref());
                overwrite(&mut entry.value, value);
                entry.context.clone_from(context);
                if slot != self.last {
                    self.unlink(slot);
                    self.append(slot);
                }
            }
            None => {
                let (slot, key) = (self.slots.len(), Bytes::copy_from_slice(key));
                self.places.insert(key.clone(), slot);
                self.slots.push(Entry { value: value.map(<[u8]>::to_vec), context: context.clone(), key, before: NONE, after: NONE });
                self.append(slot);
            }
        }
    }

    pub fn pop(&mut self) -> Option<(Bytes, Option<Vec<u8>>, RecordContext)> {
        let slot = self.first;
        let entry = self.slots.get_mut(slot)?;
        let (key, value) = (std::mem::take(&mut entry.key), entry.value.take());
        let context = std::mem::replace(&mut entry.context, RecordContext::none(-1));
        self.bytes -= size(&key, value.as_deref());
        self.unlink(slot);
        self.places.remove(&key);
        if self.first == NONE {
            self.slots.clear();
        }
        Some((key, value, context))
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entries from `from` to `to`, both included, by key; `None` is open.
    pub fn range(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> impl Iterator<Item = (&Bytes, &Entry)> {
        let bounds = (from.map_or(Bound::Unbounded, Bound::Included), to.map_or(Bound::Unbounded, Bound::Included));
        self.places.range(bounds, false).map(|(key, &slot)| (key, &self.slots[slot]))
    }

    fn append(&mut self, slot: usize) {
        let last = std::mem::replace(&mut self.last, slot);
        (self.slots[slot].before, self.slots[slot].after) = (last, NONE);
        match self.slots.get_mut(last) {
            Some(last) => last.after = slot,
            None => self.first = slot,
        }
    }

    fn unlink(&mut self, slot: usize) {
        let Entry { before, after, .. } = self.slots[slot];
        match self.slots.get_mut(before) {
            Some(entry) => entry.after = after,
            None => self.first = after,
        }
        match self.slots.get_mut(after) {
            Some(entry) => entry.before = before,
            None => self.last = before,
        }
    }
}

/// What Kafka Streams counts for an entry: the bytes and its own bookkeeping.
fn size(key: &[u8], value: Option<&[u8]>) -> usize {
    const OVERHEAD: usize = 80;
    key.len() + value.map_or(0, <[u8]>::len) + OVERHEAD
}
