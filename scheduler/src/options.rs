//! The scheduler's options.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

/// How a scheduler works. In a file, a key that is not known is an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Where every service is offered. Default: `0.0.0.0:9004`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where agents of Seldon's look for the scheduler, usually port 9005. Default: nowhere.
    pub agent_listen: Option<SocketAddr>,
    /// Where dataflow engines of Seldon's look for the scheduler, usually port 9008. Default: nowhere.
    pub chainer_listen: Option<SocketAddr>,
    /// The namespace, the second part of every topic's name. Default: `default`.
    pub namespace: String,
    /// The first part of every topic's name. Default: `seldon`.
    pub topic_prefix: String,
    /// How many partitions every topic of the data plane has, so how many lanes every pipeline. Default: 4.
    pub partitions: i32,
    /// A replica gets at most this many times its even share of the lanes, at least 1. Default: 1.25.
    pub load_bound: f64,
    /// How long to wait for further changes before lanes are placed anew. Default: 20 ms.
    pub debounce_ms: u64,
    /// How long a living owner has to let go of a lane before it is fenced. Default: 2 s.
    pub handover_ms: u64,
    /// How long replicas are waited for after a restart before their lanes and models go elsewhere. Default: 3 s.
    pub rejoin_grace_ms: u64,
    /// How often a silent connection is probed; it is dead after two intervals and a half without an answer. Default: 600 ms.
    pub keepalive_ms: u64,
    /// How long a deleted resource is still shown. Default: 24 h.
    pub deleted_ttl_s: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 9004)),
            agent_listen: None,
            chainer_listen: None,
            namespace: "default".into(),
            topic_prefix: "seldon".into(),
            partitions: 4,
            load_bound: 1.25,
            debounce_ms: 20,
            handover_ms: 2_000,
            rejoin_grace_ms: 3_000,
            keepalive_ms: 600,
            deleted_ttl_s: 86_400,
        }
    }
}

impl Options {
    /// What is wrong with the options, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.topic_prefix.is_empty() || !self.topic_prefix.chars().all(plain) {
            return Some(format!("topic_prefix {:?} must be letters, digits, '.', '_' and '-'", self.topic_prefix));
        }
        if self.namespace.is_empty() || self.namespace.contains('.') || !self.namespace.chars().all(plain) {
            return Some(format!("namespace {:?} must be letters, digits, '_' and '-', without dots", self.namespace));
        }
        if self.partitions < 1 {
            return Some(format!("partitions {} must be at least 1", self.partitions));
        }
        if !(self.load_bound >= 1.0 && self.load_bound.is_finite()) {
            return Some(format!("load_bound {} must be at least 1", self.load_bound));
        }
        (self.keepalive_ms == 0).then(|| "keepalive_ms must be above 0".into())
    }

    pub(crate) fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive_ms)
    }
}
