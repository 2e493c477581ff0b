//! What a task lends to its nodes while a record passes through them.

use std::{cell::Cell, collections::HashMap, rc::Rc, sync::Arc};

use bytes::Bytes;

use crate::{
    error::{Error, ErrorKind},
    record::{Header, Headers, RawRecord},
};

/// Where an output goes inside its topic.
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
#[derive(Clone, Debug)]
pub struct RecordContext {
    /// Where it came from.
    pub metadata: RecordMetadata,
    /// Its timestamp.
    pub timestamp: i64,
    /// Its headers.
    pub headers: Headers,
    /// Its key and value as they were read: what a dead-letter topic gets.
    pub raw: (Option<Bytes>, Option<Bytes>),
}

impl RecordContext {
    /// The context of a punctuator.
    pub fn none(timestamp: i64) -> Self {
        let metadata = RecordMetadata { topic: None, partition: -1, offset: -1 };
        Self { metadata, timestamp, headers: Headers::empty(), raw: (None, None) }
    }
}

/// What happens to a record that cannot be read or processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The task fails.
    #[default]
    Fail,
    /// The record is dropped and counted, and processing goes on.
    Continue,
}

/// What a task is told of the application.
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
    /// Where records go that could not be read or processed.
    pub dead_letter_topic: Option<Arc<str>>,
    /// The least wall-clock time between two emissions of windows that closed (`__emit.interval.ms.*`).
    pub emit_interval_ms: i64,
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
            partitions: Arc::default(),
        }
    }
}

impl TaskConfig {
    /// The full name of a topic of the application's own.
    pub fn internal_topic(&self, topic: &str) -> Arc<str> {
        format!("{}-{topic}", self.application_id).into()
    }
}

/// A task's number: a sub-topology and a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// The sub-topology.
    pub subtopology: usize,
    /// The partition.
    pub partition: i32,
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}

/// What drives a punctuator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PunctuationType {
    /// The timestamps of the task's records.
    StreamTime,
    /// The clock.
    WallClockTime,
}

/// Stops a punctuator, also from inside it.
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
pub struct TaskContext {
    /// The configuration.
    pub config: TaskConfig,
    /// The task.
    pub task: TaskId,
    /// The record in process.
    pub record: RecordContext,
    pub(crate) stream_time: i64,
    pub(crate) wall_clock: i64,
    pub(crate) outputs: Vec<Output>,
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
            outputs: vec![],
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
    pub fn drop_record(&mut self) {
        self.dropped += 1;
    }

    /// Asks for a commit soon.
    pub fn commit(&mut self) {
        self.commit_requested = true;
    }

    /// Writes a record to a topic.
    pub fn send(&mut self, output: Output) {
        self.outputs.push(output);
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

    /// Sends the source record in process to the dead-letter topic, if there is one.
    pub(crate) fn dead_letter(&mut self, error: &Error) {
        let Some(topic) = self.config.dead_letter_topic.clone() else { return };
        let text = |text: String| Some(Bytes::from(text));
        let metadata = &self.record.metadata;
        let mut headers = self.record.headers.to_vec();
        let about = [
            ("exception", text(format!("{:?}", error.kind()))),
            ("message", text(error.to_string())),
            ("stacktrace", text(error.to_string())),
            ("topic", metadata.topic.as_ref().map(|t| Bytes::copy_from_slice(t.as_bytes()))),
            ("partition", text(metadata.partition.to_string())),
            ("offset", text(metadata.offset.to_string())),
        ];
        headers.extend(about.into_iter().map(|(name, value)| Header { name: format!("__streams.errors.{name}").into(), value }));
        let (key, value) = self.record.raw.clone();
        let record = RawRecord { key, value, timestamp: self.record.timestamp, headers: headers.into() };
        self.send(Output { topic, target: Target::Key, record });
    }
}
