//! Transactions: records are appended at once, marked with their producer; the end is one atomic write.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rocksdb::WriteBatch;

use super::{groups::Group, keys, log::Log, storage::Storage};
use crate::{Error, GroupMetadata, Offsets};

/// All transactional ids.
#[derive(Debug, Default)]
pub(crate) struct Transactions(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    by_id: HashMap<String, Arc<Mutex<Transaction>>>,
    last_producer: u64,
}

/// What one transactional id does. **Law.** Only the producer of the newest epoch gets past [`Transaction::check`], and everything that
/// belongs to the transaction happens under its lock: a fenced producer's send is before the fence, and aborted, or refused.
#[derive(Debug)]
pub(crate) struct Transaction {
    id: String,
    producer: u64,
    epoch: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    /// Where its records are: log, first offset.
    logs: Vec<(Arc<Log>, i64)>,
    offsets: Vec<(Arc<Group>, GroupMetadata, Offsets)>,
}

impl Transactions {
    /// The transactional ids that were there, and what they left open aborted.
    pub fn load(storage: &Storage, logs: &HashMap<u32, Arc<Log>>) -> Result<Self, Error> {
        let damaged = || storage.error("holds a damaged transaction: restore it from a copy");
        let mut registry = Registry::default();
        for (id, value) in storage.rows(keys::PRODUCER)? {
            let (producer, epoch) = value.split_first_chunk().ok_or_else(damaged)?;
            let producer = u64::from_be_bytes(*producer);
            let epoch = u32::from_be_bytes(epoch.try_into().map_err(|_| damaged())?);
            let id = String::from_utf8(id).map_err(|_| damaged())?;
            registry.last_producer = registry.last_producer.max(producer);
            registry.by_id.insert(id.clone(), Arc::new(Mutex::new(Transaction { id, producer, epoch, open: None })));
        }
        let mut write = WriteBatch::new();
        for (key, first) in storage.rows(keys::OPEN)? {
            let (producer, log) = key.split_first_chunk().ok_or_else(damaged)?;
            let producer = u64::from_be_bytes(*producer);
            let log = u32::from_be_bytes(log.try_into().map_err(|_| damaged())?);
            let first = i64::from_be_bytes(first.try_into().map_err(|_| damaged())?);
            write.delete_cf(storage.meta(), keys::open(producer, log));
            if let Some(found) = logs.get(&log) {
                write.put_cf(storage.meta(), keys::aborted(log, producer, first), found.last().to_be_bytes());
            }
        }
        if !write.is_empty() {
            storage.write(write)?;
        }
        for (key, last) in storage.rows(keys::ABORTED)? {
            let (log, rest) = key.split_first_chunk().ok_or_else(damaged)?;
            let (producer, first) = rest.split_first_chunk().ok_or_else(damaged)?;
            let first = i64::from_be_bytes(first.try_into().map_err(|_| damaged())?);
            let last = i64::from_be_bytes(last.try_into().map_err(|_| damaged())?);
            if let Some(log) = logs.get(&u32::from_be_bytes(*log)) {
                log.restore_aborted(u64::from_be_bytes(*producer), first, last);
            }
        }
        Ok(Self(Mutex::new(registry)))
    }

    /// Fences all other producers of this id and aborts what they left; the new epoch.
    pub fn init(&self, storage: &Storage, id: &str) -> Result<(Arc<Mutex<Transaction>>, u32), Error> {
        let transaction = {
            let mut registry = self.0.lock();
            let Registry { by_id, last_producer } = &mut *registry;
            let new = || {
                *last_producer += 1;
                Arc::new(Mutex::new(Transaction { id: id.to_owned(), producer: *last_producer, epoch: 0, open: None }))
            };
            by_id.entry(id.to_owned()).or_insert_with(new).clone()
        };
        let mut state = transaction.lock();
        let epoch = state.fence(storage)?;
        drop(state);
        Ok((transaction, epoch))
    }

    /// Aborts and fences transactions that are open for longer than this: they keep those who read committed waiting.
    pub fn expire(&self, storage: &Storage, after: Duration) -> Result<(), Error> {
        let all: Vec<_> = self.0.lock().by_id.values().cloned().collect();
        for transaction in all {
            let mut transaction = transaction.lock();
            if transaction.open.as_ref().is_some_and(|open| open.since.elapsed() > after) {
                tracing::warn!(transactional_id = transaction.id, "transaction was open for too long and is aborted");
                transaction.fence(storage)?;
            }
        }
        Ok(())
    }
}

