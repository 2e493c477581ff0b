//! What clients, the controller and gateways ask.

use millstream_proto::seldon::{chainer::PipelineUpdateStatusMessage, chainer::PipelineUpdateStatusResponse, scheduler::*};
use tokio::sync::oneshot;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status};

use super::Services;
use crate::{
    client::{Answers, Client, stopping},
    refusal::Refusal,
    registry::{Out, Registry},
    state::{
        State,
        input::{Input, MemberKind},
    },
    uid::uid,
};

/// What clients compare with, not a version of Millstream.
const APPLICATION_VERSION: &str = "0.0.1";

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl scheduler_server::Scheduler for Services {
    type ServerStatusStream = Answers<ServerStatusResponse>;
    type ModelStatusStream = Answers<ModelStatusResponse>;
    type PipelineStatusStream = Answers<PipelineStatusResponse>;
    type ExperimentStatusStream = Answers<ExperimentStatusResponse>;
    type SubscribeServerStatusStream = Answers<ServerStatusResponse>;
    type SubscribeModelStatusStream = Answers<ModelStatusResponse>;
    type SubscribePipelineStatusStream = Answers<PipelineStatusResponse>;
    type SubscribeExperimentStatusStream = Answers<ExperimentStatusResponse>;
    type SubscribeControlPlaneStream = Answers<ControlPlaneResponse>;

    async fn server_notify(&self, request: Request<ServerNotifyRequest>) -> Reply<ServerNotifyResponse> {
        self.client.step(Input::ServerNotify(request.into_inner())).await?;
        Ok(Response::new(ServerNotifyResponse {}))
    }

    async fn load_model(&self, request: Request<LoadModelRequest>) -> Reply<LoadModelResponse> {
        let model = request.into_inner().model.ok_or_else(|| missing("model"))?;
        self.client.step(Input::LoadModel(model)).await?;
        Ok(Response::new(LoadModelResponse {}))
    }

    async fn unload_model(&self, request: Request<UnloadModelRequest>) -> Reply<UnloadModelResponse> {
        let model = request.into_inner().model.ok_or_else(|| missing("model"))?;
        self.client.step(Input::UnloadModel(model)).await?;
        Ok(Response::new(UnloadModelResponse {}))
    }

    async fn load_pipeline(&self, request: Request<LoadPipelineRequest>) -> Reply<LoadPipelineResponse> {
        let pipeline = request.into_inner().pipeline.ok_or_else(|| missing("pipeline"))?;
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs() as u32;
        self.client.step(Input::LoadPipeline { pipeline, uid: uid(seconds, rand::random()) }).await?;
        Ok(Response::new(LoadPipelineResponse {}))
    }

    async fn unload_pipeline(&self, request: Request<UnloadPipelineRequest>) -> Reply<UnloadPipelineResponse> {
        self.client.step(Input::UnloadPipeline(request.into_inner().name)).await?;
        Ok(Response::new(UnloadPipelineResponse {}))
    }

    async fn start_experiment(&self, _: Request<StartExperimentRequest>) -> Reply<StartExperimentResponse> {
        Err(Status::unimplemented("StartExperiment: experiments are not supported yet"))
    }

    async fn stop_experiment(&self, _: Request<StopExperimentRequest>) -> Reply<StopExperimentResponse> {
        Err(Status::unimplemented("StopExperiment: experiments are not supported yet"))
    }

    async fn scheduler_status(&self, _: Request<SchedulerStatusRequest>) -> Reply<SchedulerStatusResponse> {
        self.client.query(|_| Ok(())).await?;
        Ok(Response::new(SchedulerStatusResponse { application_version: APPLICATION_VERSION.into() }))
    }

    async fn server_status(&self, request: Request<ServerStatusRequest>) -> Reply<Self::ServerStatusStream> {
        let name = request.into_inner().name;
        closing(&self.client, move |state| state.server_statuses(name.as_deref())).await
    }

    async fn model_status(&self, request: Request<ModelStatusRequest>) -> Reply<Self::ModelStatusStream> {
        let ModelStatusRequest { model, all_versions, .. } = request.into_inner();
        let find =
            move |state: &State| state.model_statuses(model.as_ref().map(|model| (model.name.as_str(), model.version)), all_versions);
        closing(&self.client, find).await
    }

    async fn pipeline_status(&self, request: Request<PipelineStatusRequest>) -> Reply<Self::PipelineStatusStream> {
        let PipelineStatusRequest { name, all_versions, .. } = request.into_inner();
        closing(&self.client, move |state| state.pipeline_statuses(name.as_deref(), all_versions)).await
    }

    async fn experiment_status(&self, _: Request<ExperimentStatusRequest>) -> Reply<Self::ExperimentStatusStream> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }

    async fn subscribe_server_status(&self, _: Request<ServerSubscriptionRequest>) -> Reply<Self::SubscribeServerStatusStream> {
        let session = self.client.session();
        watching(&self.client, |state| state.server_statuses(None), move |registry, out| registry.server_watchers.open(session, out)).await
    }

    async fn subscribe_model_status(&self, request: Request<ModelSubscriptionRequest>) -> Reply<Self::SubscribeModelStatusStream> {
        let ModelSubscriptionRequest { subscriber_name: name, is_model_gateway } = request.into_inner();
        let session = self.client.session();
        if !is_model_gateway {
            let open = move |registry: &mut Registry, out| registry.model_watchers.open(session, out);
            return watching(&self.client, |state| state.model_statuses(None, false), open).await;
        }
        let kind = MemberKind::ModelGateway;
        let left = Input::MemberLeft { kind, name: member(&name)?, session };
        let stream = self.client.stream(
            move |registry, _, out| {
                registry.model_gateways.open(name.clone(), out);
                Some(Input::MemberJoined { kind, name, session })
            },
            Some(left),
        );
        Ok(Response::new(stream.await?))
    }

    async fn subscribe_pipeline_status(&self, request: Request<PipelineSubscriptionRequest>) -> Reply<Self::SubscribePipelineStatusStream> {
        let PipelineSubscriptionRequest { subscriber_name: name, is_pipeline_gateway, .. } = request.into_inner();
        let session = self.client.session();
        if !is_pipeline_gateway {
            let open = move |registry: &mut Registry, out| registry.pipeline_watchers.open(session, out);
            return watching(&self.client, |state| state.pipeline_statuses(None, false), open).await;
        }
        let kind = MemberKind::PipelineGateway;
        let left = Input::MemberLeft { kind, name: member(&name)?, session };
        let stream = self.client.stream(
            move |registry, _, out| {
                registry.pipeline_gateways.open(name.clone(), out);
                Some(Input::MemberJoined { kind, name, session })
            },
            Some(left),
        );
        Ok(Response::new(stream.await?))
    }

    async fn subscribe_experiment_status(&self, _: Request<ExperimentSubscriptionRequest>) -> Reply<Self::SubscribeExperimentStatusStream> {
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }

    /// A controller sends everything again when it connects; what is known already changes nothing.
    async fn subscribe_control_plane(&self, _: Request<ControlPlaneSubscriptionRequest>) -> Reply<Self::SubscribeControlPlaneStream> {
        use control_plane_response::Event;
        let wanted = [Event::SendServers, Event::SendModels, Event::SendPipelines];
        let events = wanted.map(|event| Ok(ControlPlaneResponse { event: event.into() }));
        Ok(Response::new(Box::pin(tokio_stream::iter(events).chain(tokio_stream::pending()))))
    }

    async fn pipeline_status_event(&self, request: Request<PipelineUpdateStatusMessage>) -> Reply<PipelineUpdateStatusResponse> {
        self.client.step(Input::PipelineGatewayAnswered(request.into_inner())).await?;
        Ok(Response::new(PipelineUpdateStatusResponse {}))
    }

    async fn model_status_event(&self, request: Request<ModelUpdateStatusMessage>) -> Reply<ModelUpdateStatusResponse> {
        self.client.step(Input::ModelGatewayAnswered(request.into_inner())).await?;
        Ok(Response::new(ModelUpdateStatusResponse {}))
    }
}

fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("{field} is missing: set it"))
}

fn member(name: &str) -> Result<String, Status> {
    match name {
        "" => Err(Status::invalid_argument("subscriberName is empty: a gateway subscribes under its own name")),
        name => Ok(name.into()),
    }
}

/// What is the case now.
async fn closing<T: Send + 'static>(
    client: &Client,
    find: impl FnOnce(&State) -> Result<Vec<T>, Refusal> + Send + 'static,
) -> Reply<Answers<T>> {
    let found = client.query(find).await?;
    Ok(Response::new(Box::pin(tokio_stream::iter(found.into_iter().map(Ok)))))
}

/// What is the case now, then every change.
async fn watching<T: Send + 'static>(
    client: &Client,
    find: impl FnOnce(&State) -> Result<Vec<T>, Refusal> + Send + 'static,
    open: impl FnOnce(&mut Registry, Out<T>) + Send + 'static,
) -> Reply<Answers<T>> {
    let (found, initial) = oneshot::channel();
    let stream = client.stream(
        move |registry, state, out| {
            open(registry, out);
            let _ = found.send(find(state)); // whoever asked may have gone
            None
        },
        None,
    );
    let changes = stream.await?;
    let initial = initial.await.map_err(|_| stopping())??;
    Ok(Response::new(Box::pin(tokio_stream::iter(initial.into_iter().map(Ok)).chain(changes))))
}
