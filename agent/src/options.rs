//! What a replica is told at its start.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The recipe of an agent. An unknown key is an error; an absent one has the default that its field states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Server that this is a replica of (`onnx`).
    pub server_name: String,
    /// Which replica of it (0).
    pub replica_index: u32,
    /// Whether models that name no server may come here (true).
    pub shared: bool,
    /// Where the scheduler answers agents (`http://127.0.0.1:9005`).
    pub scheduler: String,
    /// Where this replica answers the Open Inference Protocol; port 0 takes a free one (`127.0.0.1:9500`).
    pub listen: SocketAddr,
    /// Host under which others reach `listen` (its address, or 127.0.0.1 when it is the unspecified one).
    pub inference_host: Option<String>,
    /// Memory that models may take together, by what their definitions ask for (4 GiB).
    pub memory_bytes: u64,
    /// What models may require of this server (`onnx`, or `mlserver` with a neighbour).
    pub capabilities: Option<Vec<String>>,
    /// Who computes (`onnx`).
    pub backend: Backend,
    /// Inferences that compute at once outside the calling thread (the number of cores).
    pub parallel_inferences: Option<usize>,
    /// Inferences that may wait for one of those, or for a neighbour's answer; one more is refused (1024).
    pub inference_queue: usize,
    /// Bound of one load or unload (10 minutes).
    pub load_timeout_ms: u64,
    /// Bound of one inference of a neighbour; a caller's shorter deadline holds as well (60 s).
    pub infer_timeout_ms: u64,
    /// Largest message accepted and sent (256 MiB).
    pub max_message_bytes: usize,
}

/// Who computes the answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// This process, for ONNX models.
    #[default]
    Onnx,
    /// A neighbouring server that speaks the Open Inference Protocol by gRPC, such as MLServer.
    Neighbour(NeighbourOptions),
}

/// A neighbouring server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighbourOptions {
    /// Its gRPC address, e.g. `http://127.0.0.1:8081`.
    pub endpoint: String,
    /// The folder in which it looks for models: a model is copied into it before it is loaded. Without it the models have to be
    /// there already, under their own names.
    #[serde(default)]
    pub model_repository: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            server_name: "onnx".into(),
            replica_index: 0,
            shared: true,
            scheduler: "http://127.0.0.1:9005".into(),
            listen: (Ipv4Addr::LOCALHOST, 9500).into(),
            inference_host: None,
            memory_bytes: 4 << 30,
            capabilities: None,
            backend: Backend::Onnx,
            parallel_inferences: None,
            inference_queue: 1024,
            load_timeout_ms: 600_000,
            infer_timeout_ms: 60_000,
            max_message_bytes: 256 << 20,
        }
    }
}

impl Options {
    pub(crate) fn capabilities(&self) -> Vec<String> {
        self.capabilities.clone().unwrap_or_else(|| match self.backend {
            Backend::Onnx => vec!["onnx".into()],
            Backend::Neighbour(_) => vec!["mlserver".into()],
        })
    }

    pub(crate) fn parallel_inferences(&self) -> usize {
        self.parallel_inferences.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
    }

    pub(crate) fn inference_host(&self) -> String {
        self.inference_host.clone().unwrap_or_else(|| match self.listen.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST).to_string(),
            ip => ip.to_string(),
        })
    }

    pub(crate) fn load_timeout(&self) -> Duration {
        Duration::from_millis(self.load_timeout_ms)
    }

    pub(crate) fn infer_timeout(&self) -> Duration {
        Duration::from_millis(self.infer_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_and_the_known_ones_are_named() {
        let error = serde_json::from_str::<Options>(r#"{"server_nam": "x"}"#).unwrap_err().to_string();
        assert!(error.contains("server_nam") && error.contains("`server_name`"), "{error}");
        let error =
            serde_json::from_str::<Options>(r#"{"backend": {"neighbour": {"endpoint": "x", "repo": "y"}}}"#).unwrap_err().to_string();
        assert!(error.contains("`repo`") && error.contains("`model_repository`"), "{error}");
    }

    #[test]
    fn absent_keys_have_their_defaults() {
        let options: Options = serde_json::from_str(r#"{"backend": {"neighbour": {"endpoint": "http://127.0.0.1:8081"}}}"#).unwrap();
        assert_eq!(options.capabilities(), ["mlserver"]);
        assert_eq!(Options { backend: Backend::Onnx, ..options }, Options::default());
    }
}
