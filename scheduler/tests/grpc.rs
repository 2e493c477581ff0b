//! The scheduler as its clients, agents, engines and gateways see it: over gRPC, on a loopback port.

mod support;

use std::time::{Duration, Instant};

use millstream_proto::{
    lanes::{Role, Route, Routes, RoutesRequest},
    seldon::{agent::AgentDrainRequest, health::health_check_service_client::HealthCheckServiceClient, scheduler::*},
};
use millstream_scheduler::{Error, Options, Scheduler};
use model_status::ModelState;
use pipeline_version_state::PipelineStatus;
use support::*;
use tokio_stream::StreamExt;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_loaded_run_updated_and_unloaded() {
    let plane = Plane::start().await;
    let (_agent, _gateway) = (plane.agent(0).await, plane.replica(Role::PipelineGateway, "g1").await);
    let engine = plane.replica(Role::Engine, "e1").await;
    plane.load_model("add10").await.expect("loaded");
    plane.until_model("add10", ModelState::ModelAvailable).await;
    plane.load_pipeline(chain("p", &["add10"])).await.expect("loaded");
    plane.until_pipeline("p", PipelineStatus::PipelineReady).await;
    assert_eq!(engine.lanes(), [("p".to_string(), 1, vec![0, 1, 2, 3])]);
    plane.load_pipeline(chain("p", &["add10"])).await.expect("loaded");
    plane.until(|| async { engine.lanes()[0].1 == 2 }).await;
    plane.until_pipeline("p", PipelineStatus::PipelineReady).await;
    let mut client = plane.client().await;
    client.unload_pipeline(UnloadPipelineRequest { name: "p".into() }).await.expect("unloaded");
    plane.until_pipeline("p", PipelineStatus::PipelineTerminated).await;
    assert!(engine.lanes().is_empty());
    let model = Some(ModelReference { name: "add10".into(), version: None });
    client.unload_model(UnloadModelRequest { model, kubernetes_meta: None }).await.expect("unloaded");
    plane.until_model("add10", ModelState::ModelTerminated).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_split_over_engines_and_those_of_a_dead_one_move_at_once() {
    let plane = Plane::start().await;
    let (first, second) = (plane.replica(Role::Engine, "e1").await, plane.replica(Role::Engine, "e2").await);
    plane.load_pipeline(chain("p", &["add10"])).await.expect("loaded");
    plane.until(|| async { first.count() + second.count() == 4 && first.count() > 0 && second.count() > 0 }).await;
    second.die();
    let start = Instant::now();
    plane.until(|| async { first.count() == 4 }).await;
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(first.last().lanes[0].former_owners, ["e2"]);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_falls_silent_is_dead_within_two_seconds() {
    let plane = Plane::start().await;
    let (relay, stall) = relay(plane.address()).await;
    let first = plane.replica(Role::Engine, "e1").await;
    let second = Replica::connect(relay, Role::Engine, "e2").await;
    plane.load_pipeline(chain("p", &["add10"])).await.expect("loaded");
    plane.until(|| async { second.count() > 0 && first.count() + second.count() == 4 }).await;
    stall.send_replace(true);
    let start = Instant::now();
    plane.until(|| async { first.count() == 4 }).await;
    assert!(start.elapsed() < Duration::from_millis(2_200), "{:?}", start.elapsed());
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_nothing() {
    let plane = Plane::start().await;
    let agent = plane.agent(0).await;
    plane.load_model("add10").await.expect("loaded");
    plane.until_model("add10", ModelState::ModelAvailable).await;
    let engine = plane.replica(Role::Engine, "e1").await;
    for name in ["p", "q", "q"] {
        plane.load_pipeline(chain(name, &["add10"])).await.expect("loaded");
    }
    plane.until_pipeline("q", PipelineStatus::PipelineReady).await;
    plane.client().await.unload_pipeline(UnloadPipelineRequest { name: "p".into() }).await.expect("unloaded");
    plane.until_pipeline("p", PipelineStatus::PipelineTerminated).await;
    drop((agent, engine));
    let plane = plane.crash_and_restart().await;
    let status = plane.pipeline("q").await.expect("known");
    let version = status.versions[0].pipeline.as_ref().expect("pipeline");
    assert_eq!((version.version, version.uid.len(), version.steps[0].name.as_str()), (2, 20, "add10"));
    plane.until_pipeline("p", PipelineStatus::PipelineTerminated).await;
    let (_agent, _engine) = (plane.agent(0).await, plane.replica(Role::Engine, "e1").await);
    plane.until_pipeline("q", PipelineStatus::PipelineReady).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_schedulers_the_older_one_stops() {
    let mut older = Plane::start().await;
    older.load_pipeline(chain("p", &["add10"])).await.expect("loaded");
    let newer = older.second().await;
    assert!(newer.pipeline("p").await.is_ok());
    let refused = older.load_pipeline(chain("q", &["add10"])).await.expect_err("fenced");
    assert_eq!(refused.code(), Code::Unavailable);
    let ended = tokio::time::timeout(Duration::from_secs(10), older.handle.wait()).await.expect("it stops");
    assert!(matches!(ended, Err(Error::Fenced(_))), "{ended:?}");
    newer.load_pipeline(chain("q", &["add10"])).await.expect("loaded");
    newer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_a_clear_line_and_leaves_the_scheduler_running() {
    let plane = Plane::start().await;
    let mut client = plane.client().await;
    let mut trigger = chain("p", &["add10"]);
    trigger.steps[0].triggers = vec!["nobody".into()];
    let refused = plane.load_pipeline(trigger).await.expect_err("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "pipeline p step add10 has trigger nobody for step that does not exist");
    let nothing = client.load_pipeline(LoadPipelineRequest { pipeline: None }).await.expect_err("refused");
    assert_eq!(nothing.code(), Code::InvalidArgument);
    assert_eq!(plane.pipeline("nobody").await.expect_err("unknown").code(), Code::FailedPrecondition);
    let request = ModelStatusRequest { model: Some(ModelReference { name: "x".into(), version: None }), ..Default::default() };
    assert_eq!(client.model_status(request).await.expect_err("unknown").code(), Code::FailedPrecondition);
    let request = ServerStatusRequest { name: Some("x".into()), ..Default::default() };
    assert_eq!(client.server_status(request).await.expect_err("unknown").code(), Code::FailedPrecondition);
    let experiment = client.start_experiment(StartExperimentRequest::default()).await.expect_err("unimplemented");
    assert_eq!(experiment.code(), Code::Unimplemented);
    let all = client.experiment_status(ExperimentStatusRequest::default()).await.expect("empty").into_inner();
    assert_eq!(all.collect::<Vec<_>>().await.len(), 0);
    let version = client.scheduler_status(SchedulerStatusRequest::default()).await.expect("runs").into_inner();
    assert_eq!(version.application_version, "0.0.1");
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_see_what_is_and_what_becomes() {
    let plane = Plane::start().await;
    plane.load_pipeline(chain("p", &["add10"])).await.expect("loaded");
    let mut client = plane.client().await;
    let request = PipelineSubscriptionRequest { subscriber_name: "test".into(), ..Default::default() };
    let mut pipelines = client.subscribe_pipeline_status(request).await.expect("subscribed").into_inner();
    assert_eq!(next(&mut pipelines).await.pipeline_name, "p");
    let mut models = client.subscribe_model_status(ModelSubscriptionRequest::default()).await.expect("subscribed").into_inner();
    let mut servers = client.subscribe_server_status(ServerSubscriptionRequest::default()).await.expect("subscribed").into_inner();
    plane.load_model("add10").await.expect("loaded");
    assert_eq!(next(&mut models).await.model_name, "add10");
    let _agent = plane.agent(3).await;
    assert_eq!(next(&mut servers).await.resources[0].replica_idx, 3);
    while next(&mut models).await.versions[0].state.as_ref().expect("state").state() != ModelState::ModelAvailable {}
    let mut events = client.subscribe_control_plane(ControlPlaneSubscriptionRequest::default()).await.expect("subscribed").into_inner();
    assert_eq!(next(&mut events).await.event(), control_plane_response::Event::SendServers);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_are_told_where_models_answer() {
    let plane = Plane::start().await;
    let mut routes = plane.lanes().await.subscribe_routes(RoutesRequest::default()).await.expect("subscribed").into_inner();
    assert!(next(&mut routes).await.routes.is_empty());
    plane.load_model("add10").await.expect("loaded");
    let route = |addresses: &[&str]| {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        Routes { routes: vec![Route { model: "add10".into(), addresses }] }
    };
    assert_eq!(next(&mut routes).await, route(&[]));
    let agent = plane.agent(7).await;
    assert_eq!(next(&mut routes).await, route(&["replica-7:9500"]));
    drop(agent);
    assert_eq!(next(&mut routes).await, route(&[]));
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_answered_when_the_models_run_elsewhere() {
    let plane = Plane::start().await;
    let _first = plane.agent(0).await;
    plane.load_model("add10").await.expect("loaded");
    plane.until_model("add10", ModelState::ModelAvailable).await;
    let _second = plane.agent(1).await;
    let request = AgentDrainRequest { server_name: "mlserver".into(), replica_idx: 0 };
    let drained = plane.agents().await.agent_drain(request).await.expect("drained").into_inner();
    assert!(drained.success);
    plane.until_model("add10", ModelState::ModelAvailable).await;
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_on_the_one_port_with_reflection_and_health() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
        server_reflection_response::MessageResponse,
    };
    let plane = Plane::start().await;
    let list = ServerReflectionRequest { message_request: Some(MessageRequest::ListServices(String::new())), ..Default::default() };
    let mut client = ServerReflectionClient::new(plane.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::iter([list])).await.expect("reflection").into_inner();
    let Some(MessageResponse::ListServicesResponse(services)) = next(&mut answers).await.message_response else { panic!("a list") };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    for expected in [
        "seldon.mlops.scheduler.Scheduler",
        "seldon.mlops.chainer.Chainer",
        "seldon.mlops.agent.AgentService",
        "seldon.mlops.health.HealthCheckService",
        "millstream.lanes.Lanes",
    ] {
        assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
    }
    let mut health = tonic_health::pb::health_client::HealthClient::new(plane.channel().await);
    let status = health.check(tonic_health::pb::HealthCheckRequest::default()).await.expect("health").into_inner();
    assert_eq!(status.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    let mut own = HealthCheckServiceClient::new(plane.channel().await);
    assert!(own.health_check(millstream_proto::seldon::health::HealthCheckRequest {}).await.expect("health").into_inner().ok);
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_impossible_options_are_named() {
    let plane = Plane::start().await;
    let taken = Options { listen: plane.address(), ..Options::default() };
    let error = Scheduler::start(taken, plane.broker.clone()).await.expect_err("in use");
    assert!(error.to_string().starts_with(&format!("port {} of 127.0.0.1 is in use", plane.address().port())), "{error}");
    plane.load_pipeline(chain("p", &["add10"])).await.expect("the first one is not disturbed");
    for (options, expected) in [
        (Options { partitions: 0, ..options() }, "partitions 0"),
        (Options { load_bound: 0.5, ..options() }, "load_bound 0.5"),
        (Options { namespace: "a.b".into(), ..options() }, "namespace \"a.b\""),
        (Options { topic_prefix: "a b".into(), ..options() }, "topic_prefix \"a b\""),
    ] {
        let error = Scheduler::start(options, plane.broker.clone()).await.expect_err("impossible").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let unknown = serde_json::from_str::<Options>(r#"{"partition": 3}"#).expect_err("unknown key").to_string();
    assert!(unknown.contains("unknown field `partition`") && unknown.contains("`partitions`"), "{unknown}");
    plane.stop().await;
}
