//! The execution core: topologies, tasks, state stores, and how they run on timely dataflow.
//!
//! | file | what |
//! | --- | --- |
//! | `data`, `serde`, `windowed`, `record` | keys and values, their nulls and their bytes; keys in windows; records inside a task |
//! | `graph` | the logical topology, its sub-topologies, and its description as text |
//! | `node`, `queue`, `sink` | nodes at run time: from a topic's bytes through typed nodes to a topic's bytes |
//! | `task`, `context` | a sub-topology at one partition, and what it lends to its nodes |
//! | `handler`, `wrapper` | what happens to records that fail; what goes around every processor |
//! | `store` | state stores |
//! | `dataflow` | how tasks run on timely dataflow |
#![deny(missing_docs)]

mod compatibility;
mod context;
mod data;
pub mod dataflow;
mod error;
mod graph;
mod handler;
mod name;
mod node;
mod queue;
mod record;
mod serde;
mod sink;
pub mod store;
mod task;
mod windowed;
mod wrapper;

pub use compatibility::Compatibility;
pub use context::{Cancellable, Output, PunctuationType, RecordContext, RecordMetadata, Target, TaskConfig, TaskContext, TaskId};
pub use data::Data;
pub use error::{Error, ErrorKind};
pub use graph::{InternalTopic, OffsetReset, Subtopology, TopicPattern, Topology, hash_order_with_capacity};
pub use handler::{ErrorHandler, Failure, OnError, Response};
pub use name::check as check_name;
pub use node::{AnyNode, Assembly, Children, Node, NodeMaker, SourceMaker};
pub use queue::{InvalidTimestamp, SourceDef, SourceQueue, TimestampExtractor};
pub use record::{Change, Header, Headers, RawRecord, Record, ValueAndTimestamp, ValueTimestampHeaders};
pub use serde::{DefaultSerde, Serde, SerdeError, SerdeRef};
pub use sink::{PartitionKey, SinkDef, SinkTopic, StreamPartitioner, TopicNameExtractor};
pub use task::{Task, TaskEnv};
pub use windowed::{SessionWindowedSerde, TimeWindowedSerde, Window, Windowed};
pub use wrapper::{Around, ProcessorWrapper, Wrapped};
