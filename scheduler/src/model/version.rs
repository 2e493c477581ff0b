//! One version of a model and its state.

use std::collections::{BTreeMap, BTreeSet};

use millstream_proto::seldon::scheduler::{
    Model, ModelReplicaStatus, ModelRuntimeInfo, ModelStatus, ModelVersionStatus, model_replica_status::ModelReplicaState,
    model_status::ModelState,
};

use super::spec;
use crate::time::timestamp;

/// A replica of a server: its name and index.
pub(crate) type Place = (String, u32);

/// One version of a model.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) version: u32,
    pub(crate) model: Model,
    /// What the server says about instances.
    pub(crate) runtime: Option<ModelRuntimeInfo>,
    /// Where it should run.
    pub(crate) target: BTreeSet<Place>,
    pub(crate) replicas: BTreeMap<Place, Replica>,
    /// Why no place was found.
    pub(crate) unschedulable: Option<String>,
    pub(crate) state: ModelState,
    pub(crate) reason: String,
    pub(crate) changed: u64,
}

/// A replica of a version.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) state: ModelReplicaState,
    pub(crate) reason: String,
    pub(crate) changed: u64,
}

/// Whether a replica in this state is, or is to become, able to answer.
pub(crate) fn is_wanted(state: ModelReplicaState) -> bool {
    use ModelReplicaState::*;
    matches!(state, LoadRequested | Loading | Loaded | Available | LoadedUnavailable | Draining)
}

/// Whether a replica in this state takes memory of its server.
pub(crate) fn is_active(state: ModelReplicaState) -> bool {
    use ModelReplicaState::*;
    is_wanted(state) || matches!(state, UnloadEnvoyRequested | UnloadRequested | Unloading)
}

impl Version {
    pub(crate) fn new(version: u32, model: Model, now: u64) -> Self {
        Self {
            version,
            model,
            runtime: None,
            target: BTreeSet::new(),
            replicas: BTreeMap::new(),
            unschedulable: None,
            state: ModelState::ModelProgressing,
            reason: String::new(),
            changed: now,
        }
    }

    /// How many replicas answer; one that drains still does.
    pub(crate) fn available(&self) -> usize {
        self.answering().count()
    }

    /// Where it answers.
    pub(crate) fn answering(&self) -> impl Iterator<Item = &Place> {
        let answers = |state| matches!(state, ModelReplicaState::Available | ModelReplicaState::Draining);
        self.replicas.iter().filter(move |(_, replica)| answers(replica.state)).map(|(place, _)| place)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.replicas.values().any(|replica| is_active(replica.state))
    }

    pub(crate) fn set(&mut self, place: &Place, state: ModelReplicaState, reason: &str, now: u64) {
        self.replicas.insert(place.clone(), Replica { state, reason: reason.into(), changed: now });
    }

    /// The state that follows from the replicas, and why. The order of the rules is part of the interface.
    pub(crate) fn computed(&self, latest: bool, deleted: bool, previous_available: bool) -> (ModelState, String) {
        let failed = |state| self.replicas.iter().find(|(_, replica)| replica.state == state);
        let reason = |found: Option<(&Place, &Replica)>| found.map(|((server, index), r)| format!("{server}/{index}: {}", r.reason));
        if !latest || deleted {
            return match reason(failed(ModelReplicaState::UnloadFailed)) {
                Some(reason) => (ModelState::ModelTerminateFailed, reason),
                None if self.is_active() => (ModelState::ModelTerminating, String::new()),
                None => (ModelState::ModelTerminated, String::new()),
            };
        }
        if let Some(reason) = reason(failed(ModelReplicaState::LoadFailed)) {
            return (ModelState::ModelFailed, reason);
        }
        let deployment = spec::deployment(&self.model);
        let available = self.available();
        let enough = available >= deployment.replicas as usize;
        let at_least_minimum = deployment.min_replicas > 0 && available >= deployment.min_replicas as usize;
        if available == 0 && deployment.replicas == 0 && deployment.min_replicas == 0 {
            (ModelState::ModelScaledDown, String::new())
        } else if enough || at_least_minimum || (available >= 1 && previous_available) {
            (ModelState::ModelAvailable, String::new())
        } else if let Some(reason) = &self.unschedulable {
            (ModelState::ScheduleFailed, reason.clone())
        } else {
            (ModelState::ModelProgressing, String::new())
        }
    }

