//! The agent's protocol against a scheduler that the test plays.
#![allow(clippy::unwrap_used)]

use millstream_agent::{Agent, AgentError, Handle, Options};
use millstream_proto::inference as oip;
use millstream_proto::seldon::agent::agent_service_server::{AgentService, AgentServiceServer};
use millstream_proto::seldon::agent::model_event_message::Event;
use millstream_proto::seldon::agent::model_operation_message::Operation;
use millstream_proto::seldon::agent::*;
use millstream_proto::seldon::scheduler::{MetaData, Model, ModelSpec};
use oip::grpc_inference_service_client::GrpcInferenceServiceClient;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

const SOON: Duration = Duration::from_secs(10);

type Subscription = (AgentSubscribeRequest, mpsc::Sender<Result<ModelOperationMessage, Status>>);

/// Hands what agents say to the test.
struct Stub {
    subscriptions: mpsc::Sender<Subscription>,
    events: mpsc::Sender<ModelEventMessage>,
}

#[tonic::async_trait]
impl AgentService for Stub {
    type SubscribeStream = ReceiverStream<Result<ModelOperationMessage, Status>>;

    async fn agent_event(&self, request: Request<ModelEventMessage>) -> Result<Response<ModelEventResponse>, Status> {
        self.events.send(request.into_inner()).await.unwrap();
        Ok(Response::new(ModelEventResponse {}))
    }

    async fn subscribe(&self, request: Request<AgentSubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let (operations, stream) = mpsc::channel(8);
        self.subscriptions.send((request.into_inner(), operations)).await.unwrap();
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn model_scaling_trigger(
        &self,
        _: Request<Streaming<ModelScalingTriggerMessage>>,
    ) -> Result<Response<ModelScalingTriggerResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }

    async fn agent_drain(&self, _: Request<AgentDrainRequest>) -> Result<Response<AgentDrainResponse>, Status> {
        Err(Status::unimplemented("not played"))
    }
}

struct Scheduler {
    address: SocketAddr,
    subscriptions: mpsc::Receiver<Subscription>,
    events: mpsc::Receiver<ModelEventMessage>,
    /// Its own, so that its connections end with it.
    runtime: Option<Runtime>,
}

