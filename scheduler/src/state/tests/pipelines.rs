//! Versions of pipelines, and what ready means.

use super::*;
use millstream_proto::seldon::chainer::{PipelineUpdateStatusMessage, pipeline_update_message::PipelineOperation};

fn ready_world() -> World {
    let mut world = World::new();
    world.agent(0);
    world.available_model("add10");
    world.engine("e1");
    world.load_pipeline(chain("p", &["add10"]));
    world.run_lanes();
    assert_eq!(world.pipeline_state("p"), (1, PipelineStatus::PipelineReady, String::new()));
    world
}

#[test]
fn a_pipeline_is_ready_when_engines_run_it_gateways_serve_it_and_its_models_answer() {
    let mut world = World::new();
    world.load_pipeline(chain("p", &["add10", "mul10"]));
    world.pass(50);
    let nobody = (1, PipelineStatus::PipelineCreate, "no dataflow engines available to handle pipeline".into());
    assert_eq!(world.pipeline_state("p"), nobody);
    world.engine("e1");
    world.gateway("g1");
    world.run_lanes();
    let (_, status, reason) = world.pipeline_state("p");
    assert_eq!((status, reason.as_str()), (PipelineStatus::PipelineCreating, "model add10 does not exist"));
    world.agent(0);
    world.load_model("add10");
    assert_eq!(world.pipeline_state("p").2, "model add10 is not available: ModelProgressing");
    world.agent_says(0, "add10", 1, Event::Loaded);
    world.available_model("mul10");
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineReady);
}

#[test]
fn engines_are_told_the_normalised_pipeline() {
    let mut world = World::new();
    world.engine("e1");
    world.load_pipeline(chain("p", &["add10", "mul10"]));
    world.pass(50);
    let assignment = world.assignments().remove(&(Role::Engine, "e1".into())).expect("assigned");
    let set = &assignment.lanes[0];
    assert_eq!((assignment.partitions, set.partitions.as_slice(), set.version), (4, &[0, 1, 2, 3][..], 1));
    let spec = set.spec.as_ref().unwrap();
    assert_eq!((&spec.uid, spec.version), (&set.uid, 1));
    assert_eq!(spec.steps[1].inputs, ["add10.outputs"]);
    assert_eq!(spec.output.as_ref().unwrap().steps, ["mul10.outputs"]);
}

#[test]
fn every_load_without_a_generation_is_a_new_version_and_the_same_generation_is_not() {
    let mut world = ready_world();
    world.load_pipeline(chain("p", &["add10"]));
    assert_eq!(world.pipeline_state("p").0, 2);
    let generated = |generation| {
        let kubernetes_meta = Some(KubernetesMeta { namespace: "ns".into(), generation });
        Pipeline { kubernetes_meta, ..chain("p", &["add10"]) }
    };
    world.load_pipeline(generated(4));
    world.load_pipeline(generated(4));
    assert_eq!(world.pipeline_state("p").0, 3);
    world.load_pipeline(generated(5));
    assert_eq!(world.pipeline_state("p").0, 4);
}

#[test]
fn a_new_version_takes_over_when_it_is_ready() {
    let mut world = ready_world();
    world.load_pipeline(chain("p", &["add10"]));
    world.run_lanes();
    let versions = world.pipeline_versions("p", true);
    assert_eq!(versions[0].1, PipelineStatus::PipelineTerminated);
    assert_eq!((versions[1].0, versions[1].1), (2, PipelineStatus::PipelineReady));
}

#[test]
fn the_old_version_goes_on_while_the_new_one_waits_for_its_models() {
    let mut world = ready_world();
    world.load_pipeline(chain("p", &["add10", "new"]));
    world.run_lanes();
    let versions = world.pipeline_versions("p", true);
    assert_eq!(versions[0].1, PipelineStatus::PipelineReady);
    assert_eq!(versions[1], (2, PipelineStatus::PipelineCreating, "model new does not exist; version 1 goes on meanwhile".into()));
    world.available_model("new");
    world.run_lanes();
    assert_eq!(world.pipeline_state("p"), (2, PipelineStatus::PipelineReady, String::new()));
}

#[test]
fn a_new_version_that_fails_gives_way_to_the_old_one() {
    let mut world = ready_world();
    world.load_pipeline(chain("p", &["add10"]));
    world.fail_lanes("p", 2);
    assert_eq!(world.pipeline_state("p"), (2, PipelineStatus::PipelineFailed, "e1: no such tensor".into()));
    world.run_lanes();
    let versions = world.pipeline_versions("p", true);
    assert_eq!((versions[0].0, versions[0].1), (1, PipelineStatus::PipelineReady));
    assert_eq!(versions[1].1, PipelineStatus::PipelineFailed);
}

#[test]
fn what_failed_is_tried_again() {
    let mut world = World::new();
    world.agent(0);
    world.available_model("add10");
    world.engine("e1");
    world.load_pipeline(chain("p", &["add10"]));
    world.fail_lanes("p", 1);
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineFailed);
    world.pass(61_000);
    world.run_lanes();
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineReady);
}

#[test]
fn a_pipeline_is_rebalancing_while_its_lanes_move() {
    let mut world = ready_world();
    world.engine("e2");
    world.pass(50);
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineRebalancing);
    world.run_lanes();
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineReady);
}

#[test]
fn a_pipeline_whose_model_goes_is_not_ready() {
    let mut world = ready_world();
    world.must(Input::UnloadModel(ModelReference { name: "add10".into(), version: None }));
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineCreating);
}

