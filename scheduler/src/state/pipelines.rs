//! Pipelines: loading, versions, unloading, and their states.

use std::sync::Arc;

use millstream_proto::seldon::scheduler::{Pipeline, PipelineVersionState, pipeline_version_state::PipelineStatus};

use super::{MOST_VERSIONS, Retry, State, effect::Effect, lanes::Chain};
use crate::{
    members::{Answers, Outcome},
    pipeline::{
        judge::{Facts, Verdict, judge},
        reference::normalise,
        unsupported::refuse_unsupported,
        validate::validate,
    },
    refusal::{Refusal, refuse},
    time::timestamp,
};

/// A pipeline with its versions, the oldest first; there is always one.
#[derive(Clone, Debug)]
pub(super) struct PipelineEntry {
    pub(super) last_version: u32,
    pub(super) versions: Vec<PipelineVersion>,
    pub(super) deleted: bool,
    pub(super) changed: u64,
    /// What pipeline gateways of Seldon's say.
    pub(super) gateways: Answers,
    pub(super) chain: Chain,
    pub(super) retry: Retry,
    /// The version whose lanes are placed.
    placed: Option<String>,
}

/// One version of a pipeline.
#[derive(Clone, Debug)]
pub(super) struct PipelineVersion {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) state: PipelineVersionState,
    /// It was ready once, and no later version has taken over.
    pub(super) proven: bool,
}

impl PipelineVersion {
    fn set(&mut self, verdict: Verdict, now: u64) -> bool {
        let new = PipelineVersionState {
            pipeline_version: self.pipeline.version,
            status: verdict.status.into(),
            reason: verdict.reason,
            last_change_timestamp: self.state.last_change_timestamp,
            models_ready: verdict.models_ready,
            pipeline_gw_status: verdict.gateway_status.into(),
            pipeline_gw_reason: verdict.gateway_reason,
        };
        let changed = new != self.state;
        if changed {
            let name = &self.pipeline.name;
            tracing::info!(
                pipeline = name,
                version = new.pipeline_version,
                status = new.status().as_str_name(),
                reason = new.reason,
                "pipeline status"
            );
            self.state = PipelineVersionState { last_change_timestamp: Some(timestamp(now)), ..new };
        }
        self.proven |= verdict.status == PipelineStatus::PipelineReady;
        changed
    }
}

impl PipelineEntry {
    pub(super) fn new(versions: Vec<PipelineVersion>, last_version: u32, deleted: bool, changed: u64) -> Self {
        let (gateways, chain, retry) = Default::default();
        Self { last_version, versions, deleted, changed, gateways, chain, retry, placed: None }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.deleted && self.versions.last().is_none_or(|latest| latest.state.status() == PipelineStatus::PipelineTerminated)
    }

    /// The version that answers: the newest, unless it failed or waits for its models and an older one goes on.
    fn active(&self) -> Option<usize> {
        let newest = self.versions.len().checked_sub(1).filter(|_| !self.deleted)?;
        let state = &self.versions[newest].state;
        let stands_back = state.status() == PipelineStatus::PipelineFailed || !state.models_ready;
        match self.versions[..newest].iter().rposition(|version| version.proven) {
            Some(older) if stands_back => Some(older),
            _ => Some(newest),
        }
    }

    pub(super) fn active_pipeline(&self) -> Option<&Arc<Pipeline>> {
        Some(&self.versions[self.active()?].pipeline)
    }
}

