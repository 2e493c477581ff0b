//! A restart forgets nothing, and moves nothing.

use super::*;

fn running() -> World {
    let mut world = World::new();
    world.agent(0);
    world.available_model("add10");
    world.engine("e1");
    world.engine("e2");
    world.gateway("g1");
    world.load_pipeline(chain("p", &["add10"]));
    world.load_pipeline(chain("q", &["add10"]));
    world.load_pipeline(chain("q", &["add10"]));
    world.run_lanes();
    let server = ServerNotify { name: "mlserver".into(), expected_replicas: 1, shared: true, min_replicas: 1, ..Default::default() };
    world.must(Input::ServerNotify(ServerNotifyRequest { servers: vec![server], is_first_sync: true }));
    world.told_agents();
    world
}

#[test]
fn a_restart_forgets_nothing() {
    let world = running();
    let pipelines = world.state.pipeline_statuses(None, true).unwrap();
    let models = world.state.model_statuses(None, true).unwrap();
    let mut world = world.restarted();
    assert_eq!(world.state.pipeline_statuses(None, true).unwrap().len(), pipelines.len());
    assert_eq!(world.state.model_statuses(None, true).unwrap()[0].versions[0].model_defn, models[0].versions[0].model_defn);
    world.agent_with("mlserver", 0, 1_000, vec![loaded("add10", 1)]);
    world.engine("e1");
    world.engine("e2");
    world.gateway("g1");
    world.run_lanes();
    for (before, after) in pipelines.iter().zip(world.state.pipeline_statuses(None, true).unwrap()) {
        for (before, after) in before.versions.iter().zip(after.versions) {
            assert_eq!(before.pipeline, after.pipeline);
            assert_eq!(before.state.as_ref().unwrap().status(), after.state.unwrap().status());
        }
    }
    assert_eq!(world.model_state("add10"), (1, ModelState::ModelAvailable, String::new()));
    assert_eq!(world.state.server_statuses(None).unwrap()[0].expected_replicas, 1);
}

#[test]
fn replicas_that_come_back_get_what_they_had_and_nothing_is_loaded_again() {
    let mut before = running();
    before.pass(50);
    let mut lanes = BTreeMap::new();
    for name in ["e1", "e2", "g1"] {
        // Subscribing again shows what is assigned.
        if name == "g1" {
            before.gateway(name)
        } else {
            before.engine(name)
        };
    }
    before.pass(50);
    for ((_, name), assignment) in before.assignments() {
        lanes.insert(name, assignment.lanes);
    }
    let mut world = before.restarted();
    world.agent_with("mlserver", 0, 1_000, vec![loaded("add10", 1)]);
    world.engine("e2");
    world.pass(500);
    world.gateway("g1");
    world.pass(500);
    world.engine("e1");
    world.pass(50);
    assert!(!world.said.iter().any(|effect| matches!(effect, Effect::Agent { .. })));
    for ((_, name), assignment) in world.assignments() {
        assert_eq!(assignment.lanes, lanes[&name], "{name}");
    }
}

#[test]
fn an_engine_that_does_not_come_back_is_fenced_after_a_grace() {
    let mut world = running().restarted();
    world.engine("e1");
    world.pass(2_900);
    let waiting = world.assignments().remove(&(Role::Engine, "e1".into())).expect("assigned");
    assert!(waiting.lanes.iter().map(|set| set.partitions.len()).sum::<usize>() < 8);
    world.pass(200);
    let alone = world.assignments().remove(&(Role::Engine, "e1".into())).expect("assigned");
    assert_eq!(alone.lanes.iter().map(|set| set.partitions.len()).sum::<usize>(), 8);
    assert!(alone.lanes.iter().all(|set| set.former_owners == ["e2"]));
}

#[test]
fn a_model_whose_agent_does_not_come_back_goes_elsewhere_after_a_grace() {
    let mut world = running().restarted();
    world.agent(1);
    world.pass(1_000);
    assert!(world.told_agents().is_empty());
    world.pass(3_000);
    assert_eq!(world.told_agents(), ["L add10:1@1"]);
}

#[test]
fn an_agent_that_lost_its_models_loads_them_again() {
    let mut world = running().restarted();
    world.agent(0);
    assert_eq!(world.told_agents(), ["L add10:1@0"]);
}

#[test]
fn what_was_unloaded_stays_unloaded() {
    let mut world = running();
    world.must(Input::UnloadModel(ModelReference { name: "add10".into(), version: None }));
    world.must(Input::UnloadPipeline("p".into()));
    let mut world = world.restarted();
    world.agent_with("mlserver", 0, 1_000, vec![loaded("add10", 1)]);
    assert_eq!(world.told_agents(), ["U add10:1@0"]);
    world.engine("e1");
    world.engine("e2");
    world.gateway("g1");
    world.run_lanes();
    assert_eq!(world.pipeline_state("p").1, PipelineStatus::PipelineTerminated);
}

#[test]
fn a_damaged_record_is_named() {
    let records = [("pipeline/p", &[0xff_u8, 0xff][..]), ("model/m", &[][..])];
    let (key, _) = State::restore(config(), records.into_iter(), 0).unwrap_err();
    assert_eq!(key, "pipeline/p");
    assert!(State::restore(config(), [("newer-kind/x", &[1_u8][..])].into_iter(), 0).is_ok());
}
