//! A topology without a broker.

use std::sync::Arc;

use millstream_topology::{
    Error, Output, RawRecord, Task, TaskConfig, TaskEnv, Topology,
    store::{
        StoreSet,
        bytes::{RocksState, StateBatch, StateOptions},
    },
};
use tempfile::TempDir;

/// One task of a whole topology on the caller's thread: what the test driver runs, in batches and epochs like the runtime's.
///
/// **Law.** Records come in as bytes and go out as bytes. What the topology writes to a topic that it reads itself is fed back, in bytes
/// too. Everything that a record costs is paid on this thread: also the write of an epoch to RocksDB, which the runtime leaves to another.
pub struct Engine {
    task: Task,
    rocks: Option<(Arc<RocksState>, TempDir)>,
    read: Vec<Arc<str>>,
    /// Whether it has repartition topics.
    feeds_itself: bool,
    next_offset: i64,
    written: Vec<Vec<Output>>,
}

impl Engine {
    /// Stores that are to be on RocksDB are, if `rocksdb`; otherwise all are in memory.
    pub fn new(topology: &Topology, config: TaskConfig, rocksdb: bool) -> Result<Self, Error> {
        let rocks = match rocksdb {
            true => {
                let directory = tempfile::tempdir().expect("there is room for a temporary directory");
                Some((RocksState::open(directory.path(), StateOptions::default())?, directory))
            }
            false => None,
        };
        let state = rocks.as_ref().map(|(state, _)| state.clone());
        let env = TaskEnv { config, rocks: state, global_stores: StoreSet::default(), global_copy: 0, wall_clock: 0 };
        let mut task = Task::new_whole(topology, &env)?;
        task.init()?;
        let read = task.topics().cloned().collect();
        let feeds_itself = !topology.internal_topics().is_empty();
        Ok(Self { task, rocks, read, feeds_itself, next_offset: 0, written: vec![] })
    }

    /// Appends a record to a source topic.
    pub fn push(&mut self, topic: &str, record: RawRecord) -> Result<(), Error> {
        self.next_offset += 1;
        self.task.push(topic, self.next_offset, record)
    }

    /// Processes what was pushed, and all that follows from it.
    pub fn run(&mut self) -> Result<(), Error> {
        loop {
            while self.task.process()? {}
            if !self.feed_back()? {
                return Ok(());
            }
        }
    }

    /// Ends an epoch: flushes record caches and writes state to RocksDB; what follows from the flush is processed in the next one.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.task.flush()?;
        self.feed_back()?;
        if let Some((state, _)) = &self.rocks {
            let maps: Vec<_> = self.task.stores().iter().filter_map(|store| store.rocks()).collect();
            let writes = maps.iter().map(|map| map.take_epoch()).collect::<Result<_, _>>()?;
            state.apply(&StateBatch { writes, offsets: vec![] })?;
            maps.iter().for_each(|map| map.applied());
        }
        self.run()
    }

    /// What was written since the last call, but for what was fed back.
    pub fn take_written(&mut self) -> Vec<Vec<Output>> {
        std::mem::take(&mut self.written)
    }

    fn feed_back(&mut self) -> Result<bool, Error> {
        let mut any = false;
        while let Some(mut outputs) = self.task.take_outputs() {
            if self.feeds_itself {
                for output in outputs.extract_if(.., |output| self.read.contains(&output.topic)) {
                    any = true;
                    self.next_offset += 1;
                    self.task.push(&output.topic, self.next_offset, output.record)?;
                }
            }
            self.written.push(outputs);
        }
        Ok(any)
    }
}
