//! To and from the state topic: a record for each resource, `<kind>/<name>`.

use std::sync::Arc;

use millstream_proto::{
    lanes::Role,
    seldon::scheduler::{ModelStatus, model_replica_status::ModelReplicaState, pipeline_version_state::PipelineStatus},
    state::{LanesSnapshot, ModelSnapshot, PipelineSnapshot, ServerSnapshot},
};
use prost::{DecodeError, Message};

use super::{
    Config, State,
    effect::Effect,
    models::ModelEntry,
    pipelines::{PipelineEntry, PipelineVersion},
    status::with_state,
};
use crate::{
    fleet::Fleet,
    model::version::{Replica, Version, is_wanted},
    time::{millis, timestamp},
};

const MODEL: &str = "model";
const PIPELINE: &str = "pipeline";
const SERVER: &str = "server";
const ENGINE_LANES: &str = "engine-lanes";
const GATEWAY_LANES: &str = "gateway-lanes";

fn persist(kind: &str, name: &str, value: Option<Vec<u8>>) -> Effect {
    Effect::Persist { key: format!("{kind}/{name}"), value }
}

pub(super) fn forget_model(name: &str) -> Effect {
    persist(MODEL, name, None)
}

pub(super) fn forget_pipeline(name: &str) -> [Effect; 3] {
    [PIPELINE, ENGINE_LANES, GATEWAY_LANES].map(|kind| persist(kind, name, None))
}

pub(super) fn persist_lanes(fleet: &Fleet, role: Role, pipeline: &Arc<str>) -> Effect {
    let kind = match role {
        Role::Engine => ENGINE_LANES,
        Role::PipelineGateway => GATEWAY_LANES,
    };
    persist(kind, pipeline, fleet.snapshot(pipeline).map(|snapshot| snapshot.encode_to_vec()))
}

impl State {
    pub(super) fn persist_model(&self, name: &str) -> Effect {
        let snapshot = self.models.get(name).map(|entry| ModelSnapshot {
            name: name.into(),
            last_version: entry.last_version,
            versions: entry.versions.iter().map(Version::status).collect(),
            deleted: entry.deleted,
            changed: Some(timestamp(entry.changed)),
        });
        persist(MODEL, name, snapshot.map(|snapshot| snapshot.encode_to_vec()))
    }

    pub(super) fn persist_pipeline(&self, name: &Arc<str>) -> Effect {
        let snapshot = self.pipelines.get(name).map(|entry| PipelineSnapshot {
            name: name.to_string(),
            last_version: entry.last_version,
            versions: entry.versions.iter().map(with_state).collect(),
            deleted: entry.deleted,
            changed: Some(timestamp(entry.changed)),
        });
        persist(PIPELINE, name, snapshot.map(|snapshot| snapshot.encode_to_vec()))
    }

    /// The state that was persisted. What ran is expected to run still, and is waited for a while. Keys of unknown kinds are of a newer
    /// release, and stay as they are.
    pub(crate) fn restore<'a>(
        config: Config,
        records: impl Iterator<Item = (&'a str, &'a [u8])>,
        now: u64,
    ) -> Result<Self, (&'a str, DecodeError)> {
        let mut state = Self::new(config, now);
        for (key, value) in records {
            state.restore_record(key, value).map_err(|error| (key, error))?;
        }
        let held = !state.engines.all_are_back() || !state.gateways.all_are_back() || !state.all_agents_are_back();
        state.grace_until = held.then_some(now + state.config.grace);
        state.changed.recheck = true;
        Ok(state)
    }

    fn restore_record(&mut self, key: &str, value: &[u8]) -> Result<(), DecodeError> {
        match key.split_once('/').map_or(key, |(kind, _)| kind) {
            MODEL => {
                let snapshot = ModelSnapshot::decode(value)?;
                self.models.insert(snapshot.name.clone(), model(snapshot));
            }
            PIPELINE => {
                let snapshot = PipelineSnapshot::decode(value)?;
                self.pipelines.insert(snapshot.name.as_str().into(), pipeline(snapshot));
            }
            SERVER => {
                if let Some(notify) = ServerSnapshot::decode(value)?.notify {
                    let name = notify.name.clone();
                    self.servers.entry(name).or_default().notify = Some(notify);
                }
            }
            ENGINE_LANES => self.engines.restore(LanesSnapshot::decode(value)?),
            GATEWAY_LANES => self.gateways.restore(LanesSnapshot::decode(value)?),
            _ => {}
        }
        Ok(())
    }
}

fn model(snapshot: ModelSnapshot) -> ModelEntry {
    let mut entry = ModelEntry::new(snapshot.last_version, millis(snapshot.changed.as_ref()));
    entry.deleted = snapshot.deleted;
    for status in snapshot.versions {
        let ModelStatus { state, reason, last_change_timestamp, .. } = status.state.unwrap_or_default();
        let mut version = Version::new(status.version, status.model_defn.unwrap_or_default(), millis(last_change_timestamp.as_ref()));
        version.state = state.try_into().unwrap_or_default();
        version.reason = reason;
        for (index, replica) in status.model_replica_state {
            let place = (status.server_name.clone(), index as u32);
            // Whether it runs is what its agent will say; until then it is on its way.
            let state = match replica.state() {
                ModelReplicaState::Available | ModelReplicaState::Draining => ModelReplicaState::LoadRequested,
                ModelReplicaState::Unloaded => continue,
                other => other,
            };
            if is_wanted(state) {
                version.target.insert(place.clone());
            }
            version
                .replicas
                .insert(place, Replica { state, reason: replica.reason, changed: millis(replica.last_change_timestamp.as_ref()) });
        }
        entry.versions.push(version);
    }
    entry
}

fn pipeline(snapshot: PipelineSnapshot) -> PipelineEntry {
    let proven = |status| matches!(status, PipelineStatus::PipelineReady | PipelineStatus::PipelineRebalancing);
    let versions = snapshot.versions.into_iter().map(|version| {
        let state = version.state.unwrap_or_default();
        PipelineVersion { pipeline: Arc::new(version.pipeline.unwrap_or_default()), proven: proven(state.status()), state }
    });
    PipelineEntry::new(versions.collect(), snapshot.last_version, snapshot.deleted, millis(snapshot.changed.as_ref()))
}
