//! Engines and gateways: who is there, what each is told, and what they answer.

use std::{collections::BTreeMap, sync::Arc};

use millstream_proto::{
    lanes::Role,
    seldon::{
        chainer::{PipelineUpdateMessage, PipelineUpdateStatusMessage},
        scheduler::{Pipeline, pipeline_status_response::PipelineOperation},
    },
};

use super::{State, effect::Effect, input::MemberKind, pipelines::PipelineEntry, snapshot};
use crate::{
    fleet::{Fleet, Running},
    members::{Answers, Members, Outcome},
    name::did_you_mean,
    pipeline::updates,
    place::{Lane, place},
    refusal::{Refusal, refuse},
    topics::Topics,
};

impl State {
    pub(super) fn fleet(&mut self, role: Role) -> &mut Fleet {
        match role {
            Role::Engine => &mut self.engines,
            Role::PipelineGateway => &mut self.gateways,
        }
    }

    fn members(&mut self, kind: MemberKind) -> &mut Members {
        match kind {
            MemberKind::ModelGateway => &mut self.model_gateways,
            MemberKind::PipelineGateway => &mut self.pipeline_gateways,
            MemberKind::Chainer => &mut self.chainers,
        }
    }

    /// Lanes are placed again, a little later: several replicas that come or go together make one change.
    pub(super) fn plan_soon(&mut self, now: u64) {
        let soon = now + self.config.debounce;
        self.plan_at = Some(self.plan_at.map_or(soon, |at| at.min(soon)));
    }

    pub(super) fn plan(&mut self, now: u64, out: &mut Vec<Effect>) {
        self.plan_at = None;
        let wanted: BTreeMap<Arc<str>, Arc<Pipeline>> =
            self.pipelines.iter().filter_map(|(name, entry)| Some((name.clone(), entry.active_pipeline()?.clone()))).collect();
        for role in [Role::Engine, Role::PipelineGateway] {
            let rules = self.config.rules;
            let plan = self.fleet(role).plan(&wanted, rules, now);
            for pipeline in &plan.touched {
                out.push(snapshot::persist_lanes(self.fleet(role), role, pipeline));
            }
            for (name, assignment) in plan.assignments {
                let lanes: usize = assignment.lanes.iter().map(|set| set.partitions.len()).sum();
                tracing::info!(role = role.as_str_name(), replica = &*name, generation = assignment.generation, lanes, "lanes assigned");
                out.push(Effect::Assign { role, name, assignment });
            }
            if let Some(again) = plan.again {
                self.plan_at = Some(self.plan_at.map_or(again, |at| at.min(again)));
            }
        }
        self.place_on_chainers(&wanted, out);
        self.place_on_model_gateways(out);
        self.changed.recheck = true;
    }

    pub(super) fn applied(
        &mut self,
        role: Role,
        name: &str,
        generation: u64,
        failures: BTreeMap<String, String>,
        now: u64,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        for (pipeline, reason) in &failures {
            tracing::warn!(role = role.as_str_name(), replica = name, pipeline, reason, "pipeline failed");
        }
        let Some(touched) = self.fleet(role).applied(name, generation, failures) else {
            refuse!("replica {name} has not been assigned generation {generation}: subscribe first, and confirm what came since");
        };
        for pipeline in &touched {
            out.push(snapshot::persist_lanes(self.fleet(role), role, pipeline));
        }
        if !touched.is_empty() {
            self.plan_soon(now);
        }
        self.changed.recheck = true;
        Ok(())
    }

    // ---- Subscribers that speak Seldon's protocols ----

    pub(super) fn member_joined(&mut self, kind: MemberKind, name: &str, session: u64, now: u64, out: &mut Vec<Effect>) {
        self.members(kind).join(name, session);
        match kind {
            MemberKind::ModelGateway => {
                self.model_gateway_lost(name);
                self.new_model_gateways.insert(name.into());
                self.plan_soon(now);
            }
            MemberKind::PipelineGateway => {
                self.pipelines.values_mut().filter(|entry| !entry.deleted).for_each(|entry| entry.gateways.ask_also(name));
                let pipelines = self.pipelines.iter().filter(|(_, entry)| !entry.deleted);
                out.extend(pipelines.filter_map(|(pipeline, _)| self.pipeline_operation(pipeline, name)));
            }
            MemberKind::Chainer => {
                // It may have restarted: what it ran is created again.
                self.pipelines.values_mut().for_each(|entry| entry.chain.lost(name));
                self.plan_soon(now);
            }
        }
        self.changed.recheck = true;
    }

    pub(super) fn member_left(&mut self, kind: MemberKind, name: &str, session: u64, now: u64) {
        if !self.members(kind).leave(name, session) {
            return;
        }
        match kind {
            MemberKind::ModelGateway => {
                self.model_gateway_lost(name);
                self.plan_soon(now);
            }
            MemberKind::PipelineGateway => self.pipelines.values_mut().for_each(|entry| entry.gateways.forget(name)),
            MemberKind::Chainer => {
                self.pipelines.values_mut().for_each(|entry| entry.chain.lost(name));
                self.plan_soon(now);
            }
        }
        self.changed.recheck = true;
    }

    /// Tells every pipeline gateway of Seldon's to serve a pipeline, or to stop.
    pub(super) fn tell_pipeline_gateways(&mut self, name: &Arc<str>, out: &mut Vec<Effect>) {
        if let Some(entry) = self.pipelines.get_mut(name) {
            entry.gateways.ask(self.pipeline_gateways.names());
        }
        out.extend(self.pipeline_gateways.names().filter_map(|member| self.pipeline_operation(name, member)));
    }

