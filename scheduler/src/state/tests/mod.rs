//! Histories of the whole control plane, driven by hand.

mod models;
mod pipelines;
mod restart;

use std::collections::BTreeMap;

use millstream_proto::{
    lanes::{Assignment, Role},
    seldon::{
        agent::{AgentSubscribeRequest, ModelEventMessage, ModelVersion, ReplicaConfig, model_event_message::Event},
        scheduler::*,
    },
};
use model_status::ModelState;
use pipeline_version_state::PipelineStatus;

use super::{
    Config, State,
    effect::Effect,
    input::{Input, MemberKind},
};
use crate::{fleet::Rules, refusal::Refusal, topics::Topics};

/// A control plane, its time, what it has persisted, and what it has said since it was last asked.
struct World {
    state: State,
    now: u64,
    persisted: BTreeMap<String, Vec<u8>>,
    said: Vec<Effect>,
    session: u64,
}

fn config() -> Config {
    Config {
        topics: Topics::new("seldon", "ns"),
        rules: Rules { partitions: 4, load_bound: 1.25, handover: 2_000 },
        debounce: 20,
        grace: 3_000,
        deleted_ttl: 86_400_000,
    }
}

impl World {
    fn new() -> Self {
        let now = 1_700_000_000_000;
        Self { state: State::new(config(), now), now, persisted: BTreeMap::new(), said: Vec::new(), session: 0 }
    }

