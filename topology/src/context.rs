//! What a task lends to its nodes while a record passes through them.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    compatibility::Compatibility,
    error::{Error, ErrorKind},
    handler::OnError,
    record::{Headers, RawRecord},
};

/// How many outputs are handed over at once.
const OUTPUT_RUN: usize = 512;

/// Where an output goes inside its topic.
///
/// ```
/// # use millstream_topology::*;
/// assert_ne!(Target::Key, Target::Partition(0));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the partition of the key's hash; a null key goes anywhere.
    Key,
    /// To the partition of these bytes' hash: a windowed record goes where its key without the window goes.
    Hash(Bytes),
    /// To this partition.
    Partition(i32),
}

/// A record that a task wrote to a topic.
///
/// ```
/// # use millstream_topology::*;
/// let output = Output { topic: "dead".into(), target: Target::Key, record: RawRecord::default() };
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub target: Target,
    /// The record.
    pub record: RawRecord,
}

/// Where the record that is being processed came from.
///
/// ```
/// # use millstream_topology::*;
/// let from = RecordMetadata { topic: Some("orders".into()), partition: 0, offset: 7 };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its topic; `None` inside a punctuator.
    pub topic: Option<Arc<str>>,
    /// Its partition; −1 inside a punctuator.
    pub partition: i32,
    /// Its offset; −1 inside a punctuator.
    pub offset: i64,
}

/// Everything that a later flush must know of the record that wrote an entry.
///
/// ```
/// # use millstream_topology::*;
/// assert_eq!(RecordContext::none(1_000).metadata.topic, None);
/// ```
#[derive(Clone, Debug)]
pub struct RecordContext {
    /// Where it came from.
    pub metadata: RecordMetadata,
    /// Its timestamp.
    pub timestamp: i64,
    /// Its headers.
    pub headers: Headers,
    /// Its key and value as they were read, if a dead-letter topic or a handler could get them.
    pub raw: Option<Rc<(Option<Bytes>, Option<Bytes>)>>,
}

impl RecordContext {
    /// The context of a punctuator.
    pub fn none(timestamp: i64) -> Self {
        let metadata = RecordMetadata { topic: None, partition: -1, offset: -1 };
        Self { metadata, timestamp, headers: Headers::empty(), raw: None }
    }
}

/// What a task is told of the application.
///
/// ```
/// # use millstream_topology::*;
/// let config = TaskConfig { cache_max_bytes: 0, dead_letter_topic: Some("dead".into()), ..TaskConfig::new("my-application") };
/// assert_eq!(&*config.internal_topic("by-key-repartition"), "my-application-by-key-repartition");
/// ```
#[derive(Clone, Debug)]
pub struct TaskConfig {
    /// The application's id: the prefix of its internal topics.
    pub application_id: Arc<str>,
    /// The record cache's size in bytes for all stores of a task; zero turns it off.
    pub cache_max_bytes: usize,
    /// A source record that cannot be read.
    pub on_deserialization_error: OnError,
    /// A record at whose processing user code fails.
    pub on_processing_error: OnError,
    /// Where records go that could not be read or processed; handlers in code name topics themselves.
    pub dead_letter_topic: Option<Arc<str>>,
    /// The least wall-clock time between two emissions of windows that closed (`__emit.interval.ms.*`).
    pub emit_interval_ms: i64,
    /// Whether results that Kafka Streams loses or doubles are lost and doubled, too.
    pub compatibility: Compatibility,
    /// How many partitions the topics have that sinks write to; absent: one.
    pub partitions: Arc<HashMap<Arc<str>, i32>>,
}

impl TaskConfig {
    /// The defaults of Kafka Streams.
    pub fn new(application_id: impl Into<Arc<str>>) -> Self {
        Self {
            application_id: application_id.into(),
            cache_max_bytes: 10 * 1024 * 1024,
            on_deserialization_error: OnError::Fail,
            on_processing_error: OnError::Fail,
            dead_letter_topic: None,
            emit_interval_ms: 1_000,
            compatibility: Compatibility::default(),
            partitions: Arc::default(),
        }
    }
}

impl TaskConfig {
    /// Whether somebody could want to see a source record's bytes after it was read.
    pub(crate) fn keeps_raw(&self) -> bool {
        self.dead_letter_topic.is_some() || matches!(self.on_processing_error, OnError::Ask(_))
    }

    /// The full name of a topic of the application's own.
    pub fn internal_topic(&self, topic: &str) -> Arc<str> {
        format!("{}-{topic}", self.application_id).into()
    }
}

/// A task's number: a sub-topology and a partition.
///
/// ```
/// # use millstream_topology::*;
/// assert_eq!(TaskId { subtopology: 1, partition: 3 }.to_string(), "1_3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// The sub-topology.
    pub subtopology: usize,
    /// The partition.
    pub partition: i32,
}

impl TaskId {
    /// The task that keeps the global stores.
    pub(crate) const GLOBAL: Self = Self { subtopology: usize::MAX, partition: -1 };

