//! Dataflow engines that speak Seldon's protocol.

use millstream_proto::seldon::chainer::{
    PipelineSubscriptionRequest, PipelineUpdateMessage, PipelineUpdateStatusMessage, PipelineUpdateStatusResponse, chainer_server::Chainer,
};
use tonic::{Request, Response, Status};

use super::Services;
use crate::{
    client::Answers,
    state::input::{Input, MemberKind},
};

#[tonic::async_trait]
impl Chainer for Services {
    type SubscribePipelineUpdatesStream = Answers<PipelineUpdateMessage>;

    async fn subscribe_pipeline_updates(
        &self,
        request: Request<PipelineSubscriptionRequest>,
    ) -> Result<Response<Self::SubscribePipelineUpdatesStream>, Status> {
        let name = request.into_inner().name;
        if name.is_empty() {
            return Err(Status::invalid_argument("name is empty: an engine subscribes under its replica id"));
        }
        let (kind, session) = (MemberKind::Chainer, self.client.session());
        let (joined, left) = (name.clone(), Input::MemberLeft { kind, name: name.clone(), session });
        let stream = self.client.stream(
            move |registry, _, out| {
                registry.chainers.open(joined, out);
                Some(Input::MemberJoined { kind, name, session })
            },
            Some(left),
        );
        Ok(Response::new(stream.await?))
    }

    async fn pipeline_update_event(
        &self,
        request: Request<PipelineUpdateStatusMessage>,
    ) -> Result<Response<PipelineUpdateStatusResponse>, Status> {
        self.client.step(Input::EngineAnswered(request.into_inner())).await?;
        Ok(Response::new(PipelineUpdateStatusResponse {}))
    }
}
