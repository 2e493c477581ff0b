//! How a model gateway works.

use std::time::Duration;

use serde::Deserialize;

/// How a model gateway works. Every key has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelGatewayOptions {
    /// The replica's name, unique among model gateways. Default: random.
    pub replica: String,
    /// The first part of all topics' names. Default: `seldon`.
    pub topic_prefix: String,
    /// The second part of all topics' names. Default: `default`.
    pub namespace: String,
    /// What the name of the consumer group begins with, if anything. Default: nothing.
    pub consumer_group_prefix: String,
    /// How many partitions the topics have that it creates; as many as all others of the data plane. Default: 1.
    pub partitions: i32,
    /// How many requests of one model are under way at a time. Default: 64.
    pub max_in_flight: usize,
    /// How many more of one model are read ahead. Default: 1,000.
    pub max_queued: usize,
    /// How long a request may take, retries included. Default: 120,000.
    pub call_timeout_ms: u64,
    /// How often a call is made again that failed on the way to the server or back. Default: 5.
    pub max_retries: u32,
    /// The pause before the first retry; each further one is twice as long. Default: 100.
    pub retry_pause_ms: u64,
    /// How often the offsets of what has been answered are committed. Default: 1,000.
    pub commit_interval_ms: u64,
    /// `host:port` of the gRPC inference server for all models, a proxy for example. Default: for each model the server on which the
    /// scheduler has loaded it.
    pub inference_server: Option<String>,
}

impl Default for ModelGatewayOptions {
    fn default() -> Self {
        Self {
            replica: format!("model-gateway-{}", crate::request_id::RequestIds::new().fresh()),
            topic_prefix: "seldon".into(),
            namespace: "default".into(),
            consumer_group_prefix: String::new(),
            partitions: 1,
            max_in_flight: 64,
            max_queued: 1_000,
            call_timeout_ms: 120_000,
            max_retries: 5,
            retry_pause_ms: 100,
            commit_interval_ms: 1_000,
            inference_server: None,
        }
    }
}

impl ModelGatewayOptions {
    pub(crate) fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }

    pub(crate) fn retry_pause(&self) -> Duration {
        Duration::from_millis(self.retry_pause_ms)
    }

    pub(crate) fn commit_interval(&self) -> Duration {
        Duration::from_millis(self.commit_interval_ms)
    }

    pub(crate) fn group(&self) -> String {
        match self.consumer_group_prefix.as_str() {
            "" => format!("{}-seldon-modelgateway", self.namespace),
            prefix => format!("{prefix}-{}-seldon-modelgateway", self.namespace),
        }
    }
}
