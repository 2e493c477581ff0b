//! A worker: one OS thread with one naked timely worker.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::{JoinHandle, Thread},
    time::{Duration, Instant},
};

use timely::{WorkerConfig, communication::Allocator, dataflow::ProbeHandle};

use super::{
    build::{Intake, build},
    event::{Batch, ClosedEpoch, Emission, EpochSink, Event, Progress, Question},
    stage::Stage,
};
use crate::{
    context::{TaskConfig, TaskId},
    error::{Error, ErrorKind},
    graph::Topology,
    store::{
        StoreSet,
        bytes::{EpochWrites, RocksState},
    },
    task::{Task, TaskEnv},
};

/// The number of a dataflow on its worker, chosen by whoever installs it.
pub type DataflowId = u64;

/// How many commands wait for a worker at most: the back-pressure on those who feed it.
const COMMANDS: usize = 1_024;
/// How many questions wait for a worker at most.
const QUESTIONS: usize = 256;
/// How many commands are taken up before the worker steps: bounds the latency of the other dataflows.
const COMMANDS_PER_STEP: usize = 64;
/// How long a worker parks at most.
const LONGEST_PARK: Duration = Duration::from_secs(60);

/// A topology to be installed on a worker.
pub struct Installation {
    /// The topology.
    pub topology: Arc<Topology>,
    /// What its tasks are told.
    pub config: TaskConfig,
    /// Where its stores are, if not in memory.
    pub rocks: Option<Arc<RocksState>>,
    /// Which copy of the global stores is this worker's; no two workers of a process have the same.
    pub global_copy: i32,
}

/// What a copy of a global table's topic is called where offsets of local state are kept.
pub fn global_offset_name(topic: &str, copy: i32) -> Arc<str> {
    format!("{topic}#{copy}").into()
}

/// What a worker is told.
pub enum Command {
    /// Run this topology; it has no tasks yet.
    Install(DataflowId, Box<Installation>),
    /// Forget a dataflow and its tasks.
    Uninstall(DataflowId),
    /// Make a task. Its stores are to be restored next.
    AddTask(DataflowId, TaskId),
    /// Apply records of a changelog to a store.
    Restore {
        /// The dataflow.
        dataflow: DataflowId,
        /// The task.
        task: TaskId,
        /// The store.
        store: Arc<str>,
        /// The topic that they come from.
        changelog: Arc<str>,
        /// The records.
        batch: Box<dyn Batch>,
    },
    /// Start a task that was made and restored.
    StartTask(DataflowId, TaskId, Progress),
    /// Push records of a topic into a task.
    Feed(DataflowId, TaskId, Arc<str>, Box<dyn Batch>),
    /// A topic has, or no longer has, more records for a task than were pushed: see [`Task::set_behind`].
    Behind(DataflowId, TaskId, Arc<str>, bool),
    /// Ask a task, after all that was told before.
    Ask(DataflowId, TaskId, Question),
    /// Push records of a global table's topic.
    FeedGlobal(DataflowId, Arc<str>, Box<dyn Batch>),
    /// Close a task and forget it.
    RemoveTask(DataflowId, TaskId),
    /// Close the open epoch: flush every task, then hand it to the sink when the probes have passed it.
    Close,
    /// The epoch that was handed to the sink last is committed and its state written: another one may close.
    Applied,
    /// Stop.
    Stop,
}

/// The worker is gone.
///
/// ```
/// let text = millstream_topology::dataflow::WorkerStopped.to_string();
/// assert!(text.contains("start another one"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker has stopped: start another one")]
pub struct WorkerStopped;

/// Sends commands to a worker, from any thread.
#[derive(Clone)]
pub struct WorkerHandle {
    commands: SyncSender<Command>,
    questions: SyncSender<(DataflowId, Option<TaskId>, Question)>,
    thread: Thread,
}

impl WorkerHandle {
    /// Sends a command; waits while the worker is behind.
    pub fn send(&self, command: Command) -> Result<(), WorkerStopped> {
        let outcome = self.commands.send(command).map_err(|_| WorkerStopped);
        self.thread.unpark();
        outcome
    }

