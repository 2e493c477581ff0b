//! Servers and their replicas, as agents and the controller report them.

use std::collections::{BTreeMap, BTreeSet};

use millstream_proto::seldon::{
    agent::ReplicaConfig,
    scheduler::{ServerNotify, ServerReplicaResources, ServerStatusResponse, server_status_response::Type},
};

/// A server: what the controller said about it, and the replicas whose agents are connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    pub(crate) notify: Option<ServerNotify>,
    pub(crate) replicas: BTreeMap<u32, ServerReplica>,
}

/// A connected replica.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerReplica {
    pub(crate) session: u64,
    pub(crate) shared: bool,
    pub(crate) config: ReplicaConfig,
    pub(crate) available_memory: u64,
    pub(crate) draining: bool,
}

impl ServerReplica {
    /// Where it answers by gRPC.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.config.inference_svc, self.config.inference_grpc_port)
    }
}

impl Server {
    /// Whether models that name no server may run here.
    pub(crate) fn shared(&self) -> bool {
        match &self.notify {
            Some(notify) => notify.shared,
            None => self.replicas.values().any(|replica| replica.shared),
        }
    }

    /// Whether the controller wants it gone.
    pub(crate) fn deleted(&self) -> bool {
        self.notify.as_ref().is_some_and(|notify| notify.expected_replicas == 0)
    }

    /// What the first replica can run; all replicas of a server are alike.
    pub(crate) fn capabilities(&self) -> BTreeSet<&str> {
        let first = self.replicas.values().next();
        first.map(|replica| replica.config.capabilities.iter().map(|capability| capability.trim()).collect()).unwrap_or_default()
    }

    /// `loaded` counts the model replicas on a replica.
    pub(crate) fn status(&self, name: &str, loaded: impl Fn(u32) -> i32) -> ServerStatusResponse {
        let resources: Vec<_> = self
            .replicas
            .iter()
            .map(|(&index, replica)| ServerReplicaResources {
                replica_idx: index,
                total_memory_bytes: replica.config.memory_bytes,
                available_memory_bytes: replica.available_memory,
                num_loaded_models: loaded(index),
                over_commit_percentage: replica.config.over_commit_percentage,
            })
            .collect();
        ServerStatusResponse {
            server_name: name.into(),
            expected_replicas: self.notify.as_ref().map_or(-1, |notify| i32::try_from(notify.expected_replicas).unwrap_or(i32::MAX)),
            available_replicas: resources.len() as i32,
            num_loaded_model_replicas: resources.iter().map(|replica| replica.num_loaded_models).sum(),
            kubernetes_meta: self.notify.as_ref().and_then(|notify| notify.kubernetes_meta.clone()),
            r#type: Type::StatusUpdate.into(),
            resources,
        }
    }
}
