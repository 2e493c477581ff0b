//! What is to be done after a step, in this order: first everything persistent, then the rest.

use std::sync::Arc;

use millstream_proto::{
    lanes::{Assignment, Role},
    seldon::{
        agent::ModelOperationMessage,
        chainer::PipelineUpdateMessage,
        scheduler::{ModelStatusResponse, PipelineStatusResponse},
    },
};

use crate::model::version::Place;

/// An effect of a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Write to the state topic; without a value: a tombstone.
    Persist {
        key: String,
        value: Option<Vec<u8>>,
    },
    ModelChanged(String),
    ServerChanged(String),
    PipelineChanged(Arc<str>),
    /// Tell an agent.
    Agent {
        place: Place,
        message: Box<ModelOperationMessage>,
    },
    /// A replica's models run elsewhere, or cannot.
    Drained {
        place: Place,
        success: bool,
    },
    /// Tell an engine or pipeline gateway.
    Assign {
        role: Role,
        name: Arc<str>,
        assignment: Assignment,
    },
    /// Tell a model gateway.
    ModelGateway {
        name: String,
        message: Box<ModelStatusResponse>,
    },
    /// Tell a pipeline gateway of Seldon's.
    PipelineGateway {
        name: String,
        message: Box<PipelineStatusResponse>,
    },
    /// Tell an engine of Seldon's.
    Chainer {
        name: String,
        message: Box<PipelineUpdateMessage>,
    },
    DeleteTopics(Vec<String>),
}