    /// Asks a task (`None`: the one that keeps the global stores) as soon as possible, before commands that wait. `false`: too many
    /// questions wait.
    pub fn ask(&self, dataflow: DataflowId, task: Option<TaskId>, question: Question) -> Result<bool, WorkerStopped> {
        let outcome = match self.questions.try_send((dataflow, task, question)) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => Err(WorkerStopped),
        };
        self.thread.unpark();
        outcome
    }
}

/// A worker and its thread. Dropped, it stops.
///
/// **Law.** It parks when there is nothing to do and is woken by commands; nothing spins. Workers share nothing.
pub struct Worker {
    handle: WorkerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a worker. `clock` says what time it is, in milliseconds since the epoch.
    pub fn spawn(name: &str, clock: impl Fn() -> i64 + Send + 'static, sink: Box<dyn EpochSink>) -> std::io::Result<Self> {
        let (commands, receiver) = sync_channel(COMMANDS);
        let (questions, asked) = sync_channel(QUESTIONS);
        let run = move || Loop::new(receiver, asked, Box::new(clock), sink).run();
        let thread = std::thread::Builder::new().name(name.into()).spawn(run)?;
        Ok(Self { handle: WorkerHandle { commands, questions, thread: thread.thread().clone() }, thread: Some(thread) })
    }

