//! The pipeline gateway over an embedded broker, with an engine that echoes and a scheduler that says what it is told to.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use common::{Heard, PATIENCE, Reply, Scheduler, eventually, http};
use futures::future::join_all;
use millstream_broker::{
    Broker, ConsumerOptions, EmbeddedBroker, Header, NewTopic, Position, ProduceBatch, ProducerOptions, Record, TopicPartition,
};
use millstream_gateway::{InferenceServer, PipelineGateway, PipelineGatewayHandle, PipelineGatewayOptions};
use millstream_proto::{
    inference::{
        grpc_inference_service_client::GrpcInferenceServiceClient, model_infer_request::InferInputTensor,
        model_infer_response::InferOutputTensor, *,
    },
    seldon::scheduler::pipeline_version_state::PipelineStatus,
};
use prost::Message;
use tonic::{Code, async_trait, transport::Channel};

const PARTITIONS: i32 = 4;
const PIPELINES: [&str; 5] = ["echo", "silent", "failing", "twice", "broken"];
const ONE: &str = r#"{"id":"i7","inputs":[{"name":"X","datatype":"INT64","shape":[1],"data":[9007199254740993]}]}"#;

/// Does to each record of the inputs what the pipeline's name says.
struct Engine {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Engine {
    fn start(broker: &Arc<EmbeddedBroker>) -> Self {
        let topics: Vec<_> =
            PIPELINES.iter().flat_map(|p| ["inputs", "outputs"].map(|side| NewTopic::new(topic(p, side), PARTITIONS))).collect();
        broker.admin().create_topics(&topics, PATIENCE).unwrap();
        let partitions: Vec<_> = PIPELINES
            .iter()
            .flat_map(|p| (0..PARTITIONS).map(move |n| (TopicPartition::new(topic(p, "inputs"), n), Position::Beginning)))
            .collect();
        let producer = broker.producer(ProducerOptions::default()).unwrap();
        let mut consumer = broker.consumer(ConsumerOptions::default()).unwrap();
        consumer.assign(&partitions).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for batch in consumer.poll(Duration::from_millis(20)).unwrap() {
                    let pipeline = batch.from.topic.split('.').nth(3).unwrap().to_owned();
                    for stored in batch.records {
                        let to = TopicPartition::new(topic(&pipeline, "outputs"), batch.from.partition);
                        for record in answers(&pipeline, &stored.record) {
                            producer.send(ProduceBatch { to: to.clone(), records: vec![record] }, None).unwrap();
                        }
                    }
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn topic(pipeline: &str, side: &str) -> String {
    format!("seldon.default.pipeline.{pipeline}.{side}")
}

fn answers(pipeline: &str, record: &Record) -> Vec<Record> {
    let request = ModelInferRequest::decode(record.value.clone().unwrap()).unwrap();
    let output = |t: InferInputTensor| InferOutputTensor {
        name: t.name,
        datatype: t.datatype,
        shape: t.shape,
        parameters: t.parameters,
        contents: t.contents,
    };
    let echo = |model: &str| {
        let outputs = request.inputs.clone().into_iter().map(output).collect();
        let response = ModelInferResponse {
            model_name: model.into(),
            outputs,
            raw_output_contents: request.raw_input_contents.clone(),
            ..Default::default()
        };
        let headers = record.headers.iter().cloned().chain([Header::new("x-seldon-route", ":m_1:"), Header::new("x-step", "done")]);
        Record { value: Some(response.encode_to_vec().into()), headers: headers.collect(), ..record.clone() }
    };
    match pipeline {
        "echo" => vec![echo("first")],
        "twice" => vec![echo("first"), echo("second")],
        "failing" => {
            let headers = record.headers.iter().cloned().chain([Header::new("seldon-pipeline-errors", "step1")]);
            vec![Record { value: Some("it is broken".into()), headers: headers.collect(), ..record.clone() }]
        }
        "broken" => vec![Record { value: Some("\u{1}garbage".into()), ..record.clone() }],
        _ => Vec::new(),
    }
}

/// A model server of this process.
struct Models;

#[async_trait]
impl InferenceServer for Models {
    async fn infer(&self, request: tonic::Request<ModelInferRequest>) -> Result<tonic::Response<ModelInferResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        match request.model_name.as_str() {
            "slow" => std::future::pending().await,
            "m" => {
                let outputs = vec![InferOutputTensor { name: "H".into(), datatype: "BYTES".into(), shape: vec![1], ..Default::default() }];
                let seen = format!(
                    "{}|{}",
                    metadata.get("x-a").map_or("", |v| v.to_str().unwrap()),
                    metadata.get("seldon-model").unwrap().to_str().unwrap()
                );
                let raw = [&u32::try_from(seen.len()).unwrap().to_le_bytes()[..], seen.as_bytes()].concat();
                let response =
                    ModelInferResponse { model_name: "m".into(), outputs, raw_output_contents: vec![raw.into()], ..Default::default() };
                let mut response = tonic::Response::new(response);
                response.metadata_mut().insert("x-from-model", "yes".parse().unwrap());
                Ok(response)
            }
            name => Err(tonic::Status::not_found(format!("there is no model {name}"))),
        }
    }

    async fn ready(&self, request: ModelReadyRequest) -> Result<bool, tonic::Status> {
        if request.name == "m" { Ok(true) } else { Err(tonic::Status::not_found("no such model")) }
    }

    async fn metadata(&self, request: ModelMetadataRequest) -> Result<ModelMetadataResponse, tonic::Status> {
        let tensor =
            model_metadata_response::TensorMetadata { name: "X".into(), datatype: "FP32".into(), shape: vec![-1, 4], ..Default::default() };
        Ok(ModelMetadataResponse {
            name: request.name,
            versions: vec!["1".into()],
            platform: "test".into(),
            inputs: vec![tensor],
            ..Default::default()
        })
    }
}

struct World {
    gateway: PipelineGatewayHandle,
    scheduler: Scheduler,
    heard: Heard,
    broker: Arc<EmbeddedBroker>,
    _engine: Engine,
}

impl World {
    async fn start(change: impl FnOnce(&mut PipelineGatewayOptions)) -> Self {
        let broker = EmbeddedBroker::temporary().unwrap();
        let engine = Engine::start(&broker);
        let (scheduler, heard) = Scheduler::start().await;
        let mut options = PipelineGatewayOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            lane_wait_ms: 300,
            lane_drain_ms: 500,
            ..PipelineGatewayOptions::default()
        };
        change(&mut options);
        let gateway =
            PipelineGateway::start(options, broker.clone(), &scheduler.address.to_string(), Some(Arc::new(Models))).await.unwrap();
        Self { gateway, scheduler, heard, broker, _engine: engine }
    }

    /// With all pipelines on two partitions.
    async fn ready(change: impl FnOnce(&mut PipelineGatewayOptions)) -> Self {
        let mut world = Self::start(change).await;
        for pipeline in PIPELINES {
            world.scheduler.pipeline(pipeline, PipelineStatus::PipelineReady, true);
        }
        world.assign(1, &PIPELINES.map(|p| (p, &[1, 3][..]))).await;
        world
    }

    async fn assign(&mut self, generation: u64, lanes: &[(&str, &[i32])]) {
        self.scheduler.assign(generation, PARTITIONS, lanes);
        while self.heard.applied().await.generation != generation {}
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        http(self.address(), false, "POST", path, headers, body.to_owned()).await
    }

    async fn get(&self, path: &str) -> Reply {
        http(self.address(), false, "GET", path, &[], "").await
    }

    async fn grpc(&self) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::connect(format!("http://{}", self.address())).await.unwrap()
    }
}

fn message(model: &str) -> ModelInferRequest {
    let contents = InferTensorContents { int_contents: vec![1, 2], ..Default::default() };
    let input =
        InferInputTensor { name: "X".into(), datatype: "INT32".into(), shape: vec![2], contents: Some(contents), ..Default::default() };
    ModelInferRequest { model_name: model.into(), inputs: vec![input], ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_answers_over_rest_in_both_versions_of_http() {
    let world = World::ready(|_| ()).await;
    for http2 in [false, true] {
        let headers = [("x-request-id", "r1"), ("x-mine", "a"), ("accept", "*/*")];
        let reply = http(world.address(), http2, "POST", "/v2/pipelines/echo/infer", &headers, ONE).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(
            reply.body,
            r#"{"model_name":"first","id":"i7","outputs":[{"data":[9007199254740993],"name":"X","shape":[1],"datatype":"INT64"}]}"#
        );
        assert!(["1.echo.r1", "3.echo.r1"].contains(&reply.values("x-request-id")[0]), "{:?}", reply.headers);
        assert_eq!(reply.values("x-seldon-route"), [":m_1:", ":echo.pipeline:"]);
        assert_eq!((reply.values("x-mine"), reply.values("x-step")), (vec!["a"], vec!["done"]));
        assert_eq!(reply.values("content-type"), ["application/json"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_answers_over_grpc_by_header_or_by_name() {
    let world = World::ready(|_| ()).await;
    let mut client = world.grpc().await;
    let mut request = tonic::Request::new(message(""));
    request.metadata_mut().insert("seldon-model", "echo.pipeline".parse().unwrap());
    let response = client.model_infer(request).await.unwrap();
    let key = response.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
    assert_eq!(key.split('.').nth(1), Some("echo"));
    assert_eq!(key.split('.').nth(2).unwrap().len(), 20, "a fresh id");
    let routes: Vec<_> = response.metadata().get_all("x-seldon-route").iter().collect();
    assert_eq!(routes, [":m_1:", ":echo.pipeline:"]);
    assert_eq!(response.into_inner().outputs[0].contents.as_ref().unwrap().int_contents, [1, 2]);
    assert_eq!(client.model_infer(message("echo")).await.unwrap().into_inner().model_name, "first");
    assert_eq!(client.model_infer(message("m")).await.unwrap().into_inner().model_name, "m");
    assert_eq!(client.model_infer(message("nothing")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.model_infer(message("")).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    assert!(client.model_ready(ModelReadyRequest { name: "echo".into(), version: String::new() }).await.unwrap().into_inner().ready);
    assert_eq!(client.repository_index(RepositoryIndexRequest::default()).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_what_seldon_writes() {
    let world = World::ready(|_| ()).await;
    let headers = [
        ("x-request-id", "r9"),
        ("X-Mine", "a"),
        ("x-mine", "a"),
        ("traceparent", "t"),
        ("authorization", "secret"),
        ("x-seldon-route", ":old:"),
    ];
    let reply = world.post("/v2/models/echo/infer", &[&headers[..], &[("seldon-model", "echo.pipeline")]].concat(), ONE).await;
    let key = reply.values("x-request-id")[0];
    let partition: i32 = key.split_once('.').unwrap().0.parse().unwrap();
    let mut consumer = world.broker.consumer(ConsumerOptions::default()).unwrap();
    consumer.assign(&[(TopicPartition::new(topic("echo", "inputs"), partition), Position::Beginning)]).unwrap();
    let record = consumer.poll(PATIENCE).unwrap().remove(0).records.remove(0).record;
    assert_eq!(record.key.unwrap(), key);
    let headers: Vec<_> =
        record.headers.iter().map(|h| format!("{}={}", h.name, String::from_utf8_lossy(h.value.as_ref().unwrap()))).collect();
    assert_eq!(headers[0], "x-request-id=r9");
    assert_eq!(headers.last().unwrap(), "pipeline=echo");
    let mut rest = headers[1..headers.len() - 1].to_vec();
    rest.sort();
    assert_eq!(rest, ["traceparent=t", "x-mine=a"]);
    let value = ModelInferRequest::decode(record.value.unwrap()).unwrap();
    assert_eq!(
        (value.id.as_str(), value.inputs[0].contents.as_ref().unwrap().int64_contents.as_slice()),
        ("i7", &[9_007_199_254_740_993][..])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_are_answered_one_to_one() {
    let world = World::ready(|_| ()).await;
    let client = world.grpc().await;
    let one = |n: i32| {
        let mut client = client.clone();
        async move {
            let mut request = message("twice");
            request.inputs[0].contents.as_mut().unwrap().int_contents = vec![n, -n];
            let response = client.model_infer(request).await.unwrap().into_inner();
            assert_eq!(response.model_name, "first", "only the first answer counts");
            assert_eq!(response.outputs[0].contents.as_ref().unwrap().int_contents, [n, -n]);
        }
    };
    join_all((0..2_000).map(one)).await;
    assert_eq!(world.gateway.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_step_is_told_with_its_name() {
    let world = World::ready(|_| ()).await;
    let reply = world.post("/v2/pipelines/failing/infer", &[("x-request-id", "r1")], ONE).await;
    assert_eq!((reply.status, reply.error()), (400, "step1 : it is broken".into()));
    assert!(reply.values("x-request-id")[0].ends_with(".failing.r1"));
    let status = world.grpc().await.model_infer(message("failing")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unknown, "step1 : it is broken"));
    let reply = world.post("/v2/pipelines/broken/infer", &[], ONE).await;
    assert_eq!(reply.status, 500);
    assert!(reply.error().starts_with("pipeline broken answered not an inference response"), "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_in_one_line() {
    let world = World::ready(|o| o.max_body_bytes = 2_000).await;
    let big = format!(r#"{{"inputs":[{{"name":"X","datatype":"BYTES","shape":[1],"data":["{}"]}}]}}"#, "x".repeat(3_000));
    for (path, headers, body, status, error) in [
        ("/v2/pipelines/none/infer", &[][..], ONE, 404, "there is no pipeline none: load it first"),
        ("/v2/models/none/infer", &[], ONE, 404, "none : there is no model none"),
        (
            "/v2/models/echo/infer",
            &[("seldon-model", "e.experiment")],
            ONE,
            404,
            "experiment e: this gateway knows pipelines and models only",
        ),
        ("/v2/nonsense", &[], ONE, 404, "nothing is at POST /v2/nonsense"),
        ("/v2", &[], ONE, 405, "POST does not go with /v2"),
        ("/v2/pipelines/echo/infer", &[], "{\"inputs\": [,", 400, "malformed JSON: expected value at line 1 column 13"),
        ("/v2/pipelines/echo/infer", &[], "", 400, "malformed JSON: EOF while parsing a value at line 1 column 0"),
        (
            "/v2/pipelines/echo/infer",
            &[],
            r#"{"inputs":[{"name":"X","datatype":"INT32","shape":[3],"data":[1]}]}"#,
            400,
            "tensor X: shape [3] takes 3 elements, data has 1",
        ),
        (
            "/v2/pipelines/echo/infer",
            &[],
            r#"{"inputs":[{"name":"X","datatype":"INT","shape":[1],"data":[1]}]}"#,
            400,
            "tensor X: unknown datatype \"INT\": did you mean INT8?",
        ),
        ("/v2/pipelines/echo/infer", &[], &big, 413, "the body is over the limit of 2000 bytes"),
        (
            "/v2/pipelines/echo/infer",
            &[("x-request-timeout-ms", "soon")],
            ONE,
            400,
            "x-request-timeout-ms is \"soon\": give a positive number of milliseconds",
        ),
        (
            "/v2/pipelines/echo/infer",
            &[("inference-header-content-length", "9999")],
            ONE,
            400,
            "Inference-Header-Content-Length says 9999 bytes",
        ),
        (
            "/v2/pipelines/echo/infer",
            &[("content-encoding", "gzip")],
            ONE,
            415,
            "Content-Encoding \"gzip\" is not taken: send the body as it is",
        ),
    ] {
        let reply = world.post(path, headers, body).await;
        assert_eq!(reply.status, status, "{path} {headers:?} {}", reply.body);
        assert!(reply.error().contains(error), "{path}\n  says  {}\n  not   {error}", reply.error());
    }
    let mut client = world.grpc().await;
    let mut wrong = message("echo");
    wrong.inputs[0].shape = vec![7];
    let status = client.model_infer(wrong).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "tensor X: shape [7] takes 7 elements, contents have 2"));
    let mut large = message("echo");
    large.inputs[0].contents.as_mut().unwrap().int_contents = vec![1 << 30; 1_000];
    large.inputs[0].shape = vec![1_000];
    assert_eq!(client.model_infer(large).await.unwrap_err().code(), Code::OutOfRange);
    let chunked = raw(
        world.address(),
        &format!("POST /v2/pipelines/echo/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfff\r\n{}", "x".repeat(4_095)),
    )
    .await;
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    // All of that left the rest running.
    assert_eq!(world.post("/v2/pipelines/echo/infer", &[], ONE).await.status, 200);
}

/// Sends bytes, and reads what comes back first.
async fn raw(address: SocketAddr, text: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 4_096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_has_a_deadline() {
    let world = World::ready(|o| o.request_timeout_ms = 300).await;
    let begin = Instant::now();
    let reply = world.post("/v2/pipelines/silent/infer", &[("x-request-timeout-ms", "50")], ONE).await;
    assert_eq!((reply.status, reply.error()), (504, "no answer from pipeline silent within 50 ms".into()));
    let reply = world.post("/v2/pipelines/silent/infer", &[], ONE).await;
    assert_eq!((reply.status, reply.error()), (504, "no answer from pipeline silent within 300 ms".into()));
    // By hand: a client of tonic gives up by itself at its deadline.
    let message = message("silent").encode_to_vec();
    let framed = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat();
    let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "80m")];
    let reply = http(world.address(), true, "POST", "/inference.GRPCInferenceService/ModelInfer", &headers, framed).await;
    assert_eq!((reply.status, reply.values("grpc-status")), (200, vec!["4"]));
    assert_eq!(reply.values("grpc-message"), ["no%20answer%20from%20pipeline%20silent%20within%2080%20ms"]);
    let reply = world.post("/v2/models/slow/infer", &[("x-request-timeout-ms", "50")], ONE).await;
    assert_eq!((reply.status, reply.error()), (504, "no answer from model slow within 50 ms".into()));
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(world.gateway.waiting(), 0, "nothing is left of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_the_limit_are_refused_and_a_client_that_leaves_frees_its_place() {
    let world = World::ready(|o| o.max_in_flight = 2).await;
    let mut leaving = Vec::new();
    for http2 in [false, true] {
        let address = world.address();
        leaving.push(tokio::spawn(async move { http(address, http2, "POST", "/v2/pipelines/silent/infer", &[], ONE).await }));
    }
    eventually("two wait", || world.gateway.waiting() == 2).await;
    let reply = world.post("/v2/pipelines/echo/infer", &[], ONE).await;
    assert_eq!((reply.status, reply.error()), (429, "2 requests are under way, more are not taken: ask again later".into()));
    assert_eq!(world.grpc().await.model_infer(message("echo")).await.unwrap_err().code(), Code::ResourceExhausted);
    for client in leaving {
        client.abort();
    }
    eventually("both places are free", || world.gateway.waiting() == 0).await;
    let mut client = world.grpc().await;
    let call = tokio::spawn(async move { client.model_infer(message("silent")).await });
    eventually("one waits", || world.gateway.waiting() == 1).await;
    call.abort();
    eventually("its place is free", || world.gateway.waiting() == 0).await;
    assert_eq!(world.post("/v2/pipelines/echo/infer", &[], ONE).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_that_is_under_way_is_refused() {
    let world = World::ready(|_| ()).await;
    let address = world.address();
    let first =
        tokio::spawn(async move { http(address, false, "POST", "/v2/pipelines/silent/infer", &[("x-request-id", "r1")], ONE).await });
    eventually("the first waits", || world.gateway.waiting() == 1).await;
    let reply = world.post("/v2/pipelines/silent/infer", &[("x-request-id", "r1")], ONE).await;
    assert_eq!(reply.status, 409, "{}", reply.body);
    let mut request = tonic::Request::new(message("silent"));
    request.metadata_mut().insert("x-request-id", "r1".parse().unwrap());
    assert_eq!(world.grpc().await.model_infer(request).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(world.gateway.waiting(), 1, "the first still waits");
    first.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_owned_partitions_are_used_and_what_moves_away_fails_in_the_open() {
    let mut world = World::ready(|_| ()).await;
    let address = world.address();
    let waiting: Vec<_> =
        (0..8).map(|_| tokio::spawn(async move { http(address, false, "POST", "/v2/pipelines/silent/infer", &[], ONE).await })).collect();
    eventually("eight wait", || world.gateway.waiting() == 8).await;
    // Partition 1 stays, 3 goes, 2 comes.
    world.assign(2, &[("echo", &[2]), ("silent", &[1, 2])]).await;
    for _ in 0..20 {
        let reply = world.post("/v2/pipelines/echo/infer", &[], ONE).await;
        assert!(reply.values("x-request-id")[0].starts_with("2.echo."), "{reply:?}");
    }
    eventually("those on partition 3 are answered", || world.gateway.waiting() == 4).await;
    world.assign(3, &[("echo", &[2])]).await;
    for reply in join_all(waiting).await {
        let reply = reply.unwrap();
        assert_eq!(
            (reply.status, reply.error()),
            (503, "pipeline silent moved to another gateway while the request was under way: ask again".into())
        );
    }
    let reply = world.post("/v2/pipelines/silent/infer", &[], ONE).await;
    assert_eq!(
        (reply.status, reply.error()),
        (503, "no partition of pipeline silent is assigned to this gateway: ask again, or another gateway".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_on_a_lane_that_moved_away_still_arrives() {
    let mut world = World::ready(|o| o.lane_drain_ms = 20_000).await;
    let address = world.address();
    let request =
        tokio::spawn(async move { http(address, false, "POST", "/v2/pipelines/silent/infer", &[("x-request-id", "late")], ONE).await });
    eventually("it waits", || world.gateway.waiting() == 1).await;
    world.assign(2, &[("echo", &[0])]).await;
    let producer = world.broker.producer(ProducerOptions::default()).unwrap();
    for partition in [1, 3] {
        let key = format!("{partition}.silent.late");
        let record =
            Record { key: Some(key.into()), value: Some(ModelInferResponse::default().encode_to_vec().into()), ..Record::default() };
        producer
            .send(ProduceBatch { to: TopicPartition::new(topic("silent", "outputs"), partition), records: vec![record] }, None)
            .unwrap();
    }
    assert_eq!(request.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_scheduler_speaks_requests_wait_a_while() {
    let mut world = World::start(|_| ()).await;
    assert_eq!(world.get("/v2/health/live").await.status, 200);
    assert_eq!(world.get("/v2/health/ready").await.status, 503);
    let reply = world.post("/v2/pipelines/echo/infer", &[], ONE).await;
    assert_eq!((reply.status, reply.error()), (503, "the scheduler has not been reached yet: ask again later".into()));
    let address = world.address();
    let early = tokio::spawn(async move { http(address, false, "POST", "/v2/pipelines/echo/infer", &[], ONE).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.assign(1, &[("echo", &[0])]).await;
    assert_eq!(early.await.unwrap().status, 200);
    assert_eq!(world.get("/v2/health/ready").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_follows_the_scheduler() {
    let world = World::ready(|_| ()).await;
    eventually("known", || true).await;
    world.scheduler.pipeline("lame", PipelineStatus::PipelineReady, false);
    world.scheduler.pipeline("new", PipelineStatus::PipelineCreating, false);
    world.scheduler.pipeline("gone", PipelineStatus::PipelineTerminated, false);
    tokio::time::sleep(Duration::from_millis(100)).await;
    for (path, status) in [
        ("/v2/pipelines/echo/ready", 200),
        ("/v2/pipelines/echo/versions/1/ready", 200),
        ("/v2/pipelines/lame/ready", 424),
        ("/v2/pipelines/new/ready", 424),
        ("/v2/pipelines/gone/ready", 404),
        ("/v2/models/m/ready", 200),
        ("/v2/models/none/ready", 404),
        ("/v2", 200),
    ] {
        assert_eq!(world.get(path).await.status, status, "{path}");
    }
    assert_eq!(world.get("/v2/pipelines/lame/ready").await.error(), "pipeline lame is not ready: not all of its models are ready");
    assert_eq!(
        world.get("/v2/models/m").await.body,
        r#"{"inputs":[{"datatype":"FP32","name":"X","shape":[-1,4]}],"name":"m","outputs":[],"platform":"test","versions":["1"]}"#
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_asked_directly() {
    let world = World::ready(|_| ()).await;
    let reply = world.post("/v2/models/m/infer", &[("x-a", "seen"), ("x-request-id", "r5")], ONE).await;
    assert_eq!(reply.body, r#"{"model_name":"m","id":"i7","outputs":[{"data":["seen|m"],"name":"H","shape":[1],"datatype":"BYTES"}]}"#);
    assert_eq!(
        (reply.values("x-from-model"), reply.values("x-seldon-route"), reply.values("x-request-id")),
        (vec!["yes"], vec![":m_1:"], vec!["r5"])
    );
    let mut client = world.grpc().await;
    assert_eq!(client.model_infer(message("m")).await.unwrap().metadata().get("x-from-model").unwrap(), "yes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_tensors_go_in_and_out() {
    let world = World::ready(|_| ()).await;
    let json = r#"{"parameters":{"binary_data_output":true},"inputs":[{"name":"X","datatype":"FP16","shape":[2],"parameters":{"binary_data_size":4}}]}"#;
    let body = [json.as_bytes(), &[0, 0x3c, 0, 0xbc]].concat();
    let length = json.len().to_string();
    let headers = [("inference-header-content-length", length.as_str()), ("seldon-model", "echo.pipeline")];
    let reply = http(world.address(), false, "POST", "/v2/models/echo/infer", &headers, body).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let json_length: usize = reply.values("inference-header-content-length")[0].parse().unwrap();
    assert_eq!(&reply.bytes[json_length..], [0, 0x3c, 0, 0xbc]);
    assert!(reply.body.contains(r#""parameters":{"binary_data_size":4}"#), "{}", reply.body);
    assert_eq!(reply.values("content-type"), ["application/octet-stream"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_named() {
    let world = World::start(|_| ()).await;
    let options = PipelineGatewayOptions { listen: world.address(), ..PipelineGatewayOptions::default() };
    let error = PipelineGateway::start(options, world.broker.clone(), "127.0.0.1:1", None).await.err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on {}", world.address())), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_answers_everybody() {
    let world = World::ready(|o| o.request_timeout_ms = 1_000).await;
    let address = world.address();
    let waiting = tokio::spawn(async move { http(address, false, "POST", "/v2/pipelines/silent/infer", &[], ONE).await });
    eventually("it waits", || world.gateway.waiting() == 1).await;
    world.gateway.shutdown().await;
    assert_eq!(waiting.await.unwrap().status, 504);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[test]
fn an_unknown_option_is_refused() {
    let error = serde_json::from_str::<PipelineGatewayOptions>(r#"{"listne":"0.0.0.0:1"}"#).unwrap_err().to_string();
    assert!(error.contains("listne") && error.contains("listen"), "{error}");
}
