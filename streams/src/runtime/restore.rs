//! Rebuilding stores from their changelogs.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use millstream_broker::{Broker, Consumer, ConsumerOptions, FetchedBatch, Isolation, Offsets, Position, TopicPartition};
use millstream_topology::{
    TaskId,
    dataflow::{Command, DataflowId, WorkerHandle},
    store::bytes::RocksState,
};

use super::{StateRestoreListener, StreamsError, fetched::Fetched, topics::Plan};

/// How long nothing may come while a changelog is not at its end.
const STALLED: Duration = Duration::from_secs(60);
/// How many records of changelogs one poll brings at most.
const MAX_POLL_RECORDS: usize = 10_000;
/// How long one poll of changelogs waits.
const POLL: Duration = Duration::from_millis(20);

/// A changelog partition that is being replayed.
struct Replay {
    task: TaskId,
    store: Arc<str>,
    end: i64,
    restored: u64,
}

/// Replays changelogs, a bit at a time, so that the thread that does it stays a member of its group.
///
/// **Law.** What local state has is not replayed: only what the changelog holds after it. A source topic that is its own changelog is
/// replayed up to what is committed, because what follows will be processed.
pub(super) struct Restorer {
    consumer: Box<dyn Consumer>,
    listener: Option<Arc<dyn StateRestoreListener>>,
    worker: WorkerHandle,
    dataflow: DataflowId,
    open: HashMap<TopicPartition, Replay>,
    tasks: BTreeSet<TaskId>,
    last: Instant,
}

