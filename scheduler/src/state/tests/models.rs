//! Models on the replicas of servers.

use super::*;

#[test]
fn a_model_is_loaded_where_it_fits_and_available_when_the_agent_says_so() {
    let mut world = World::new();
    world.load_model("add10");
    let (_, state, reason) = world.model_state("add10");
    assert_eq!(state, ModelState::ScheduleFailed);
    assert!(reason.ends_with("no server is connected"), "{reason}");
    world.agent(0);
    assert_eq!(world.told_agents(), ["L add10:1@0"]);
    assert_eq!(world.model_state("add10").1, ModelState::ModelProgressing);
    world.agent_says(0, "add10", 1, Event::Loaded);
    assert_eq!(world.model_state("add10").1, ModelState::ModelAvailable);
}

#[test]
fn the_same_model_again_changes_nothing_and_another_one_is_a_new_version() {
    let mut world = World::new();
    world.agent(0);
    world.available_model("add10");
    world.load_model("add10");
    world.told_agents();
    assert_eq!(world.model_state("add10").0, 1);

    let mut more = model("add10");
    more.deployment_spec = Some(DeploymentSpec { replicas: 2, ..Default::default() });
    world.must(Input::LoadModel(more));
    assert_eq!(world.model_state("add10").0, 1);
    world.agent(1);
    assert_eq!(world.told_agents(), ["L add10:1@1"]);

    let mut other = model("add10");
    other.model_spec.as_mut().unwrap().uri = "file:///elsewhere".into();
    world.must(Input::LoadModel(other));
    assert_eq!(world.model_state("add10").0, 2);
    assert_eq!(world.told_agents(), ["L add10:2@0"], "the old version goes on until the new one runs");
    world.agent_says(0, "add10", 2, Event::Loaded);
    assert_eq!(world.told_agents(), ["U add10:1@0", "U add10:1@1"]);
    assert_eq!(world.model_state("add10"), (2, ModelState::ModelAvailable, String::new()));
}

#[test]
fn version_numbers_start_at_the_generation() {
    let mut world = World::new();
    let mut generated = model("add10");
    generated.meta.as_mut().unwrap().kubernetes_meta = Some(KubernetesMeta { namespace: "ns".into(), generation: 7 });
    world.must(Input::LoadModel(generated));
    assert_eq!(world.model_state("add10").0, 7);
}

#[test]
fn a_model_that_cannot_be_loaded_says_why_and_is_tried_again() {
    let mut world = World::new();
    world.agent(0);
    world.load_model("add10");
    world.told_agents();
    world.agent_says(0, "add10", 1, Event::LoadFailed);
    assert_eq!(world.model_state("add10"), (1, ModelState::ModelFailed, "mlserver/0: because".into()));
    world.pass(61_000);
    assert_eq!(world.told_agents(), ["L add10:1@0"]);
    for _ in 0..20 {
        world.agent_says(0, "add10", 1, Event::LoadFailed);
        world.pass(61_000);
    }
    assert_eq!(world.told_agents().len(), 9, "ten attempts, not more");
}

#[test]
fn an_unloaded_model_is_terminated_when_no_replica_has_it_and_can_come_back() {
    let mut world = World::new();
    world.agent(0);
    world.available_model("add10");
    world.told_agents();
    world.must(Input::UnloadModel(ModelReference { name: "add10".into(), version: None }));
    assert_eq!(world.told_agents(), ["U add10:1@0"]);
    assert_eq!(world.model_state("add10").1, ModelState::ModelTerminating);
    let early = world.step(Input::LoadModel(model("add10"))).unwrap_err();
    assert!(early.0.contains("in process of deletion"), "{early}");
    world.agent_says(0, "add10", 1, Event::Unloaded);
    assert_eq!(world.model_state("add10").1, ModelState::ModelTerminated);
    world.load_model("add10");
    assert_eq!(world.model_state("add10"), (2, ModelState::ModelProgressing, String::new()));
}

#[test]
fn what_does_not_exist_is_named_with_what_is_near() {
    let mut world = World::new();
    world.load_model("add10");
    let refusal = world.step(Input::UnloadModel(ModelReference { name: "ad10".into(), version: None })).unwrap_err();
    assert_eq!(refusal.0, "model ad10 does not exist: did you mean add10?");
    assert!(world.state.server_statuses(Some("x")).is_err() && world.state.pipeline_statuses(Some("x"), false).is_err());
    let version = world.state.model_statuses(Some(("add10", Some(9))), false).unwrap_err();
    assert!(version.0.starts_with("model add10 has no version 9"), "{version}");
}