    /// What is left after `kill -9`.
    fn restarted(self) -> Self {
        let now = self.now + 1_000;
        let records = self.persisted.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        let state = State::restore(config(), records, now).expect("readable");
        Self { state, now, said: Vec::new(), ..self }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist { key, value: Some(value) } => drop(self.persisted.insert(key, value)),
                Effect::Persist { key, value: None } => drop(self.persisted.remove(&key)),
                effect => self.said.push(effect),
            }
        }
    }

    fn step(&mut self, input: Input) -> Result<(), Refusal> {
        let mut effects = Vec::new();
        let result = self.state.step(self.now, input, &mut effects);
        self.take(effects);
        result
    }

    fn must(&mut self, input: Input) {
        self.step(input).expect("accepted");
    }

    /// Time passes; what is due is done when it is due.
    fn pass(&mut self, millis: u64) {
        let end = self.now + millis;
        loop {
            let due = self.state.next_tick();
            self.now = due.clamp(self.now, end);
            if due > end {
                return;
            }
            let mut effects = Vec::new();
            self.state.tick(self.now, &mut effects);
            self.take(effects);
        }
    }

    fn session(&mut self) -> u64 {
        self.session += 1;
        self.session
    }

    fn agent_with(&mut self, server: &str, index: u32, memory: u64, loaded: Vec<ModelVersion>) -> u64 {
        let session = self.session();
        let capabilities = vec!["onnx".to_string()];
        let request = AgentSubscribeRequest {
            server_name: server.into(),
            shared: true,
            replica_idx: index,
            replica_config: Some(ReplicaConfig { capabilities, memory_bytes: memory, ..Default::default() }),
            loaded_models: loaded,
            available_memory_bytes: memory,
        };
        self.must(Input::AgentJoined { session, request });
        session
    }

    fn agent(&mut self, index: u32) -> u64 {
        self.agent_with("mlserver", index, 1_000, vec![])
    }

    fn agent_says(&mut self, index: u32, model: &str, version: u32, event: Event) {
        let event = ModelEventMessage {
            server_name: "mlserver".into(),
            replica_idx: index,
            model_name: model.into(),
            model_version: version,
            event: event.into(),
            message: "because".into(),
            available_memory_bytes: 1_000,
            ..Default::default()
        };
        self.must(Input::AgentEvent(event));
    }

    /// What agents were told since the last time: `L add10:1@0` loads version 1 on replica 0.
    fn told_agents(&mut self) -> Vec<String> {
        let told = self.said.iter().filter_map(|effect| match effect {
            Effect::Agent { place, message } => {
                let version = message.model_version.as_ref()?;
                let name = &version.model.as_ref()?.meta.as_ref()?.name;
                Some(format!("{} {name}:{}@{}", &message.operation().as_str_name()[..1], version.version, place.1))
            }
            _ => None,
        });
        let told = told.collect();
        self.said.clear();
        told
    }

    fn engine(&mut self, name: &str) -> u64 {
        let session = self.session();
        self.must(Input::ReplicaJoined { role: Role::Engine, name: name.into(), session, transactional_ids: vec![] });
        session
    }

    fn gateway(&mut self, name: &str) -> u64 {
        let session = self.session();
        self.must(Input::ReplicaJoined { role: Role::PipelineGateway, name: name.into(), session, transactional_ids: vec![] });
        session
    }

    /// The assignments since the last time, the newest of each replica.
    fn assignments(&mut self) -> BTreeMap<(Role, String), Assignment> {
        let assigned = self.said.drain(..).filter_map(|effect| match effect {
            Effect::Assign { role, name, assignment } => Some(((role, name.to_string()), assignment)),
            _ => None,
        });
        assigned.collect()
    }

    /// Every replica does what it was told, and says so, until nothing is left to do.
    fn run_lanes(&mut self) {
        for _ in 0..10 {
            self.pass(50);
            for ((role, name), assignment) in self.assignments() {
                self.must(Input::Applied { role, name, generation: assignment.generation, failures: BTreeMap::new() });
            }
        }
    }

    fn fail_lanes(&mut self, pipeline: &str, version: u32) {
        self.pass(50);
        for ((role, name), assignment) in self.assignments() {
            let fails = role == Role::Engine && assignment.lanes.iter().any(|set| set.pipeline == pipeline && set.version == version);
            let failures = fails.then(|| (pipeline.to_string(), "no such tensor".to_string())).into_iter().collect();
            self.must(Input::Applied { role, name, generation: assignment.generation, failures });
        }
    }

    fn load_model(&mut self, name: &str) {
        self.must(Input::LoadModel(model(name)));
    }

    fn available_model(&mut self, name: &str) {
        self.load_model(name);
        self.agent_says(0, name, 1, Event::Loaded);
    }

    fn load_pipeline(&mut self, pipeline: Pipeline) {
        let uid = format!("uid-{}", self.session());
        self.must(Input::LoadPipeline { pipeline, uid });
    }

    fn model_state(&self, name: &str) -> (u32, ModelState, String) {
        let status = self.state.model_statuses(Some((name, None)), false).expect("known").remove(0);
        let version = &status.versions[0];
        let state = version.state.as_ref().expect("state");
        (version.version, state.state(), state.reason.clone())
    }

    /// Version, status and reason of the newest version.
    fn pipeline_state(&self, name: &str) -> (u32, PipelineStatus, String) {
        self.pipeline_versions(name, false).remove(0)
    }

    fn pipeline_versions(&self, name: &str, all: bool) -> Vec<(u32, PipelineStatus, String)> {
        let status = self.state.pipeline_statuses(Some(name), all).expect("known").remove(0);
        let state = |version: PipelineWithState| version.state.expect("state");
        status.versions.into_iter().map(state).map(|s| (s.pipeline_version, s.status(), s.reason.clone())).collect()
    }
}

fn model(name: &str) -> Model {
    Model {
        meta: Some(MetaData { name: name.into(), kubernetes_meta: Some(KubernetesMeta::default()), ..Default::default() }),
        model_spec: Some(ModelSpec { uri: format!("file:///{name}"), requirements: vec!["onnx".into()], ..Default::default() }),
        deployment_spec: Some(DeploymentSpec { replicas: 1, max_replicas: u32::MAX, ..Default::default() }),
        ..Default::default()
    }
}

fn loaded(name: &str, version: u32) -> ModelVersion {
    ModelVersion { model: Some(model(name)), version }
}

/// A chain of models.
fn chain(name: &str, models: &[&str]) -> Pipeline {
    let mut steps: Vec<PipelineStep> = Vec::new();
    for model in models {
        let inputs = steps.last().map(|last| last.name.clone()).into_iter().collect();
        steps.push(PipelineStep { name: model.to_string(), inputs, ..Default::default() });
    }
    let last = models.last().expect("a model").to_string();
    Pipeline {
        name: name.into(),
        steps,
        output: Some(PipelineOutput { steps: vec![last], ..Default::default() }),
        kubernetes_meta: Some(KubernetesMeta::default()),
        ..Default::default()
    }
}
