//! Servers, and the agents of their replicas.

use std::collections::BTreeSet;

use millstream_proto::seldon::{
    agent::{AgentSubscribeRequest, ModelEventMessage, ModelVersion, model_event_message::Event, model_operation_message::Operation},
    scheduler::{ServerNotifyRequest, model_replica_status::ModelReplicaState},
};
use prost::Message;

use super::{State, effect::Effect, models, models::ModelEntry};
use crate::{
    model::{
        spec,
        version::{Place, Version, is_active, is_wanted},
    },
    name::did_you_mean,
    refusal::{Refusal, refuse},
    server::ServerReplica,
};

impl State {
    pub(super) fn replica(&self, (server, index): &Place) -> Option<&ServerReplica> {
        self.servers.get(server)?.replicas.get(index)
    }

    pub(super) fn server_notify(&mut self, request: ServerNotifyRequest, now: u64, out: &mut Vec<Effect>) -> Result<(), Refusal> {
        if request.servers.iter().any(|server| server.name.is_empty()) {
            refuse!("a server has no name: give every server of the request a name");
        }
        if request.is_first_sync {
            let gone = |name: &String| !request.servers.iter().any(|server| server.name == **name);
            for (name, server) in self.servers.iter_mut().filter(|(name, server)| server.notify.is_some() && gone(name)) {
                server.notify = None;
                out.push(Effect::Persist { key: format!("server/{name}"), value: None });
                self.changed.servers.insert(name.clone());
            }
        }
        for notify in request.servers {
            let name = notify.name.clone();
            let snapshot = millstream_proto::state::ServerSnapshot { notify: Some(notify.clone()) };
            out.push(Effect::Persist { key: format!("server/{name}"), value: Some(snapshot.encode_to_vec()) });
            self.servers.entry(name.clone()).or_default().notify = Some(notify);
            self.changed.servers.insert(name);
        }
        self.reschedule(false, now, out);
        Ok(())
    }

    pub(super) fn agent_joined(
        &mut self,
        session: u64,
        request: AgentSubscribeRequest,
        now: u64,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if request.server_name.is_empty() {
            refuse!("an agent subscribed without serverName: say which server it is a replica of");
        }
        let place: Place = (request.server_name.clone(), request.replica_idx);
        tracing::info!(server = place.0, replica = place.1, models = request.loaded_models.len(), "agent connected");
        let replica = ServerReplica {
            session,
            shared: request.shared,
            config: request.replica_config.unwrap_or_default(),
            available_memory: request.available_memory_bytes,
            draining: false,
        };
        self.servers.entry(place.0.clone()).or_default().replicas.insert(place.1, replica);
        self.changed.servers.insert(place.0.clone());
        for loaded in &request.loaded_models {
            self.found(loaded, &place, now, out);
        }
        self.resume(&request.loaded_models, &place, now, out);
        self.grace_may_end(now, out);
        self.reschedule(true, now, out);
        Ok(())
    }

    /// An agent has this model loaded: it is used where it is wanted, adopted if nobody knows it, and else unloaded.
    fn found(&mut self, loaded: &ModelVersion, place: &Place, now: u64, out: &mut Vec<Effect>) {
        let Some(model) = loaded.model.as_ref().filter(|model| !spec::name(model).is_empty()) else { return };
        let name = spec::name(model);
        let is_new = !self.models.contains_key(name);
        let entry = self.models.entry(name.into()).or_insert_with(|| {
            tracing::info!(model = name, version = loaded.version, "model of an agent adopted");
            let mut entry = ModelEntry::new(loaded.version, now);
            entry.versions.push(Version::new(loaded.version, model.clone(), now));
            entry
        });
        let last_version = entry.last_version;
        let version = entry.versions.iter_mut().find(|version| version.version == loaded.version);
        match version {
            Some(version) if version.replicas.get(place).is_some_and(|replica| is_active(replica.state)) => {}
            Some(version) if !entry.deleted && version.version == last_version => {
                version.set(place, ModelReplicaState::Available, "", now);
            }
            _ => out.push(models::operation(Operation::UnloadModel, place, &Version::new(loaded.version, model.clone(), now))),
        }
        self.changed.models.insert(name.into());
        if is_new {
            self.place_on_model_gateways(out);
        }
    }

    /// Goes on with what an agent was doing when it was last here.
    fn resume(&mut self, loaded: &[ModelVersion], place: &Place, now: u64, out: &mut Vec<Effect>) {
        let mut names = Vec::new();
        for (name, entry) in &mut self.models {
            for version in &mut entry.versions {
                let Some(state) = version.replicas.get(place).map(|replica| replica.state) else { continue };
                let is_loaded =
                    loaded.iter().any(|l| l.version == version.version && l.model.as_ref().map(spec::name) == Some(name.as_str()));
                match (is_wanted(state), is_loaded) {
                    (true, true) => version.set(place, ModelReplicaState::Available, "", now),
                    (true, false) => {
                        version.set(place, ModelReplicaState::LoadRequested, "", now);
                        out.push(models::operation(Operation::LoadModel, place, version));
                    }
                    (false, true) => {
                        version.set(place, ModelReplicaState::UnloadRequested, "", now);
                        out.push(models::operation(Operation::UnloadModel, place, version));
                    }
                    (false, false) => {
                        version.replicas.remove(place);
                    }
                }
                names.push(name.clone());
            }
        }
        for name in names {
            self.converge(&name, now, out);
        }
    }

