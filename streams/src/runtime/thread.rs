//! A stream thread: polls, feeds its worker, and commits what the worker has done.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::SeqCst},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use millstream_broker::{
    Broker, CommittedOffset, Consumer, ConsumerOptions, Error as BrokerError, FetchedBatch, GroupMetadata, Isolation, Offsets, Producer,
    ProducerOptions, RebalanceListener, TopicPartition, Waker,
};
use millstream_topology::{
    TaskId, Topology,
    dataflow::{ClosedEpoch, Command, Installation, Progress, Worker, WorkerHandle},
    store::bytes::{RocksState, StateBatch},
};

use super::{
    Outbox, State, Status, StreamsConfig, StreamsError, commit,
    restore::{follow_globals, restore},
    tasks::Fetched,
    topics::Plan,
};

const DATAFLOW: u64 = 0;
/// How long one commit may take before the thread fails.
const COMMIT_DEADLINE: Duration = Duration::from_secs(60);
/// How long a poll waits while nothing comes and no commit is due.
const POLL: Duration = Duration::from_millis(100);
/// How many batches wait for a worker that is behind, before the consumer is paused.
const PENDING: usize = 64;

pub(super) struct StreamThread {
    consumer: Box<dyn Consumer>,
    /// Shared with the rebalance listener, which runs inside a poll of this very thread.
    inner: Arc<Mutex<Inner>>,
    status: Arc<Status>,
    paused: bool,
}

/// What commits need, also from inside a rebalance.
struct Inner {
    _worker: Worker,
    handle: WorkerHandle,
    outbox: Outbox,
    producer: Arc<dyn Producer>,
    broker: Arc<dyn Broker>,
    plan: Arc<Plan>,
    rocks: Option<Arc<RocksState>>,
    exactly_once: bool,
    group: Option<GroupMetadata>,
    assigned: Vec<TopicPartition>,
    pending: VecDeque<FetchedBatch>,
    tasks: BTreeSet<TaskId>,
    positions: HashMap<TopicPartition, i64>,
    progress: HashMap<TaskId, Progress>,
    /// The positions of the epoch that is closing.
    closing: Option<Offsets>,
    dirty: bool,
    last_commit: Instant,
    commit_interval: Duration,
}

impl StreamThread {
    pub fn new(
        index: usize,
        topology: &Arc<Topology>,
        plan: &Arc<Plan>,
        config: &StreamsConfig,
        broker: &Arc<dyn Broker>,
        rocks: Option<Arc<RocksState>>,
        status: Arc<Status>,
    ) -> Result<Self, StreamsError> {
        let exactly_once = config.is_exactly_once();
        let isolation = if exactly_once { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
        let consumer = broker.consumer(ConsumerOptions { isolation, ..ConsumerOptions::group(&*config.application_id) })?;
        // A process is told apart by the time of its start: its transactional ids must not be those of another that still runs.
        let process = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let transactional_id = exactly_once.then(|| format!("{}-{process:x}-{index}", config.application_id));
        let producer = broker.producer(ProducerOptions { transactional_id, ..ProducerOptions::default() })?;
        if exactly_once {
            producer.init_transactions(COMMIT_DEADLINE)?;
            producer.begin_transaction()?;
        }
        let waker = consumer.waker();
        let wake = Box::new(move || waker.wake());
        let outbox = Outbox::new(producer.clone(), broker.admin(), plan.partitions.clone(), exactly_once, wake);
        let worker = Worker::spawn(&format!("{}-worker-{}", config.application_id, index + 1), now_ms, Box::new(outbox.clone()))
            .map_err(|error| StreamsError::System(format!("no thread: {error}")))?;
        let handle = worker.handle();
        let installation = Installation { topology: topology.clone(), config: config.task(plan.partitions.clone()), rocks: rocks.clone() };
        send(&handle, Command::Install(DATAFLOW, Box::new(installation)))?;
        let inner = Inner {
            _worker: worker,
            handle,
            outbox,
            producer,
            broker: broker.clone(),
            plan: plan.clone(),
            rocks,
            exactly_once,
            group: None,
            assigned: vec![],
            pending: VecDeque::new(),
            tasks: BTreeSet::new(),
            positions: HashMap::new(),
            progress: HashMap::new(),
            closing: None,
            dirty: false,
            last_commit: Instant::now(),
            commit_interval: config.commit_interval,
        };
        Ok(Self { consumer, inner: Arc::new(Mutex::new(inner)), status, paused: false })
    }

    pub fn waker(&self) -> Arc<dyn Waker> {
        self.consumer.waker()
    }

    pub fn run(mut self) {
        let outcome = self.run_until_stopped();
        if let Err(error) = outcome {
            self.status.fail(error);
        }
    }

    fn run_until_stopped(&mut self) -> Result<(), StreamsError> {
        let topics = {
            let inner = lock(&self.inner);
            follow_globals(&*inner.broker, &inner.plan.global_topics, &inner.handle, DATAFLOW, self.status.clone())?;
            inner.plan.subscription.clone()
        };
        if topics.is_empty() {
            self.status.set(State::Running);
        }
        let topics: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
        self.consumer.subscribe(&topics, Box::new(Listener(self.inner.clone())))?;
        while !self.status.stop.load(SeqCst) {
            let deadline = lock(&self.inner).poll_deadline();
            let batches = self.consumer.poll(deadline)?;
            self.take_over()?;
            let mut inner = lock(&self.inner);
            if inner.exactly_once {
                inner.group = Some(self.consumer.group_metadata()?);
            }
            inner.pending.extend(batches);
            inner.feed()?;
            self.paused = inner.pause(&mut *self.consumer, self.paused)?;
            inner.check()?;
            inner.maybe_close()?;
            if let Some(epoch) = inner.outbox.take_closed() {
                inner.commit(epoch, &mut |offsets| self.consumer.commit(offsets, COMMIT_DEADLINE))?;
            }
        }
        lock(&self.inner).commit_now(&mut |offsets| self.consumer.commit(offsets, COMMIT_DEADLINE))?;
        self.consumer.unsubscribe()?;
        Ok(())
    }

    /// Starts the tasks of partitions that the group has just given: fenced by its generation, restored, then from the committed offsets.
    fn take_over(&mut self) -> Result<(), StreamsError> {
        let assigned = std::mem::take(&mut lock(&self.inner).assigned);
        if assigned.is_empty() {
            return Ok(());
        }
        self.status.set(State::Rebalancing);
        let committed = self.consumer.committed(&assigned, COMMIT_DEADLINE)?;
        let mut inner = lock(&self.inner);
        for (partition, offset) in &committed {
            if let Some(task) = inner.plan.task_of(partition) {
                commit::read(inner.progress.entry(task).or_default(), &partition.topic, &offset.metadata);
            }
        }
        let tasks: BTreeSet<TaskId> = assigned.iter().filter_map(|partition| inner.plan.task_of(partition)).collect();
        for task in tasks {
            inner.start(task)?;
        }
        self.status.set(State::Running);
        Ok(())
    }
}

impl Inner {
    fn poll_deadline(&self) -> Duration {
        let due = match self.dirty && self.closing.is_none() {
            true => self.commit_interval.saturating_sub(self.last_commit.elapsed()),
            false => POLL,
        };
        due.min(POLL)
    }

