//! The agent's side of the protocol with the scheduler.

use crate::error::LoadError;
use crate::options::Options;
use crate::server::ModelServer;
use millstream_proto::seldon::agent::agent_service_client::AgentServiceClient;
use millstream_proto::seldon::agent::model_event_message::Event;
use millstream_proto::seldon::agent::model_operation_message::Operation;
use millstream_proto::seldon::agent::{AgentSubscribeRequest, ModelEventMessage, ModelOperationMessage, ReplicaConfig};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Between attempts to reach the scheduler, doubling from the first to the last, which is shorter than its patience after a restart.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
const CONNECT: Duration = Duration::from_secs(2);
/// A dead connection is noticed after this and the next; a scheduler need not tolerate pings more often than once a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(65);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);
/// One report to the scheduler, and how often it is tried. After that the next subscription says what is loaded.
const REPORT: Duration = Duration::from_secs(5);
const REPORTS: usize = 12;
/// Operations of a model are done in their order by the same worker; those of different models by different ones at once.
const WORKERS: usize = 8;
/// Operations that wait for a worker; after that the scheduler's stream waits.
const WAITING: usize = 64;

/// Law: the models outlive the connection. While the scheduler is away they answer, and each subscription begins with what is
/// loaded, so that a scheduler that forgot or missed something can correct it.
pub(crate) struct Control {
    server: ModelServer,
    channel: Channel,
    subscription: AgentSubscribeRequest,
    scheduler: String,
    registered: watch::Sender<bool>,
}

impl Control {
    pub(crate) fn new(options: &Options, scheduler: Endpoint, port: u16, server: ModelServer, registered: watch::Sender<bool>) -> Control {
        let subscription = AgentSubscribeRequest {
            server_name: options.server_name.clone(),
            shared: options.shared,
            replica_idx: options.replica_index,
            replica_config: Some(ReplicaConfig {
                inference_svc: options.inference_host(),
                inference_http_port: 0,
                inference_grpc_port: port.into(),
                memory_bytes: options.memory_bytes,
                capabilities: options.capabilities(),
                over_commit_percentage: 0,
            }),
            ..Default::default()
        };
        let channel = scheduler
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .keep_alive_while_idle(true)
            .connect_lazy();
        Control { server, channel, subscription, scheduler: options.scheduler.clone(), registered }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(&self) -> Infallible {
        let mut workers = JoinSet::new();
        let queues: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (queue, operations) = mpsc::channel(WAITING);
                workers.spawn(
                    Worker { server: self.server.clone(), channel: self.channel.clone(), subscription: self.subscription.clone() }
                        .run(operations),
                );
                queue
            })
            .collect();
        let mut wait = BACK_OFF.0;
        loop {
            let ended = self.session(&queues).await;
            if self.registered.send_replace(false) {
                wait = BACK_OFF.0;
            }
            tracing::warn!(scheduler = self.scheduler, reason = %ended, again_in = ?wait, "not registered with the scheduler; loaded models go on answering");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }

    /// One subscription, until the scheduler ends it.
    async fn session(&self, queues: &[mpsc::Sender<ModelOperationMessage>]) -> Status {
        if !self.server.ready().await {
            return Status::unavailable("the model server beside the agent is not ready");
        }
        let subscription = AgentSubscribeRequest {
            loaded_models: self.server.loaded(),
            available_memory_bytes: self.server.available_memory_bytes(),
            ..self.subscription.clone()
        };
        let mut operations = match AgentServiceClient::new(self.channel.clone()).subscribe(subscription).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return status,
        };
        self.registered.send_replace(true);
        tracing::info!(
            scheduler = self.scheduler,
            server = self.subscription.server_name,
            replica = self.subscription.replica_idx,
            "registered"
        );
        loop {
            match operations.message().await {
                Ok(Some(operation)) => {
                    let queue = &queues[worker_of(&operation)];
                    if queue.send(operation).await.is_err() {
                        return Status::internal("a worker is gone");
                    }
                }
                Ok(None) => return Status::unavailable("the scheduler ended the subscription"),
                Err(status) => return status,
            }
        }
    }
}

fn name_of(operation: &ModelOperationMessage) -> &str {
    let model = operation.model_version.as_ref().and_then(|version| version.model.as_ref());
    model.and_then(|model| model.meta.as_ref()).map_or("", |meta| &meta.name)
}

fn worker_of(operation: &ModelOperationMessage) -> usize {
    let mut hasher = DefaultHasher::new();
    name_of(operation).hash(&mut hasher);
    hasher.finish() as usize % WORKERS
}

struct Worker {
    server: ModelServer,
    channel: Channel,
    subscription: AgentSubscribeRequest,
}

impl Worker {
    async fn run(self, mut operations: mpsc::Receiver<ModelOperationMessage>) {
        while let Some(operation) = operations.recv().await {
            let name = name_of(&operation).to_string();
            let Some(wanted) = operation.model_version.as_ref().filter(|_| !name.is_empty()) else {
                tracing::warn!("an operation without a model's name was ignored");
                continue;
            };
            let (event, message) = match operation.operation() {
                Operation::LoadModel => load_event(self.server.load(wanted).await),
                Operation::UnloadModel => match self.server.unload(&name, wanted.version).await {
                    Ok(()) => (Event::Unloaded, String::new()),
                    Err(error) => (Event::UnloadFailed, error.to_string()),
                },
                Operation::UnknownEvent => {
                    tracing::warn!(model = name, "an unknown operation was ignored");
                    continue;
                }
            };
            if !message.is_empty() {
                tracing::warn!(model = name, version = wanted.version, "{message}");
            }
            self.report(name, wanted.version, event, message).await;
        }
    }

    async fn report(&self, model_name: String, model_version: u32, event: Event, message: String) {
        let report = ModelEventMessage {
            server_name: self.subscription.server_name.clone(),
            replica_idx: self.subscription.replica_idx,
            model_name,
            model_version,
            event: event.into(),
            message,
            available_memory_bytes: self.server.available_memory_bytes(),
            runtime_info: None,
        };
        let mut wait = BACK_OFF.0;
        for _ in 0..REPORTS {
            let mut request = Request::new(report.clone());
            request.set_timeout(REPORT);
            let mut scheduler = AgentServiceClient::new(self.channel.clone());
            match tokio::time::timeout(REPORT, scheduler.agent_event(request)).await {
                Ok(Ok(_)) => return,
                Ok(Err(status)) => tracing::warn!(model = report.model_name, reason = %status, "the scheduler did not take a report"),
                Err(_) => tracing::warn!(model = report.model_name, "the scheduler did not take a report in time"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACK_OFF.1);
        }
    }
}

fn load_event(loaded: Result<(), LoadError>) -> (Event, String) {
    match loaded {
        Ok(()) => (Event::Loaded, String::new()),
        Err(error @ LoadError::Memory { .. }) => (Event::LoadFailMemory, error.to_string()),
        Err(error) => (Event::LoadFailed, error.to_string()),
    }
}