    /// The server that it runs, or is to run, on.
    pub(crate) fn server(&self) -> &str {
        self.target.iter().chain(self.replicas.keys()).next().map_or("", |(server, _)| server)
    }

    pub(crate) fn status(&self) -> ModelVersionStatus {
        let server = self.server();
        let here = self.replicas.iter().filter(|((name, _), _)| name == server);
        let unavailable = self.replicas.values().filter(|replica| is_wanted(replica.state)).count().saturating_sub(self.available());
        ModelVersionStatus {
            version: self.version,
            server_name: server.into(),
            kubernetes_meta: self.model.meta.as_ref().and_then(|meta| meta.kubernetes_meta.clone()),
            model_replica_state: here
                .map(|((_, index), replica)| {
                    let status = ModelReplicaStatus {
                        state: replica.state.into(),
                        reason: replica.reason.clone(),
                        last_change_timestamp: Some(timestamp(replica.changed)),
                    };
                    (*index as i32, status)
                })
                .collect(),
            state: Some(ModelStatus {
                state: self.state.into(),
                reason: self.reason.clone(),
                available_replicas: self.available() as u32,
                unavailable_replicas: unavailable as u32,
                last_change_timestamp: Some(timestamp(self.changed)),
                ..Default::default()
            }),
            model_defn: Some(self.model.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ModelReplicaState as R;
    use millstream_proto::seldon::scheduler::DeploymentSpec;

    #[test]
    fn the_state_of_a_version_follows_from_its_replicas() {
        let table: &[(&[R], (u32, u32), (bool, bool, bool), Option<&str>, ModelState)] = &[
            (&[], (1, 0), (true, false, false), None, ModelState::ModelProgressing),
            (&[], (1, 0), (true, false, false), Some("no server"), ModelState::ScheduleFailed),
            (&[], (0, 0), (true, false, false), None, ModelState::ModelScaledDown),
            (&[R::LoadRequested], (1, 0), (true, false, false), None, ModelState::ModelProgressing),
            (&[R::Available], (1, 0), (true, false, false), None, ModelState::ModelAvailable),
            (&[R::Draining], (1, 0), (true, false, false), None, ModelState::ModelAvailable),
            (&[R::Available, R::Loading], (2, 0), (true, false, false), None, ModelState::ModelProgressing),
            (&[R::Available, R::Loading], (2, 1), (true, false, false), None, ModelState::ModelAvailable),
            (&[R::Available, R::Loading], (2, 0), (true, false, true), None, ModelState::ModelAvailable),
            (&[R::Available, R::LoadFailed], (2, 1), (true, false, true), None, ModelState::ModelFailed),
            (&[R::Available], (1, 0), (true, true, false), None, ModelState::ModelTerminating),
            (&[R::Unloading], (1, 0), (false, false, false), None, ModelState::ModelTerminating),
            (&[R::Unloaded], (1, 0), (true, true, false), None, ModelState::ModelTerminated),
            (&[R::UnloadFailed, R::Unloading], (1, 0), (true, true, false), None, ModelState::ModelTerminateFailed),
        ];
        for (row, (replicas, (desired, minimum), (latest, deleted, previous), unschedulable, expected)) in table.iter().enumerate() {
            let deployment = DeploymentSpec { replicas: *desired, min_replicas: *minimum, ..Default::default() };
            let mut version = Version::new(1, Model { deployment_spec: Some(deployment), ..Default::default() }, 0);
            version.unschedulable = unschedulable.map(Into::into);
            for (index, state) in replicas.iter().enumerate() {
                version.set(&("s".into(), index as u32), *state, "because", 0);
            }
            assert_eq!(version.computed(*latest, *deleted, *previous).0, *expected, "row {row}");
        }
    }
}