impl Restorer {
    pub fn new(
        broker: &dyn Broker,
        worker: WorkerHandle,
        dataflow: DataflowId,
        committed_only: bool,
        listener: Option<Arc<dyn StateRestoreListener>>,
    ) -> Result<Self, StreamsError> {
        let isolation = if committed_only { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
        let consumer = broker.consumer(ConsumerOptions { isolation, max_poll_records: MAX_POLL_RECORDS, ..ConsumerOptions::default() })?;
        Ok(Self { consumer, listener, worker, dataflow, open: HashMap::new(), tasks: BTreeSet::new(), last: Instant::now() })
    }

    /// Begins with the stores of these tasks.
    pub fn add(&mut self, plan: &Plan, rocks: Option<&Arc<RocksState>>, tasks: &[TaskId], committed: &Offsets) -> Result<(), StreamsError> {
        let logged = |task: &TaskId| plan.changelogs(task.subtopology).iter().map(|logged| (*task, logged)).collect::<Vec<_>>();
        let logged: Vec<_> = tasks.iter().flat_map(logged).collect();
        self.tasks.extend(tasks);
        if logged.is_empty() {
            return Ok(());
        }
        let partition = |task: TaskId, topic: &Arc<str>| TopicPartition::new(topic.clone(), task.partition);
        let partitions: Vec<_> = logged.iter().map(|(task, logged)| partition(*task, &logged.topic)).collect();
        let ends = self.consumer.end_offsets(&partitions, STALLED)?;
        let mut start = self.positions()?;
        for (task, logged) in logged {
            let partition = partition(task, &logged.topic);
            let end = ends.get(&partition).copied().unwrap_or(0);
            let end = match logged.is_source {
                true => committed.get(&partition).map_or(0, |committed| committed.offset).min(end),
                false => end,
            };
            let stored = rocks.filter(|_| logged.persistent).map(|rocks| rocks.offset(&partition.topic, partition.partition)).transpose();
            let stored = stored.map_err(millstream_topology::Error::from)?.flatten();
            if stored.is_some_and(|stored| stored >= end) || end == 0 {
                continue;
            }
            if let Some(listener) = &self.listener {
                listener.on_restore_start(&partition, &logged.store, stored.unwrap_or(0), end);
            }
            start.push((partition.clone(), stored.map_or(Position::Beginning, Position::Offset)));
            self.open.insert(partition, Replay { task, store: logged.store.clone(), end, restored: 0 });
        }
        self.last = Instant::now();
        self.assign(&start)
    }

    /// Reads from there. A consumer gets past the ends of transactions only on its way to an end that it was asked for since it reads.
    fn assign(&mut self, start: &[(TopicPartition, Position)]) -> Result<(), StreamsError> {
        self.consumer.assign(start)?;
        let partitions: Vec<_> = start.iter().map(|(partition, _)| partition.clone()).collect();
        if !partitions.is_empty() {
            self.consumer.end_offsets(&partitions, STALLED)?;
        }
        Ok(())
    }

    /// Gives up on these tasks.
    pub fn remove(&mut self, tasks: &BTreeSet<TaskId>) -> Result<(), StreamsError> {
        let before = self.open.len();
        self.tasks.retain(|task| !tasks.contains(task));
        self.open.retain(|_, replay| !tasks.contains(&replay.task));
        if self.open.len() < before { self.assign_again() } else { Ok(()) }
    }

    /// Whether these tasks' stores are not rebuilt yet.
    pub fn is_restoring(&self, task: TaskId) -> bool {
        self.tasks.contains(&task)
    }

    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Replays what comes next; says which tasks' stores are rebuilt.
    pub fn step(&mut self) -> Result<Vec<TaskId>, StreamsError> {
        if !self.open.is_empty() {
            for batch in self.consumer.poll(POLL)? {
                self.replay(batch)?;
            }
            self.finish()?;
            if self.last.elapsed() > STALLED && !self.open.is_empty() {
                return Err(StreamsError::Timeout("restoring a store from its changelog"));
            }
        }
        let waiting: BTreeSet<TaskId> = self.open.values().map(|replay| replay.task).collect();
        let done = self.tasks.difference(&waiting).copied().collect();
        self.tasks = waiting;
        Ok(done)
    }

    fn replay(&mut self, mut batch: FetchedBatch) -> Result<(), StreamsError> {
        let Some(replay) = self.open.get_mut(&batch.from) else { return Ok(()) };
        self.last = Instant::now();
        batch.records.retain(|record| record.offset < replay.end);
        batch.next_offset = batch.next_offset.min(replay.end);
        let (from, next, count) = (batch.from.clone(), batch.next_offset, batch.records.len() as u64);
        replay.restored += count;
        let (dataflow, task, store) = (self.dataflow, replay.task, replay.store.clone());
        let command = Command::Restore { dataflow, task, store, changelog: from.topic.clone(), batch: Box::new(Fetched(batch)) };
        self.worker.send(command).map_err(|error| StreamsError::System(error.to_string()))?;
        if let Some(listener) = &self.listener {
            listener.on_batch_restored(&from, &replay.store, next, count);
        }
        Ok(())
    }

    /// Closes the changelogs that are at their end.
    fn finish(&mut self) -> Result<(), StreamsError> {
        let mut done = vec![];
        for (partition, replay) in &self.open {
            if self.consumer.position(partition)? >= replay.end {
                done.push(partition.clone());
            }
        }
        for partition in &done {
            if let (Some(replay), Some(listener)) = (self.open.remove(partition), &self.listener) {
                listener.on_restore_end(partition, &replay.store, replay.restored);
            }
        }
        if done.is_empty() { Ok(()) } else { self.assign_again() }
    }

    fn positions(&mut self) -> Result<Vec<(TopicPartition, Position)>, StreamsError> {
        let mut positions = vec![];
        for partition in self.open.keys() {
            positions.push((partition.clone(), Position::Offset(self.consumer.position(partition)?)));
        }
        Ok(positions)
    }

    fn assign_again(&mut self) -> Result<(), StreamsError> {
        let positions = self.positions()?;
        self.assign(&positions)
    }
}

/// Replays what a task's changelogs hold after what local state has.
///
/// # Errors
/// The broker's, or that nothing came for a minute.
pub fn restore(
    broker: &dyn Broker,
    plan: &Plan,
    rocks: Option<&Arc<RocksState>>,
    worker: &WorkerHandle,
    dataflow: DataflowId,
    task: TaskId,
    committed_only: bool,
) -> Result<(), StreamsError> {
    if plan.changelogs(task.subtopology).is_empty() {
        return Ok(());
    }
    let mut restorer = Restorer::new(broker, worker.clone(), dataflow, committed_only, None)?;
    restorer.add(plan, rocks, &[task], &Offsets::new())?;
    while !restorer.is_idle() {
        restorer.step()?;
    }
    Ok(())
}
