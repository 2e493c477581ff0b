//! The whole control plane as a state machine: inputs in, effects out; no I/O, no clock, no runtime.
//!
//! | file | what |
//! | --- | --- |
//! | [`input`] | what can happen |
//! | [`effect`] | what is to be done about it |
//! | `models`, `agents` | models on the replicas of servers |
//! | `model_gateways` | which gateway serves which model |
//! | `pipelines` | versions of pipelines, and their states |
//! | `lanes` | engines and gateways, and what they are told |
//! | `status` | what clients see |
//! | `snapshot` | to and from the state topic |

mod agents;
pub(crate) mod effect;
pub(crate) mod input;
mod lanes;
mod model_gateways;
mod models;
mod pipelines;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::{effect::Effect, input::Input, models::ModelEntry, pipelines::PipelineEntry};
use crate::{
    fleet::{Fleet, Rules},
    members::Members,
    place::Placement,
    refusal::Refusal,
    server::Server,
    topics::Topics,
};

/// How often deleted resources are looked through, in milliseconds.
const PURGE_EVERY: u64 = 600_000;
/// How often, and how many times, what failed is tried again.
const RETRY_EVERY: u64 = 60_000;
const MOST_RETRIES: u32 = 10;
/// How many versions of a resource are remembered.
const MOST_VERSIONS: usize = 10;

/// What the state machine has to know about its surroundings; times in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) topics: Topics,
    pub(crate) rules: Rules,
    pub(crate) debounce: u64,
    /// How long replicas from before a restart are waited for.
    pub(crate) grace: u64,
    /// How long a deleted resource is still shown.
    pub(crate) deleted_ttl: u64,
}

/// **Law.** What `step` answers with success is in the effects as [`Effect::Persist`], and a state restored from what was persisted
/// answers as this one does, as soon as its replicas are back.
#[derive(Debug)]
pub(crate) struct State {
    config: Config,
    models: BTreeMap<String, ModelEntry>,
    servers: BTreeMap<String, Server>,
    pipelines: BTreeMap<Arc<str>, PipelineEntry>,
    engines: Fleet,
    gateways: Fleet,
    /// Subscribers that speak Seldon's protocols.
    model_gateways: Members,
    pipeline_gateways: Members,
    chainers: Members,
    /// Which of them serves which model, and runs which pipeline.
    model_placement: Placement,
    chain_placement: Placement,
    /// Model gateways that may serve from before what others serve now.
    new_model_gateways: BTreeSet<String>,
    /// When lanes are to be placed again.
    plan_at: Option<u64>,
    grace_until: Option<u64>,
    purge_at: u64,
    changed: Changed,
}

/// What a step has changed.
#[derive(Debug, Default)]
struct Changed {
    models: BTreeSet<String>,
    servers: BTreeSet<String>,
    pipelines: BTreeSet<Arc<str>>,
    /// Something that the states of pipelines depend on.
    recheck: bool,
}

impl State {
    pub(crate) fn new(config: Config, now: u64) -> Self {
        let (models, servers, pipelines, changed) = Default::default();
        Self {
            config,
            models,
            servers,
            pipelines,
            engines: Fleet::new(true),
            gateways: Fleet::new(false),
            model_gateways: Members::default(),
            pipeline_gateways: Members::default(),
            chainers: Members::default(),
            model_placement: Placement::default(),
            chain_placement: Placement::default(),
            new_model_gateways: BTreeSet::new(),
            plan_at: None,
            grace_until: None,
            purge_at: now + PURGE_EVERY,
            changed,
        }
    }