impl State {
    pub(super) fn load_pipeline(&mut self, mut pipeline: Pipeline, uid: String, now: u64, out: &mut Vec<Effect>) -> Result<(), Refusal> {
        normalise(&mut pipeline);
        validate(&pipeline, self.config.topics.longest_name())?;
        refuse_unsupported(&pipeline)?;
        let name: Arc<str> = pipeline.name.as_str().into();
        let entry = self.pipelines.entry(name.clone()).or_insert_with(|| PipelineEntry::new(Vec::new(), 0, false, now));
        if entry.deleted && !entry.is_gone() {
            refuse!("pipeline {name} is still terminating: wait until it is PipelineTerminated");
        }
        if let Some(latest) = entry.versions.last().filter(|_| !entry.deleted)
            && generation(&latest.pipeline).is_some_and(|current| generation(&pipeline) == Some(current))
        {
            return Ok(());
        }
        entry.last_version += 1;
        (pipeline.version, pipeline.uid) = (entry.last_version, uid);
        tracing::info!(pipeline = &*name, version = pipeline.version, uid = pipeline.uid, "pipeline loaded");
        let state = PipelineVersionState {
            pipeline_version: pipeline.version,
            status: PipelineStatus::PipelineCreate.into(),
            last_change_timestamp: Some(timestamp(now)),
            ..Default::default()
        };
        if std::mem::take(&mut entry.deleted) {
            entry.versions.iter_mut().for_each(|version| version.proven = false);
        }
        entry.changed = now;
        entry.retry = Retry::default();
        entry.versions.push(PipelineVersion { pipeline: Arc::new(pipeline), state, proven: false });
        if entry.versions.len() > MOST_VERSIONS {
            let oldest = entry.versions.iter().position(|version| !version.proven).unwrap_or(0);
            entry.versions.remove(oldest);
        }
        self.changed.pipelines.insert(name.clone());
        self.tell_pipeline_gateways(&name, out);
        self.plan_soon(now);
        Ok(())
    }

    pub(super) fn unload_pipeline(&mut self, name: &str, now: u64, out: &mut Vec<Effect>) -> Result<(), Refusal> {
        let name: Arc<str> = name.into();
        let Some(entry) = self.pipelines.get_mut(&name).filter(|entry| !entry.deleted) else {
            return Err(self.unknown_pipeline(&name));
        };
        tracing::info!(pipeline = &*name, "pipeline unloaded");
        entry.deleted = true;
        entry.changed = now;
        self.changed.pipelines.insert(name.clone());
        self.tell_pipeline_gateways(&name, out);
        self.plan_soon(now);
        Ok(())
    }

    /// Whether a pipeline reads or writes the topics of a model.
    pub(super) fn is_used(&self, model: &str) -> bool {
        let uses =
            |entry: &PipelineEntry| entry.active_pipeline().is_some_and(|pipeline| pipeline.steps.iter().any(|step| step.name == model));
        self.pipelines.values().any(uses)
    }

    pub(super) fn recheck_pipelines(&mut self, now: u64, out: &mut Vec<Effect>) {
        let names: Vec<_> = self.pipelines.keys().cloned().collect();
        for name in names {
            let Some(mut entry) = self.pipelines.remove(&name) else { continue };
            let before: Vec<_> = entry.versions.iter().map(|version| version.state.clone()).collect();
            match entry.deleted {
                true => self.terminate(&name, &mut entry, now, out),
                false => self.advance(&name, &mut entry, now),
            }
            if entry.versions.iter().map(|version| &version.state).ne(&before) {
                self.changed.pipelines.insert(name.clone());
            }
            self.pipelines.insert(name, entry);
        }
    }

