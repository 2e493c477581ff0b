//! A thread's share of the application: its worker, and the tasks that the group gives it.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::sync_channel,
    },
    time::{Duration, Instant},
};

use millstream_broker::{
    Consumer, Error as BrokerError, FetchedBatch, GroupMetadata, Offsets, Position, Producer, ProducerOptions, TopicPartition, Waker,
};
use millstream_topology::{
    OffsetReset, Task, TaskId,
    dataflow::{Command, Installation, Progress, Worker, WorkerHandle},
    store::bytes::RocksState,
};

use super::{
    Outbox, StreamsError, commit,
    feeding::{InFlight, Lanes},
    globals::{Copy, GlobalThread},
    now_ms, now_us,
    outbox::OutboxOptions,
    restore::Restorer,
    thread::Shared,
    topics::Plan,
};

pub(super) const DATAFLOW: u64 = 0;
/// How long one commit may take before the thread fails.
pub(super) const COMMIT_DEADLINE: Duration = Duration::from_secs(60);
/// How long a transaction may be open, unless commits are rarer.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a worker may take to close tasks before their partitions are given away.
const RELEASE_DEADLINE: Duration = Duration::from_secs(30);

/// What commits need, also from inside a rebalance.
pub(super) struct Member {
    // Before the worker: it feeds it.
    globals: Option<GlobalThread>,
    worker: Option<Worker>,
    pub handle: WorkerHandle,
    pub shared: Arc<Shared>,
    pub thread: usize,
    pub outbox: Outbox,
    pub producer: Arc<dyn Producer>,
    pub plan: Arc<Plan>,
    pub rocks: Option<Arc<RocksState>>,
    pub group: Option<GroupMetadata>,
    pub restorer: Restorer,
    /// How many tasks are told to start and have not started yet.
    starting: Arc<AtomicUsize>,
    wake: Arc<dyn Waker>,
    /// What the group has just given.
    pub assigned: Option<Vec<TopicPartition>>,
    pub pending: VecDeque<FetchedBatch>,
    pub tasks: BTreeSet<TaskId>,
    pub lanes: Lanes,
    pub in_flight: Arc<InFlight>,
    pub progress: HashMap<TaskId, Progress>,
    /// An epoch is closing.
    pub closing: bool,
    pub dirty: bool,
    pub commit_requested: bool,
    pub last_commit: Instant,
    pub last_purge: Instant,
    /// Whether anything was committed.
    pub has_progressed: bool,
    /// A request to stop that is older was for those who were there before.
    started_us: i64,
}

impl Member {
    pub fn new(shared: &Arc<Shared>, thread: usize, consumer: &dyn Consumer) -> Result<Self, StreamsError> {
        let Shared { config, broker, topology, .. } = &**shared;
        let (plan, rocks) = (shared.plan(), shared.rocks());
        let transactional_id = config.is_exactly_once().then(|| format!("{}-{:x}-{thread}", config.application_id, shared.process));
        let is_transactional = transactional_id.is_some();
        // What a process that died left open keeps those who read committed waiting for so long.
        let transaction_timeout = Some(TRANSACTION_TIMEOUT.max(config.commit_interval * 2));
        let producer = broker.producer(ProducerOptions { transactional_id, transaction_timeout, ..ProducerOptions::default() })?;
        if is_transactional {
            producer.init_transactions(COMMIT_DEADLINE)?;
        }
        let waker = consumer.waker();
        let outbox = Outbox::new(OutboxOptions {
            producer: producer.clone(),
            admin: broker.admin(),
            transactional: is_transactional,
            partitions: plan.partitions.clone(),
            handler: config.production_exception_handler.clone(),
            dead_letter_topic: config.dead_letter_topic.as_deref().map(Into::into),
            wake: Box::new(move || waker.wake()),
        });
        let worker = Worker::spawn(&format!("{}-worker-{}", config.application_id, thread + 1), now_ms, Box::new(outbox.clone()))
            .map_err(|error| StreamsError::System(format!("no thread: {error}")))?;
        let handle = worker.handle();
        let installation = Installation {
            topology: topology.clone(),
            config: config.task(plan.partitions.clone()),
            rocks: rocks.clone(),
            global_copy: thread as i32,
        };
        send(&handle, Command::Install(DATAFLOW, Box::new(installation)))?;
        let copy = Copy { worker: handle.clone(), dataflow: DATAFLOW, number: thread as i32, rocks: rocks.as_ref() };
        let failed = outbox.clone();
        let globals = GlobalThread::start(&**broker, &plan, copy, &|| shared.status.is_stopping(), move |error| failed.fail(error))?;
        shared.hosts.add_globals(thread, &handle);
        let listener = config.state_restore_listener.clone();
        let restorer = Restorer::new(&**broker, handle.clone(), DATAFLOW, is_transactional, listener)?;
        Ok(Self {
            globals,
            worker: Some(worker),
            handle,
            shared: shared.clone(),
            thread,
            outbox,
            producer,
            plan,
            rocks,
            group: None,
            restorer,
            starting: Arc::default(),
            wake: consumer.waker(),
            assigned: None,
            pending: VecDeque::new(),
            tasks: BTreeSet::new(),
            lanes: Lanes::default(),
            in_flight: InFlight::new(consumer.waker()),
            progress: HashMap::new(),
            closing: false,
            dirty: false,
            commit_requested: false,
            last_commit: Instant::now(),
            last_purge: Instant::now(),
            has_progressed: false,
            started_us: now_us(),
        })
    }

