//! The database that all stores of an application share.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType, DBWithThreadMode, LruCacheOptions,
    MultiThreaded, Options, WriteBatch, WriteBufferManager, WriteOptions,
};

use super::{super::StoreError, EpochWrites, RocksHandle, RocksMap, epoch::Mark, map::past};

/// The database.
pub(super) type Db = DBWithThreadMode<MultiThreaded>;

/// The column families of the offsets and marks; those of stores begin with [`STORE`], so no store can be called like them.
const OFFSETS: &str = "offsets";
const MARKS: &str = "marks";
const STORE: &str = "store.";

/// How much memory state on disk may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// The cache of blocks, for all stores together. Below 64 MB RocksDB becomes many times slower.
    pub block_cache_bytes: usize,
    /// What was written and is not on disk yet, for all stores together.
    pub write_buffer_bytes: usize,
    /// The caches of rows, for all stores together; each partition of a store that is open has an equal share.
    pub object_cache_bytes: usize,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self { block_cache_bytes: 256 << 20, write_buffer_bytes: 64 << 20, object_cache_bytes: 128 << 20 }
    }
}

/// Writes of several stores, and the offsets that they correspond to.
#[derive(Clone, Debug, Default)]
pub struct StateBatch {
    /// What the epoch wrote.
    pub writes: Vec<EpochWrites>,
    /// The next offset to read of each changelog or input partition, when all of `writes` is there.
    pub offsets: Vec<(Arc<str>, i32, i64)>,
}

/// The database that all stores of an application in this process share.
///
/// **Law (state).** Rows and the offsets that they correspond to are written in one batch, so local state is never ahead of what is
/// committed and never contradicts its offsets. There is no write-ahead log: after a crash the database is at an earlier batch, whole, and
/// the changelog's tail after its offsets is replayed.
pub struct RocksState {
    db: Db,
    path: PathBuf,
    family_options: Options,
    object_cache_bytes: usize,
    /// Which partitions of which stores have an owner, and how many they are.
    owned: Mutex<HashSet<(Arc<str>, i32)>>,
    owners: AtomicUsize,
}

