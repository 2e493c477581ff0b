//! The data directory: RocksDB with a column family for batches and one for everything else, and a file that says which version wrote it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, IteratorMode, Options, ReadOptions, WriteBatch,
};
use tempfile::TempDir;

use super::{batch::Batch, keys};
use crate::Error;

/// What the version file says.
const VERSION: &str = "millstream broker 1\n";

/// **Law.** What [`Storage::write`] returned from is in RocksDB's log file: it survives the death of the process, and, after the next sync,
/// that of the machine.
#[derive(Debug)]
pub(crate) struct Storage {
    db: DB,
    path: PathBuf,
    /// Whether something was written since the last sync.
    dirty: AtomicBool,
    /// Tells the background thread that there is something to sync.
    pub work: Work,
    // After the database: the directory goes when the database is closed.
    _temporary: Option<TempDir>,
}

/// What the background thread waits for.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub state: Mutex<WorkState>,
    pub changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct WorkState {
    pub dirty: bool,
    pub stop: bool,
}

impl Storage {
    /// Opens a data directory, creating it if there is none.
    pub fn open(path: &Path, temporary: Option<TempDir>) -> Result<Self, Error> {
        let fail = |reason: String| Error::Storage { path: path.display().to_string(), reason };
        fs::create_dir_all(path).map_err(|e| fail(format!("cannot be created ({e}): choose another directory or change its rights")))?;
        check_version(path).map_err(fail)?;

        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(16 << 20));
        table.set_format_version(5);
        let family = |name, buffer: usize| {
            let mut options = Options::default();
            options.set_block_based_table_factory(&table);
            options.set_compression_type(DBCompressionType::Lz4);
            options.set_write_buffer_size(buffer);
            ColumnFamilyDescriptor::new(name, options)
        };
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_background_jobs(2);
        // What is replayed when the directory is opened: a fraction of a second.
        options.set_max_total_wal_size(64 << 20);
        options.set_keep_log_file_num(2);
        options.set_max_open_files(256);
        let families = [family("default", 1 << 20), family(keys::LOG, 16 << 20), family(keys::META, 4 << 20)];
        let db = DB::open_cf_descriptors(&options, path.join("db"), families).map_err(|e| {
            let text = e.to_string();
            let locked = text.contains("While lock file") || text.contains("lock hold by current process");
            fail(if locked { "is in use by another broker: stop it, or choose another directory".into() } else { text })
        })?;
        // Written last: a directory with the file was opened once.
        fs::write(path.join("VERSION"), VERSION).map_err(|e| fail(format!("cannot be written ({e}): change its rights")))?;
        let path = path.to_owned();
        Ok(Self { db, path, dirty: AtomicBool::new(false), work: Work::default(), _temporary: temporary })
    }

    /// An error that names the directory.
    pub fn error(&self, reason: impl Into<String>) -> Error {
        Error::Storage { path: self.path.display().to_string(), reason: reason.into() }
    }

    fn failed(&self, error: rocksdb::Error) -> Error {
        self.error(format!("{error}: check that the disk is not full and works"))
    }

    /// The column family of batches.
    pub fn log(&self) -> &ColumnFamily {
        self.db.cf_handle(keys::LOG).expect("opened with this column family")
    }

    /// The column family of everything else.
    pub fn meta(&self) -> &ColumnFamily {
        self.db.cf_handle(keys::META).expect("opened with this column family")
    }

    /// Writes all of it or nothing.
    pub fn write(&self, batch: WriteBatch) -> Result<(), Error> {
        self.db.write(batch).map_err(|e| self.failed(e))?;
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.work.state.lock().dirty = true;
            self.work.changed.notify_one();
        }
        Ok(())
    }

    /// Makes what was written survive the death of the machine as well.
    pub fn sync(&self) -> Result<(), Error> {
        self.dirty.store(false, Ordering::Release);
        self.db.flush_wal(true).map_err(|e| self.failed(e))
    }

    /// The batches of a log from the one that holds `from`, with bases before `to`, until there are so many records or bytes.
    pub fn batches(&self, log: u32, from: i64, to: i64, mut records: usize, mut bytes: usize) -> Result<Vec<Batch>, Error> {
        let damaged = |base| self.error(format!("holds a damaged batch (log {log}, offset {base}): restore the directory from a copy"));
        let mut only_this = ReadOptions::default();
        only_this.set_iterate_range(keys::batch(log, 0)..keys::batch(log, to));
        let mut rows = self.db.raw_iterator_cf_opt(self.log(), only_this);
        rows.seek_for_prev(keys::batch(log, from));
        let ends_before = |(key, value)| Batch::last_of(keys::base(key), value).is_none_or(|last| last < from);
        if rows.item().is_none_or(ends_before) {
            rows.seek(keys::batch(log, from));
        }
        let mut found = Vec::new();
        while let Some((key, value)) = rows.item()
            && records > 0
            && bytes > 0
        {
            let base = keys::base(key);
            let batch = Batch::parse(base, Bytes::copy_from_slice(value)).ok_or_else(|| damaged(base))?;
            records = records.saturating_sub(batch.count);
            bytes = bytes.saturating_sub(batch.data.len());
            found.push(batch);
            rows.next();
        }
        rows.status().map_err(|e| self.failed(e))?;
        Ok(found)
    }

    /// The last batch of a log.
    pub fn last_batch(&self, log: u32) -> Result<Option<Batch>, Error> {
        let mut only_this = ReadOptions::default();
        only_this.set_iterate_range(keys::batch(log, 0)..keys::batch(log, i64::MAX));
        let mut rows = self.db.raw_iterator_cf_opt(self.log(), only_this);
        rows.seek_to_last();
        rows.status().map_err(|e| self.failed(e))?;
        Ok(rows.item().and_then(|(key, value)| Batch::parse(keys::base(key), Bytes::copy_from_slice(value))))
    }

    /// Everything of one kind, without the kind's byte.
    pub fn rows(&self, kind: u8) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let mut only_these = ReadOptions::default();
        only_these.set_iterate_range([kind].as_slice()..[kind + 1].as_slice());
        let mut found = Vec::new();
        for row in self.db.iterator_cf_opt(self.meta(), only_these, IteratorMode::Start) {
            let (key, value) = row.map_err(|e| self.failed(e))?;
            found.push((key[1..].to_vec(), value.into_vec()));
        }
        Ok(found)
    }
}

fn check_version(path: &Path) -> Result<(), String> {
    match fs::read_to_string(path.join("VERSION")) {
        Ok(version) if version == VERSION => Ok(()),
        Ok(version) => Err(format!(
            "was written by \"{}\", this is \"{}\": choose another directory, or use the release that wrote it",
            version.trim().chars().take(60).collect::<String>(),
            VERSION.trim()
        )),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(()),
            // A first start that died before it wrote its version.
            Ok(false) if path.join("db").is_dir() && !path.join("db").join("CURRENT").exists() => Ok(()),
            Ok(false) => Err("is not empty and was not written by this program: choose an empty directory".into()),
            Err(e) => Err(format!("cannot be read ({e}): change its rights")),
        },
        Err(e) => Err(format!("its VERSION cannot be read ({e}): choose another directory")),
    }
}
