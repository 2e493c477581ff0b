//! What can happen to the control plane.

use std::collections::BTreeMap;

use millstream_proto::{
    lanes::Role,
    seldon::{
        agent::{AgentSubscribeRequest, ModelEventMessage},
        chainer::PipelineUpdateStatusMessage,
        scheduler::{Model, ModelReference, ModelUpdateStatusMessage, Pipeline, ServerNotifyRequest},
    },
};

use crate::model::version::Place;

/// Sessions tell a stream from an older one of the same name.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    LoadModel(Model),
    UnloadModel(ModelReference),
    /// `uid` is new, and used if this becomes a new version.
    LoadPipeline {
        pipeline: Pipeline,
        uid: String,
    },
    UnloadPipeline(String),
    ServerNotify(ServerNotifyRequest),
    AgentJoined {
        session: u64,
        request: AgentSubscribeRequest,
    },
    AgentLeft {
        place: Place,
        session: u64,
    },
    AgentEvent(ModelEventMessage),
    AgentDrain(Place),
    ReplicaJoined {
        role: Role,
        name: String,
        session: u64,
        transactional_ids: Vec<String>,
    },
    ReplicaLeft {
        role: Role,
        name: String,
        session: u64,
    },
    Applied {
        role: Role,
        name: String,
        generation: u64,
        failures: BTreeMap<String, String>,
    },
    MemberJoined {
        kind: MemberKind,
        name: String,
        session: u64,
    },
    MemberLeft {
        kind: MemberKind,
        name: String,
        session: u64,
    },
    ModelGatewayAnswered(ModelUpdateStatusMessage),
    PipelineGatewayAnswered(PipelineUpdateStatusMessage),
    EngineAnswered(PipelineUpdateStatusMessage),
}

/// Subscribers that answer operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MemberKind {
    ModelGateway,
    PipelineGateway,
    Chainer,
}
