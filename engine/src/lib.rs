//! The dataflow engine: pipelines compiled to topologies of the library, and the replica that runs their lanes.
//!
//! | file | what |
//! | --- | --- |
//! | `compile` | from a pipeline to a topology |
//! | `message` | tensors: select, rename, join, convert |
//! | `engine` | the control side: lanes from the scheduler |
//! | `replica` | the data side: one consumer, one producer, one worker |
//! | `progress` | committed offsets of lanes, and fencing |
//! | `sink` | from a worker's outputs to records |
//! | `manifest`, `pipeline` | Seldon Core 2's YAML, and pipelines in Rust |
//! | `topics` | names |
#![deny(missing_docs)]

mod compile;
mod engine;
mod error;
pub mod manifest;
mod message;
mod options;
pub mod pipeline;
mod progress;
mod replica;
mod sink;
mod topics;

pub use compile::{Compiled, compile};
pub use engine::{Engine, EngineHandle};
pub use error::EngineError;
pub use options::EngineOptions;
pub use topics::Topics;
