//! Inference servers: in another process by gRPC, or in this one.

use std::{error::Error as _, sync::Arc};

use millstream_proto::inference::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    grpc_inference_service_client::GrpcInferenceServiceClient, grpc_inference_service_server::GrpcInferenceService,
};
use tonic::{Request, Response, Status, async_trait, transport::Channel};

use crate::{Error, routes::Router};

/// Runs models. Which one is said by the request's `model_name`: one that spreads models over several servers looks at it.
#[async_trait]
pub trait InferenceServer: Send + Sync + 'static {
    /// Infers. `x-*` metadata of the answer goes on to the client.
    async fn infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status>;
    /// Whether a model answers.
    async fn ready(&self, request: ModelReadyRequest) -> Result<bool, Status>;
    /// A model's tensors.
    async fn metadata(&self, request: ModelMetadataRequest) -> Result<ModelMetadataResponse, Status>;
}

/// A server of this process, called without a socket.
pub struct InProcess<T>(pub T);

#[async_trait]
impl<T: GrpcInferenceService> InferenceServer for InProcess<T> {
    async fn infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        self.0.model_infer(request).await
    }

    async fn ready(&self, request: ModelReadyRequest) -> Result<bool, Status> {
        Ok(self.0.model_ready(Request::new(request)).await?.into_inner().ready)
    }

    async fn metadata(&self, request: ModelMetadataRequest) -> Result<ModelMetadataResponse, Status> {
        Ok(self.0.model_metadata(Request::new(request)).await?.into_inner())
    }
}

/// A server of another process, reached over gRPC. Connects when it is first needed, and again when the connection is lost.
#[derive(Clone, Debug)]
pub struct Remote(GrpcInferenceServiceClient<Channel>);

impl Remote {
    /// The server at `host:port`.
    pub fn new(address: &str) -> Result<Self, Error> {
        let client = GrpcInferenceServiceClient::new(crate::link::channel("inference server", address)?);
        Ok(Self(client.max_decoding_message_size(usize::MAX)))
    }
}

#[async_trait]
impl InferenceServer for Remote {
    async fn infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        self.0.clone().model_infer(request).await
    }

    async fn ready(&self, request: ModelReadyRequest) -> Result<bool, Status> {
        Ok(self.0.clone().model_ready(request).await?.into_inner().ready)
    }

    async fn metadata(&self, request: ModelMetadataRequest) -> Result<ModelMetadataResponse, Status> {
        Ok(self.0.clone().model_metadata(request).await?.into_inner())
    }
}

/// The server at an address, or those where the scheduler has loaded the models.
pub(crate) fn server(address: Option<&str>, subscriber: &str, scheduler: &Channel) -> Result<Arc<dyn InferenceServer>, Error> {
    Ok(match address {
        Some(address) => Arc::new(Remote::new(address)?),
        None => Arc::new(Router::start(subscriber.into(), scheduler.clone())),
    })
}

/// Whether the call failed on the way and never was answered: a status that a server sent has no source.
pub(crate) fn failed_in_transport(status: &Status) -> bool {
    status.source().is_some()
}
