//! The control plane of Millstream: models, servers and pipelines, and which replica runs which lane.
//!
//! | file | what |
//! | --- | --- |
//! | [`Options`], [`Scheduler`], [`Handle`], [`Error`] | how it is started and stopped |
//! | `state/` | the whole control plane as a state machine without I/O |
//! | `place` | consistent hashing with bounded load |
//! | `fleet` | engines and gateways, and the hand-over of lanes |
//! | `members` | subscribers that speak Seldon's protocols, and their answers |
//! | `model/`, `server` | versions of models, and where they run |
//! | `pipeline/` | references, validation, state of a pipeline version |
//! | `journal` | the state topic |
//! | `control`, `client`, `registry` | the task that owns the state, how it is asked, and the open streams |
//! | `rpc/` | the gRPC services |
#![deny(missing_docs)]

mod client;
mod control;
mod error;
mod fleet;
mod journal;
mod members;
mod model;
mod name;
mod options;
mod pipeline;
mod place;
mod refusal;
mod registry;
mod rpc;
mod server;
mod service;
mod state;
mod time;
mod topics;
mod uid;

pub use error::Error;
pub use options::Options;
pub use service::{Handle, Scheduler};
