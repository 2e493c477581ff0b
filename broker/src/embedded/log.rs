//! One partition: its batches, what of them may be read, and who waits for more.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use rocksdb::WriteBatch;

use super::{
    batch::{Batch, NO_PRODUCER},
    keys,
    storage::Storage,
};
use crate::{Error, Isolation, TopicPartition, signal::Reader};

/// What a batch costs in memory beside its bytes.
const OVERHEAD: usize = 128;

/// A partition's log. **Law.** Offsets are given in the order of the calls; what has an offset is in RocksDB; batches never overlap.
///
/// Appends hold `writer` across the write to RocksDB, reads only take `state` for a moment. Locks are taken in this order: transaction,
/// group, `writer`, `state`, signal.
#[derive(Debug)]
pub(crate) struct Log {
    pub id: u32,
    pub name: TopicPartition,
    storage: Arc<Storage>,
    tail_limit: Arc<AtomicUsize>,
    writer: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The first offset that may be read.
    start: i64,
    /// The offset of the next record.
    end: i64,
    /// The rows before this offset were deleted.
    trimmed: i64,
    /// The newest batches, so that consumers that keep up never read from RocksDB.
    tail: VecDeque<Batch>,
    tail_bytes: usize,
    /// First offset → producer of the open transactions.
    open: BTreeMap<i64, u64>,
    /// Producer, first offset → last offset of aborted transactions.
    aborted: BTreeMap<(u64, i64), i64>,
    /// Up to where compaction came, and how many records it kept.
    compacted: (i64, u64),
    readers: Vec<Reader>,
    deleted: bool,
}

impl State {
    /// The end of what is decided: nothing at or behind it may be read by those who read committed.
    fn stable_end(&self) -> i64 {
        self.open.first_key_value().map_or(self.end, |(first, _)| *first)
    }

    fn end_for(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.end,
            Isolation::ReadCommitted => self.stable_end(),
        }
    }

    /// The first offset of the tail.
    fn in_memory(&self) -> i64 {
        self.tail.front().map_or(self.end, |oldest| oldest.base)
    }

    fn is_aborted(&self, batch: &Batch) -> bool {
        let began_before = || self.aborted.range(..=(batch.producer, batch.base)).next_back();
        batch.producer != NO_PRODUCER
            && began_before().is_some_and(|((producer, _), last)| *producer == batch.producer && *last >= batch.base)
    }

    /// A batch, and whether its records are to be seen.
    fn shown(&self, batch: Batch, isolation: Isolation) -> (Batch, bool) {
        let shown = isolation == Isolation::ReadUncommitted || !self.is_aborted(&batch);
        (batch, shown)
    }

    fn in_tail(&self, from: i64, end: i64, isolation: Isolation, mut records: usize, mut bytes: usize) -> Vec<(Batch, bool)> {
        let at = self.tail.partition_point(|batch| batch.last < from);
        let mut found = Vec::new();
        for batch in self.tail.range(at..).take_while(|batch| batch.base < end) {
            if records == 0 || bytes == 0 {
                break;
            }
            records = records.saturating_sub(batch.count);
            bytes = bytes.saturating_sub(batch.data.len());
            found.push(self.shown(batch.clone(), isolation));
        }
        found
    }

    fn trim_tail(&mut self, goes: impl Fn(&Self, &Batch) -> bool) {
        while let Some(oldest) = self.tail.front()
            && goes(self, oldest)
        {
            self.tail_bytes -= oldest.data.len() + OVERHEAD;
            self.tail.pop_front();
        }
    }
}

/// What became of a read.
pub(crate) enum Fetched {
    /// Batches in order, each with whether its records are to be seen. None: nothing there yet.
    Batches(Vec<(Batch, bool)>),
    /// The offset is not (or no longer) between start and end.
    OutOfRange,
    /// The topic was deleted.
    Deleted,
}

