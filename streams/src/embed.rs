//! What it takes to run topologies under another owner than a consumer group: a scheduler that assigns partitions, for example.
//!
//! [`Plan`] says which topics a topology needs and creates those of its own; a [`Worker`] runs it; [`restore`] fills a task's stores
//! before it starts; [`Fetched`] carries a broker's batches to it; an [`EpochSink`] takes what comes out.

pub use millstream_topology::{
    Output, Target, TaskConfig, TaskId,
    dataflow::{ClosedEpoch, Command, DataflowId, EpochSink, Installation, Progress, Worker, WorkerHandle},
};

pub use crate::runtime::{Fetched, Plan, restore};