    fn pipeline_operation(&self, name: &Arc<str>, member: &str) -> Option<Effect> {
        let entry = self.pipelines.get(name)?;
        let mut message = self.pipeline_status(name, false)?;
        message.operation = if entry.deleted { PipelineOperation::PipelineDelete } else { PipelineOperation::PipelineCreate }.into();
        message.timestamp = entry.gateways.clock;
        Some(Effect::PipelineGateway { name: member.into(), message: Box::new(message) })
    }

    pub(super) fn pipeline_gateway_answered(&mut self, answer: PipelineUpdateStatusMessage) {
        let Some((update, result)) = parts(answer) else { return };
        if let Some(entry) = self.pipelines.get_mut(update.pipeline.as_str()) {
            self.changed.recheck |= entry.gateways.answer(&update.stream, update.timestamp, result);
        }
    }

    /// Without engines of our own, each pipeline runs on one of Seldon's, chosen as lanes are.
    fn place_on_chainers(&mut self, wanted: &BTreeMap<Arc<str>, Arc<Pipeline>>, out: &mut Vec<Effect>) {
        let names =
            if self.engines.is_empty() { self.chainers.names().map(|name| Arc::from(name.as_str())).collect() } else { Default::default() };
        let lanes = wanted.keys().map(lane).collect();
        self.chain_placement = place(&self.chain_placement, &lanes, &names, self.config.rules.load_bound);
        for (name, entry) in &mut self.pipelines {
            let target = self.chain_placement.owners.get(&lane(name)).cloned().zip(wanted.get(name).cloned());
            for (engine, mut update) in entry.chain.turn_to(target, &self.config.topics) {
                update.stream = engine.to_string();
                out.push(Effect::Chainer { name: engine.to_string(), message: Box::new(update) });
            }
        }
    }

    pub(super) fn engine_answered(&mut self, answer: PipelineUpdateStatusMessage) {
        let Some((update, result)) = parts(answer) else { return };
        if let Some(entry) = self.pipelines.get_mut(update.pipeline.as_str()) {
            self.changed.recheck |= entry.chain.answers.answer(&update.stream, update.timestamp, result);
        }
    }

    /// Whether engines run a pipeline version.
    pub(super) fn engines_run(&self, entry: &PipelineEntry, name: &Arc<str>, uid: &str) -> Running {
        match self.engines.running(name, uid, self.config.rules.partitions) {
            Running::Nowhere if !self.chainers.is_empty() => match &entry.chain.pipeline {
                Some(pipeline) if pipeline.uid == uid => running(entry.chain.answers.outcome(), "engine"),
                _ => Running::Pending("it is not placed yet".into()),
            },
            running => running,
        }
    }

    /// Whether pipeline gateways serve a pipeline version.
    pub(super) fn gateways_serve(&self, entry: &PipelineEntry, name: &Arc<str>, uid: &str) -> Running {
        match self.gateways.running(name, uid, self.config.rules.partitions) {
            Running::Nowhere if !self.pipeline_gateways.is_empty() => running(entry.gateways.outcome(), "pipeline gateway"),
            running => running,
        }
    }

    pub(super) fn unknown_pipeline(&self, name: &str) -> Refusal {
        let known = self.pipelines.iter().filter(|(_, entry)| !entry.deleted).map(|(name, _)| &**name);
        Refusal(format!("pipeline {name} does not exist{}", did_you_mean(name, known)))
    }
}

fn running(outcome: Outcome, who: &str) -> Running {
    match outcome {
        Outcome::NobodyAsked => Running::Nowhere,
        Outcome::Pending => Running::Pending(format!("the {who} has not answered yet")),
        Outcome::Done => Running::Yes,
        Outcome::Failed(reason) => Running::Failed(reason),
    }
}

fn parts(answer: PipelineUpdateStatusMessage) -> Option<(PipelineUpdateMessage, Result<(), String>)> {
    Some((answer.update?, if answer.success { Ok(()) } else { Err(answer.reason) }))
}

/// A pipeline as a whole.
fn lane(pipeline: &Arc<str>) -> Lane {
    Lane { pipeline: pipeline.clone(), partition: 0 }
}

/// Which engine of Seldon's runs a pipeline, and what it answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    engine: Option<Arc<str>>,
    pipeline: Option<Arc<Pipeline>>,
    answers: Answers,
}

impl Chain {
    fn lost(&mut self, engine: &str) {
        if self.engine.as_deref() == Some(engine) {
            (self.engine, self.pipeline) = (None, None);
        }
    }

    /// The updates that bring the pipeline there, and away from where it was.
    fn turn_to(&mut self, target: Option<(Arc<str>, Arc<Pipeline>)>, topics: &Topics) -> Vec<(Arc<str>, PipelineUpdateMessage)> {
        let current = self.engine.clone().zip(self.pipeline.clone());
        let same = match (&current, &target) {
            (Some((from, old)), Some((to, new))) => from == to && old.uid == new.uid,
            (None, None) => true,
            _ => false,
        };
        if same {
            return Vec::new();
        }
        let asked = target.iter().map(|(engine, _)| engine.to_string()).collect::<Vec<_>>();
        self.answers.ask(asked.iter());
        let mut messages = Vec::new();
        messages.extend(current.map(|(engine, pipeline)| (engine, updates::delete(&pipeline))));
        messages.extend(target.iter().map(|(engine, pipeline)| (engine.clone(), updates::create(topics, pipeline))));
        messages.iter_mut().for_each(|(_, update)| update.timestamp = self.answers.clock);
        (self.engine, self.pipeline) = target.unzip();
        messages
    }
}
