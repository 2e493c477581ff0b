//! Models: loading, updating, unloading, and the places where they run.

use std::sync::Arc;

use millstream_proto::seldon::{
    agent::{ModelOperationMessage, ModelVersion, model_operation_message::Operation},
    scheduler::{Model, ModelReference, model_replica_status::ModelReplicaState, model_status::ModelState},
};

use super::{MOST_VERSIONS, Retry, State, effect::Effect};
use crate::{
    members::{Answers, Outcome},
    model::{
        schedule::{Wish, choose},
        spec::{self, Change},
        version::{Place, Replica, Version, is_active, is_wanted},
    },
    name::{self, did_you_mean},
    refusal::{Refusal, refuse},
};

/// A model with its versions, the oldest first; there is always one.
#[derive(Clone, Debug)]
pub(super) struct ModelEntry {
    pub(super) last_version: u32,
    pub(super) versions: Vec<Version>,
    pub(super) deleted: bool,
    pub(super) changed: u64,
    /// The model gateway that was told to serve it, and what it says.
    pub(super) gateway: Option<Arc<str>>,
    pub(super) gateways: Answers,
    pub(super) retry: Retry,
}

impl ModelEntry {
    pub(super) fn new(version: u32, now: u64) -> Self {
        let (versions, gateway, gateways, retry) = Default::default();
        Self { last_version: version, versions, deleted: false, changed: now, gateway, gateways, retry }
    }

    /// Deleted, and nothing of it is left on any server.
    pub(super) fn is_gone(&self) -> bool {
        self.deleted && !self.versions.iter().any(Version::is_active)
    }

    fn push(&mut self, version: u32, model: Model, now: u64) {
        self.last_version = version;
        self.deleted = false;
        self.changed = now;
        self.versions.push(Version::new(version, model, now));
        self.gateway = None; // it is told of the new version
        while self.versions.len() > MOST_VERSIONS && !self.versions[0].is_active() {
            self.versions.remove(0);
        }
    }
}

impl State {
    pub(super) fn load_model(&mut self, model: Model, now: u64, out: &mut Vec<Effect>) -> Result<(), Refusal> {
        let model = self.checked(model)?;
        let name = spec::name(&model).to_string();
        let is_new_version = match self.models.get_mut(&name) {
            None => {
                let version = spec::generation(&model).map_or(1, |generation| u32::try_from(generation).unwrap_or(1));
                let mut entry = ModelEntry::new(version, now);
                entry.push(version, model, now);
                self.models.insert(name.clone(), entry);
                true
            }
            Some(entry) if entry.deleted && !entry.is_gone() => {
                refuse!("model {name} is in process of deletion: wait until it is ModelTerminated");
            }
            Some(entry) => {
                let latest = entry.versions.last().filter(|_| !entry.deleted);
                let change = latest.map_or(Change::Version, |latest| spec::change(&latest.model, &model));
                if change == Change::Version {
                    entry.push(entry.last_version + 1, model, now);
                } else if let Some(latest) = entry.versions.last_mut() {
                    latest.model = model;
                }
                entry.retry = Retry::default();
                change == Change::Version
            }
        };
        tracing::info!(model = name, new_version = is_new_version, "model loaded");
        self.place_on_model_gateways(out);
        self.schedule(&name, true, now, out);
        Ok(())
    }

    /// A model that can be loaded.
    fn checked(&self, model: Model) -> Result<Model, Refusal> {
        let name = spec::name(&model);
        if !name::is_valid(name) {
            refuse!("model {name:?} has an invalid name: it must be alphanumeric (lower case, inner dashes) without dots");
        }
        if name.len() > self.config.topics.longest_name() {
            let longest = self.config.topics.longest_name();
            refuse!("model {name} has a name of {} characters: topic names leave room for {longest}", name.len());
        }
        if model.model_spec.is_none() {
            refuse!("model {name} has no modelSpec: say at least where its artifact is (uri)");
        }
        let deployment = spec::deployment(&model);
        if deployment.min_replicas > deployment.replicas {
            let (minimum, replicas) = (deployment.min_replicas, deployment.replicas);
            refuse!("model {name} has minReplicas {minimum} above its replicas {replicas}: lower it, or ask for more replicas");
        }
        if deployment.max_replicas > 0 && deployment.max_replicas < deployment.replicas {
            let (maximum, replicas) = (deployment.max_replicas, deployment.replicas);
            refuse!("model {name} has maxReplicas {maximum} below its replicas {replicas}: raise it, or ask for fewer replicas");
        }
        Ok(model)
    }