#[test]
fn bad_models_are_refused() {
    let mut world = World::new();
    let mut deployment = model("a");
    deployment.deployment_spec = Some(DeploymentSpec { replicas: 1, min_replicas: 2, ..Default::default() });
    let mut maximum = model("a");
    maximum.deployment_spec = Some(DeploymentSpec { replicas: 3, max_replicas: 2, ..Default::default() });
    let no_spec = Model { model_spec: None, ..model("a") };
    for (bad, expected) in [
        (model("a.b"), "invalid name"),
        (model(&"x".repeat(240)), "has a name of 240 characters"),
        (Model::default(), "invalid name"),
        (no_spec, "model a has no modelSpec"),
        (deployment, "minReplicas 2 above its replicas 1"),
        (maximum, "maxReplicas 2 below its replicas 3"),
    ] {
        let refusal = world.step(Input::LoadModel(bad)).unwrap_err();
        assert!(refusal.0.contains(expected), "{refusal}");
    }
    assert!(world.persisted.is_empty());
}

#[test]
fn when_an_agent_dies_its_models_move() {
    let mut world = World::new();
    let session = world.agent(0);
    world.agent(1);
    world.available_model("add10");
    world.told_agents();
    world.must(Input::AgentLeft { place: ("mlserver".into(), 0), session });
    assert_eq!(world.told_agents(), ["L add10:1@1"]);
    world.agent_says(1, "add10", 1, Event::Loaded);
    assert_eq!(world.model_state("add10").1, ModelState::ModelAvailable);
    assert_eq!(world.state.server_statuses(None).unwrap()[0].num_loaded_model_replicas, 1);
}

#[test]
fn a_stale_stream_of_an_agent_does_not_throw_out_the_new_one() {
    let mut world = World::new();
    let old = world.agent(0);
    world.available_model("add10");
    world.agent_with("mlserver", 0, 1_000, vec![loaded("add10", 1)]);
    world.told_agents();
    world.must(Input::AgentLeft { place: ("mlserver".into(), 0), session: old });
    assert_eq!(world.model_state("add10").1, ModelState::ModelAvailable);
    assert!(world.told_agents().is_empty());
}

#[test]
fn a_replica_drains_when_its_models_run_elsewhere() {
    let mut world = World::new();
    world.agent(0);
    world.available_model("add10");
    world.agent(1);
    world.told_agents();
    world.must(Input::AgentDrain(("mlserver".into(), 0)));
    assert_eq!(world.told_agents(), ["L add10:1@1"]);
    assert_eq!(world.model_state("add10").1, ModelState::ModelAvailable, "it answers while it moves");
    world.agent_says(1, "add10", 1, Event::Loaded);
    assert_eq!(world.told_agents(), ["U add10:1@0"]);
    world.agent_says(0, "add10", 1, Event::Unloaded);
    assert!(world.said.iter().any(|effect| matches!(effect, Effect::Drained { place, success: true } if place.1 == 0)));
    let gone = world.step(Input::AgentDrain(("mlserver".into(), 9))).unwrap_err();
    assert!(gone.0.contains("there is nothing to drain"), "{gone}");
}

#[test]
fn a_replica_whose_models_fit_nowhere_else_cannot_drain() {
    let mut world = World::new();
    world.agent(0);
    world.available_model("add10");
    world.must(Input::AgentDrain(("mlserver".into(), 0)));
    assert!(world.said.iter().any(|effect| matches!(effect, Effect::Drained { success: false, .. })));
    assert_eq!(world.model_state("add10").1, ModelState::ModelAvailable);
}

#[test]
fn models_that_an_agent_brings_are_adopted_if_unknown_and_unloaded_if_deleted() {
    let mut world = World::new();
    world.agent_with("mlserver", 0, 1_000, vec![loaded("old", 3)]);
    assert_eq!(world.model_state("old"), (3, ModelState::ModelAvailable, String::new()));
    assert!(world.told_agents().is_empty());
    world.must(Input::UnloadModel(ModelReference { name: "old".into(), version: None }));
    world.agent_says(0, "old", 3, Event::Unloaded);
    world.told_agents();
    world.agent_with("mlserver", 1, 1_000, vec![loaded("old", 3)]);
    assert_eq!(world.told_agents(), ["U old:3@1"]);
}

#[test]
fn memory_of_models_on_their_way_is_taken() {
    let mut world = World::new();
    world.agent(0);
    let large = |name: &str| {
        let mut large = model(name);
        large.model_spec.as_mut().unwrap().memory_bytes = Some(600);
        large
    };
    world.must(Input::LoadModel(large("a")));
    world.must(Input::LoadModel(large("b")));
    let (_, state, reason) = world.model_state("b");
    assert_eq!(state, ModelState::ScheduleFailed);
    assert!(reason.contains("600 bytes of free memory"), "{reason}");
    world.agent(1);
    assert_eq!(world.told_agents(), ["L a:1@0", "L b:1@1"]);
}