    /// Makes the tasks of partitions that the group has just given: fenced by its generation, from the committed offsets. They start when
    /// their stores are rebuilt.
    pub fn take_over(
        &mut self,
        assigned: &[TopicPartition],
        polled: &[FetchedBatch],
        consumer: &mut dyn Consumer,
    ) -> Result<(), StreamsError> {
        let committed = consumer.committed(assigned, COMMIT_DEADLINE)?;
        for partition in assigned {
            let Some(task) = self.plan.task_of(partition) else { continue };
            let progress = self.progress.entry(task).or_default();
            match committed.get(partition) {
                Some(offset) => {
                    let shutdown = commit::read(progress, &partition.topic, &offset.metadata);
                    if shutdown.is_some_and(|asked| asked >= self.started_us) {
                        return Err(StreamsError::ShutdownRequested);
                    }
                    progress.offsets.insert(partition.topic.clone(), offset.offset);
                }
                None => self.reset(partition, consumer)?,
            }
            // The consumer is past what came with the assignment, and nobody was fed that.
            let came = polled.iter().any(|batch| batch.from == *partition);
            let fed = if came { -1 } else { consumer.position(partition)? };
            self.lanes.add(partition, task, fed, self.plan.reads_several(task));
        }
        let tasks: BTreeSet<TaskId> = assigned.iter().filter_map(|partition| self.plan.task_of(partition)).collect();
        let new: Vec<_> = tasks.into_iter().filter(|task| self.tasks.insert(*task)).collect();
        for task in &new {
            send(&self.handle, Command::AddTask(DATAFLOW, *task))?;
        }
        self.restorer.add(&self.plan, self.rocks.as_ref(), &new, &committed)?;
        // Those that have nothing to restore start at once.
        self.restore()
    }

    /// Where a partition without a committed offset begins, if its source says so.
    fn reset(&self, partition: &TopicPartition, consumer: &mut dyn Consumer) -> Result<(), StreamsError> {
        match self.plan.offset_reset(&partition.topic) {
            None | Some(OffsetReset::Earliest) => Ok(()),
            Some(OffsetReset::Latest) => Ok(consumer.seek(partition, Position::End)?),
            Some(OffsetReset::None) => Err(BrokerError::NoOffset(format!("{} {}", partition.topic, partition.partition)).into()),
            Some(OffsetReset::ByDuration(_)) => {
                Err(StreamsError::State("offset reset by duration cannot be run: choose earliest, latest or none"))
            }
        }
    }

