//! What clients see.

use std::sync::Arc;

use millstream_proto::{
    lanes::{Route, Routes},
    seldon::scheduler::{ModelStatusResponse, PipelineStatusResponse, PipelineWithState, ServerStatusResponse, model_status::ModelState},
};

use super::{State, models::ModelEntry, pipelines::PipelineVersion};
use crate::{
    members::Outcome,
    model::version::Version,
    name::did_you_mean,
    refusal::{Refusal, refuse},
    server::ServerReplica,
};

impl State {
    pub(super) fn model_status(&self, name: &str, all_versions: bool) -> Option<ModelStatusResponse> {
        let entry = self.models.get(name)?;
        let mut versions: Vec<_> = entry.versions.iter().map(|version| version.status()).collect();
        let (state, reason) = gateway_state(self.model_gateway_outcome(entry), entry.deleted);
        if let Some(latest) = versions.last_mut().and_then(|latest| latest.state.as_mut()) {
            latest.model_gw_state = state.into();
            latest.model_gw_reason = reason;
        }
        if !all_versions {
            versions.drain(..versions.len().saturating_sub(1));
        }
        Some(ModelStatusResponse { model_name: name.into(), versions, deleted: entry.deleted, ..Default::default() })
    }

    pub(super) fn pipeline_status(&self, name: &str, all_versions: bool) -> Option<PipelineStatusResponse> {
        let versions = &self.pipelines.get(name)?.versions;
        let first = if all_versions { 0 } else { versions.len().saturating_sub(1) };
        let versions = versions[first..].iter().map(with_state).collect();
        Some(PipelineStatusResponse { pipeline_name: name.into(), versions, ..Default::default() })
    }

    pub(super) fn server_status(&self, name: &str) -> Option<ServerStatusResponse> {
        let server = self.servers.get(name)?;
        Some(server.status(name, |index| self.loaded_on(&(name.to_string(), index))))
    }

    /// The status of one model (`version`: of that version), or of all.
    pub(crate) fn model_statuses(&self, model: Option<(&str, Option<u32>)>, all: bool) -> Result<Vec<ModelStatusResponse>, Refusal> {
        let Some((name, version)) = model.filter(|(name, _)| !name.is_empty()) else {
            return Ok(self.models.keys().filter_map(|name| self.model_status(name, all)).collect());
        };
        let mut status = self.model_status(name, all || version.is_some()).ok_or_else(|| self.unknown_model(name))?;
        if let Some(version) = version.filter(|version| *version > 0) {
            status.versions.retain(|status| status.version == version);
            if status.versions.is_empty() {
                refuse!("model {name} has no version {version}: ask without a version for the latest");
            }
        }
        Ok(vec![status])
    }

    pub(crate) fn pipeline_statuses(&self, name: Option<&str>, all: bool) -> Result<Vec<PipelineStatusResponse>, Refusal> {
        match name.filter(|name| !name.is_empty()) {
            Some(name) => self.pipeline_status(name, all).map(|status| vec![status]).ok_or_else(|| self.unknown_pipeline(name)),
            None => Ok(self.pipelines.keys().filter_map(|name| self.pipeline_status(name, all)).collect()),
        }
    }

    pub(crate) fn server_statuses(&self, name: Option<&str>) -> Result<Vec<ServerStatusResponse>, Refusal> {
        match name.filter(|name| !name.is_empty()) {
            Some(name) => self.server_status(name).map(|status| vec![status]).ok_or_else(|| {
                Refusal(format!("server {name} does not exist{}", did_you_mean(name, self.servers.keys().map(String::as_str))))
            }),
            None => Ok(self.servers.keys().filter_map(|name| self.server_status(name)).collect()),
        }
    }

    /// Where the newest version answers of each model that answers; no addresses while none does.
    pub(crate) fn routes(&self) -> Routes {
        let route = |(model, entry): (&String, &ModelEntry)| {
            let version = entry.versions.iter().rev().find(|version| version.available() > 0);
            let replicas = version.into_iter().flat_map(Version::answering).filter_map(|place| self.replica(place));
            Route { model: model.clone(), addresses: replicas.map(ServerReplica::address).collect() }
        };
        Routes { routes: self.models.iter().filter(|(_, entry)| !entry.deleted).map(route).collect() }
    }

    /// How many resources there are.
    pub(crate) fn resources(&self) -> usize {
        self.models.len() + self.pipelines.len() + self.servers.len()
    }

    /// The status after a change; a server that is gone has none.
    pub(crate) fn changed_model(&self, name: &str) -> Option<ModelStatusResponse> {
        self.model_status(name, false)
    }

    pub(crate) fn changed_pipeline(&self, name: &Arc<str>) -> Option<PipelineStatusResponse> {
        self.pipeline_status(name, false)
    }

    pub(crate) fn changed_server(&self, name: &str) -> ServerStatusResponse {
        self.server_status(name).unwrap_or_else(|| crate::server::Server::default().status(name, |_| 0))
    }
}

pub(super) fn with_state(version: &PipelineVersion) -> PipelineWithState {
    PipelineWithState { pipeline: Some(version.pipeline.as_ref().clone()), state: Some(version.state.clone()) }
}

fn gateway_state(outcome: Outcome, deleted: bool) -> (ModelState, String) {
    match (outcome, deleted) {
        (Outcome::NobodyAsked, _) => (ModelState::Unknown, String::new()),
        (Outcome::Pending, false) => (ModelState::ModelProgressing, String::new()),
        (Outcome::Pending, true) => (ModelState::ModelTerminating, String::new()),
        (Outcome::Done, false) => (ModelState::ModelAvailable, String::new()),
        (Outcome::Done, true) => (ModelState::ModelTerminated, String::new()),
        (Outcome::Failed(reason), false) => (ModelState::ModelFailed, reason),
        (Outcome::Failed(reason), true) => (ModelState::ModelTerminateFailed, reason),
    }
}
