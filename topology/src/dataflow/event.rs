//! What travels through a dataflow, and what comes out of it.

use std::{collections::HashMap, sync::Arc};

use super::DataflowId;
use crate::{
    context::{Output, TaskId},
    error::Error,
    record::RawRecord,
    store::bytes::EpochWrites,
    task::Task,
};

/// Records of one topic-partition on their way from the thread that reads them to the worker.
pub trait Batch: Send {
    /// The partition that they come from.
    fn partition(&self) -> i32;
    /// The offset after the last of them: where a commit of all of them continues.
    fn next_offset(&self) -> i64;
    /// Hands out the records with their offsets, in order. Called on the worker's thread.
    fn unpack(self: Box<Self>, each: &mut dyn FnMut(i64, RawRecord));
}

/// A question to a task that runs here, asked between two records; `None`: there is no such task.
pub type Question = Box<dyn FnOnce(Option<&Task>) + Send>;

/// What a stage is told, in order.
pub(super) enum Event {
    Add(TaskId),
    Restore { task: TaskId, store: Arc<str>, changelog: Arc<str>, batch: Box<dyn Batch> },
    Start { task: TaskId, progress: Progress },
    Feed { task: TaskId, topic: Arc<str>, batch: Box<dyn Batch> },
    Behind { task: TaskId, topic: Arc<str>, behind: bool },
    Ask(TaskId, Question),
    Remove(TaskId),
    WallClock,
    Flush,
    Applied,
}

/// What a task knows beside its stores, and continues with after a restart.
///
/// ```
/// use millstream_topology::dataflow::Progress;
/// assert!(Progress::default().partition_times.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The highest timestamp of each topic that the task reads.
    pub partition_times: HashMap<Arc<str>, i64>,
    /// What windowed operators remember, by node.
    pub processor_metadata: HashMap<Arc<str>, i64>,
    /// The offset of each topic from which processing continues, where anything has been read.
    pub offsets: HashMap<Arc<str>, i64>,
}

/// What a stage puts out.
pub(super) enum Emission {
    Outputs(TaskId, Vec<Output>),
    Flushed {
        task: TaskId,
        progress: Progress,
        writes: Vec<EpochWrites>,
    },
    /// User code asks for a commit, or a punctuator has run: there is something to commit without any input.
    Worked {
        commit_requested: bool,
    },
    Consumed {
        task: TaskId,
        topic: Arc<str>,
        offset: i64,
    },
    Failed(TaskId, Error),
}

/// An epoch of a worker that is complete: what commits atomically or not at all.
///
/// **Law.** When the probes of all the worker's dataflows have passed epoch *e*, every effect of every record of *e* is here or was
/// handed to [`EpochSink::outputs`] before, and nothing else is.
pub struct ClosedEpoch {
    /// Its number.
    pub number: u64,
    /// The tasks that took part, with what they continue with after a restart.
    pub tasks: Vec<(DataflowId, TaskId, Progress)>,
    /// The state that is to be written once the commit is acknowledged.
    pub writes: Vec<EpochWrites>,
    /// How many records were dropped since the last epoch.
    pub dropped: u64,
}

/// Takes what a worker puts out. Called on the worker's thread: it must not block.
pub trait EpochSink: Send {
    /// Outputs of the open epoch, as soon as they are known, in order per dataflow.
    fn outputs(&mut self, dataflow: DataflowId, task: TaskId, outputs: Vec<Output>);
    /// An epoch is complete. The next one can close after [`Command::Applied`](super::Command::Applied).
    fn closed(&mut self, epoch: ClosedEpoch);
    /// A task failed and is gone; its epoch must not be committed.
    fn failed(&mut self, dataflow: DataflowId, task: Option<TaskId>, error: Error);
    /// A task has done something without input, or asks for a commit soon.
    fn worked(&mut self, _dataflow: DataflowId, _commit_requested: bool) {}
    /// A task that reads several topics has processed this one up to here: what back-pressure looks at.
    fn consumed(&mut self, _dataflow: DataflowId, _task: TaskId, _topic: Arc<str>, _offset: i64) {}
}