    /// Goes on rebuilding stores, and starts the tasks for which it is done.
    pub fn restore(&mut self) -> Result<(), StreamsError> {
        for task in self.restorer.step()? {
            let progress = self.progress.get(&task).cloned().unwrap_or_default();
            self.lanes.begin(task, self.shared.config.max_task_idle_ms, &self.handle)?;
            send(&self.handle, Command::StartTask(DATAFLOW, task, progress))?;
            self.starting.fetch_add(1, SeqCst);
            let (shared, handle, starting, wake) = (self.shared.clone(), self.handle.clone(), self.starting.clone(), self.wake.clone());
            let started = move |started: Option<&Task>| {
                if started.is_some() {
                    shared.hosts.add(task, &handle);
                }
                starting.fetch_sub(1, SeqCst);
                wake.wake();
            };
            send(&self.handle, Command::Ask(DATAFLOW, task, Box::new(started)))?;
        }
        Ok(())
    }

    /// Whether all tasks that the group has given have started.
    pub fn is_running(&self) -> bool {
        self.restorer.is_idle() && self.starting.load(SeqCst) == 0
    }

    /// Commits what is done, then closes the tasks of partitions that go away; when it returns, their stores are free.
    pub fn give_up(
        &mut self,
        gone: &[TopicPartition],
        commit: &mut dyn FnMut(&Offsets) -> Result<(), BrokerError>,
    ) -> Result<(), StreamsError> {
        self.pending.retain(|batch| !gone.contains(&batch.from));
        if let Some(assigned) = &mut self.assigned {
            assigned.retain(|partition| !gone.contains(partition));
        }
        let tasks: BTreeSet<TaskId> = gone.iter().filter_map(|partition| self.plan.task_of(partition)).collect();
        let outcome = self.commit_now(commit);
        self.restorer.remove(&tasks)?;
        let (done, all_done) = sync_channel(tasks.len().max(1));
        for task in &tasks {
            self.tasks.remove(task);
            self.progress.remove(task);
            send(&self.handle, Command::RemoveTask(DATAFLOW, *task))?;
            let done = done.clone();
            send(&self.handle, Command::Ask(DATAFLOW, *task, Box::new(move |_| done.try_send(()).unwrap_or_default())))?;
        }
        for _ in &tasks {
            all_done.recv_timeout(RELEASE_DEADLINE).map_err(|_| StreamsError::Timeout("closing the tasks of partitions that go away"))?;
        }
        // Whoever looked them up before is told by the worker that they are gone.
        tasks.iter().for_each(|task| self.shared.hosts.remove(*task));
        gone.iter().for_each(|partition| self.outbox.forget(partition));
        self.lanes.remove(gone);
        outcome
    }

    /// Asks all instances of the application to stop: those that take over partitions from this one find the request.
    pub fn request_shutdown(&mut self, consumer: &mut dyn Consumer) {
        let partitions = self.lanes.partitions();
        let mut committed = match consumer.committed(&partitions, COMMIT_DEADLINE) {
            Ok(committed) => committed,
            Err(error) => return tracing::error!(%error, "the other instances cannot be asked to stop"),
        };
        for partition in partitions {
            let offset = committed.entry(partition.clone()).or_default();
            let mut progress = Progress::default();
            commit::read(&mut progress, &partition.topic, &offset.metadata);
            offset.metadata = commit::write(&progress, &partition.topic, Some(now_us()));
        }
        if committed.is_empty() {
            tracing::error!("the other instances cannot be asked to stop: this thread has no partitions");
        } else if let Err(error) = consumer.commit(&committed, COMMIT_DEADLINE) {
            tracing::error!(%error, "the other instances cannot be asked to stop");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Before the worker: it must not wait for one that does not take commands any more.
        self.globals.take();
        let is_open = self.outbox.abandon();
        self.worker.take();
        self.tasks.iter().for_each(|task| self.shared.hosts.remove(*task));
        self.shared.hosts.remove_globals(self.thread);
        if is_open {
            // Consumers that read committed would wait for its end.
            let _ = self.producer.abort_transaction(RELEASE_DEADLINE);
        }
    }
}

pub(super) fn send(worker: &WorkerHandle, command: Command) -> Result<(), StreamsError> {
    worker.send(command).map_err(|error| StreamsError::System(error.to_string()))
}