    /// Judges the newest version and the one that answers; when the newest is ready, the older ones are over.
    fn advance(&mut self, name: &Arc<str>, entry: &mut PipelineEntry, now: u64) {
        let Some(newest) = entry.versions.len().checked_sub(1) else { return };
        let models = self.models_answer(&entry.versions[newest].pipeline);
        entry.versions[newest].state.models_ready = models.is_ok();
        let Some(active) = entry.active() else { return };
        let verdict = self.verdict(name, entry, active);
        entry.versions[active].set(verdict, now);
        if active != newest && entry.versions[newest].state.status() != PipelineStatus::PipelineFailed {
            let serving = entry.versions[active].pipeline.version;
            let waiting = models.err().map_or_else(String::new, |reason| format!("{reason}; "));
            let verdict = Verdict {
                status: PipelineStatus::PipelineCreating,
                reason: format!("{waiting}version {serving} goes on meanwhile"),
                models_ready: waiting.is_empty(),
                gateway_status: PipelineStatus::PipelineCreate,
                gateway_reason: String::new(),
            };
            entry.versions[newest].set(verdict, now);
        }
        if entry.versions[newest].state.status() == PipelineStatus::PipelineReady {
            for older in &mut entry.versions[..newest] {
                older.proven = false;
                older.set(ended(PipelineStatus::PipelineTerminated), now);
            }
        }
        match entry.versions[newest].state.status() {
            PipelineStatus::PipelineFailed if active == newest => entry.retry.failed(now),
            PipelineStatus::PipelineReady => entry.retry = Retry::default(),
            _ => {}
        }
        // A failure just now may have brought an older version back.
        let placed = entry.active_pipeline().map(|pipeline| pipeline.uid.clone());
        if placed != entry.placed {
            entry.placed = placed;
            self.plan_soon(now);
        }
    }

    /// A deleted pipeline is over when nobody runs it any more; then its topics go, if that was asked for.
    fn terminate(&mut self, name: &Arc<str>, entry: &mut PipelineEntry, now: u64, out: &mut Vec<Effect>) {
        entry.placed = None;
        let was_gone = entry.is_gone();
        let gateways_done = match entry.gateways.outcome() {
            Outcome::NobodyAsked | Outcome::Done | Outcome::Failed(_) => true,
            Outcome::Pending => false,
        };
        let released = self.engines.released(name) && self.gateways.released(name) && gateways_done;
        let status = if released { PipelineStatus::PipelineTerminated } else { PipelineStatus::PipelineTerminating };
        if was_gone {
            return;
        }
        for version in &mut entry.versions {
            version.proven = false;
            if version.state.status() != PipelineStatus::PipelineTerminated {
                version.set(ended(status), now);
            }
        }
        let latest = entry.versions.last().map(|version| &version.pipeline);
        if released && latest.is_some_and(|pipeline| pipeline.dataflow_spec.is_some_and(|spec| spec.clean_topics_on_delete)) {
            out.push(Effect::DeleteTopics(["inputs", "outputs"].map(|side| self.config.topics.pipeline(name, side)).into()));
        }
    }

    fn verdict(&self, name: &Arc<str>, entry: &PipelineEntry, version: usize) -> Verdict {
        let version = &entry.versions[version];
        let uid = &version.pipeline.uid;
        judge(Facts {
            models: self.models_answer(&version.pipeline),
            engines: self.engines_run(entry, name, uid),
            gateways: self.gateways_serve(entry, name, uid),
            proven: version.proven,
        })
    }

    fn models_answer(&self, pipeline: &Pipeline) -> Result<(), String> {
        pipeline.steps.iter().try_for_each(|step| self.answers(&step.name))
    }

    pub(super) fn retry_failed_pipelines(&mut self, now: u64) {
        let due = |(name, entry): (&Arc<str>, &mut PipelineEntry)| entry.retry.due(now).then(|| name.clone());
        let names: Vec<_> = self.pipelines.iter_mut().filter_map(due).collect();
        for name in names {
            tracing::info!(pipeline = &*name, "starting is tried again");
            self.engines.retry(&name);
            self.gateways.retry(&name);
            self.plan_soon(now);
        }
    }
}

fn ended(status: PipelineStatus) -> Verdict {
    Verdict { status, reason: String::new(), models_ready: false, gateway_status: status, gateway_reason: String::new() }
}

/// The generation of the Kubernetes resource; 0 is none.
fn generation(pipeline: &Pipeline) -> Option<i64> {
    pipeline.kubernetes_meta.as_ref().map(|meta| meta.generation).filter(|generation| *generation > 0)
}