    fn start(&mut self, task: TaskId) -> Result<(), StreamsError> {
        if !self.tasks.insert(task) {
            return Ok(());
        }
        send(&self.handle, Command::AddTask(DATAFLOW, task))?;
        restore(&*self.broker, &self.plan, self.rocks.as_ref(), &self.handle, DATAFLOW, task, self.exactly_once)?;
        let progress = self.progress.get(&task).cloned().unwrap_or_default();
        send(&self.handle, Command::StartTask(DATAFLOW, task, progress))
    }

    fn try_feed(&mut self, batch: FetchedBatch) -> Result<Option<FetchedBatch>, StreamsError> {
        let Some(task) = self.plan.task_of(&batch.from).filter(|task| self.tasks.contains(task)) else { return Ok(None) };
        let (from, next) = (batch.from.clone(), batch.next_offset);
        if batch.records.is_empty() {
            self.positions.insert(from, next);
            return Ok(None);
        }
        // The batch comes back untouched if the worker is behind, so a copy of its handles is sent: payloads are shared.
        let command = Command::Feed(DATAFLOW, task, from.topic.clone(), Box::new(Fetched(batch.clone())));
        match self.handle.try_send(command).map_err(|error| StreamsError::System(error.to_string()))? {
            Some(_) => Ok(Some(batch)),
            None => {
                self.positions.insert(from, next);
                self.dirty = true;
                Ok(None)
            }
        }
    }

    /// Feeds the worker what waits, until it is behind.
    fn feed(&mut self) -> Result<(), StreamsError> {
        while let Some(batch) = self.pending.pop_front() {
            if let Some(batch) = self.try_feed(batch)? {
                self.pending.push_front(batch);
                break;
            }
        }
        Ok(())
    }

    /// Pauses the consumer while too much waits for the worker; says whether it is paused.
    fn pause(&self, consumer: &mut dyn Consumer, paused: bool) -> Result<bool, StreamsError> {
        let full = self.pending.len() > PENDING;
        if full != paused {
            let partitions: Vec<_> = self.positions.keys().cloned().collect();
            if full { consumer.pause(&partitions)? } else { consumer.resume(&partitions)? }
        }
        Ok(full)
    }