    pub(super) fn unload_model(&mut self, reference: &ModelReference, now: u64, out: &mut Vec<Effect>) -> Result<(), Refusal> {
        let name = &reference.name;
        match self.models.get_mut(name).filter(|entry| !entry.deleted) {
            None => return Err(self.unknown_model(name)),
            Some(entry) => {
                entry.deleted = true;
                entry.changed = now;
            }
        }
        tracing::info!(model = name, "model unloaded");
        self.place_on_model_gateways(out);
        self.converge(name, now, out);
        Ok(())
    }

    pub(super) fn unknown_model(&self, name: &str) -> Refusal {
        let known = self.models.iter().filter(|(_, entry)| !entry.deleted).map(|(name, _)| name.as_str());
        Refusal(format!("model {name} does not exist{}", did_you_mean(name, known)))
    }

    /// Finds places for the latest version. `retry` tries again where loading failed.
    pub(super) fn schedule(&mut self, name: &str, retry: bool, now: u64, out: &mut Vec<Effect>) {
        let Some(mut entry) = self.models.remove(name) else { return };
        if let Some(latest) = entry.versions.last_mut().filter(|_| !entry.deleted) {
            self.find_places(latest);
            for place in latest.target.clone() {
                let state = latest.replicas.get(&place).map(|replica| replica.state);
                let keeps = state.is_some_and(|state| is_wanted(state) || (state == ModelReplicaState::LoadFailed && !retry));
                if !keeps {
                    latest.set(&place, ModelReplicaState::LoadRequested, "", now);
                    out.push(operation(Operation::LoadModel, &place, latest));
                }
            }
            // A failed attempt elsewhere is over.
            let target = &latest.target;
            latest.replicas.retain(|place, replica| replica.state != ModelReplicaState::LoadFailed || target.contains(place));
        }
        self.models.insert(name.into(), entry);
        self.converge(name, now, out);
    }

    fn find_places(&self, latest: &mut Version) {
        if spec::deployment(&latest.model).replicas == 0 {
            latest.target.clear();
            latest.unschedulable = None;
            return;
        }
        let chosen = choose(
            &Wish {
                model: &latest.model,
                memory: spec::memory(&latest.model, latest.runtime.as_ref()),
                loaded: &|server, index| latest.replicas.get(&(server.to_string(), index)).is_some_and(|replica| is_wanted(replica.state)),
                reserved: &|server, index| self.reserved(&(server.to_string(), index)),
            },
            &self.servers,
        );
        match chosen {
            Ok(choice) => {
                latest.target = choice.replicas.into_iter().map(|index| (choice.server.clone(), index)).collect();
                latest.unschedulable = None;
            }
            // What runs goes on.
            Err(reason) => {
                let stays = |place: &Place| self.replica(place).is_some_and(|replica| !replica.draining);
                let wanted = latest.replicas.iter().filter(|(place, replica)| is_wanted(replica.state) && stays(place));
                latest.target = wanted.map(|(place, _)| place.clone()).collect();
                latest.unschedulable = Some(reason);
            }
        }
    }

    /// The memory that models on their way to a replica will take.
    fn reserved(&self, place: &Place) -> u64 {
        let on_the_way = |version: &&Version| {
            let state = version.replicas.get(place).map(|replica| replica.state);
            matches!(state, Some(ModelReplicaState::LoadRequested | ModelReplicaState::Loading))
        };
        let versions = self.models.values().flat_map(|entry| &entry.versions).filter(on_the_way);
        versions.map(|version| spec::memory(&version.model, version.runtime.as_ref())).sum()
    }

    /// Unloads what is not wanted any more, once what is wanted runs, and computes the states.
    pub(super) fn converge(&mut self, name: &str, now: u64, out: &mut Vec<Effect>) {
        let Some(mut entry) = self.models.remove(name) else { return };
        let deleted = entry.deleted;
        let Some((latest, older)) = entry.versions.split_last_mut() else { return };
        let runs = |place: &Place| latest.replicas.get(place).is_some_and(|replica| replica.state == ModelReplicaState::Available);
        let settled = latest.target.iter().all(runs) && (!latest.target.is_empty() || spec::deployment(&latest.model).replicas == 0);
        if settled || deleted {
            older.iter_mut().for_each(|version| self.unload_all(version, |_| true, now, out));
            let target = if deleted { Default::default() } else { latest.target.clone() };
            self.unload_all(latest, |place| !target.contains(place), now, out);
        }
        for index in 0..entry.versions.len() {
            let latest = index + 1 == entry.versions.len();
            let previous_available = index > 0 && entry.versions[index - 1].available() > 0;
            let version = &mut entry.versions[index];
            let (state, reason) = version.computed(latest, deleted, previous_available);
            if (state, &reason) != (version.state, &version.reason) {
                tracing::info!(model = name, version = version.version, state = state.as_str_name(), reason, "model state");
                (version.state, version.reason, version.changed) = (state, reason, now);
            }
            match entry.versions[index].state {
                ModelState::ModelFailed if latest => entry.retry.failed(now),
                ModelState::ModelAvailable if latest => entry.retry = Retry::default(),
                _ => {}
            }
        }
        self.models.insert(name.into(), entry);
        self.changed.models.insert(name.into());
        self.check_drains(out);
    }

