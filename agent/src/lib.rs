//! A model-server replica of Millstream: it registers with the scheduler, loads the models that it is told to, and answers the
//! Open Inference Protocol, with an embedded ONNX runtime or through a neighbouring server (MLServer).
#![deny(missing_docs)]

mod agent;
mod control;
mod error;
mod executor;
mod neighbour;
mod onnx;
mod options;
mod server;
mod service;
mod source;
mod tensor;

pub use agent::{Agent, Handle};
pub use error::{AgentError, InferError, LoadError};
pub use options::{Backend, NeighbourOptions, Options};
pub use server::ModelServer;