    /// Commits what is done, then forgets the tasks of partitions that go away.
    fn give_up(
        &mut self,
        gone: &[TopicPartition],
        commit: &mut dyn FnMut(&Offsets) -> Result<(), BrokerError>,
    ) -> Result<(), StreamsError> {
        self.pending.retain(|batch| !gone.contains(&batch.from));
        self.assigned.retain(|partition| !gone.contains(partition));
        if let Err(error) = self.commit_now(commit) {
            tracing::warn!(%error, "the last commit before a rebalance failed: its records are processed again");
        }
        for task in gone.iter().filter_map(|partition| self.plan.task_of(partition)).collect::<BTreeSet<_>>() {
            self.tasks.remove(&task);
            self.progress.remove(&task);
            send(&self.handle, Command::RemoveTask(DATAFLOW, task))?;
        }
        self.positions.retain(|partition, _| !gone.contains(partition));
        Ok(())
    }

    fn check(&self) -> Result<(), StreamsError> {
        self.outbox.take_failure().map_or(Ok(()), Err)
    }

    /// Closes the open epoch if its commit is due and the one before is done.
    fn maybe_close(&mut self) -> Result<(), StreamsError> {
        if self.dirty && self.closing.is_none() && self.last_commit.elapsed() >= self.commit_interval {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), StreamsError> {
        let offsets = self.positions.iter().map(|(partition, &offset)| {
            let committed = CommittedOffset { offset, metadata: String::new() };
            (partition.clone(), committed)
        });
        self.closing = Some(offsets.collect());
        self.dirty = false;
        send(&self.handle, Command::Close)
    }

    /// Commits a complete epoch: outputs and offsets, then local state.
    fn commit(
        &mut self,
        epoch: ClosedEpoch,
        commit_offsets: &mut dyn FnMut(&Offsets) -> Result<(), BrokerError>,
    ) -> Result<(), StreamsError> {
        self.check()?;
        let mut offsets = self.closing.take().unwrap_or_default();
        for (_, task, progress) in &epoch.tasks {
            self.progress.insert(*task, progress.clone());
        }
        for (partition, committed) in &mut offsets {
            let progress = self.plan.task_of(partition).and_then(|task| self.progress.get(&task));
            committed.metadata = progress.map_or_else(String::new, |progress| commit::write(progress, &partition.topic));
        }
        match self.group.as_ref().filter(|_| self.exactly_once) {
            Some(group) => {
                self.producer.send_offsets(&offsets, group, COMMIT_DEADLINE)?;
                self.producer.commit_transaction(COMMIT_DEADLINE)?;
                self.producer.begin_transaction()?;
            }
            None => {
                self.producer.flush(COMMIT_DEADLINE)?;
                if !offsets.is_empty() {
                    commit_offsets(&offsets)?;
                }
            }
        }
        if let Some(rocks) = &self.rocks {
            let batch = StateBatch { writes: epoch.writes, offsets: self.changelog_offsets() };
            rocks.apply(&batch).map_err(millstream_topology::Error::from)?;
        }
        self.last_commit = Instant::now();
        self.outbox.release()?;
        send(&self.handle, Command::Applied)
    }

    /// Up to where the changelogs of the tasks here are in local state.
    fn changelog_offsets(&self) -> Vec<(Arc<str>, i32, i64)> {
        let logged = self.tasks.iter().flat_map(|task| self.plan.changelogs(task.subtopology).iter().map(move |logged| (task, logged)));
        let offset = |(task, logged): (&TaskId, &super::topics::Logged)| {
            let partition = TopicPartition::new(logged.topic.clone(), task.partition);
            let own = self.outbox.acknowledged(&partition);
            // A source topic that is its own changelog is in the store as far as it was read.
            own.or_else(|| self.positions.get(&partition).copied()).map(|offset| (logged.topic.clone(), task.partition, offset))
        };
        logged.filter_map(offset).collect()
    }

    /// Closes the open epoch, waits for it, and commits it.
    fn commit_now(&mut self, commit_offsets: &mut dyn FnMut(&Offsets) -> Result<(), BrokerError>) -> Result<(), StreamsError> {
        let until = Instant::now() + COMMIT_DEADLINE;
        while self.dirty || self.closing.is_some() {
            if self.closing.is_none() {
                self.close()?;
            }
            self.check()?;
            match self.outbox.take_closed() {
                Some(epoch) => self.commit(epoch, commit_offsets)?,
                None if Instant::now() > until => return Err(StreamsError::Timeout("the last commit")),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        Ok(())
    }
}

struct Listener(Arc<Mutex<Inner>>);

impl RebalanceListener for Listener {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        lock(&self.0).assigned.extend_from_slice(partitions);
    }

    fn revoked(&mut self, partitions: &[TopicPartition], commit: &mut dyn FnMut(&Offsets) -> Result<(), BrokerError>) {
        let mut inner = lock(&self.0);
        if let Err(error) = inner.give_up(partitions, commit) {
            inner.outbox.fail(error);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(worker: &WorkerHandle, command: Command) -> Result<(), StreamsError> {
    worker.send(command).map_err(|error| StreamsError::System(error.to_string()))
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