#[test]
fn a_model_gateway_is_told_and_its_answer_counts_only_if_it_is_to_the_latest_operation() {
    let mut world = World::new();
    world.agent(0);
    world.available_model("add10");
    let gateway_state = |world: &World| {
        let status = world.state.model_statuses(Some(("add10", None)), false).unwrap().remove(0);
        status.versions[0].state.as_ref().unwrap().model_gw_state()
    };
    assert_eq!(gateway_state(&world), ModelState::Unknown);
    let session = world.session();
    let kind = MemberKind::ModelGateway;
    world.must(Input::MemberJoined { kind, name: "gw".into(), session });
    assert_eq!(gateway_state(&world), ModelState::ModelProgressing);
    world.pass(50);
    let told = world.said.iter().find_map(|effect| match effect {
        Effect::ModelGateway { name, message } if name == "gw" => Some(message.clone()),
        _ => None,
    });
    let told = told.expect("told");
    assert_eq!(told.operation(), model_status_response::ModelOperation::ModelCreate);
    let answer = |timestamp, success| {
        let update = ModelUpdateMessage { model: "add10".into(), timestamp, stream: "gw".into(), ..Default::default() };
        Input::ModelGatewayAnswered(ModelUpdateStatusMessage { update: Some(update), success, reason: "topic".into() })
    };
    world.must(answer(told.timestamp + 1, true));
    assert_eq!(gateway_state(&world), ModelState::ModelProgressing);
    world.must(answer(told.timestamp, false));
    assert_eq!(gateway_state(&world), ModelState::ModelFailed);
    world.must(answer(told.timestamp, true));
    assert_eq!(gateway_state(&world), ModelState::ModelAvailable);
    world.must(Input::MemberLeft { kind, name: "gw".into(), session });
    assert_eq!(gateway_state(&world), ModelState::Unknown);
}

#[test]
fn every_model_is_served_by_one_model_gateway_and_those_of_a_dead_one_move() {
    let mut world = World::new();
    let (names, kind) = (["a", "b", "c", "d", "e", "f"], MemberKind::ModelGateway);
    names.iter().for_each(|name| world.load_model(name));
    let sessions = ["g1", "g2"].map(|gateway| {
        let session = world.session();
        world.must(Input::MemberJoined { kind, name: gateway.into(), session });
        session
    });
    // Who was told last to serve a model and was not told to stop.
    let mut serving: std::collections::BTreeSet<(String, String)> = Default::default();
    let mut follow = |world: &mut World| {
        world.pass(50);
        for effect in world.said.drain(..) {
            let Effect::ModelGateway { name, message } = effect else { continue };
            match message.operation() {
                model_status_response::ModelOperation::ModelCreate => serving.insert((message.model_name, name)),
                _ => serving.remove(&(message.model_name, name)),
            };
        }
        serving.clone()
    };
    let both = follow(&mut world);
    assert_eq!(both.iter().map(|(model, _)| model.as_str()).collect::<Vec<_>>(), names);
    assert!(["g1", "g2"].iter().all(|gateway| both.iter().any(|(_, serving)| serving == gateway)));
    world.must(Input::MemberLeft { kind, name: "g1".into(), session: sessions[0] });
    let rest = follow(&mut world);
    assert!(names.iter().all(|name| rest.contains(&(name.to_string(), "g2".into()))));
    world.must(Input::UnloadModel(ModelReference { name: "a".into(), version: None }));
    assert!(!follow(&mut world).contains(&("a".into(), "g2".into())));
}

#[test]
fn a_server_that_the_controller_deletes_takes_no_models() {
    let mut world = World::new();
    world.agent(0);
    let notify = |replicas| {
        let server = ServerNotify { name: "mlserver".into(), expected_replicas: replicas, shared: true, ..Default::default() };
        Input::ServerNotify(ServerNotifyRequest { servers: vec![server], is_first_sync: false })
    };
    assert_eq!(world.state.server_statuses(None).unwrap()[0].expected_replicas, -1);
    world.must(notify(0));
    world.load_model("add10");
    assert!(world.model_state("add10").2.ends_with("mlserver is being deleted"));
    world.must(notify(1));
    assert_eq!(world.told_agents(), ["L add10:1@0"]);
    assert!(world.step(Input::ServerNotify(ServerNotifyRequest { servers: vec![ServerNotify::default()], is_first_sync: false })).is_err());
}