    pub(super) fn agent_left(&mut self, place: &Place, session: u64, now: u64, out: &mut Vec<Effect>) {
        if self.replica(place).is_none_or(|replica| replica.session != session) {
            return;
        }
        tracing::warn!(server = place.0, replica = place.1, "agent disconnected");
        if let Some(server) = self.servers.get_mut(&place.0) {
            server.replicas.remove(&place.1);
            if server.replicas.is_empty() && server.notify.is_none() {
                self.servers.remove(&place.0);
            }
        }
        self.changed.servers.insert(place.0.clone());
        self.lose(|lost| lost == place, now, out);
        out.push(Effect::Drained { place: place.clone(), success: false });
    }

    /// What ran on these places is gone.
    fn lose(&mut self, is_lost: impl Fn(&Place) -> bool, now: u64, out: &mut Vec<Effect>) {
        let mut names = Vec::new();
        for (name, entry) in &mut self.models {
            for version in &mut entry.versions {
                let before = version.replicas.len() + version.target.len();
                version.replicas.retain(|place, _| !is_lost(place));
                version.target.retain(|place| !is_lost(place));
                if version.replicas.len() + version.target.len() != before {
                    names.push(name.clone());
                }
            }
        }
        for name in names {
            self.schedule(&name, false, now, out);
        }
    }

    pub(super) fn all_agents_are_back(&self) -> bool {
        let mut places = self.models.values().flat_map(|entry| &entry.versions).flat_map(|version| version.replicas.keys());
        places.all(|place| self.replica(place).is_some())
    }

    pub(super) fn forget_lost_agents(&mut self, now: u64, out: &mut Vec<Effect>) {
        let connected: BTreeSet<Place> =
            self.servers.iter().flat_map(|(name, server)| server.replicas.keys().map(move |index| (name.clone(), *index))).collect();
        self.lose(|place| !connected.contains(place), now, out);
        self.reschedule(false, now, out);
    }

    pub(super) fn agent_event(&mut self, event: ModelEventMessage, now: u64, out: &mut Vec<Effect>) -> Result<(), Refusal> {
        let place: Place = (event.server_name.clone(), event.replica_idx);
        match self.servers.get_mut(&place.0).and_then(|server| server.replicas.get_mut(&place.1)) {
            Some(replica) => replica.available_memory = event.available_memory_bytes,
            None => {
                let hint = did_you_mean(&place.0, self.servers.keys().map(String::as_str));
                refuse!("replica {} of server {} is not subscribed: subscribe before reporting events{hint}", place.1, place.0);
            }
        }
        self.changed.servers.insert(place.0.clone());
        let entry = self.models.get_mut(&event.model_name);
        let version = entry.and_then(|entry| entry.versions.iter_mut().find(|version| version.version == event.model_version));
        let Some(version) = version else {
            // An agent that unloads what nobody knows is right.
            return match event.event() {
                Event::Unloaded => Ok(()),
                _ => Err(Refusal(format!("model {} has no version {}: unload it", event.model_name, event.model_version))),
            };
        };
        if event.runtime_info.is_some() {
            version.runtime = event.runtime_info.clone();
        }
        use ModelReplicaState::*;
        let before = version.replicas.get(&place).map(|replica| replica.state);
        let after = match (event.event(), before) {
            (Event::Loaded, Some(LoadRequested | Loading | Loaded | LoadFailed | LoadedUnavailable)) => Some(Available),
            (Event::LoadFailed | Event::LoadFailMemory, Some(state)) if is_wanted(state) => Some(LoadFailed),
            (Event::Unloaded, Some(_)) => Some(Unloaded),
            (Event::UnloadFailed, Some(_)) => Some(UnloadFailed),
            // Evicted from memory or reloaded by the agent's own decision: requests are answered all the same.
            _ => None,
        };
        let Some(after) = after else { return Ok(()) };
        version.set(&place, after, &event.message, now);
        let name = event.model_name;
        tracing::info!(
            model = name,
            server = place.0,
            replica = place.1,
            state = after.as_str_name(),
            reason = event.message,
            "model replica"
        );
        self.converge(&name, now, out);
        if after == Unloaded {
            // Memory became free; and what was unloaded though it is wanted is loaded again.
            self.reschedule(false, now, out);
        }
        Ok(())
    }

    pub(super) fn agent_drain(&mut self, place: &Place, now: u64, out: &mut Vec<Effect>) -> Result<(), Refusal> {
        match self.servers.get_mut(&place.0).and_then(|server| server.replicas.get_mut(&place.1)) {
            Some(replica) => replica.draining = true,
            None => refuse!("replica {} of server {} is not subscribed: there is nothing to drain", place.1, place.0),
        }
        tracing::info!(server = place.0, replica = place.1, "agent drains");
        let mut names = Vec::new();
        for (name, entry) in &mut self.models {
            for version in &mut entry.versions {
                if version.replicas.get(place).is_some_and(|replica| is_wanted(replica.state)) {
                    version.set(place, ModelReplicaState::Draining, "", now);
                    names.push(name.clone());
                }
            }
        }
        for name in names {
            self.schedule(&name, false, now, out);
        }
        self.check_drains(out);
        Ok(())
    }

    /// Reports replicas that have drained, or cannot.
    pub(super) fn check_drains(&mut self, out: &mut Vec<Effect>) {
        for (name, server) in &self.servers {
            for (index, _) in server.replicas.iter().filter(|(_, replica)| replica.draining) {
                let place = (name.clone(), *index);
                let here = |version: &Version| version.replicas.get(&place).is_some_and(|replica| is_active(replica.state));
                let mut rest = self.models.values().filter(|entry| entry.versions.iter().any(here)).peekable();
                let stuck = |entry: &ModelEntry| entry.versions.last().is_some_and(|latest| latest.unschedulable.is_some());
                if rest.peek().is_none() {
                    out.push(Effect::Drained { place, success: true });
                } else if rest.all(stuck) {
                    out.push(Effect::Drained { place, success: false });
                }
            }
        }
    }
}
