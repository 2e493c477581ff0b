//! How tasks run on timely dataflow: one naked single-threaded worker per OS thread, any number of dataflows on each.
//!
//! A dataflow is `source → stages → sink`, and a probe behind it. A timely timestamp is an epoch: it counts commits. Partitions are data:
//! a task comes and goes as an event on its stage's input, and no dataflow is rebuilt for it.

mod build;
mod event;
mod stage;
mod worker;

pub use event::{Batch, ClosedEpoch, EpochSink, Progress, Question};
pub use worker::{Command, DataflowId, Installation, Worker, WorkerHandle, WorkerStopped, global_offset_name};
