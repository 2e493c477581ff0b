//! Pipeline gateway and model gateway of Millstream.
//!
//! | file | what |
//! | --- | --- |
//! | [`codec`] | JSON ↔ protobuf of the Open Inference Protocol, without loss |
//! | [`pipeline`] | REST and gRPC in front of the pipelines' topics |
//! | [`model`] | a model's input topic → an inference server → its output topic |
//! | [`inference`] | [`InferenceServer`]: in another process, or in this one |
//! | `target` | what a request is for |
//! | `headers` | headers: from a client to a record and back |
//! | `request_id` | request ids, and the keys of records |
//! | `topics` | the names of topics |
//! | `failure` | gRPC code and HTTP status of what goes wrong |
//! | `routes` | model servers where the scheduler says that they are |
//! | `link` | subscriptions to the scheduler |
//! | [`error`] | why a gateway does not start |
#![deny(missing_docs)]

pub mod codec;
pub mod error;
mod failure;
mod headers;
pub mod inference;
mod link;
pub mod model;
pub mod pipeline;
mod request_id;
mod routes;
mod target;
mod topics;

pub use codec::CodecError;
pub use error::Error;
pub use inference::{InProcess, InferenceServer, Remote};
pub use model::{ModelGateway, ModelGatewayHandle, ModelGatewayOptions};
pub use pipeline::{PipelineGateway, PipelineGatewayHandle, PipelineGatewayOptions};