#[test]
fn the_lanes_of_a_dead_engine_move_within_the_debounce_and_name_whom_to_fence() {
    let mut world = ready_world();
    let session = world.engine("e2");
    world.run_lanes();
    world.must(Input::ReplicaLeft { role: Role::Engine, name: "e2".into(), session });
    world.pass(20);
    let assignment = world.assignments().remove(&(Role::Engine, "e1".into())).expect("assigned");
    assert_eq!(assignment.lanes[0].partitions, [0, 1, 2, 3]);
    assert_eq!(assignment.lanes[0].former_owners, ["e2"]);
}

#[test]
fn an_unloaded_pipeline_is_terminated_when_nobody_runs_it_and_then_its_topics_go_if_asked() {
    let mut world = ready_world();
    let cleaned = Pipeline { dataflow_spec: Some(DataflowSpec { clean_topics_on_delete: true }), ..chain("p", &["add10"]) };
    world.load_pipeline(cleaned);
    world.run_lanes();
    world.must(Input::UnloadPipeline("p".into()));
    world.pass(50);
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineTerminating);
    let uid = "later".to_string();
    let early = world.step(Input::LoadPipeline { pipeline: chain("p", &["add10"]), uid }).unwrap_err();
    assert!(early.0.contains("still terminating"), "{early}");
    for ((role, name), assignment) in world.assignments() {
        assert!(assignment.lanes.is_empty());
        world.must(Input::Applied { role, name, generation: assignment.generation, failures: BTreeMap::new() });
    }
    world.pass(50);
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineTerminated);
    let topics = ["seldon.ns.pipeline.p.inputs", "seldon.ns.pipeline.p.outputs"].map(String::from).to_vec();
    assert!(world.said.contains(&Effect::DeleteTopics(topics)));
    assert_eq!(world.step(Input::UnloadPipeline("p".into())).unwrap_err().0, "pipeline p does not exist");
    world.load_pipeline(chain("p", &["add10"]));
    world.run_lanes();
    assert_eq!(world.pipeline_state("p"), (3, PipelineStatus::PipelineReady, String::new()));
}

#[test]
fn a_pipeline_without_engines_is_terminated_at_once() {
    let mut world = World::new();
    world.load_pipeline(chain("p", &["add10"]));
    world.pass(50);
    world.must(Input::UnloadPipeline("p".into()));
    world.pass(50);
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineTerminated);
}

#[test]
fn deleted_resources_are_forgotten_after_their_time() {
    let mut world = World::new();
    world.load_pipeline(chain("p", &["add10"]));
    world.load_model("add10");
    world.must(Input::UnloadPipeline("p".into()));
    world.must(Input::UnloadModel(ModelReference { name: "add10".into(), version: None }));
    world.pass(3_600_000);
    assert!(!world.persisted.is_empty());
    world.pass(86_400_000);
    assert!(world.persisted.is_empty() && world.state.pipeline_statuses(None, true).unwrap().is_empty());
}

#[test]
fn bad_pipelines_change_nothing() {
    let mut world = World::new();
    let mut bad = chain("p", &["add10"]);
    bad.steps[0].triggers = vec!["nobody".into()];
    assert!(world.step(Input::LoadPipeline { pipeline: bad, uid: "u".into() }).is_err());
    assert!(world.persisted.is_empty() && world.state.pipeline_statuses(None, true).unwrap().is_empty());
}

#[test]
fn an_engine_that_speaks_the_chainer_protocol_runs_pipelines_when_there_is_none_of_ours() {
    let mut world = World::new();
    world.agent(0);
    world.available_model("add10");
    let session = world.session();
    let kind = MemberKind::Chainer;
    world.must(Input::MemberJoined { kind, name: "seldon".into(), session });
    world.load_pipeline(chain("p", &["add10"]));
    world.pass(50);
    let updates = |world: &mut World| -> Vec<_> {
        let updates = world.said.drain(..).filter_map(|effect| match effect {
            Effect::Chainer { message, .. } => Some(*message),
            _ => None,
        });
        updates.collect()
    };
    let create = updates(&mut world).remove(0);
    assert_eq!((create.op(), create.updates.len(), create.stream.as_str()), (PipelineOperation::Create, 3, "seldon"));
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineCreating);
    let answer = PipelineUpdateStatusMessage { update: Some(create.clone()), success: true, reason: String::new() };
    world.must(Input::EngineAnswered(answer));
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineReady);
    world.engine("e1");
    world.pass(50);
    let delete = updates(&mut world).remove(0);
    assert_eq!((delete.op(), delete.uid, delete.updates.len()), (PipelineOperation::Delete, create.uid, 0));
}

#[test]
fn a_pipeline_gateway_of_the_old_protocol_is_told_and_counts() {
    let mut world = ready_world();
    let session = world.session();
    world.must(Input::MemberJoined { kind: MemberKind::PipelineGateway, name: "gw".into(), session });
    let told = world.said.iter().find_map(|effect| match effect {
        Effect::PipelineGateway { message, .. } => Some(message.clone()),
        _ => None,
    });
    let told = told.expect("told");
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineRebalancing);
    let update = millstream_proto::seldon::chainer::PipelineUpdateMessage {
        pipeline: "p".into(),
        timestamp: told.timestamp,
        stream: "gw".into(),
        ..Default::default()
    };
    let answer = PipelineUpdateStatusMessage { update: Some(update), success: true, reason: String::new() };
    world.must(Input::PipelineGatewayAnswered(answer));
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineReady);
}

#[test]
fn a_confirmation_of_what_was_never_asked_is_refused() {
    let mut world = ready_world();
    let applied = |name: &str, generation| Input::Applied { role: Role::Engine, name: name.into(), generation, failures: BTreeMap::new() };
    assert!(world.step(applied("stranger", 1)).unwrap_err().0.contains("subscribe first"));
    world.engine("e1");
    assert!(world.step(applied("e1", 0)).is_err());
}
