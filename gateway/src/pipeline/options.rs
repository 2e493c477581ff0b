//! How a pipeline gateway works.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

/// How a pipeline gateway works. Every key has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineGatewayOptions {
    /// Where HTTP/1.1, HTTP/2 and gRPC are answered. Default: `0.0.0.0:9000`.
    pub listen: SocketAddr,
    /// The replica's name, unique among pipeline gateways. One that stays the same over restarts keeps its lanes. Default: random.
    pub replica: String,
    /// The first part of all topics' names. Default: `seldon`.
    pub topic_prefix: String,
    /// The second part of all topics' names. Default: `default`.
    pub namespace: String,
    /// How long a request may take that does not say it itself. Default: 60,000.
    pub request_timeout_ms: u64,
    /// How long a request waits for a lane of its pipeline before it is refused. Default: 10,000.
    pub lane_wait_ms: u64,
    /// How long answers are still awaited on a lane that moved to another gateway. Default: 10,000.
    pub lane_drain_ms: u64,
    /// How many requests may be under way; further ones are refused at once. Default: 10,000.
    pub max_in_flight: usize,
    /// The largest body of a request. Default: 64 MiB.
    pub max_body_bytes: usize,
    /// `host:port` of the gRPC inference server for all models, a proxy for example. Default: for each model the server on which the
    /// scheduler has loaded it.
    pub inference_server: Option<String>,
}

impl Default for PipelineGatewayOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 9000)),
            replica: format!("pipeline-gateway-{}", crate::request_id::RequestIds::new().fresh()),
            topic_prefix: "seldon".into(),
            namespace: "default".into(),
            request_timeout_ms: 60_000,
            lane_wait_ms: 10_000,
            lane_drain_ms: 10_000,
            max_in_flight: 10_000,
            max_body_bytes: 64 << 20,
            inference_server: None,
        }
    }
}

impl PipelineGatewayOptions {
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) fn lane_wait(&self) -> Duration {
        Duration::from_millis(self.lane_wait_ms)
    }

    pub(crate) fn lane_drain(&self) -> Duration {
        Duration::from_millis(self.lane_drain_ms)
    }
}
