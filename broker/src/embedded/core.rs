//! What producers, consumers and the administrator share, and the thread that syncs and cleans.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Instant,
};

use tempfile::TempDir;

use super::{EmbeddedOptions, cleaner, faults::Faults, groups::Groups, storage::Storage, topics::Topics, transactions::Transactions};
use crate::Error;

/// The broker's parts.
#[derive(Debug)]
pub(crate) struct Core {
    pub storage: Arc<Storage>,
    pub topics: Topics,
    pub groups: Groups,
    pub transactions: Transactions,
    pub faults: Faults,
    pub options: EmbeddedOptions,
}

/// **Law.** The data directory is free again when the last producer, consumer, administrator and broker is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    core: Arc<Core>,
    background: Option<JoinHandle<()>>,
}

impl Running {
    /// Opens the data directory and starts the background thread.
    pub fn start(options: EmbeddedOptions, temporary: Option<TempDir>) -> Result<Arc<Self>, Error> {
        let storage = Arc::new(Storage::open(&options.data_dir, temporary)?);
        let topics = Topics::load(&storage, options.memory_bytes)?;
        let logs: HashMap<_, _> = topics.all().iter().flat_map(|topic| topic.logs.clone()).map(|log| (log.id, log)).collect();
        let transactions = Transactions::load(&storage, &logs)?;
        let groups = Groups::load(&storage)?;
        let core = Arc::new(Core { storage, topics, groups, transactions, faults: options.faults.clone(), options });
        let background = {
            let core = core.clone();
            let thread = thread::Builder::new().name("broker".into()).spawn(move || core.work());
            Some(thread.map_err(|e| Error::Other(format!("cannot start a thread ({e}): raise the limit on threads")))?)
        };
        Ok(Arc::new(Self { core, background }))
    }
}

impl Deref for Running {
    type Target = Core;
    fn deref(&self) -> &Core {
        &self.core
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.core.storage.work.state.lock().stop = true;
        self.core.storage.work.changed.notify_one();
        if let Some(background) = self.background.take() {
            let _ = background.join();
        }
    }
}

impl Core {
    /// Syncs an interval after something was written, and cleans now and then; sleeps otherwise.
    fn work(&self) {
        let EmbeddedOptions { fsync_interval, cleanup_interval, transaction_timeout, .. } = self.options;
        let tick = cleanup_interval.min(transaction_timeout);
        let mut next_tick = Instant::now() + tick;
        let mut next_cleanup = Instant::now() + cleanup_interval;
        let mut sync_at = None;
        let work = &self.storage.work;
        loop {
            let mut state = work.state.lock();
            let syncs_next = state.dirty && sync_at.is_none() && fsync_interval.is_some();
            if !state.stop && !syncs_next {
                work.changed.wait_until(&mut state, sync_at.map_or(next_tick, |at: Instant| at.min(next_tick)));
            }
            let now = Instant::now();
            if state.dirty && sync_at.is_none() {
                sync_at = fsync_interval.map(|interval| now + interval);
            }
            let stop = state.stop;
            let sync = sync_at.is_some_and(|at| at <= now || stop);
            if sync {
                state.dirty = false;
                sync_at = None;
            }
            drop(state);
            if sync && let Err(error) = self.storage.sync() {
                tracing::error!(%error, "records could not be synced");
            }
            if stop {
                return;
            }
            if next_tick <= now {
                next_tick = now + tick;
                if let Err(error) = self.transactions.expire(&self.storage, transaction_timeout) {
                    tracing::error!(%error, "a transaction that is open for too long could not be aborted");
                }
            }
            if next_cleanup <= now {
                next_cleanup = now + cleanup_interval;
                if let Err(error) = cleaner::clean(self, false) {
                    tracing::error!(%error, "old records could not be removed");
                }
            }
        }
    }
}
