//! What the tests put around a gateway: a scheduler that says what it is told to, and a small HTTP client.
#![allow(clippy::unwrap_used, dead_code)] // not every test file needs all of it

use std::{collections::HashMap, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, Full};
use millstream_proto::{
    lanes::{Assignment, AssignmentApplied, AssignmentAppliedResponse, LaneSet, Routes, RoutesRequest, SubscribeRequest, lanes_server},
    seldon::{chainer, scheduler::*},
};
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_stream::wrappers::{BroadcastStream, TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status, async_trait};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is so.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never {what}"));
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A scheduler that says what it is told to.
#[derive(Clone)]
pub struct Scheduler {
    pub address: SocketAddr,
    assignment: watch::Sender<Option<Assignment>>,
    pipelines: Arc<Mutex<Vec<PipelineStatusResponse>>>,
    pipeline_news: broadcast::Sender<PipelineStatusResponse>,
    models: watch::Sender<Vec<ModelStatusResponse>>,
    pub routes: watch::Sender<Routes>,
    applied: mpsc::UnboundedSender<AssignmentApplied>,
    events: mpsc::UnboundedSender<ModelUpdateStatusMessage>,
}

pub struct Heard {
    pub applied: mpsc::UnboundedReceiver<AssignmentApplied>,
    pub events: mpsc::UnboundedReceiver<ModelUpdateStatusMessage>,
}

impl Heard {
    pub async fn applied(&mut self) -> AssignmentApplied {
        tokio::time::timeout(PATIENCE, self.applied.recv()).await.expect("an assignment is applied in time").unwrap()
    }

    pub async fn event(&mut self) -> ModelUpdateStatusMessage {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an operation is answered in time").unwrap()
    }
}

impl Scheduler {
    pub async fn start() -> (Self, Heard) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (applied, applied_receiver) = mpsc::unbounded_channel();
        let (events, events_receiver) = mpsc::unbounded_channel();
        let scheduler = Self {
            address: listener.local_addr().unwrap(),
            assignment: watch::channel(None).0,
            pipelines: Arc::default(),
            pipeline_news: broadcast::channel(64).0,
            models: watch::channel(Vec::new()).0,
            routes: watch::Sender::default(),
            applied,
            events,
        };
        let server = tonic::transport::Server::builder()
            .add_service(lanes_server::LanesServer::new(scheduler.clone()))
            .add_service(scheduler_server::SchedulerServer::new(scheduler.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (scheduler, Heard { applied: applied_receiver, events: events_receiver })
    }

    /// Gives the gateway these lanes.
    pub fn assign(&self, generation: u64, partitions: i32, lanes: &[(&str, &[i32])]) {
        let lane = |(pipeline, partitions): &(&str, &[i32])| LaneSet {
            pipeline: (*pipeline).into(),
            version: 1,
            partitions: partitions.to_vec(),
            ..LaneSet::default()
        };
        self.assignment.send_replace(Some(Assignment { generation, lanes: lanes.iter().map(lane).collect(), partitions }));
    }

    pub fn pipeline(&self, name: &str, status: pipeline_version_state::PipelineStatus, models_ready: bool) {
        let state = PipelineVersionState { pipeline_version: 1, status: status.into(), models_ready, ..PipelineVersionState::default() };
        let versions =
            vec![PipelineWithState { pipeline: Some(Pipeline { name: name.into(), ..Pipeline::default() }), state: Some(state) }];
        let news = PipelineStatusResponse { pipeline_name: name.into(), versions, ..PipelineStatusResponse::default() };
        self.pipelines.lock().push(news.clone());
        let _nobody_yet = self.pipeline_news.send(news);
    }

    pub fn model(&self, name: &str, operation: model_status_response::ModelOperation, timestamp: u64) {
        let versions = vec![ModelVersionStatus { version: 3, ..ModelVersionStatus::default() }];
        let status = ModelStatusResponse {
            model_name: name.into(),
            versions,
            operation: operation.into(),
            timestamp,
            ..ModelStatusResponse::default()
        };
        self.models.send_modify(|models| models.push(status));
    }
}

#[async_trait]
impl lanes_server::Lanes for Scheduler {
    type SubscribeStream = Streamed<Assignment>;

    async fn subscribe(&self, _: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let assignments = WatchStream::new(self.assignment.subscribe()).filter_map(async |a| a.map(Ok));
        Ok(Response::new(Box::pin(assignments)))
    }

    type SubscribeRoutesStream = Streamed<Routes>;

    async fn subscribe_routes(&self, _: Request<RoutesRequest>) -> Result<Response<Self::SubscribeRoutesStream>, Status> {
        Ok(Response::new(Box::pin(WatchStream::new(self.routes.subscribe()).map(Ok))))
    }

