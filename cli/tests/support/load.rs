//! Requests whose answers say whose they are: an id is in their tensor.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::PATIENCE;
use millstream_proto::inference::{
    InferTensorContents, ModelInferRequest, ModelInferResponse, grpc_inference_service_client::GrpcInferenceServiceClient,
    model_infer_request::InferInputTensor,
};
use tokio::task::JoinSet;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};

/// What the gateway is asked to answer within.
const DEADLINE: Duration = Duration::from_secs(30);
/// An answer that takes so much longer hangs.
const HANGS: Duration = Duration::from_secs(20);

/// Connections to several gateways, so many to each.
#[derive(Clone)]
pub struct Clients(Arc<Vec<GrpcInferenceServiceClient<Channel>>>);

/// A pipeline, and what it adds to or makes of its input, by output tensor.
pub type Target = (&'static str, &'static [(&'static str, fn(f32) -> f32)]);

pub const JOIN: Target = ("join", &[("PLUS10", |x| x + 10.0), ("PLUS20", |x| x + 20.0)]);
pub const CHAIN: Target = ("chain", &[("OUTPUT", |x| (x + 10.0) * 10.0)]);

/// A request that was answered, rightly or with an error.
pub struct Asked {
    pub sent: Instant,
    pub answered: Instant,
    /// Its pipeline, and its key if it was answered rightly.
    pub pipeline: &'static str,
    pub outcome: Result<String, Status>,
}

impl Asked {
    /// The partition that its key begins with.
    pub fn partition(&self) -> Option<i32> {
        self.outcome.as_ref().ok()?.split('.').next()?.parse().ok()
    }
}

impl Clients {
    /// Requests go to the gateways in turn.
    pub fn new(gateways: &[&str], connections: usize) -> Self {
        let connect = |address: &str| Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let all = (0..connections).flat_map(|_| gateways.iter().map(|gateway| GrpcInferenceServiceClient::new(connect(gateway))));
        Self(Arc::new(all.collect()))
    }

    /// Asks once. Panics at an answer that is not of this request, and when there is none.
    pub async fn ask(&self, (pipeline, outputs): Target, id: u32) -> Asked {
        let sent = Instant::now();
        let values = [0.0, 0.25, 0.5, 0.75].map(|part| id as f32 + part);
        let mut request = Request::new(ModelInferRequest {
            model_name: pipeline.into(),
            inputs: vec![InferInputTensor {
                name: "INPUT".into(),
                datatype: "FP32".into(),
                shape: vec![1, 4],
                contents: Some(InferTensorContents { fp32_contents: values.to_vec(), ..Default::default() }),
                ..Default::default()
            }],
            ..Default::default()
        });
        request.metadata_mut().insert("seldon-model", format!("{pipeline}.pipeline").parse().unwrap());
        request.metadata_mut().insert("x-request-timeout-ms", DEADLINE.as_millis().to_string().parse().unwrap());
        let mut client = self.0[id as usize % self.0.len()].clone();
        let answer = tokio::time::timeout(DEADLINE + HANGS, client.model_infer(request)).await;
        let answer = answer.unwrap_or_else(|_| panic!("request {id} to {pipeline} hangs"));
        let outcome = answer.map(|answer| {
            for (tensor, function) in outputs {
                assert_eq!(floats(answer.get_ref(), tensor), values.map(function), "{tensor} of request {id} to {pipeline}");
            }
            answer.metadata().get("x-request-id").expect("its key").to_str().unwrap().to_string()
        });
        Asked { sent, answered: Instant::now(), pipeline, outcome }
    }

    /// Asks so many at once.
    pub async fn at_once(&self, target: Target, count: u32) -> Vec<Asked> {
        let mut asking = JoinSet::new();
        for id in 0..count {
            let clients = self.clone();
            asking.spawn(async move { clients.ask(target, id).await });
        }
        asking.join_all().await
    }

    /// So many callers ask these in turn, each one request after the other, until the load is stopped.
    pub fn steadily(&self, targets: &'static [Target], callers: u32) -> Load {
        let (stop, next, mut asking) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)), JoinSet::new());
        for _ in 0..callers {
            let (clients, stop, next) = (self.clone(), stop.clone(), next.clone());
            asking.spawn(async move {
                let mut asked = vec![];
                while !stop.load(Ordering::Relaxed) {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    asked.push(clients.ask(targets[id as usize / 2 % targets.len()], id).await);
                }
                asked
            });
        }
        Load { next, stop, asking }
    }
}

/// Callers that ask until they are stopped.
pub struct Load {
    next: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    asking: JoinSet<Vec<Asked>>,
}

impl Load {
    /// Waits until so many requests were sent.
    pub async fn sent(&self, count: u32) {
        let until = Instant::now() + PATIENCE;
        while self.next.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < until, "{count} requests are not sent in time");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits for the last answers.
    pub async fn stop(self) -> Vec<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join_all().await.into_iter().flatten().collect()
    }
}

/// All of them rightly, and each once.
pub fn all_answered(asked: &[Asked]) {
    assert_eq!(errors(asked), BTreeMap::new());
    let keys: HashSet<_> = asked.iter().map(|asked| asked.outcome.as_ref().unwrap()).collect();
    assert_eq!(keys.len(), asked.len(), "one key each");
}

/// Errors by code and message.
pub fn errors(asked: &[Asked]) -> BTreeMap<String, usize> {
    let mut errors = BTreeMap::new();
    for status in asked.iter().filter_map(|asked| asked.outcome.as_ref().err()) {
        assert!(!status.message().is_empty(), "an error without a word: {status:?}");
        *errors.entry(format!("{:?}: {}", status.code(), status.message())).or_default() += 1;
    }
    errors
}

/// The values of a tensor, typed or raw.
fn floats(response: &ModelInferResponse, tensor: &str) -> Vec<f32> {
    let index = response.outputs.iter().position(|output| output.name == tensor).unwrap_or_else(|| panic!("no {tensor} in {response:?}"));
    match response.raw_output_contents.get(index) {
        Some(raw) => raw.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect(),
        None => response.outputs[index].contents.as_ref().map(|contents| contents.fp32_contents.clone()).unwrap_or_default(),
    }
}
