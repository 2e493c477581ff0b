//! A map that keeps the rows that were used last.

use std::{cell::RefCell, collections::BTreeMap};

use bytes::Bytes;

use super::ordered_hash::{OrderedHash, Range};

/// Rows in memory, at most so many.
///
/// **Law.** When there is one row too many, the one goes that was not used for longest. Reading a key and writing it uses it; scans do not.
#[derive(Debug)]
pub struct LruMap {
    max_entries: usize,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Each row's value and when it was used.
    rows: OrderedHash<(Bytes, u64)>,
    uses: BTreeMap<u64, Bytes>,
    clock: u64,
}

impl Inner {
    fn touch(&mut self, key: &Bytes, used: u64) -> u64 {
        self.uses.remove(&used);
        self.clock += 1;
        self.uses.insert(self.clock, key.clone());
        self.clock
    }
}

impl LruMap {
    /// An empty map of at most so many rows.
    pub fn new(max_entries: usize) -> Self {
        Self { max_entries, inner: RefCell::default() }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Bytes> {
        let inner = &mut *self.inner.borrow_mut();
        let (value, used) = inner.rows.get(key)?.clone();
        let key = inner.uses.get(&used)?.clone();
        let used = inner.touch(&key, used);
        inner.rows.insert(key, (value.clone(), used));
        Some(value)
    }

    /// Writes or deletes a row; the answer is the key that had to go.
    pub(super) fn put(&mut self, key: Bytes, value: Option<Bytes>) -> Option<Bytes> {
        let inner = self.inner.get_mut();
        let Some(value) = value else {
            if let Some((_, used)) = inner.rows.remove(&key) {
                inner.uses.remove(&used);
            }
            return None;
        };
        let used = inner.rows.get(&key).map_or(0, |(_, used)| *used);
        let used = inner.touch(&key, used);
        inner.rows.insert(key, (value, used));
        if inner.rows.len() <= self.max_entries {
            return None;
        }
        let (_, eldest) = inner.uses.pop_first()?;
        inner.rows.remove(&eldest);
        Some(eldest)
    }

    /// A copy of the rows of the range.
    pub(super) fn range(&self, range: Range<'_>, reverse: bool) -> Vec<(Bytes, Bytes)> {
        self.inner.borrow().rows.range(range, reverse).map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.inner.borrow().rows.len()
    }
}