    pub(crate) fn is_global(self) -> bool {
        self == Self::GLOBAL
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}

/// What drives a punctuator.
///
/// ```
/// # use millstream_topology::*;
/// assert_ne!(PunctuationType::StreamTime, PunctuationType::WallClockTime);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PunctuationType {
    /// The timestamps of the task's records.
    StreamTime,
    /// The clock.
    WallClockTime,
}

/// Stops a punctuator, also from inside it.
///
/// ```
/// use millstream_topology::{Cancellable, Error, PunctuationType, TaskContext};
///
/// fn every_minute(context: &mut TaskContext) -> Result<Cancellable, Error> {
///     context.schedule(60_000, PunctuationType::WallClockTime, |context, _now| {
///         context.commit();
///         Ok(())
///     })
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Cancellable(Rc<Cell<bool>>);

impl Cancellable {
    /// No further calls.
    pub fn cancel(&self) {
        self.0.set(true);
    }
}

pub(crate) type Punctuate = Box<dyn FnMut(&mut TaskContext, i64) -> Result<(), Error>>;

pub(crate) struct Schedule {
    pub kind: PunctuationType,
    pub interval: i64,
    pub next: i64,
    pub cancelled: Rc<Cell<bool>>,
    pub node: Arc<str>,
    pub callback: Option<Punctuate>,
}

/// What a task lends to its nodes.
///
/// **Law.** It belongs to one task and is lent to one node at a time: a node that forwards lends it on.
///
/// ```
/// use millstream_topology::{Error, TaskContext};
///
/// fn note(context: &mut TaskContext) -> Result<(), Error> {
///     println!("task {} at stream time {}, wall clock {}", context.task, context.stream_time(), context.wall_clock());
///     context.commit();
///     Ok(())
/// }
/// ```
pub struct TaskContext {
    /// The configuration.
    pub config: TaskConfig,
    /// The task.
    pub task: TaskId,
    /// The record in process.
    pub record: RecordContext,
    pub(crate) stream_time: i64,
    pub(crate) wall_clock: i64,
    /// In runs of bounded length: one that grows with a flush would be moved again and again.
    pub(crate) outputs: VecDeque<Vec<Output>>,
    pub(crate) dropped: u64,
    pub(crate) commit_requested: bool,
    pub(crate) schedules: Vec<Schedule>,
    pub(crate) node: Arc<str>,
    /// What windowed operators remember across restarts, by node: committed with the offsets.
    pub(crate) processor_metadata: HashMap<Arc<str>, i64>,
}

impl TaskContext {
    pub(crate) fn new(config: TaskConfig, task: TaskId, wall_clock: i64) -> Self {
        Self {
            config,
            task,
            record: RecordContext::none(-1),
            stream_time: -1,
            wall_clock,
            outputs: VecDeque::new(),
            dropped: 0,
            commit_requested: false,
            schedules: vec![],
            node: "".into(),
            processor_metadata: HashMap::new(),
        }
    }

    /// The highest timestamp that this task has seen; −1 before the first record.
    pub fn stream_time(&self) -> i64 {
        self.stream_time
    }

    /// The clock, in milliseconds since the epoch, as the task's owner last told it.
    pub fn wall_clock(&self) -> i64 {
        self.wall_clock
    }

    /// Counts a record that was dropped (`dropped-records-total`).
    #[inline]
    pub fn drop_record(&mut self) {
        self.dropped += 1;
    }

    /// Asks for a commit soon.
    pub fn commit(&mut self) {
        self.commit_requested = true;
    }

    /// Writes a record to a topic.
    #[inline]
    pub fn send(&mut self, output: Output) {
        match self.outputs.back_mut() {
            Some(run) if run.len() < OUTPUT_RUN => run.push(output),
            _ => self.outputs.push_back(vec![output]),
        }
    }

    /// How many partitions a topic has.
    pub fn partitions(&self, topic: &str) -> i32 {
        self.config.partitions.get(topic).copied().unwrap_or(1)
    }

    /// What the node remembered under its name before the last commit.
    pub fn processor_metadata(&self, node: &str) -> Option<i64> {
        self.processor_metadata.get(node).copied()
    }

    /// Remembers a number under the node's name; it is committed with the offsets.
    pub fn set_processor_metadata(&mut self, node: &Arc<str>, value: i64) {
        self.processor_metadata.insert(node.clone(), value);
    }

    /// Calls `callback` every `interval` milliseconds with the time that it is then.
    pub fn schedule(
        &mut self,
        interval: i64,
        kind: PunctuationType,
        callback: impl FnMut(&mut Self, i64) -> Result<(), Error> + 'static,
    ) -> Result<Cancellable, Error> {
        if interval < 1 {
            return Err(Error::new(ErrorKind::IllegalArgument, format!("punctuation interval {interval} ms: it is at least 1 ms")));
        }
        let cancelled = Rc::new(Cell::new(false));
        let next = match kind {
            PunctuationType::StreamTime => 0,
            PunctuationType::WallClockTime => self.wall_clock + interval,
        };
        let (cancelled_too, node) = (cancelled.clone(), self.node.clone());
        self.schedules.push(Schedule { kind, interval, next, cancelled: cancelled_too, node, callback: Some(Box::new(callback)) });
        Ok(Cancellable(cancelled))
    }
}
