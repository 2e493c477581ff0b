//! The gRPC face of the Open Inference Protocol.

use std::sync::Arc;

use futures::stream::Empty;
use http::HeaderMap;
use millstream_proto::inference::{grpc_inference_service_server::GrpcInferenceService, *};
use tonic::{Request, Response, Status, async_trait, metadata::MetadataMap};

use super::core::{Core, Deadline};
use crate::{codec, failure::Failure, headers, target::Target};

#[derive(Clone)]
pub(crate) struct Grpc(pub Arc<Core>);

impl Grpc {
    /// Without headers the name in the message decides: a pipeline of that name, else a model.
    fn target(&self, headers: &HeaderMap, name: &str) -> Result<Target, Failure> {
        match Target::of_headers(headers) {
            Some(target) => target,
            None if name.is_empty() => {
                Err(Failure::bad_request(format!("which model or pipeline? Set model_name, or the header {}", headers::MODEL)))
            }
            None if self.0.knows_pipeline(name) => Ok(Target::Pipeline(name.into())),
            None => Target::of(headers, crate::target::Named::Model(name)),
        }
    }

    fn deadline(&self, headers: &HeaderMap) -> Result<Deadline, Failure> {
        Ok(Deadline::after(headers::timeout(headers, self.0.options.request_timeout())?))
    }
}

#[async_trait]
impl GrpcInferenceService for Grpc {
    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let headers = metadata.into_headers();
        let deadline = self.deadline(&headers)?;
        let target = self.target(&headers, &request.model_name)?;
        codec::validate(&request).map_err(Failure::from)?;
        let answer = self.0.infer(&target, request, &headers, deadline).await?;
        Ok(Response::from_parts(MetadataMap::from_headers(answer.headers), answer.response, tonic::Extensions::default()))
    }

    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.0.ready().is_ok() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Result<Response<ModelReadyResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let headers = metadata.into_headers();
        let deadline = self.deadline(&headers)?;
        let ready = match self.target(&headers, &request.name)? {
            Target::Pipeline(name) => self.0.pipeline_state(&name)?.ready,
            Target::Model(name) => {
                let request = ModelReadyRequest { name: name.clone(), ..request };
                deadline.bound("model", &name, async { self.0.models.ready(request).await.map_err(|s| Failure::server(&name, &s)) }).await?
            }
        };
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Result<Response<ServerMetadataResponse>, Status> {
        let (name, version) = (super::SERVER_NAME.into(), super::SERVER_VERSION.into());
        Ok(Response::new(ServerMetadataResponse { name, version, extensions: Vec::new() }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Result<Response<ModelMetadataResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let headers = metadata.into_headers();
        let deadline = self.deadline(&headers)?;
        match self.target(&headers, &request.name)? {
            Target::Pipeline(name) => {
                let versions = vec![self.0.pipeline_state(&name)?.version.to_string()];
                Ok(Response::new(ModelMetadataResponse { name, versions, platform: "pipeline".into(), ..ModelMetadataResponse::default() }))
            }
            Target::Model(name) => {
                let request = ModelMetadataRequest { name: name.clone(), ..request };
                let metadata = async { self.0.models.metadata(request).await.map_err(|s| Failure::server(&name, &s)) };
                Ok(Response::new(deadline.bound("model", &name, metadata).await?))
            }
        }
    }

    type ModelStreamInferStream = Empty<Result<ModelInferResponse, Status>>;

    async fn model_stream_infer(
        &self,
        _: Request<tonic::Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        Err(Status::unimplemented("streams are not served here: use ModelInfer"))
    }

    async fn repository_index(&self, _: Request<RepositoryIndexRequest>) -> Result<Response<RepositoryIndexResponse>, Status> {
        Err(Status::unimplemented("the scheduler keeps the models: ask it"))
    }

    async fn repository_model_load(&self, _: Request<RepositoryModelLoadRequest>) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        Err(Status::unimplemented("the scheduler loads models: ask it"))
    }

    async fn repository_model_unload(
        &self,
        _: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        Err(Status::unimplemented("the scheduler unloads models: ask it"))
    }
}
