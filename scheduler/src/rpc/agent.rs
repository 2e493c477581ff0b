//! Agents: the replicas of model servers.

use millstream_proto::seldon::agent::{
    AgentDrainRequest, AgentDrainResponse, AgentSubscribeRequest, ModelEventMessage, ModelEventResponse, ModelOperationMessage,
    ModelScalingTriggerMessage, ModelScalingTriggerResponse, agent_service_server::AgentService,
};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use crate::{
    client::{Answers, stopping},
    state::input::Input,
};

#[tonic::async_trait]
impl AgentService for Services {
    type SubscribeStream = Answers<ModelOperationMessage>;

    async fn agent_event(&self, request: Request<ModelEventMessage>) -> Result<Response<ModelEventResponse>, Status> {
        self.client.step(Input::AgentEvent(request.into_inner())).await?;
        Ok(Response::new(ModelEventResponse {}))
    }

    async fn subscribe(&self, request: Request<AgentSubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        if request.server_name.is_empty() {
            return Err(Status::invalid_argument("serverName is empty: an agent says which server it is a replica of"));
        }
        let (place, session) = ((request.server_name.clone(), request.replica_idx), self.client.session());
        let left = Input::AgentLeft { place: place.clone(), session };
        let stream = self.client.stream(
            move |registry, _, out| {
                registry.agents.open(place, out);
                Some(Input::AgentJoined { session, request })
            },
            Some(left),
        );
        Ok(Response::new(stream.await?))
    }

    /// Models do not scale by themselves: triggers are taken and have no effect, as in Seldon.
    async fn model_scaling_trigger(
        &self,
        request: Request<Streaming<ModelScalingTriggerMessage>>,
    ) -> Result<Response<ModelScalingTriggerResponse>, Status> {
        let mut triggers = request.into_inner();
        while let Some(trigger) = triggers.message().await? {
            tracing::debug!(model = trigger.model_name, server = trigger.server_name, "scaling trigger without effect");
        }
        Ok(Response::new(ModelScalingTriggerResponse {}))
    }

    async fn agent_drain(&self, request: Request<AgentDrainRequest>) -> Result<Response<AgentDrainResponse>, Status> {
        let AgentDrainRequest { server_name, replica_idx } = request.into_inner();
        let place = (server_name, replica_idx);
        let (done, drained) = oneshot::channel();
        let waiting = place.clone();
        self.client
            .join(move |registry, _| {
                registry.drains.entry(waiting).or_default().push(done);
                None
            })
            .await?;
        self.client.step(Input::AgentDrain(place)).await?;
        let success = drained.await.map_err(|_| stopping())?;
        Ok(Response::new(AgentDrainResponse { success }))
    }
}