    /// What sends it commands.
    pub fn handle(&self) -> WorkerHandle {
        self.handle.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let stopped = self.handle.send(Command::Stop);
        if let (Ok(()), Some(thread)) = (stopped, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

struct Dataflow {
    index: usize,
    intake: Rc<RefCell<Intake>>,
    probe: ProbeHandle<u64>,
    stages: HashMap<usize, usize>,
    global: Option<Task>,
    global_copy: i32,
    next_punctuation: Rc<Cell<i64>>,
    dropped: Rc<Cell<u64>>,
}

impl Dataflow {
    fn push(&self, stage: usize, event: Event) {
        self.intake.borrow_mut().events.push_back((stage, event));
    }

    fn push_all(&self, event: impl Fn() -> Event) {
        (0..self.stages.len()).for_each(|stage| self.push(stage, event()));
    }

    fn activate(&self) {
        if let Some(activate) = &self.intake.borrow().activate {
            activate();
        }
    }
}

struct Shared {
    sink: Box<dyn EpochSink>,
    tasks: Vec<(DataflowId, TaskId, Progress)>,
    writes: Vec<EpochWrites>,
}

struct Loop {
    commands: Receiver<Command>,
    questions: Receiver<(DataflowId, Option<TaskId>, Question)>,
    clock: Box<dyn Fn() -> i64>,
    now: Rc<Cell<i64>>,
    worker: timely::worker::Worker,
    dataflows: BTreeMap<DataflowId, Dataflow>,
    shared: Rc<RefCell<Shared>>,
    epoch: u64,
    /// The epoch that has been closed and not been applied, and whether the sink has it.
    closing: Option<(u64, bool)>,
    close_again: bool,
}

impl Loop {
    fn new(
        commands: Receiver<Command>,
        questions: Receiver<(DataflowId, Option<TaskId>, Question)>,
        clock: Box<dyn Fn() -> i64>,
        sink: Box<dyn EpochSink>,
    ) -> Self {
        let config = WorkerConfig::default();
        // Without a clock of its own, timely never parks.
        let worker = timely::worker::Worker::new(config, Allocator::Thread(Default::default()), Some(Instant::now()));
        let shared = Rc::new(RefCell::new(Shared { sink, tasks: vec![], writes: vec![] }));
        let now = Rc::new(Cell::new(clock()));
        Self { commands, questions, clock, now, worker, dataflows: BTreeMap::new(), shared, epoch: 0, closing: None, close_again: false }
    }

    fn run(mut self) {
        loop {
            self.now.set((self.clock)());
            while let Ok((dataflow, task, question)) = self.questions.try_recv() {
                self.ask(dataflow, task, question);
            }
            for _ in 0..COMMANDS_PER_STEP {
                if self.is_closing() {
                    break;
                }
                match self.commands.try_recv() {
                    Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return self.stop(),
                    Ok(command) => self.obey(command),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let due = if self.is_closing() { Duration::ZERO } else { self.punctuate(self.now.get()) };
            self.worker.step_or_park(Some(due));
            self.hand_over();
        }
    }

    /// Whether an epoch is closed and the sink does not have it yet. What happened now would get into that epoch's outputs without being in
    /// its offsets.
    fn is_closing(&self) -> bool {
        matches!(self.closing, Some((_, false)))
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Install(id, installation) => self.install(id, *installation),
            Command::Uninstall(id) => {
                if let Some(dataflow) = self.dataflows.remove(&id) {
                    self.worker.drop_dataflow(dataflow.index);
                }
            }
            Command::AddTask(id, task) => self.tell(id, task, Event::Add(task)),
            Command::Restore { dataflow, task, store, changelog, batch } => {
                self.tell(dataflow, task, Event::Restore { task, store, changelog, batch })
            }
            Command::StartTask(id, task, progress) => self.tell(id, task, Event::Start { task, progress }),
            Command::Feed(id, task, topic, batch) => self.tell(id, task, Event::Feed { task, topic, batch }),
            Command::Behind(id, task, topic, behind) => self.tell(id, task, Event::Behind { task, topic, behind }),
            Command::Ask(id, task, question) => self.ask(id, Some(task), question),
            Command::RemoveTask(id, task) => self.tell(id, task, Event::Remove(task)),
            Command::FeedGlobal(id, topic, batch) => self.feed_global(id, &topic, batch),
            Command::Close if self.closing.is_some() => self.close_again = true,
            Command::Close => self.close(),
            Command::Applied => {
                self.closing = None;
                for dataflow in self.dataflows.values() {
                    dataflow.push_all(|| Event::Applied);
                    dataflow.activate();
                }
                if std::mem::take(&mut self.close_again) {
                    self.close();
                }
            }
            Command::Stop => {}
        }
    }

    fn tell(&mut self, id: DataflowId, task: TaskId, event: Event) {
        let Some(dataflow) = self.dataflows.get(&id) else { return };
        match dataflow.stages.get(&task.subtopology) {
            Some(&stage) => dataflow.push(stage, event),
            None => {
                let error = Error::new(
                    ErrorKind::IllegalArgument,
                    format!("there is no sub-topology {}: the topology has fewer", task.subtopology),
                );
                self.shared.borrow_mut().sink.failed(id, Some(task), error);
            }
        }
        dataflow.activate();
    }

    fn ask(&mut self, id: DataflowId, task: Option<TaskId>, question: Question) {
        let dataflow = self.dataflows.get(&id);
        let stage = dataflow.and_then(|dataflow| dataflow.stages.get(&task?.subtopology));
        match (dataflow, task, stage) {
            (Some(dataflow), Some(task), Some(&stage)) => {
                dataflow.push(stage, Event::Ask(task, question));
                dataflow.activate();
            }
            (Some(dataflow), None, _) => question(dataflow.global.as_ref()),
            _ => question(None),
        }
    }

    fn install(&mut self, id: DataflowId, installation: Installation) {
        let Installation { topology, config, rocks, global_copy } = installation;
        let mut env = TaskEnv { config, rocks, global_stores: StoreSet::default(), wall_clock: self.now.get(), global_copy };
        let global = match Task::new_global(&topology, &env).and_then(|mut global| {
            global.as_mut().map_or(Ok(()), Task::init)?;
            Ok(global)
        }) {
            Ok(global) => global,
            Err(error) => return self.shared.borrow_mut().sink.failed(id, None, error),
        };
        if let Some(global) = &global {
            env.global_stores = global.stores().clone();
        }
        let (next_punctuation, dropped) = (Rc::new(Cell::new(i64::MAX)), Rc::new(Cell::new(0)));
        let parts: Vec<_> = topology.subtopologies().into_iter().filter(|part| !part.is_global).collect();
        let stages = parts.iter().enumerate().map(|(stage, part)| (part.id, stage)).collect();
        let make = |part| Stage {
            topology: topology.clone(),
            part,
            env: env.clone(),
            tasks: BTreeMap::new(),
            running: BTreeSet::new(),
            now: self.now.clone(),
            next_punctuation: next_punctuation.clone(),
            dropped: dropped.clone(),
        };
        let made = parts.into_iter().map(make).collect();
        let intake = Rc::new(RefCell::new(Intake { epoch: self.epoch, ..Intake::default() }));
        let shared = self.shared.clone();
        let emitted = Rc::new(move |emission| {
            let mut shared = shared.borrow_mut();
            match emission {
                Emission::Outputs(task, outputs) => shared.sink.outputs(id, task, outputs),
                Emission::Failed(task, error) => shared.sink.failed(id, Some(task), error),
                Emission::Worked { commit_requested } => shared.sink.worked(id, commit_requested),
                Emission::Consumed { task, topic, offset } => shared.sink.consumed(id, task, topic, offset),
                Emission::Flushed { task, progress, writes } => {
                    shared.tasks.push((id, task, progress));
                    shared.writes.extend(writes);
                }
            }
        });
        let index = self.worker.next_dataflow_index();
        let probe = build(&mut self.worker, &format!("dataflow {id}"), intake.clone(), made, emitted);
        self.dataflows.insert(id, Dataflow { index, intake, probe, stages, global, global_copy, next_punctuation, dropped });
    }

    fn feed_global(&mut self, id: DataflowId, topic: &str, batch: Box<dyn Batch>) {
        let Some(Dataflow { global: Some(global), global_copy, .. }) = self.dataflows.get_mut(&id) else { return };
        let place = (global_offset_name(topic, *global_copy), batch.partition(), batch.next_offset());
        let mut outcome = Ok(());
        batch.unpack(&mut |offset, record| {
            if outcome.is_ok() {
                outcome = global.push(topic, offset, record);
            }
        });
        let outcome = outcome.and_then(|()| {
            while global.process()? {}
            global.flush()?;
            // A global store is not part of any epoch: it has what its topic has.
            for rocks in global.stores().iter().filter_map(|store| store.rocks()) {
                rocks.commit(vec![place.clone()])?;
            }
            Ok(())
        });
        if let Err(error) = outcome {
            self.shared.borrow_mut().sink.failed(id, None, error);
        }
    }

    /// Takes no more input into the open epoch: flushes every task in it, then lets go of its capabilities.
    fn close(&mut self) {
        self.closing = Some((self.epoch, false));
        self.epoch += 1;
        for dataflow in self.dataflows.values() {
            dataflow.push_all(|| Event::Flush);
            // The source sends what waits before it moves to the next epoch.
            dataflow.intake.borrow_mut().epoch = self.epoch;
            dataflow.activate();
        }
    }

    /// Hands a closed epoch over once every probe has passed it.
    fn hand_over(&mut self) {
        let Some((number, false)) = self.closing else { return };
        if self.dataflows.values().any(|dataflow| dataflow.probe.less_equal(&number)) {
            return;
        }
        self.closing = Some((number, true));
        let dropped = self.dataflows.values().map(|dataflow| dataflow.dropped.take()).sum();
        let shared = &mut *self.shared.borrow_mut();
        let (tasks, writes) = (std::mem::take(&mut shared.tasks), std::mem::take(&mut shared.writes));
        shared.sink.closed(ClosedEpoch { number, tasks, writes, dropped });
    }

    /// Wakes the punctuators that are due; says how long nothing is.
    fn punctuate(&mut self, now: i64) -> Duration {
        let mut next = i64::MAX;
        for dataflow in self.dataflows.values() {
            if dataflow.next_punctuation.get() <= now {
                dataflow.next_punctuation.set(i64::MAX);
                dataflow.push_all(|| Event::WallClock);
                dataflow.activate();
                // Only the stages know when they are due next: look again after this step.
                next = now;
            }
            next = next.min(dataflow.next_punctuation.get());
        }
        Duration::from_millis(next.saturating_sub(now).max(0).unsigned_abs()).min(LONGEST_PARK)
    }

    fn stop(mut self) {
        // A panic of a node's `close` must not reach the thread's end before the other dataflows are dropped.
        for dataflow in std::mem::take(&mut self.dataflows).into_values() {
            let _ = catch_unwind(AssertUnwindSafe(|| self.worker.drop_dataflow(dataflow.index)));
        }
    }
}