impl RocksState {
    /// Opens or creates the database in a directory that no other process uses.
    pub fn open(path: impl AsRef<Path>, options: StateOptions) -> Result<Arc<Self>, StoreError> {
        let path = path.as_ref();
        let failed = |error: rocksdb::Error| StoreError::rocks("open the state in", path.display().to_string(), &error);
        let mut cache = LruCacheOptions::default();
        cache.set_capacity(options.block_cache_bytes);
        // Each shard evicts for itself: many small shards lose hot blocks.
        cache.set_num_shard_bits(2);
        let family_options = family_options(&Cache::new_lru_cache_opts(&cache));
        let mut database = Options::default();
        database.create_if_missing(true);
        database.create_missing_column_families(true);
        // Without a log, only a flush of all families at once keeps rows and offsets together.
        database.set_atomic_flush(true);
        database.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(options.write_buffer_bytes, false));
        database.set_max_background_jobs(2);
        database.set_max_open_files(512);
        database.set_keep_log_file_num(2);
        // RocksDB refuses to open a database unless every family that exists is named.
        let mut families = if path.join("CURRENT").exists() { Db::list_cf(&database, path).map_err(failed)? } else { Vec::new() };
        families.retain(|name| name.starts_with(STORE));
        families.extend([OFFSETS, MARKS, "default"].map(String::from));
        let families = families.into_iter().map(|name| ColumnFamilyDescriptor::new(name, family_options.clone()));
        let db = Db::open_cf_descriptors(&database, path, families).map_err(failed)?;
        Ok(Arc::new(Self {
            db,
            path: path.to_owned(),
            family_options,
            object_cache_bytes: options.object_cache_bytes,
            owned: Mutex::default(),
            owners: AtomicUsize::new(0),
        }))
    }

    /// The rows of one partition of a store. There is one owner at a time.
    pub fn store(self: &Arc<Self>, name: &str, partition: i32) -> Result<RocksHandle, StoreError> {
        let family: Arc<str> = format!("{STORE}{name}").into();
        if self.db.cf_handle(&family).is_none() {
            let create = self.db.create_cf(&*family, &self.family_options);
            create.map_err(|error| StoreError::rocks("create store", name, &error))?;
        }
        if !self.owned.lock().unwrap_or_else(PoisonError::into_inner).insert((family.clone(), partition)) {
            return Err(StoreError::InUse { store: name.to_owned(), partition });
        }
        self.owners.fetch_add(1, Relaxed);
        Ok(Rc::new(RocksMap::new(self.clone(), family, partition)?))
    }

    pub(super) fn release(&self, family: &Arc<str>, partition: i32) {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).remove(&(family.clone(), partition));
        self.owners.fetch_sub(1, Relaxed);
    }

    /// How many bytes one map may cache.
    pub(super) fn object_cache_share(&self) -> usize {
        self.object_cache_bytes / self.owners.load(Relaxed).max(1)
    }

    /// Writes the batch, all or nothing.
    pub fn apply(&self, batch: &StateBatch) -> Result<(), StoreError> {
        let mut writes = WriteBatch::default();
        let marks = self.family(MARKS);
        for EpochWrites { family, partition, epoch, mark } in &batch.writes {
            if let Some(mark) = mark {
                writes.put_cf(&marks, named(family, *partition), mark);
            }
            let family = self.family(family);
            let prefix = partition.to_be_bytes();
            let key = |key: &[u8]| [&prefix, key].concat();
            for (from, to) in &epoch.deleted {
                writes.delete_range_cf(&family, key(from), to.as_ref().map_or_else(|| past(prefix), |to| key(to)));
            }
            // In order, RocksDB finds the place of each row next to the one before.
            let mut rows: Vec<_> = epoch.rows.iter().collect();
            rows.sort_unstable_by_key(|(row, _)| *row);
            for (row, value) in rows {
                match value {
                    Some(value) => writes.put_cf(&family, key(row), value),
                    None => writes.delete_cf(&family, key(row)),
                }
            }
        }
        let offsets = self.family(OFFSETS);
        for (topic, partition, offset) in &batch.offsets {
            writes.put_cf(&offsets, named(topic, *partition), offset.to_be_bytes());
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(writes, &options).map_err(|error| self.failed("write to the state in", &error))
    }

    /// The offset that the rows correspond to.
    pub fn offset(&self, topic: &str, partition: i32) -> Result<Option<i64>, StoreError> {
        let bytes = self.db.get_pinned_cf(&self.family(OFFSETS), named(topic, partition));
        let Some(bytes) = bytes.map_err(|error| self.failed("read the offsets in", &error))? else { return Ok(None) };
        let offset = bytes.first_chunk().ok_or(StoreError::Corrupt(bytes.len(), "an offset"))?;
        Ok(Some(i64::from_be_bytes(*offset)))
    }

    pub(super) fn mark(&self, family: &str, partition: i32) -> Result<Option<Mark>, StoreError> {
        let bytes = self.db.get_pinned_cf(&self.family(MARKS), named(family, partition));
        let Some(bytes) = bytes.map_err(|error| self.failed("read the marks in", &error))? else { return Ok(None) };
        Ok(Some(*bytes.first_chunk().ok_or(StoreError::Corrupt(bytes.len(), "a mark"))?))
    }

    /// Brings everything that was applied to the disk. Dropping the state does it too.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.failed("flush the state in", &error))
    }

    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    pub(super) fn family(&self, name: &str) -> Arc<BoundColumnFamily<'_>> {
        self.db.cf_handle(name).expect("families are created before they are used and never dropped")
    }

    pub(super) fn failed(&self, action: &'static str, error: &rocksdb::Error) -> StoreError {
        StoreError::rocks(action, self.path.display().to_string(), error)
    }
}

fn family_options(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    table.set_format_version(5);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(16 << 20);
    options.set_level_compaction_dynamic_level_bytes(true);
    options
}

/// The key of what is kept for a partition of a topic or store.
fn named(name: &str, partition: i32) -> Vec<u8> {
    [name.as_bytes(), &[0], &partition.to_be_bytes()].concat()
}
