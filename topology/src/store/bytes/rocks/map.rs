//! One partition of a store on disk.

use std::{
    cell::{Cell, RefCell},
    ops::Bound,
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use rocksdb::ReadOptions;

use super::{
    super::{
        StoreError,
        map::Rows,
        ordered_hash::{Range, is_empty},
    },
    EpochWrites, RocksState, StateBatch,
    epoch::{Epoch, Mark},
    merge::{DiskRows, Merge},
    object_cache::ObjectCache,
};

/// A map that its store reads and writes, and whose epochs somebody else commits.
pub type RocksHandle = Rc<RocksMap>;

/// The rows of one partition of a store, ordered by key.
///
/// **Law.** Writes go to the open epoch, in memory. Reads see the open epoch, then the epoch that commits, then the disk. At most one epoch
/// is open beside one that commits: [`take_epoch`](Self::take_epoch) hands the open one to whoever commits it, and once
/// [`RocksState::apply`] has written it, [`applied`](Self::applied) forgets it. Dropping the map forgets what was not applied.
pub struct RocksMap {
    state: Arc<RocksState>,
    family: Arc<str>,
    partition: i32,
    open: RefCell<Epoch>,
    committing: RefCell<Option<Arc<Epoch>>>,
    cache: RefCell<ObjectCache>,
    mark: Cell<Option<Mark>>,
    /// Whether anything may be on disk.
    on_disk: Cell<bool>,
}

impl RocksMap {
    pub(super) fn new(state: Arc<RocksState>, family: Arc<str>, partition: i32) -> Result<Self, StoreError> {
        let (mark, on_disk) = (Cell::new(None), Cell::new(true));
        let map = Self {
            state,
            family,
            partition,
            open: RefCell::default(),
            committing: RefCell::default(),
            cache: RefCell::default(),
            mark,
            on_disk,
        };
        map.mark.set(map.state.mark(&map.family, partition)?);
        let any = map.range((Bound::Unbounded, Bound::Unbounded), false).next().transpose()?.is_some();
        map.on_disk.set(any);
        Ok(map)
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.with(key, |value| value.map(Bytes::copy_from_slice))
    }

    /// What `read` makes of the value of a key, which is not copied for it.
    pub fn with<R>(&self, key: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> Result<R, StoreError> {
        if let Some(row) = self.open.borrow().get(key) {
            return Ok(read(row.map(|row| &row[..])));
        }
        if let Some(row) = self.committing.borrow().as_ref().and_then(|epoch| epoch.get(key)) {
            return Ok(read(row.map(|row| &row[..])));
        }
        if !self.on_disk.get() {
            return Ok(read(None));
        }
        let mut cache = self.cache.borrow_mut();
        let limit = self.state.object_cache_share();
        if let Some(row) = cache.get(key, limit) {
            return Ok(read(row));
        }
        let row = self.state.db().get_pinned_cf(&self.state.family(&self.family), [&self.prefix(), key].concat());
        let row = row.map_err(|error| self.state.failed("read the state in", &error))?;
        cache.insert(key, row.as_deref(), limit);
        Ok(read(row.as_deref()))
    }

    /// Writes or, with `None`, deletes a row.
    pub fn put(&self, key: Bytes, value: Option<Bytes>) {
        self.open.borrow_mut().rows.insert(key, value);
    }

    /// The same; the key is copied only if the epoch has not written it yet.
    pub fn put_as(&self, key: &[u8], value: Option<Bytes>) {
        self.open.borrow_mut().rows.insert_as(key, value);
    }

    /// Deletes the keys in `[from, to)`; no `to` means all that follow.
    pub fn delete_range(&self, from: &[u8], to: Option<&[u8]>) {
        if to.is_some_and(|to| to <= from) {
            return;
        }
        self.open.borrow_mut().delete_range(from, to);
    }

    /// The rows of a range, ascending or descending. Rows that are written meanwhile may appear; the scan does not outlive its epoch.
    pub fn range(&self, range: Range<'_>, reverse: bool) -> Rows<'_> {
        if is_empty(range) {
            return Box::new(std::iter::empty());
        }
        let disk = self.on_disk.get().then(|| {
            let prefix = self.prefix();
            let mut options = ReadOptions::default();
            options.set_iterate_lower_bound(match range.0 {
                Bound::Included(from) => [&prefix, from].concat(),
                Bound::Excluded(from) => [&prefix, from, &[0]].concat(),
                Bound::Unbounded => prefix.to_vec(),
            });
            options.set_iterate_upper_bound(match range.1 {
                Bound::Included(to) => [&prefix, to, &[0]].concat(),
                Bound::Excluded(to) => [&prefix, to].concat(),
                Bound::Unbounded => past(prefix),
            });
            let rows = self.state.db().raw_iterator_cf_opt(&self.state.family(&self.family), options);
            DiskRows::new(rows, prefix.len(), reverse)
        });
        Box::new(Merge::new(self, range, reverse, disk))
    }

    /// How many rows there are, roughly: RocksDB's guess for all partitions of this store, and the rows that are not on disk yet.
    pub fn approximate_count(&self) -> u64 {
        let guess = self.state.db().property_int_value_cf(&self.state.family(&self.family), "rocksdb.estimate-num-keys");
        let written = |epoch: &Epoch| epoch.rows.iter().filter(|(_, value)| value.is_some()).count() as u64;
        let committing = self.committing.borrow().as_deref().map_or(0, written);
        guess.ok().flatten().unwrap_or(0) + committing + written(&self.open.borrow())
    }

    /// What the store notes beside its rows; it is committed with them.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.mark.get()
    }

    pub(crate) fn set_mark(&self, mark: Mark) {
        self.mark.set(Some(mark));
    }

    /// Closes the open epoch and hands out its writes; reads see them until [`applied`](Self::applied).
    pub fn take_epoch(&self) -> Result<EpochWrites, StoreError> {
        let mut committing = self.committing.borrow_mut();
        if committing.is_some() {
            let store = self.family.split_once('.').map_or(&*self.family, |(_, name)| name).to_owned();
            return Err(StoreError::Committing { store, partition: self.partition });
        }
        let epoch = Arc::new(self.open.take());
        *committing = Some(epoch.clone());
        Ok(EpochWrites { family: self.family.clone(), partition: self.partition, epoch, mark: self.mark.get() })
    }

    /// The epoch that was taken is on disk.
    pub fn applied(&self) {
        let Some(epoch) = self.committing.take() else { return };
        self.on_disk.set(self.on_disk.get() || epoch.rows.len() > 0);
        // The cache is as the disk is. Looking for the rows that went would cost more than reading the others again.
        let mut cache = self.cache.borrow_mut();
        if !epoch.deleted.is_empty() {
            *cache = ObjectCache::default();
        }
        let limit = self.state.object_cache_share();
        epoch.rows.iter().for_each(|(key, value)| cache.insert(key, value.as_deref(), limit));
    }

    /// Commits the open epoch at once, with the offsets that it corresponds to.
    pub fn commit(&self, offsets: Vec<(Arc<str>, i32, i64)>) -> Result<(), StoreError> {
        let batch = StateBatch { writes: vec![self.take_epoch()?], offsets };
        self.state.apply(&batch)?;
        drop(batch);
        self.applied();
        Ok(())
    }

    /// The first row of the open epoch (0) or the one that commits (1) in the range, or the last.
    pub(super) fn written(&self, layer: usize, range: Range<'_>, reverse: bool) -> Option<(Bytes, Option<Bytes>)> {
        self.with_layer(layer, |epoch| epoch.rows.first(range, reverse).map(|(key, value)| (key.clone(), value.clone())))?
    }

    /// Whether the epoch of that layer deletes what lies below it at this key.
    pub(super) fn deletes(&self, layer: usize, key: &[u8]) -> bool {
        self.with_layer(layer, |epoch| epoch.deletes(key)).unwrap_or(false)
    }

    fn with_layer<R>(&self, layer: usize, f: impl FnOnce(&Epoch) -> R) -> Option<R> {
        match layer {
            0 => Some(f(&self.open.borrow())),
            _ => self.committing.borrow().as_deref().map(f),
        }
    }

    pub(super) fn failed(&self, error: &rocksdb::Error) -> StoreError {
        self.state.failed("scan the state in", error)
    }

    fn prefix(&self) -> [u8; 4] {
        self.partition.to_be_bytes()
    }
}

impl Drop for RocksMap {
    fn drop(&mut self) {
        self.state.release(&self.family, self.partition);
    }
}

/// A key beyond those with this prefix. The last one is that of global stores, which have no partition: no key begins with so many of its bytes.
pub(super) fn past(prefix: [u8; 4]) -> Vec<u8> {
    match u32::from_be_bytes(prefix).checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xff; 1024],
    }
}
