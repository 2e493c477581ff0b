//! What travels through a dataflow, and what comes out of it.

use std::{collections::HashMap, sync::Arc};

use super::DataflowId;
use crate::{
    context::{Output, TaskId},
    error::Error,
    record::RawRecord,
    store::bytes::EpochWrites,
};

/// Records of one topic-partition on their way from the thread that reads them to the worker.
pub trait Batch: Send {
    /// Hands out the records with their offsets, in order. Called on the worker's thread.
    fn unpack(self: Box<Self>, each: &mut dyn FnMut(i64, RawRecord));
}

/// What a stage is told, in order.
pub(super) enum Event {
    Add(TaskId),
    Restore { task: TaskId, store: Arc<str>, batch: Box<dyn Batch> },
    Start { task: TaskId, progress: Progress },
    Feed { task: TaskId, topic: Arc<str>, batch: Box<dyn Batch> },
    Remove(TaskId),
    WallClock(i64),
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
}

/// What a stage puts out.
pub(super) enum Emission {
    Outputs(TaskId, Vec<Output>),
    Flushed { task: TaskId, progress: Progress, writes: Vec<EpochWrites> },
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
}
