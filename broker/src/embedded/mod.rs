//! The embedded broker: durable, in one process, for development, tests and small installations.
//!
//! | file | what |
//! | --- | --- |
//! | `core` | what all share, and the background thread |
//! | `storage`, `keys` | the data directory |
//! | `batch` | how batches are written down |
//! | `topics`, `log` | topics and their partitions |
//! | `producer`, `transactions` | writing |
//! | `consumer`, `fetch` | reading |
//! | `groups` | who reads what, and how far they came |
//! | `cleaner` | retention and compaction |
//! | `faults` | failures on purpose |
//!
//! # Durability
//!
//! A batch is acknowledged when it is in RocksDB's log file, so it survives the death of the process (`kill -9`) at once, and a power
//! failure after the next sync: [`EmbeddedOptions::fsync_interval`], 50 ms unless said otherwise. The order of what is written is kept: a
//! power failure cuts off an end, it leaves no holes. Transactions that were open are aborted when the broker is opened again.

mod batch;
mod cleaner;
mod consumer;
mod core;
mod faults;
mod fetch;
mod groups;
mod keys;
mod log;
mod producer;
mod storage;
mod topics;
mod transactions;

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{Admin, Broker, Consumer, ConsumerOptions, Error, Producer, ProducerOptions};

use self::{consumer::EmbeddedConsumer, core::Running, producer::EmbeddedProducer, topics::EmbeddedAdmin};
pub use faults::{Faults, Operation};

/// How an embedded broker works.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Where everything is. It is created; another broker may not use it at the same time.
    pub data_dir: PathBuf,
    /// How long after a write it is synced to the disk, together with all others of that time; `None`: when the system likes.
    pub fsync_interval: Option<Duration>,
    /// The largest record that is taken.
    pub max_message_bytes: usize,
    /// How many bytes of newest records all partitions together keep in memory.
    pub memory_bytes: usize,
    /// How long a transaction may be open.
    pub transaction_timeout: Duration,
    /// How often old records are removed and topics compacted.
    pub cleanup_interval: Duration,
    /// Failures on purpose.
    pub faults: Faults,
}

impl EmbeddedOptions {
    /// The usual, in this directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            fsync_interval: Some(Duration::from_millis(50)),
            max_message_bytes: 64 << 20,
            memory_bytes: 32 << 20,
            transaction_timeout: Duration::from_secs(60),
            cleanup_interval: Duration::from_secs(30),
            faults: Faults::default(),
        }
    }
}

/// A broker inside this process.
#[derive(Debug)]
pub struct EmbeddedBroker(Arc<Running>);

impl EmbeddedBroker {
    /// Opens a data directory.
    pub fn open(options: EmbeddedOptions) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self(Running::start(options, None)?)))
    }

    /// A broker for tests: its directory goes when the last that uses it is dropped, and nothing is synced.
    pub fn temporary() -> Result<Arc<Self>, Error> {
        Self::temporary_with(|_| ())
    }

    /// The same with other options.
    pub fn temporary_with(change: impl FnOnce(&mut EmbeddedOptions)) -> Result<Arc<Self>, Error> {
        let fail = |e: std::io::Error| Error::Other(format!("cannot make a temporary directory ({e}): check TMPDIR"));
        let directory = tempfile::Builder::new().prefix("broker").tempdir().map_err(fail)?;
        let mut options = EmbeddedOptions { fsync_interval: None, ..EmbeddedOptions::new(directory.path().join("data")) };
        change(&mut options);
        Ok(Arc::new(Self(Running::start(options, Some(directory))?)))
    }

    /// Removes old records and compacts now, without waiting until it is time or worth it.
    pub fn clean(&self) -> Result<(), Error> {
        cleaner::clean(&self.0, true)
    }
}

impl Broker for EmbeddedBroker {
    fn admin(&self) -> Arc<dyn Admin> {
        Arc::new(EmbeddedAdmin(self.0.clone()))
    }

    fn producer(&self, options: ProducerOptions) -> Result<Arc<dyn Producer>, Error> {
        Ok(Arc::new(EmbeddedProducer::new(self.0.clone(), options.transactional_id)))
    }

    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(EmbeddedConsumer::new(self.0.clone(), options)))
    }
}