impl Log {
    /// An empty log, or one as it was left.
    pub fn open(id: u32, name: TopicPartition, storage: Arc<Storage>, tail_limit: Arc<AtomicUsize>, start: i64) -> Result<Self, Error> {
        // The start is stored whenever everything before it may be gone, the last batch included.
        let end = storage.last_batch(id)?.map_or(0, |batch| batch.last + 1).max(start);
        let state = Mutex::new(State { start, end, ..State::default() });
        Ok(Self { id, name, storage, tail_limit, writer: Mutex::new(()), state })
    }

    fn live(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state.lock();
        if state.deleted { Err(Error::UnknownTopic(self.name.topic.to_string())) } else { Ok(state) }
    }

    /// Appends an encoded batch, and what is written `with` it; `opens` says that a transaction begins here. Returns its base offset.
    pub fn append(&self, data: Vec<u8>, opens: bool, with: impl FnOnce(&mut WriteBatch, i64)) -> Result<i64, Error> {
        let _writer = self.writer.lock();
        let base = self.live()?.end;
        let batch = Batch::parse(base, data.into()).expect("it was just encoded");
        let mut write = WriteBatch::with_capacity_bytes(batch.data.len() + 64);
        write.put_cf(self.storage.log(), keys::batch(self.id, base), &batch.data);
        with(&mut write, base);
        self.storage.write(write)?;

        let mut state = self.state.lock();
        state.end = batch.last + 1;
        if opens {
            state.open.insert(base, batch.producer);
        }
        state.tail_bytes += batch.data.len() + OVERHEAD;
        state.tail.push_back(batch);
        let limit = self.tail_limit.load(Ordering::Relaxed);
        state.trim_tail(|state, _| state.tail_bytes > limit);
        state.readers.iter().for_each(Reader::tell);
        Ok(base)
    }

    /// Reads from an offset until there are so many records or bytes.
    pub fn fetch(&self, from: i64, isolation: Isolation, records: usize, bytes: usize) -> Result<Fetched, Error> {
        loop {
            let state = self.state.lock();
            if state.deleted {
                return Ok(Fetched::Deleted);
            }
            if from < state.start || from > state.end {
                return Ok(Fetched::OutOfRange);
            }
            let end = state.end_for(isolation);
            let in_memory = state.in_memory();
            if from >= end || from >= in_memory {
                return Ok(Fetched::Batches(state.in_tail(from, end, isolation, records, bytes)));
            }
            drop(state);
            let found = self.storage.batches(self.id, from, in_memory.min(end), records, bytes)?;
            let state = self.state.lock();
            if !found.is_empty() {
                return Ok(Fetched::Batches(found.into_iter().map(|batch| state.shown(batch, isolation)).collect()));
            }
            // Compaction left a gap before what is in memory. If memory has moved on meanwhile, look again.
            if state.in_memory() == in_memory {
                return Ok(Fetched::Batches(state.in_tail(in_memory, end, isolation, records, bytes)));
            }
        }
    }

    /// The offsets of the first record and behind the last one that may be read.
    pub fn range(&self, isolation: Isolation) -> Result<(i64, i64), Error> {
        self.live().map(|state| (state.start, state.end_for(isolation)))
    }

    /// Ends a transaction that began at `first`; `aborted` says behind which offset there is nothing of it, if it is to be hidden.
    pub fn end_transaction(&self, producer: u64, first: i64, aborted: Option<i64>) {
        let mut state = self.state.lock();
        state.open.remove(&first);
        if let Some(last) = aborted {
            state.aborted.insert((producer, first), last);
        }
        state.readers.iter().for_each(Reader::tell);
    }

    /// Restores what [`Log::end_transaction`] knew.
    pub fn restore_aborted(&self, producer: u64, first: i64, last: i64) {
        self.state.lock().aborted.insert((producer, first), last);
    }

    /// The offset of the last record, whoever wrote it.
    pub fn last(&self) -> i64 {
        self.state.lock().end - 1
    }

