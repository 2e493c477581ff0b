//! The model gateway over an embedded broker, with a server that does what the tensors say.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{Heard, PATIENCE, Scheduler, eventually};
use futures::Stream;
use millstream_broker::{
    Broker, ConsumerOptions, EmbeddedBroker, Error as BrokerError, Header, Position, ProduceBatch, ProducerOptions, Record, TopicPartition,
    embedded::{Faults, Operation},
};
use millstream_gateway::{InProcess, InferenceServer, ModelGateway, ModelGatewayHandle, ModelGatewayOptions};
use millstream_proto::{
    inference::{
        grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
        model_infer_request::InferInputTensor,
        model_infer_response::InferOutputTensor,
        *,
    },
    lanes::{Route, Routes},
    seldon::scheduler::model_status_response::ModelOperation,
};
use parking_lot::Mutex;
use prost::Message;
use tonic::{Request, Response, Status, async_trait, transport::server::TcpIncoming};

const PARTITIONS: i32 = 2;

/// Answers with its inputs; the request's id says what else to do.
#[derive(Clone, Default)]
struct Server {
    calls: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<HashMap<String, String>>>>,
    hold: Arc<AtomicBool>,
}

#[async_trait]
impl GrpcInferenceService for Server {
    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(self.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let (metadata, _, request) = request.into_parts();
        self.seen.lock().push(metadata.as_ref().iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap_or("").to_owned())).collect());
        match request.id.as_str() {
            "slow" => tokio::time::sleep(Duration::from_millis(50)).await,
            "never" => std::future::pending().await,
            _ => {}
        }
        while self.hold.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        match request.id.as_str() {
            "refused" => return Err(Status::unavailable("the model says no")),
            "panic" => panic!("a bug in the model"),
            "large" => return Ok(Response::new(ModelInferResponse { id: "i".repeat(2_000), ..Default::default() })),
            _ => {}
        }
        let output = |t: InferInputTensor| InferOutputTensor {
            name: t.name,
            datatype: t.datatype,
            shape: t.shape,
            parameters: t.parameters,
            contents: t.contents,
        };
        let response = ModelInferResponse {
            model_name: request.model_name,
            id: request.id,
            outputs: request.inputs.into_iter().map(output).collect(),
            raw_output_contents: request.raw_input_contents,
            ..Default::default()
        };
        let mut response = Response::new(response);
        response.metadata_mut().insert("x-from-server", "yes".parse().unwrap());
        Ok(response)
    }

    type ModelStreamInferStream = std::pin::Pin<Box<dyn Stream<Item = Result<ModelInferResponse, Status>> + Send>>;

    async fn model_stream_infer(
        &self,
        _: Request<tonic::Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Result<Response<ServerLiveResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Result<Response<ServerReadyResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn model_ready(&self, _: Request<ModelReadyRequest>) -> Result<Response<ModelReadyResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Result<Response<ServerMetadataResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn model_metadata(&self, _: Request<ModelMetadataRequest>) -> Result<Response<ModelMetadataResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn repository_index(&self, _: Request<RepositoryIndexRequest>) -> Result<Response<RepositoryIndexResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn repository_model_load(&self, _: Request<RepositoryModelLoadRequest>) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn repository_model_unload(
        &self,
        _: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

struct World {
    broker: Arc<EmbeddedBroker>,
    gateway: ModelGatewayHandle,
    scheduler: Scheduler,
    heard: Heard,
}

impl World {
    async fn start(broker: Arc<EmbeddedBroker>, server: Option<Server>, change: impl FnOnce(&mut ModelGatewayOptions)) -> Self {
        let (scheduler, mut heard) = Scheduler::start().await;
        let mut options =
            ModelGatewayOptions { partitions: PARTITIONS, commit_interval_ms: 50, retry_pause_ms: 10, ..ModelGatewayOptions::default() };
        change(&mut options);
        let server = server.map(|s| Arc::new(InProcess(s)) as Arc<dyn InferenceServer>);
        let gateway = ModelGateway::start(options, broker.clone(), &scheduler.address.to_string(), server).await.unwrap();
        scheduler.model("m", ModelOperation::ModelCreate, 41);
        let event = heard.event().await;
        assert!(event.success, "{}", event.reason);
        assert_eq!(event.update.unwrap().timestamp, 41);
        Self { broker, gateway, scheduler, heard }
    }

    fn send(&self, partition: i32, key: &str, value: impl Into<Bytes>, headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(n, v)| Header::new(*n, v.to_string())).collect();
        let record = Record { key: Some(key.to_owned().into()), value: Some(value.into()), timestamp: 0, headers };
        let to = TopicPartition::new(topic("inputs"), partition);
        self.broker.producer(ProducerOptions::default()).unwrap().send(ProduceBatch { to, records: vec![record] }, None).unwrap();
    }

    /// So many records of a topic, by partition.
    async fn read(&self, topic: &str, count: usize) -> Vec<(i32, Record)> {
        let mut consumer = self.broker.consumer(ConsumerOptions::default()).unwrap();
        let partitions: Vec<_> = (0..PARTITIONS).map(|p| (TopicPartition::new(topic, p), Position::Beginning)).collect();
        consumer.assign(&partitions).unwrap();
        let topic = topic.to_owned();
        tokio::task::spawn_blocking(move || {
            let (mut records, until) = (Vec::new(), Instant::now() + PATIENCE);
            while records.len() < count {
                assert!(Instant::now() < until, "{} of {count} records in {topic}", records.len());
                for batch in consumer.poll(Duration::from_millis(100)).unwrap() {
                    records.extend(batch.records.into_iter().map(|r| (batch.from.partition, r.record)));
                }
            }
            records
        })
        .await
        .unwrap()
    }

    async fn committed(&self, offset: i64) {
        let mut consumer = self.broker.consumer(ConsumerOptions::group("default-seldon-modelgateway")).unwrap();
        let partition = TopicPartition::new(topic("inputs"), 0);
        eventually("committed", || {
            consumer.committed(std::slice::from_ref(&partition), PATIENCE).unwrap().get(&partition).is_some_and(|c| c.offset == offset)
        })
        .await;
    }
}

fn topic(side: &str) -> String {
    format!("seldon.default.model.m.{side}")
}

fn request(id: &str, value: i32) -> Bytes {
    let contents = InferTensorContents { int_contents: vec![value], ..Default::default() };
    let input =
        InferInputTensor { name: "X".into(), datatype: "INT32".into(), shape: vec![1], contents: Some(contents), ..Default::default() };
    ModelInferRequest { id: id.into(), inputs: vec![input], ..Default::default() }.encode_to_vec().into()
}

fn value(record: &Record) -> i32 {
    ModelInferResponse::decode(record.value.clone().unwrap()).unwrap().outputs[0].contents.as_ref().unwrap().int_contents[0]
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
}

fn headers(record: &Record) -> Vec<String> {
    record.headers.iter().map(|h| format!("{}={}", h.name, String::from_utf8_lossy(h.value.as_deref().unwrap_or_default()))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_has_the_requests_partition_key_and_headers() {
    let server = Server::default();
    let world = World::start(EmbeddedBroker::temporary().unwrap(), Some(server.clone()), |_| ()).await;
    world.send(1, "1.p.r1", request("", 7), &[("x-request-id", "r1"), ("x-seldon-route", ":first_1:"), ("pipeline", "p")]);
    let (partition, record) = world.read(&topic("outputs"), 1).await.remove(0);
    assert_eq!((partition, record.key.as_deref(), value(&record)), (1, Some(&b"1.p.r1"[..]), 7));
    assert_eq!(
        headers(&record),
        ["x-request-id=r1", "x-seldon-route=:first_1:", "pipeline=p", "x-from-server=yes", "x-seldon-route=:m_3:"]
    );
    let call = server.seen.lock().remove(0);
    assert_eq!((call["seldon-model"].as_str(), call["x-request-id"].as_str()), ("m", "r1"));
    assert!(!call.contains_key("x-seldon-route") && !call.contains_key("pipeline"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_goes_to_the_errors_topic_once() {
    let server = Server::default();
    let world = World::start(EmbeddedBroker::temporary().unwrap(), Some(server.clone()), |o| o.call_timeout_ms = 200).await;
    let own = [("pipeline", "p")];
    world.send(0, "0.p.refused", request("refused", 1), &own);
    world.send(0, "0.p.garbage", "\u{1}garbage", &own);
    world.send(0, "0.p.type", request("", 1), &[("pipeline", "p"), ("seldon-infer-type", "xml")]);
    world.send(0, "0.p.never", request("never", 1), &own);
    world.send(0, "0.p.panic", request("panic", 1), &own);
    world.send(0, "0.p.good", request("", 5), &own);
    let errors = world.read("seldon.default.errors.errors", 5).await;
    let by_key: HashMap<_, _> =
        errors.iter().map(|(p, r)| (String::from_utf8(r.key.clone().unwrap().to_vec()).unwrap(), (*p, text(r), headers(r)))).collect();
    assert_eq!(by_key["0.p.refused"].1, "rpc error: code = Unavailable desc = the model says no");
    assert_eq!(
        (by_key["0.p.refused"].0, by_key["0.p.refused"].2.clone()),
        (0, vec!["pipeline=p".to_owned(), "seldon-pipeline-errors=m".to_owned()])
    );
    assert!(by_key["0.p.garbage"].1.contains("neither protobuf nor JSON"), "{}", by_key["0.p.garbage"].1);
    assert!(by_key["0.p.type"].1.contains("seldon-infer-type says \"xml\""));
    assert_eq!(by_key["0.p.never"].1, "rpc error: code = DeadlineExceeded desc = no answer from the inference server within 200 ms");
    assert_eq!(by_key["0.p.panic"].1, "the inference server panicked");
    assert_eq!(value(&world.read(&topic("outputs"), 1).await[0].1), 5, "the rest goes on");
    assert_eq!(server.calls.load(Ordering::SeqCst), 4, "what the model itself answers is not asked again");
    world.committed(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_is_answered_as_json() {
    let world = World::start(EmbeddedBroker::temporary().unwrap(), Some(Server::default()), |_| ()).await;
    world.send(0, "k", r#"{"inputs":[{"name":"X","datatype":"INT64","shape":[1],"data":[9007199254740993]}]}"#, &[]);
    let (_, record) = world.read(&topic("outputs"), 1).await.remove(0);
    assert_eq!(text(&record), r#"{"model_name":"m","outputs":[{"data":[9007199254740993],"name":"X","shape":[1],"datatype":"INT64"}]}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_keeps_its_order_others_overtake_and_a_model_is_bounded() {
    let server = Server::default();
    let world =
        World::start(EmbeddedBroker::temporary().unwrap(), Some(server.clone()), |o| (o.max_in_flight, o.max_queued) = (3, 10)).await;
    for n in 0..5 {
        world.send(0, "slow", request("slow", n), &[]);
    }
    for n in 100..300 {
        world.send(0, &format!("k{}", n % 50), request("", n), &[]);
    }
    let outputs: Vec<_> = world.read(&topic("outputs"), 205).await.iter().map(|(_, r)| (r.key.clone().unwrap(), value(r))).collect();
    let of = |key: &str| outputs.iter().filter(|(k, _)| *k == *key).map(|(_, v)| *v).collect::<Vec<_>>();
    assert_eq!(of("slow"), [0, 1, 2, 3, 4]);
    assert_eq!(of("k7"), [107, 157, 207, 257]);
    let place = |v: i32| outputs.iter().position(|(_, value)| *value == v).unwrap();
    assert!(place(150) < place(4), "others overtake a slow key");
    assert!(server.most.load(Ordering::SeqCst) <= 3);
    world.committed(205).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transport_failures_are_tried_again() {
    // Nobody listens there until later.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let world =
        World::start(EmbeddedBroker::temporary().unwrap(), None, |o| (o.max_retries, o.inference_server) = (8, Some(address.to_string())))
            .await;
    world.send(0, "k", request("", 9), &[]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let server = Server::default();
    tokio::spawn(tonic::transport::Server::builder().add_service(GrpcInferenceServiceServer::new(server.clone())).serve(address));
    assert_eq!(value(&world.read(&topic("outputs"), 1).await[0].1), 9);
    assert_eq!(server.calls.load(Ordering::SeqCst), 1);
    world.send(0, "k", request("refused", 1), &[]);
    let errors = world.read("seldon.default.errors.errors", 1).await;
    assert_eq!(text(&errors[0].1), "rpc error: code = Unavailable desc = the model says no");
    assert_eq!(server.calls.load(Ordering::SeqCst), 2);
}

/// A server on a port of its own.
async fn served() -> (Server, String) {
    let (server, listener) = (Server::default(), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap().to_string();
    let service = GrpcInferenceServiceServer::new(server.clone());
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener)));
    (server, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_asked_where_the_scheduler_has_loaded_it() {
    let world = World::start(EmbeddedBroker::temporary().unwrap(), None, |_| ()).await;
    let ((first, at_first), (second, at_second)) = (served().await, served().await);
    let route = |addresses: &[&String]| {
        let route = |model: &str, addresses: Vec<String>| Route { model: model.into(), addresses };
        world.scheduler.routes.send_replace(Routes {
            routes: vec![route("m", addresses.iter().map(ToString::to_string).collect()), route("other", vec![at_second.clone()])],
        });
    };
    let calls = |server: &Server| server.calls.load(Ordering::SeqCst);
    // It waits for the route.
    world.send(0, "a", request("", 1), &[]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    route(&[&at_first]);
    world.read(&topic("outputs"), 1).await;
    // A scheduler that was restarted has not heard of its servers yet.
    route(&[]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.send(0, "b", request("", 2), &[]);
    world.read(&topic("outputs"), 2).await;
    assert_eq!((calls(&first), calls(&second)), (2, 0));
    route(&[&at_first, &at_second]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    for key in ["c", "d", "e", "f"] {
        world.send(0, key, request("", 3), &[]);
    }
    world.read(&topic("outputs"), 6).await;
    assert_eq!((calls(&first), calls(&second)), (4, 2), "in turn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_comes_is_an_error_after_the_retries() {
    let world =
        World::start(EmbeddedBroker::temporary().unwrap(), None, |o| (o.max_retries, o.inference_server) = (2, Some("127.0.0.1:1".into())))
            .await;
    world.send(0, "k", request("", 9), &[]);
    let errors = world.read("seldon.default.errors.errors", 1).await;
    assert!(text(&errors[0].1).starts_with("rpc error: code = Unavailable desc = "), "{}", text(&errors[0].1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_answered_is_done_by_the_next_gateway() {
    let broker = EmbeddedBroker::temporary().unwrap();
    let server = Server::default();
    let world = World::start(broker.clone(), Some(server.clone()), |_| ()).await;
    world.send(0, "a", request("", 1), &[]);
    world.read(&topic("outputs"), 1).await;
    world.committed(1).await;
    world.send(0, "b", request("never", 2), &[]);
    world.send(0, "c", request("", 3), &[]);
    assert_eq!(world.read(&topic("outputs"), 2).await.len(), 2);
    let calls = server.calls.clone();
    eventually("all are called", || calls.load(Ordering::SeqCst) == 3).await;
    world.gateway.shutdown().await;
    world.committed(1).await;
    let next = Server::default();
    let world = World::start(broker, Some(next.clone()), |_| ()).await;
    assert_eq!(world.read(&topic("outputs"), 3).await.len(), 3, "c again: at least once");
    assert_eq!(next.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_cannot_be_written_is_written_again_and_one_too_large_is_an_error() {
    let failures = Arc::new(AtomicUsize::new(0));
    let seen = failures.clone();
    let faults = Faults::new(move |operation, partition| match partition {
        Some(p) if operation == Operation::Append && p.topic.ends_with("outputs") && seen.fetch_add(1, Ordering::SeqCst) < 2 => {
            Err(BrokerError::Unreachable("nowhere".into()))
        }
        _ => Ok(()),
    });
    let broker = EmbeddedBroker::temporary_with(|o| {
        o.faults = faults;
        o.max_message_bytes = 1_000;
    });
    let world = World::start(broker.unwrap(), Some(Server::default()), |_| ()).await;
    world.send(0, "k", request("", 4), &[]);
    assert_eq!(value(&world.read(&topic("outputs"), 1).await[0].1), 4);
    assert_eq!(failures.load(Ordering::SeqCst), 3);
    world.send(0, "large", request("large", 1), &[]);
    let errors = world.read("seldon.default.errors.errors", 1).await;
    assert!(text(&errors[0].1).starts_with("the answer could not be written: record of"), "{}", text(&errors[0].1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_deleted_is_fed_no_more_until_it_comes_back() {
    let mut world = World::start(EmbeddedBroker::temporary().unwrap(), Some(Server::default()), |_| ()).await;
    world.scheduler.model("m", ModelOperation::ModelDelete, 42);
    assert!(world.heard.event().await.success);
    world.send(0, "k", request("", 4), &[]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.scheduler.model("other", ModelOperation::ModelCreate, 43);
    assert!(world.heard.event().await.success);
    world.scheduler.model("m", ModelOperation::ModelCreate, 44);
    assert!(world.heard.event().await.success);
    assert_eq!(value(&world.read(&topic("outputs"), 1).await[0].1), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_with_other_partitions_are_refused_with_the_reason() {
    let broker = EmbeddedBroker::temporary().unwrap();
    broker.admin().create_topics(&[millstream_broker::NewTopic::new("seldon.default.model.odd.inputs", 5)], PATIENCE).unwrap();
    let mut world = World::start(broker, Some(Server::default()), |_| ()).await;
    world.scheduler.model("odd", ModelOperation::ModelCreate, 2);
    let event = world.heard.event().await;
    assert!(!event.success && event.reason.contains("exists with 5 partitions"), "{}", event.reason);
}