    /// Takes one input. A refused one has changed nothing.
    pub(crate) fn step(&mut self, now: u64, input: Input, out: &mut Vec<Effect>) -> Result<(), Refusal> {
        match input {
            Input::LoadModel(model) => self.load_model(model, now, out)?,
            Input::UnloadModel(reference) => self.unload_model(&reference, now, out)?,
            Input::LoadPipeline { pipeline, uid } => self.load_pipeline(pipeline, uid, now, out)?,
            Input::UnloadPipeline(name) => self.unload_pipeline(&name, now, out)?,
            Input::ServerNotify(request) => self.server_notify(request, now, out)?,
            Input::AgentJoined { session, request } => self.agent_joined(session, request, now, out)?,
            Input::AgentLeft { place, session } => self.agent_left(&place, session, now, out),
            Input::AgentEvent(event) => self.agent_event(event, now, out)?,
            Input::AgentDrain(place) => self.agent_drain(&place, now, out)?,
            Input::ReplicaJoined { role, name, session, transactional_ids } => {
                self.fleet(role).join(&name, session, transactional_ids);
                self.grace_may_end(now, out);
                self.plan_soon(now);
                self.changed.recheck = true;
            }
            Input::ReplicaLeft { role, name, session } => {
                if self.fleet(role).leave(&name, session) {
                    self.plan_soon(now);
                    self.changed.recheck = true;
                }
            }
            Input::Applied { role, name, generation, failures } => self.applied(role, &name, generation, failures, now, out)?,
            Input::MemberJoined { kind, name, session } => self.member_joined(kind, &name, session, now, out),
            Input::MemberLeft { kind, name, session } => self.member_left(kind, &name, session, now),
            Input::ModelGatewayAnswered(answer) => self.model_gateway_answered(answer),
            Input::PipelineGatewayAnswered(answer) => self.pipeline_gateway_answered(answer),
            Input::EngineAnswered(answer) => self.engine_answered(answer),
        }
        self.settle(now, out);
        Ok(())
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: u64, out: &mut Vec<Effect>) {
        if self.grace_until.is_some_and(|until| until <= now) {
            self.end_grace(now, out);
        }
        self.retry_failed(now, out);
        if self.purge_at <= now {
            self.purge(now, out);
        }
        self.settle(now, out);
        if self.plan_at.is_some_and(|at| at <= now) {
            self.plan(now, out);
            self.settle(now, out);
        }
    }

    /// When [`State::tick`] has something to do.
    pub(crate) fn next_tick(&self) -> u64 {
        let retries = self.models.values().filter_map(|entry| entry.retry.at()).chain(self.pipelines.values().filter_map(|e| e.retry.at()));
        [self.plan_at, self.grace_until].into_iter().flatten().chain(retries).fold(self.purge_at, u64::min)
    }

    /// Brings what depends on the last inputs up to date, and tells the world.
    fn settle(&mut self, now: u64, out: &mut Vec<Effect>) {
        if std::mem::take(&mut self.changed.recheck) || !self.changed.models.is_empty() || !self.changed.pipelines.is_empty() {
            self.recheck_pipelines(now, out);
        }
        let Changed { models, servers, pipelines, .. } = std::mem::take(&mut self.changed);
        for name in models {
            out.push(self.persist_model(&name));
            out.push(Effect::ModelChanged(name));
        }
        out.extend(servers.into_iter().map(Effect::ServerChanged));
        for name in pipelines {
            out.push(self.persist_pipeline(&name));
            out.push(Effect::PipelineChanged(name));
        }
    }

    /// Replicas from before the restart are not waited for any longer once all are back.
    fn grace_may_end(&mut self, now: u64, out: &mut Vec<Effect>) {
        if self.grace_until.is_some() && self.engines.all_are_back() && self.gateways.all_are_back() && self.all_agents_are_back() {
            self.end_grace(now, out);
        }
    }

    fn end_grace(&mut self, now: u64, out: &mut Vec<Effect>) {
        self.grace_until = None;
        self.engines.expect_no_more();
        self.gateways.expect_no_more();
        self.forget_lost_agents(now, out);
        self.plan_soon(now);
        self.changed.recheck = true;
    }

    /// Forgets what was deleted long ago.
    fn purge(&mut self, now: u64, out: &mut Vec<Effect>) {
        self.purge_at = now + PURGE_EVERY;
        let old = |changed: u64| changed + self.config.deleted_ttl <= now;
        let models: Vec<_> = self.models.iter().filter(|(_, e)| e.is_gone() && old(e.changed)).map(|(name, _)| name.clone()).collect();
        let pipelines: Vec<_> =
            self.pipelines.iter().filter(|(_, e)| e.is_gone() && old(e.changed)).map(|(name, _)| name.clone()).collect();
        for name in models {
            self.models.remove(&name);
            out.push(snapshot::forget_model(&name));
        }
        for name in pipelines {
            self.pipelines.remove(&name);
            self.engines.forget(&name);
            self.gateways.forget(&name);
            out.extend(snapshot::forget_pipeline(&name));
        }
    }
}

/// Tries again what failed: every minute, ten times.
#[derive(Clone, Copy, Debug, Default)]
struct Retry {
    at: Option<u64>,
    attempts: u32,
}

impl Retry {
    fn at(&self) -> Option<u64> {
        self.at
    }

    /// It has failed: another attempt is made, if any is left.
    fn failed(&mut self, now: u64) {
        if self.attempts < MOST_RETRIES {
            self.at = self.at.or(Some(now + RETRY_EVERY));
        }
    }

    /// Whether an attempt is due; it counts.
    fn due(&mut self, now: u64) -> bool {
        let due = self.at.is_some_and(|at| at <= now);
        if due {
            self.at = None;
            self.attempts += 1;
        }
        due
    }
}