impl Scheduler {
    async fn start(address: SocketAddr) -> Scheduler {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let ((subscribed, subscriptions), (happened, events)) = (mpsc::channel(8), mpsc::channel(64));
        let service = AgentServiceServer::new(Stub { subscriptions: subscribed, events: happened });
        runtime.spawn(Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
        Scheduler { address, subscriptions, events, runtime: Some(runtime) }
    }

    async fn subscription(&mut self) -> Subscription {
        timeout(SOON, self.subscriptions.recv()).await.expect("a subscription in time").unwrap()
    }

    async fn event(&mut self) -> ModelEventMessage {
        timeout(SOON, self.events.recv()).await.expect("an event in time").unwrap()
    }
}

/// Gone without a word, as after a crash.
impl Drop for Scheduler {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn start(scheduler: SocketAddr) -> (Handle, oneshot::Sender<()>, JoinHandle<Result<(), AgentError>>) {
    let options = Options {
        server_name: "s".into(),
        replica_index: 3,
        scheduler: format!("http://{scheduler}"),
        listen: "127.0.0.1:0".parse().unwrap(),
        memory_bytes: 100,
        ..Options::default()
    };
    let agent = Agent::bind(options).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    (agent.handle(), stop, tokio::spawn(agent.run(async { stopped.await.unwrap_or(()) })))
}

fn operation(operation: Operation, name: &str, version: u32, uri: &str, memory: u64) -> ModelOperationMessage {
    let meta = MetaData { name: name.into(), ..Default::default() };
    let spec = ModelSpec { uri: uri.into(), memory_bytes: Some(memory), ..Default::default() };
    let model = Model { meta: Some(meta), model_spec: Some(spec), ..Default::default() };
    ModelOperationMessage {
        operation: operation.into(),
        model_version: Some(ModelVersion { model: Some(model), version }),
        autoscaling_enabled: false,
    }
}

fn load(name: &str, version: u32, model: &str, memory: u64) -> ModelOperationMessage {
    operation(Operation::LoadModel, name, version, &format!("file://../models/{model}"), memory)
}

fn infer(model: &str) -> oip::ModelInferRequest {
    let contents = Some(oip::InferTensorContents { fp32_contents: vec![0.; 4], ..Default::default() });
    let input = oip::model_infer_request::InferInputTensor {
        name: "INPUT".into(),
        datatype: "FP32".into(),
        shape: vec![1, 4],
        contents,
        ..Default::default()
    };
    oip::ModelInferRequest { model_name: model.into(), inputs: vec![input], ..Default::default() }
}

#[tokio::test]
async fn a_replica_presents_itself_and_reports_what_became_of_each_operation() {
    let mut scheduler = Scheduler::start("127.0.0.1:0".parse().unwrap()).await;
    let (mut handle, stop, running) = start(scheduler.address).await;
    let (said, operations) = scheduler.subscription().await;
    let config = said.replica_config.unwrap();
    assert_eq!((said.server_name.as_str(), said.replica_idx, said.shared, said.available_memory_bytes), ("s", 3, true, 100));
    assert_eq!((config.inference_svc.as_str(), config.inference_grpc_port), ("127.0.0.1", i32::from(handle.address().port())));
    assert_eq!((config.memory_bytes, config.capabilities), (100, vec!["onnx".to_string()]));
    timeout(SOON, handle.registered()).await.unwrap();

    for (operation, event, message, available) in [
        (load("m", 1, "add10", 60), Event::Loaded, "", 40),
        (load("m", 1, "add10", 60), Event::Loaded, "", 40),
        (load("big", 1, "add10", 50), Event::LoadFailMemory, "asks for 50 bytes and 40 of 100 are free", 40),
        (load("none", 1, "none", 0), Event::LoadFailed, "../models/none: no such file", 40),
        (operation(Operation::LoadModel, "cloud", 1, "gs://x/y", 0), Event::LoadFailed, "no access to gs://", 40),
        (operation(Operation::UnloadModel, "m", 1, "", 0), Event::Unloaded, "", 100),
        (operation(Operation::UnloadModel, "m", 1, "", 0), Event::Unloaded, "", 100),
    ] {
        let name = operation.model_version.as_ref().unwrap().model.as_ref().unwrap().meta.as_ref().unwrap().name.clone();
        operations.send(Ok(operation)).await.unwrap();
        let said = scheduler.event().await;
        assert_eq!((said.event(), said.model_name.as_str(), said.model_version), (event, name.as_str(), 1));
        assert_eq!((said.server_name.as_str(), said.replica_idx, said.available_memory_bytes), ("s", 3, available));
        assert!(said.message.contains(message) && said.message.is_empty() == message.is_empty(), "{}", said.message);
    }
    stop.send(()).unwrap();
    timeout(SOON, running).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn models_answer_by_grpc_and_in_process_while_the_scheduler_is_away_and_are_announced_when_it_is_back() {
    let mut scheduler = Scheduler::start("127.0.0.1:0".parse().unwrap()).await;
    let (mut handle, _stop, _running) = start(scheduler.address).await;
    let (_, operations) = scheduler.subscription().await;
    operations.send(Ok(load("m", 1, "add10", 10))).await.unwrap();
    assert_eq!(scheduler.event().await.event(), Event::Loaded);
    operations.send(Ok(load("m", 2, "add20", 10))).await.unwrap();
    assert_eq!(scheduler.event().await.event(), Event::Loaded);

    let address = scheduler.address;
    drop((operations, scheduler));
    let gone = Instant::now();
    while handle.is_registered() {
        assert!(gone.elapsed() < SOON, "the agent must notice");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(handle.server().infer(infer("m")).await.unwrap().model_version, "2");
    let mut client = GrpcInferenceServiceClient::connect(format!("http://{}", handle.address())).await.unwrap();
    let answer = client.model_infer(infer("m_1")).await.unwrap().into_inner();
    assert_eq!((answer.model_name.as_str(), answer.model_version.as_str()), ("m", "1"));
    assert_eq!(answer.raw_output_contents[0][..4], 10f32.to_le_bytes());

    let mut scheduler = Scheduler::start(address).await;
    let (said, operations) = scheduler.subscription().await;
    let mut loaded: Vec<_> = said.loaded_models.iter().map(|loaded| loaded.version).collect();
    loaded.sort();
    assert_eq!((loaded, said.available_memory_bytes), (vec![1, 2], 80));
    assert_eq!(said.loaded_models[0].model.as_ref().unwrap().meta.as_ref().unwrap().name, "m");
    timeout(SOON, handle.registered()).await.unwrap();
    operations.send(Ok(operation(Operation::UnloadModel, "m", 1, "", 0))).await.unwrap();
    assert_eq!(scheduler.event().await.event(), Event::Unloaded);
}

#[tokio::test]
async fn the_whole_open_inference_protocol_is_answered() {
    let mut scheduler = Scheduler::start("127.0.0.1:0".parse().unwrap()).await;
    let (handle, _stop, _running) = start(scheduler.address).await;
    let (_, operations) = scheduler.subscription().await;
    operations.send(Ok(load("m", 4, "add10", 10))).await.unwrap();
    assert_eq!(scheduler.event().await.event(), Event::Loaded);
    let mut client = GrpcInferenceServiceClient::connect(format!("http://{}", handle.address())).await.unwrap();
    assert!(client.server_live(oip::ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(oip::ServerReadyRequest {}).await.unwrap().into_inner().ready);
    for (name, version, ready) in [("m", "", true), ("m", "4", true), ("m_4", "", true), ("m", "5", false), ("n", "", false)] {
        let request = oip::ModelReadyRequest { name: name.into(), version: version.into() };
        assert_eq!(client.model_ready(request).await.unwrap().into_inner().ready, ready, "{name} {version}");
    }
    let metadata = client.model_metadata(oip::ModelMetadataRequest { name: "m".into(), ..Default::default() }).await.unwrap().into_inner();
    assert_eq!((metadata.versions, metadata.inputs[0].shape.clone()), (vec!["4".to_string()], vec![-1, 4]));
    let index = client.repository_index(oip::RepositoryIndexRequest::default()).await.unwrap().into_inner().models;
    assert_eq!((index.len(), index[0].name.as_str(), index[0].version.as_str(), index[0].state.as_str()), (1, "m", "4", "READY"));
    let mut answers = client.model_stream_infer(tokio_stream::iter([infer("m"), infer("m_4"), infer("n")])).await.unwrap().into_inner();
    for _ in 0..2 {
        assert_eq!(answers.message().await.unwrap().unwrap().model_version, "4");
    }
    assert_eq!(answers.message().await.unwrap_err().code(), Code::NotFound);
    let refused = client.repository_model_load(oip::RepositoryModelLoadRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_taken_port_and_a_wrong_address_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options { listen: taken.local_addr().unwrap(), ..Options::default() };
    let error = Agent::bind(options).await.err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on {}: ", taken.local_addr().unwrap())), "{error}");
    let error = Agent::bind(Options { scheduler: "no address".into(), ..Options::default() }).await.err().unwrap().to_string();
    assert!(error.contains(r#"scheduler "no address" is not an address such as http://127.0.0.1:9005"#), "{error}");
}
