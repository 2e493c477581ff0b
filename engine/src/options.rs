//! The options of an engine replica.

use serde::{Deserialize, Serialize};

/// The options of an engine replica. Unknown keys are errors.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct EngineOptions {
    /// The replica's name, unique among engines: also its transactional id, by which a successor fences it.
    pub replica: String,
    /// The prefix of all topics.
    pub topic_prefix: String,
    /// The namespace.
    pub namespace: String,
    /// How often progress is committed, in milliseconds: what a crash repeats at most.
    pub commit_interval_ms: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { replica: "engine-0".into(), topic_prefix: "seldon".into(), namespace: "default".into(), commit_interval_ms: 500 }
    }
}
