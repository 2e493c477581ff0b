//! The rows of the epochs and of the disk as one.

use std::ops::Bound;

use bytes::Bytes;
use rocksdb::DBRawIteratorWithThreadMode;

use super::{
    super::{StoreError, ordered_hash::Range},
    RocksMap,
    state::Db,
};

/// The rows on disk, one at a time.
pub(super) struct DiskRows<'a> {
    rows: DBRawIteratorWithThreadMode<'a, Db>,
    prefix: usize,
    reverse: bool,
}

impl<'a> DiskRows<'a> {
    /// The iterator is bounded already; a key's first `prefix` bytes are not the store's.
    pub fn new(mut rows: DBRawIteratorWithThreadMode<'a, Db>, prefix: usize, reverse: bool) -> Self {
        if reverse {
            rows.seek_to_last()
        } else {
            rows.seek_to_first()
        }
        Self { rows, prefix, reverse }
    }

    fn key(&self) -> Option<&[u8]> {
        self.rows.key().map(|key| &key[self.prefix..])
    }

    /// An iterator that has failed looks as if it were at its end.
    fn error(&self) -> Option<rocksdb::Error> {
        if self.rows.valid() { None } else { self.rows.status().err() }
    }

    /// The value here; steps to the next row.
    fn take(&mut self) -> Option<Bytes> {
        let value = self.rows.value().map(Bytes::copy_from_slice);
        if self.reverse {
            self.rows.prev()
        } else {
            self.rows.next()
        }
        value
    }
}

/// The rows of one epoch.
struct Layer {
    /// The next row, if it was looked up.
    head: Option<Option<(Bytes, Option<Bytes>)>>,
    /// What lies ahead.
    from: Bound<Bytes>,
    to: Bound<Bytes>,
}

/// Merges by key; the newest layer that knows a key decides. Layers: the open epoch, the epoch that commits, the disk.
pub(super) struct Merge<'a> {
    map: &'a RocksMap,
    reverse: bool,
    layers: [Layer; 2],
    disk: Option<DiskRows<'a>>,
}

impl<'a> Merge<'a> {
    pub fn new(map: &'a RocksMap, (from, to): Range<'_>, reverse: bool, disk: Option<DiskRows<'a>>) -> Self {
        let layer = || Layer { head: None, from: from.map(Bytes::copy_from_slice), to: to.map(Bytes::copy_from_slice) };
        Self { map, reverse, layers: [layer(), layer()], disk }
    }

    /// The next key of all layers.
    fn key(&mut self) -> Option<Bytes> {
        let mut first = self.disk.as_ref().and_then(DiskRows::key);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let range = (layer.from.as_ref().map(|from| &from[..]), layer.to.as_ref().map(|to| &to[..]));
            let head = &*layer.head.get_or_insert_with(|| self.map.written(index, range, self.reverse));
            if let Some((key, _)) = head
                && first.is_none_or(|first| if self.reverse { key > first } else { key < first })
            {
                first = Some(key);
            }
        }
        first.map(Bytes::copy_from_slice)
    }

    /// Steps all layers past the key, and says what the newest that knows it has.
    fn take(&mut self, key: &Bytes) -> Option<Bytes> {
        let mut found = None;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let row = match layer.head.as_mut() {
                Some(Some((head, value))) if head == key => Some(value.take()),
                _ => None,
            };
            if row.is_some() {
                layer.head = None;
                *(if self.reverse { &mut layer.to } else { &mut layer.from }) = Bound::Excluded(key.clone());
            }
            if found.is_none() {
                found = row.or_else(|| self.map.deletes(index, key).then_some(None));
            }
        }
        if let Some(disk) = self.disk.as_mut().filter(|disk| disk.key() == Some(&key[..])) {
            let value = disk.take();
            found = found.or(Some(value));
        }
        found.flatten()
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<(Bytes, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(error) = self.disk.as_ref().and_then(DiskRows::error) {
                self.disk = None;
                self.layers.iter_mut().for_each(|layer| layer.head = Some(None));
                return Some(Err(self.map.failed(&error)));
            }
            let key = self.key()?;
            if let Some(value) = self.take(&key) {
                return Some(Ok((key, value)));
            }
        }
    }
}