    fn unload_all(&self, version: &mut Version, which: impl Fn(&Place) -> bool, now: u64, out: &mut Vec<Effect>) {
        let unwanted = |(place, replica): &(&Place, &Replica)| is_wanted(replica.state) && which(place);
        let places: Vec<_> = version.replicas.iter().filter(unwanted).map(|(place, _)| place.clone()).collect();
        for place in places {
            if self.replica(&place).is_some() {
                version.set(&place, ModelReplicaState::UnloadRequested, "", now);
                out.push(operation(Operation::UnloadModel, &place, version));
            } else {
                version.replicas.remove(&place);
            }
        }
    }

    /// Looks for places again for every model that has too few.
    pub(super) fn reschedule(&mut self, retry: bool, now: u64, out: &mut Vec<Effect>) {
        let names: Vec<_> = self.models.iter().filter(|(_, entry)| self.needs_places(entry)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.schedule(&name, retry, now, out);
        }
    }

    fn needs_places(&self, entry: &ModelEntry) -> bool {
        let Some(latest) = entry.versions.last().filter(|_| !entry.deleted) else { return false };
        let waits = self.grace_until.is_some() && latest.replicas.keys().any(|place| self.replica(place).is_none());
        let wanted = |place: &Place| latest.replicas.get(place).is_some_and(|replica| is_wanted(replica.state));
        let satisfied = latest.target.len() == spec::deployment(&latest.model).replicas as usize && latest.target.iter().all(wanted);
        !waits && (!satisfied || latest.unschedulable.is_some())
    }

    /// Whether requests to a model are answered, also through its topics; else why not.
    pub(super) fn answers(&self, name: &str) -> Result<(), String> {
        let Some(entry) = self.models.get(name).filter(|entry| !entry.deleted) else {
            return Err(self.unknown_model(name).0);
        };
        if !entry.versions.iter().any(|version| version.available() > 0) {
            let latest = entry.versions.last();
            let (state, reason) = latest.map_or(("", ""), |latest| (latest.state.as_str_name(), &latest.reason));
            return Err(format!("model {name} is not available: {state}{}{reason}", if reason.is_empty() { "" } else { ": " }));
        }
        match self.model_gateway_outcome(entry) {
            Outcome::NobodyAsked | Outcome::Done => Ok(()),
            Outcome::Pending => Err(format!("model {name} is being started on the model gateway")),
            Outcome::Failed(reason) => Err(format!("model {name} is not served by the model gateway {reason}")),
        }
    }

    pub(super) fn retry_failed(&mut self, now: u64, out: &mut Vec<Effect>) {
        let due = |(name, entry): (&String, &mut ModelEntry)| entry.retry.due(now).then(|| name.clone());
        let names: Vec<_> = self.models.iter_mut().filter_map(due).collect();
        for name in names {
            tracing::info!(model = name, "loading is tried again");
            self.schedule(&name, true, now, out);
        }
        self.retry_failed_pipelines(now);
    }

    /// How many model replicas take memory of a place.
    pub(super) fn loaded_on(&self, place: &Place) -> i32 {
        let here = |version: &&Version| version.replicas.get(place).is_some_and(|replica| is_active(replica.state));
        self.models.values().flat_map(|entry| &entry.versions).filter(here).count() as i32
    }
}

pub(super) fn operation(operation: Operation, place: &Place, version: &Version) -> Effect {
    let model_version = Some(ModelVersion { model: Some(version.model.clone()), version: version.version });
    let message = ModelOperationMessage { operation: operation.into(), model_version, autoscaling_enabled: false };
    Effect::Agent { place: place.clone(), message: Box::new(message) }
}
