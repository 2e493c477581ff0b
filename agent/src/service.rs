//! The Open Inference Protocol's gRPC service on a [`ModelServer`].

use crate::server::ModelServer;
use millstream_proto::inference as oip;
use oip::grpc_inference_service_server::GrpcInferenceService;
use oip::repository_index_response::ModelIndex;
use std::pin::Pin;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

#[tonic::async_trait]
impl GrpcInferenceService for ModelServer {
    type ModelStreamInferStream = Pin<Box<dyn Stream<Item = Result<oip::ModelInferResponse, Status>> + Send>>;

    async fn server_live(&self, _: Request<oip::ServerLiveRequest>) -> Result<Response<oip::ServerLiveResponse>, Status> {
        Ok(Response::new(oip::ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<oip::ServerReadyRequest>) -> Result<Response<oip::ServerReadyResponse>, Status> {
        Ok(Response::new(oip::ServerReadyResponse { ready: self.ready().await }))
    }

    async fn model_ready(&self, request: Request<oip::ModelReadyRequest>) -> Result<Response<oip::ModelReadyResponse>, Status> {
        let request = request.into_inner();
        let ready = ModelServer::model_ready(self, &request.name, &request.version).await;
        Ok(Response::new(oip::ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<oip::ServerMetadataRequest>) -> Result<Response<oip::ServerMetadataResponse>, Status> {
        let (name, version) = ("millstream-agent".into(), env!("CARGO_PKG_VERSION").into());
        Ok(Response::new(oip::ServerMetadataResponse { name, version, extensions: Vec::new() }))
    }

    async fn model_metadata(&self, request: Request<oip::ModelMetadataRequest>) -> Result<Response<oip::ModelMetadataResponse>, Status> {
        let request = request.into_inner();
        self.metadata(&request.name, &request.version).await.map(Response::new)
    }

    async fn model_infer(&self, request: Request<oip::ModelInferRequest>) -> Result<Response<oip::ModelInferResponse>, Status> {
        self.call(request).await
    }

    /// One answer for each request, in their order, one at a time. The first error ends the stream.
    async fn model_stream_infer(
        &self,
        request: Request<Streaming<oip::ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let (metadata, _, requests) = request.into_parts();
        let server = self.clone();
        let answers = requests.then(move |message| {
            let (server, metadata) = (server.clone(), metadata.clone());
            async move { server.call(Request::from_parts(metadata, Default::default(), message?)).await.map(Response::into_inner) }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn repository_index(&self, _: Request<oip::RepositoryIndexRequest>) -> Result<Response<oip::RepositoryIndexResponse>, Status> {
        let index = |loaded: millstream_proto::seldon::agent::ModelVersion| ModelIndex {
            name: loaded.model.and_then(|model| model.meta).map(|meta| meta.name).unwrap_or_default(),
            version: loaded.version.to_string(),
            state: "READY".into(),
            reason: String::new(),
        };
        Ok(Response::new(oip::RepositoryIndexResponse { models: self.loaded().into_iter().map(index).collect() }))
    }

    async fn repository_model_load(
        &self,
        _: Request<oip::RepositoryModelLoadRequest>,
    ) -> Result<Response<oip::RepositoryModelLoadResponse>, Status> {
        Err(by_scheduler())
    }

    async fn repository_model_unload(
        &self,
        _: Request<oip::RepositoryModelUnloadRequest>,
    ) -> Result<Response<oip::RepositoryModelUnloadResponse>, Status> {
        Err(by_scheduler())
    }
}

fn by_scheduler() -> Status {
    Status::unimplemented("the scheduler decides which models are here: load or unload the model there")
}