impl Transaction {
    fn fence(&mut self, storage: &Storage) -> Result<u32, Error> {
        self.abort(storage)?;
        let mut write = WriteBatch::new();
        let value = [&self.producer.to_be_bytes()[..], &(self.epoch + 1).to_be_bytes()].concat();
        write.put_cf(storage.meta(), keys::meta(keys::PRODUCER, &[self.id.as_bytes()]), value);
        storage.write(write)?;
        self.epoch += 1;
        Ok(self.epoch)
    }

    fn check(&self, epoch: u32) -> Result<(), Error> {
        let fenced = || Error::Fenced(format!("transactional id {} is at epoch {}, not {epoch}", self.id, self.epoch));
        if epoch == self.epoch { Ok(()) } else { Err(fenced()) }
    }

    fn opened(&mut self, epoch: u32) -> Result<&mut Open, Error> {
        self.check(epoch)?;
        self.open.as_mut().ok_or_else(|| Error::State("no transaction is open: begin one first".into()))
    }

    /// Opens a transaction.
    pub fn begin(&mut self, epoch: u32) -> Result<(), Error> {
        self.check(epoch)?;
        if self.open.is_some() {
            return Err(Error::State("a transaction is open already: commit or abort it first".into()));
        }
        self.open = Some(Open { since: Instant::now(), logs: Vec::new(), offsets: Vec::new() });
        Ok(())
    }

    /// Appends a batch that `encode` makes for the producer's number.
    pub fn append(&mut self, epoch: u32, storage: &Storage, log: &Arc<Log>, encode: impl FnOnce(u64) -> Vec<u8>) -> Result<i64, Error> {
        let producer = self.producer;
        let open = self.opened(epoch)?;
        let first_here = !open.logs.iter().any(|(known, _)| known.id == log.id);
        let base = log.append(encode(producer), first_here, |write, base| {
            if first_here {
                write.put_cf(storage.meta(), keys::open(producer, log.id), base.to_be_bytes());
            }
        })?;
        if first_here {
            open.logs.push((log.clone(), base));
        }
        Ok(base)
    }

    /// Makes a group's offsets part of it.
    pub fn add_offsets(&mut self, epoch: u32, group: Arc<Group>, member: &GroupMetadata, offsets: &Offsets) -> Result<(), Error> {
        let open = self.opened(epoch)?;
        group.check(member)?;
        match open.offsets.iter_mut().find(|(_, known, _)| known.group_id == member.group_id) {
            Some((_, known, all)) => {
                *known = member.clone();
                all.extend(offsets.clone());
            }
            None => open.offsets.push((group, member.clone(), offsets.clone())),
        }
        Ok(())
    }

    /// Commits: one write. If a member was fenced meanwhile, it aborts instead and says so.
    pub fn commit(&mut self, epoch: u32, storage: &Storage) -> Result<(), Error> {
        self.opened(epoch)?.offsets.sort_by(|(_, a, _), (_, b, _)| a.group_id.cmp(&b.group_id));
        let Some(open) = self.open.as_ref() else { return Ok(()) };
        let mut write = WriteBatch::new();
        open.logs.iter().for_each(|(log, _)| write.delete_cf(storage.meta(), keys::open(self.producer, log.id)));
        let mut commits = Vec::new();
        let mut fenced = None;
        for (group, member, offsets) in &open.offsets {
            match group.begin_commit(member) {
                Ok(mut commit) => {
                    commit.put(storage, &mut write, offsets);
                    commits.push((commit, offsets));
                }
                Err(error) => fenced = Some(error),
            }
        }
        if let Some(error) = fenced {
            drop(commits);
            self.abort(storage)?;
            return Err(error);
        }
        if !write.is_empty() {
            storage.write(write)?;
        }
        commits.into_iter().for_each(|(commit, offsets)| commit.done(offsets));
        open.logs.iter().for_each(|(log, first)| log.end_transaction(self.producer, *first, None));
        self.open = None;
        Ok(())
    }

    /// Aborts what is open, if this is still the newest producer.
    pub fn abort_own(&mut self, epoch: u32, storage: &Storage) -> Result<(), Error> {
        self.opened(epoch)?;
        self.abort(storage)
    }

    fn abort(&mut self, storage: &Storage) -> Result<(), Error> {
        let Some(open) = self.open.as_ref() else { return Ok(()) };
        let mut write = WriteBatch::new();
        for (log, first) in &open.logs {
            write.delete_cf(storage.meta(), keys::open(self.producer, log.id));
            write.put_cf(storage.meta(), keys::aborted(log.id, self.producer, *first), log.last().to_be_bytes());
        }
        if !write.is_empty() {
            storage.write(write)?;
        }
        // Nothing of this producer can come between the write and here: its sends need this transaction's lock.
        open.logs.iter().for_each(|(log, first)| log.end_transaction(self.producer, *first, Some(log.last())));
        self.open = None;
        Ok(())
    }
}