    /// Nothing before this offset is read any more. The rows go when the log is cleaned.
    pub fn advance_start(&self, to: i64) -> Result<(), Error> {
        let _writer = self.writer.lock();
        let (start, end) = self.range(Isolation::ReadUncommitted)?;
        if to > end {
            let name = &self.name;
            return Err(Error::Other(format!("{} {} ends at {end}: records before {to} cannot be deleted", name.topic, name.partition)));
        }
        if to <= start {
            return Ok(());
        }
        let mut write = WriteBatch::new();
        write.put_cf(self.storage.meta(), keys::meta(keys::START, &[&self.id.to_be_bytes()]), to.to_be_bytes());
        self.storage.write(write)?;
        let mut state = self.state.lock();
        state.start = to;
        state.trim_tail(|_, oldest| oldest.last < to);
        Ok(())
    }

    /// Reads stored batches with bases in a range, and whether they are not aborted.
    pub fn fetch_stored(&self, from: i64, to: i64, bytes: usize) -> Result<Vec<(Batch, bool)>, Error> {
        let found = self.storage.batches(self.id, from, to, usize::MAX, bytes)?;
        let state = self.live()?;
        Ok(found.into_iter().map(|batch| state.shown(batch, Isolation::ReadCommitted)).collect())
    }

    /// Up to where compaction came, and how many records it kept.
    pub fn compacted(&self) -> (i64, u64) {
        self.state.lock().compacted
    }

    /// Compaction came further.
    pub fn set_compacted(&self, to: i64, kept: u64) {
        self.state.lock().compacted = (to, kept);
    }

    /// The base of the first batch that compaction may not touch: the last, or one that is not decided yet.
    pub fn compactable(&self) -> Result<Option<i64>, Error> {
        let stable_end = self.range(Isolation::ReadCommitted)?.1;
        Ok(self.storage.last_batch(self.id)?.map(|last| last.base.min(stable_end)))
    }

    /// Puts another batch, or none, in the place of an old one: what compaction does.
    pub fn replace(&self, base: i64, data: Option<Vec<u8>>) -> Result<(), Error> {
        let _writer = self.writer.lock();
        if self.live()?.start > base {
            return Ok(());
        }
        let mut write = WriteBatch::new();
        match data {
            Some(data) => write.put_cf(self.storage.log(), keys::batch(self.id, base), data),
            None => write.delete_cf(self.storage.log(), keys::batch(self.id, base)),
        }
        self.storage.write(write)
    }

    /// Deletes the rows before the start, and what is known of transactions that were aborted there.
    pub fn trim(&self) -> Result<(), Error> {
        let start = self.range(Isolation::ReadUncommitted)?.0;
        let first = self.storage.batches(self.id, start, i64::MAX, 1, 1)?.first().map_or(start, |batch| batch.base);
        let mut write = WriteBatch::new();
        if std::mem::replace(&mut self.live()?.trimmed, first) < first {
            write.delete_range_cf(self.storage.log(), keys::batch(self.id, 0), keys::batch(self.id, first));
        }
        for (producer, from) in self.forget_aborted(first) {
            write.delete_cf(self.storage.meta(), keys::aborted(self.id, producer, from));
        }
        if write.is_empty() { Ok(()) } else { self.storage.write(write) }
    }

    /// Forgets aborted transactions whose records are gone, and says which.
    fn forget_aborted(&self, start: i64) -> Vec<(u64, i64)> {
        let mut state = self.state.lock();
        let gone: Vec<_> = state.aborted.iter().filter(|(_, last)| **last < start).map(|(key, _)| *key).collect();
        state.aborted.retain(|_, last| *last >= start);
        gone
    }

    /// The topic is gone: nothing is appended or read any more.
    pub fn delete(&self) {
        let _writer = self.writer.lock();
        let mut state = self.state.lock();
        state.deleted = true;
        state.tail.clear();
        state.readers.drain(..).for_each(|reader| reader.tell());
    }

    /// Tells this reader of what comes from now on, and of what is there.
    pub fn add_reader(&self, reader: Reader) {
        reader.tell();
        self.state.lock().readers.push(reader);
    }

    /// Tells it no longer.
    pub fn remove_reader(&self, reader: &Reader) {
        self.state.lock().readers.retain(|other| !other.is(reader));
    }
}
