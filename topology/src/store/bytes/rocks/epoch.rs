//! What an epoch wrote into a store.

use std::sync::Arc;

use bytes::Bytes;

use super::super::ordered_hash::{OrderedHash, within};

/// The writes of one epoch: deleted ranges, and over them the rows that were written; `None` deletes a row.
#[derive(Debug, Default)]
pub(crate) struct Epoch {
    pub rows: OrderedHash<Option<Bytes>>,
    /// Half open; no end means all that follow.
    pub deleted: Vec<(Bytes, Option<Bytes>)>,
}

impl Epoch {
    /// What the epoch knows of a key: nothing, that it is deleted, or its value.
    pub fn get(&self, key: &[u8]) -> Option<Option<&Bytes>> {
        match self.rows.get(key) {
            Some(row) => Some(row.as_ref()),
            None => self.deletes(key).then_some(None),
        }
    }

    /// Whether a deleted range covers the key; a row that was written later does not count.
    pub fn deletes(&self, key: &[u8]) -> bool {
        self.deleted.iter().any(|(from, to)| within(key, from, to.as_deref()))
    }

    pub fn delete_range(&mut self, from: &[u8], to: Option<&[u8]>) {
        self.rows.remove_range(from, to);
        // Stores that expire delete all up to a point, again and again: the ranges must not pile up.
        let reaches = |end: &Option<Bytes>| to.is_none_or(|to| end.as_ref().is_some_and(|end| &end[..] <= to));
        self.deleted.retain(|(start, end)| &start[..] < from || !reaches(end));
        self.deleted.push((Bytes::copy_from_slice(from), to.map(Bytes::copy_from_slice)));
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0 && self.deleted.is_empty()
    }
}

/// What a store notes beside its rows.
pub(crate) type Mark = [u8; 12];

/// The writes of one epoch into one partition of a store, on their way to the disk. Cheap to send to another thread.
#[derive(Clone, Debug)]
pub struct EpochWrites {
    pub(crate) family: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) mark: Option<Mark>,
}

impl EpochWrites {
    /// How many rows were written.
    pub fn len(&self) -> usize {
        self.epoch.rows.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.epoch.is_empty()
    }
}
