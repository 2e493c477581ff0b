//! The open streams.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::Arc,
};

use millstream_proto::{
    lanes::{Assignment, Role, Routes},
    seldon::{
        agent::ModelOperationMessage,
        chainer::PipelineUpdateMessage,
        scheduler::{ModelStatusResponse, PipelineStatusResponse, ServerStatusResponse},
    },
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    model::version::Place,
    state::{State, effect::Effect},
};

/// The sending end of a stream.
pub(crate) type Out<T> = mpsc::Sender<Result<T, tonic::Status>>;

/// Every open stream, by whom it is for. One that does not keep up is closed: its client subscribes again and gets what is the case then.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) agents: Streams<Place, ModelOperationMessage>,
    pub(crate) drains: HashMap<Place, Vec<oneshot::Sender<bool>>>,
    /// Only the newest assignment counts, so a slow replica misses nothing.
    pub(crate) assignments: HashMap<(Role, Arc<str>), watch::Sender<Option<Assignment>>>,
    /// Where models answer; only the newest counts.
    pub(crate) routes: watch::Sender<Routes>,
    pub(crate) model_gateways: Streams<String, ModelStatusResponse>,
    pub(crate) pipeline_gateways: Streams<String, PipelineStatusResponse>,
    pub(crate) chainers: Streams<String, PipelineUpdateMessage>,
    pub(crate) model_watchers: Streams<u64, ModelStatusResponse>,
    pub(crate) pipeline_watchers: Streams<u64, PipelineStatusResponse>,
    pub(crate) server_watchers: Streams<u64, ServerStatusResponse>,
}

/// Streams of one kind.
#[derive(Debug)]
pub(crate) struct Streams<K, T>(HashMap<K, Out<T>>);

impl<K, T> Default for Streams<K, T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, T: Clone> Streams<K, T> {
    /// Opens a stream; an older one of the same key is closed.
    pub(crate) fn open(&mut self, key: K, stream: Out<T>) {
        self.0.retain(|_, out| !out.is_closed());
        self.0.insert(key, stream);
    }

    fn send(&mut self, key: K, message: T) {
        if let Entry::Occupied(entry) = self.0.entry(key)
            && entry.get().try_send(Ok(message)).is_err()
        {
            entry.remove();
        }
    }

    fn send_to_all(&mut self, message: impl FnOnce() -> Option<T>) {
        if !self.0.is_empty()
            && let Some(message) = message()
        {
            self.0.retain(|_, out| out.try_send(Ok(message.clone())).is_ok());
        }
    }
}

impl Registry {
    /// Tells gateways where models answer, if that has changed.
    pub(crate) fn route(&self, state: &State) {
        let routes = state.routes();
        self.routes.send_if_modified(|current| {
            let changed = *current != routes;
            *current = routes;
            changed
        });
    }

    pub(crate) fn deliver(&mut self, effect: Effect, state: &State) {
        match effect {
            Effect::ModelChanged(name) => self.model_watchers.send_to_all(|| state.changed_model(&name)),
            Effect::PipelineChanged(name) => self.pipeline_watchers.send_to_all(|| state.changed_pipeline(&name)),
            Effect::ServerChanged(name) => self.server_watchers.send_to_all(|| Some(state.changed_server(&name))),
            Effect::Agent { place, message } => self.agents.send(place, *message),
            Effect::Drained { place, success } => {
                for waiting in self.drains.remove(&place).into_iter().flatten() {
                    let _ = waiting.send(success); // the agent may have gone
                }
            }
            Effect::Assign { role, name, assignment } => {
                if let Some(stream) = self.assignments.get(&(role, name)) {
                    stream.send_replace(Some(assignment));
                }
            }
            Effect::ModelGateway { name, message } => self.model_gateways.send(name, *message),
            Effect::PipelineGateway { name, message } => self.pipeline_gateways.send(name, *message),
            Effect::Chainer { name, message } => self.chainers.send(name, *message),
            Effect::Persist { .. } | Effect::DeleteTopics(_) => {}
        }
    }
}