    async fn applied(&self, request: Request<AssignmentApplied>) -> Result<Response<AssignmentAppliedResponse>, Status> {
        let _test_is_over = self.applied.send(request.into_inner());
        Ok(Response::new(AssignmentAppliedResponse {}))
    }
}

macro_rules! not_here {
    ($($method:ident($request:ty) -> $response:ty;)*) => {$(
        fn $method<'a, 'b>(&'a self, _: Request<$request>) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented("not in this test")) })
        }
    )*};
}

impl scheduler_server::Scheduler for Scheduler {
    type ServerStatusStream = Streamed<ServerStatusResponse>;
    type ModelStatusStream = Streamed<ModelStatusResponse>;
    type PipelineStatusStream = Streamed<PipelineStatusResponse>;
    type ExperimentStatusStream = Streamed<ExperimentStatusResponse>;
    type SubscribeServerStatusStream = Streamed<ServerStatusResponse>;
    type SubscribeModelStatusStream = Streamed<ModelStatusResponse>;
    type SubscribePipelineStatusStream = Streamed<PipelineStatusResponse>;
    type SubscribeExperimentStatusStream = Streamed<ExperimentStatusResponse>;
    type SubscribeControlPlaneStream = Streamed<ControlPlaneResponse>;

    fn subscribe_model_status<'a, 'b>(
        &'a self,
        _: Request<ModelSubscriptionRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Self::SubscribeModelStatusStream>, Status>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let mut told = 0;
        let news = WatchStream::new(self.models.subscribe()).flat_map(move |models| {
            let new: Vec<_> = models[told..].iter().cloned().map(Ok).collect();
            told = models.len();
            futures::stream::iter(new)
        });
        Box::pin(async move { Ok(Response::new(Box::pin(news) as Streamed<_>)) })
    }

    fn subscribe_pipeline_status<'a, 'b>(
        &'a self,
        _: Request<PipelineSubscriptionRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Self::SubscribePipelineStatusStream>, Status>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let news = BroadcastStream::new(self.pipeline_news.subscribe()).filter_map(async |n| n.ok().map(Ok));
        let now: Vec<_> = self.pipelines.lock().iter().cloned().map(Ok).collect();
        Box::pin(async move { Ok(Response::new(Box::pin(futures::stream::iter(now).chain(news)) as Streamed<_>)) })
    }

    fn model_status_event<'a, 'b>(
        &'a self,
        request: Request<ModelUpdateStatusMessage>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<ModelUpdateStatusResponse>, Status>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let _test_is_over = self.events.send(request.into_inner());
        Box::pin(async { Ok(Response::new(ModelUpdateStatusResponse {})) })
    }

    not_here! {
        server_notify(ServerNotifyRequest) -> ServerNotifyResponse;
        load_model(LoadModelRequest) -> LoadModelResponse;
        unload_model(UnloadModelRequest) -> UnloadModelResponse;
        load_pipeline(LoadPipelineRequest) -> LoadPipelineResponse;
        unload_pipeline(UnloadPipelineRequest) -> UnloadPipelineResponse;
        start_experiment(StartExperimentRequest) -> StartExperimentResponse;
        stop_experiment(StopExperimentRequest) -> StopExperimentResponse;
        scheduler_status(SchedulerStatusRequest) -> SchedulerStatusResponse;
        pipeline_status_event(chainer::PipelineUpdateStatusMessage) -> chainer::PipelineUpdateStatusResponse;
        server_status(ServerStatusRequest) -> Self::ServerStatusStream;
        model_status(ModelStatusRequest) -> Self::ModelStatusStream;
        pipeline_status(PipelineStatusRequest) -> Self::PipelineStatusStream;
        experiment_status(ExperimentStatusRequest) -> Self::ExperimentStatusStream;
        subscribe_server_status(ServerSubscriptionRequest) -> Self::SubscribeServerStatusStream;
        subscribe_experiment_status(ExperimentSubscriptionRequest) -> Self::SubscribeExperimentStatusStream;
        subscribe_control_plane(ControlPlaneSubscriptionRequest) -> Self::SubscribeControlPlaneStream;
    }
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Reply {
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect()
    }

    /// The field `error` of the body.
    pub fn error(&self) -> String {
        let body: HashMap<String, String> = serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body));
        body["error"].clone()
    }
}

/// A request over HTTP/1.1, or HTTP/2 without TLS.
pub async fn http(
    address: SocketAddr,
    http2: bool,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> Reply {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).http2_only(http2).build_http();
    let mut request = http::Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let response = tokio::time::timeout(PATIENCE, client.request(request)).await.expect("an answer in time").unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes().to_vec();
    Reply { status: parts.status.as_u16(), headers: parts.headers, body: String::from_utf8_lossy(&bytes).into_owned(), bytes }
}
