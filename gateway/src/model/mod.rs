//! The model gateway: a model's input topic → an inference server → its output topic.
//!
//! | file | what |
//! | --- | --- |
//! | `options` | [`ModelGatewayOptions`] |
//! | `reader` | the thread that reads all models' inputs and commits what is answered |
//! | `queue` | the requests of one model: bounded, in order per key |
//! | `work` | one request: the call, the answer, the error |
//! | `progress` | how far a partition is answered |

mod options;
mod progress;
mod queue;
mod reader;
mod work;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use millstream_broker::{Admin, Broker, NewTopic, ProducerOptions, TopicPartition};
use millstream_proto::seldon::scheduler::{
    ModelStatusResponse, ModelSubscriptionRequest, ModelUpdateMessage, ModelUpdateStatusMessage,
    model_status_response::ModelOperation as Asked, model_update_message::ModelOperation, scheduler_client::SchedulerClient,
};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

pub use self::options::ModelGatewayOptions;
use self::{
    queue::Queue,
    reader::{Command, Reader},
    work::{Model, Shared},
};
use crate::{
    Error, InferenceServer, inference, link,
    link::{Event, Subscription},
    topics::Topics,
};

/// Feeds models from their input topics.
///
/// **Law.** Every record of a model's inputs is answered at least once, in its outputs or in the errors topic; the answers of one
/// key are in the order of its requests.
#[derive(Debug)]
pub struct ModelGateway;

impl ModelGateway {
    /// Follows the scheduler at `host:port`, which may come later. `server` runs the models; without it the server that the
    /// options name; without that the servers on which the scheduler has loaded them.
    pub async fn start(
        options: ModelGatewayOptions,
        broker: Arc<dyn Broker>,
        scheduler: &str,
        server: Option<Arc<dyn InferenceServer>>,
    ) -> Result<ModelGatewayHandle, Error> {
        let topics = Topics::new(&options.topic_prefix, &options.namespace)?;
        let channel = link::channel("scheduler", scheduler)?;
        let server = server.map_or_else(|| inference::server(options.inference_server.as_deref(), &options.replica, &channel), Ok)?;
        let reader = Arc::new(Reader::start(&*broker, &options.group(), options.commit_interval(), options.max_queued)?);
        let producer = broker.producer(ProducerOptions::default())?;
        let shared = Arc::new(Shared { errors: topics.errors().into(), server, producer, options });
        let follower = Follower { topics, admin: broker.admin(), reader: reader.clone(), shared, channel, models: HashMap::new() };
        let follower = tokio::spawn(follower.run());
        Ok(ModelGatewayHandle(Arc::new(Running { reader, follower })))
    }
}

/// A gateway that runs.
#[derive(Clone)]
pub struct ModelGatewayHandle(Arc<Running>);

struct Running {
    reader: Arc<Reader>,
    follower: JoinHandle<()>,
}

impl ModelGatewayHandle {
    /// Reads no more, lets what is under way finish for a few seconds, commits, and stops.
    pub async fn shutdown(&self) {
        self.0.follower.abort();
        let reader = self.0.reader.clone();
        let _panicked = tokio::task::spawn_blocking(move || reader.stop()).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// Follows the scheduler's operations, one after the other.
struct Follower {
    topics: Topics,
    admin: Arc<dyn Admin>,
    reader: Arc<Reader>,
    shared: Arc<Shared>,
    channel: Channel,
    models: HashMap<String, Arc<Model>>,
}

impl Follower {
    const DEADLINE: Duration = Duration::from_secs(60);

    async fn run(mut self) {
        let client = SchedulerClient::new(self.channel.clone());
        let replica = self.shared.options.replica.clone();
        let mut subscription = Subscription::new("models", move || {
            let request = ModelSubscriptionRequest { subscriber_name: replica.clone(), is_model_gateway: true };
            let mut client = client.clone();
            Box::pin(async move { Ok(client.subscribe_model_status(request).await?.into_inner()) })
        });
        loop {
            if let Event::Message(status) = subscription.next().await {
                self.operate(status).await;
            }
        }
    }

    async fn operate(&mut self, status: ModelStatusResponse) {
        let version = status.versions.last().map_or(0, |v| v.version);
        let (op, outcome) = match status.operation() {
            Asked::ModelCreate => (ModelOperation::Create, self.create(&status.model_name, version).await),
            Asked::ModelDelete => (ModelOperation::Delete, self.delete(&status.model_name).await),
            // Tells how the model is; nothing to do.
            Asked::Unknown => return,
        };
        match &outcome {
            Ok(()) => tracing::info!(model = status.model_name, version, operation = op.as_str_name(), "model gateway"),
            Err(reason) => tracing::warn!(model = status.model_name, version, operation = op.as_str_name(), reason, "model gateway"),
        }
        let update = ModelUpdateMessage {
            op: op.into(),
            model: status.model_name,
            version,
            uid: String::new(),
            timestamp: status.timestamp,
            stream: self.shared.options.replica.clone(),
        };
        let event = ModelUpdateStatusMessage { update: Some(update), success: outcome.is_ok(), reason: outcome.err().unwrap_or_default() };
        let mut client = SchedulerClient::new(self.channel.clone());
        tokio::spawn(async move {
            if let Ok(Err(status)) = tokio::time::timeout(Self::DEADLINE, client.model_status_event(event)).await {
                tracing::warn!(reason = status.message(), "cannot tell the scheduler how the model is");
            }
        });
    }

    async fn create(&mut self, name: &str, version: u32) -> Result<(), String> {
        let partitions = self.shared.options.partitions;
        let (inputs, outputs): (Arc<str>, Arc<str>) = (self.topics.model_inputs(name).into(), self.topics.model_outputs(name).into());
        let topics = [&*inputs, &*outputs, &*self.shared.errors].map(|topic| NewTopic::new(topic, partitions));
        let admin = self.admin.clone();
        let created = tokio::task::spawn_blocking(move || admin.create_topics(&topics, Self::DEADLINE)).await;
        created.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        let model = self.models.entry(name.into()).or_insert_with(|| {
            let (queue, shared) = (Queue::new(self.shared.options.max_in_flight), self.shared.clone());
            Arc::new(Model { name: name.into(), version: AtomicU32::new(version), outputs, queue, paused: AtomicBool::new(false), shared })
        });
        model.version.store(version, Ordering::Relaxed);
        let partitions = (0..partitions).map(|partition| TopicPartition { topic: inputs.clone(), partition }).collect();
        self.reader.ask(|done| Command::Add(model.clone(), partitions, done)).await.map_err(|e| e.to_string())
    }

    async fn delete(&mut self, name: &str) -> Result<(), String> {
        let inputs = self.topics.model_inputs(name).into();
        self.reader.ask(|done| Command::Remove(inputs, done)).await.map_err(|e| e.to_string())?;
        self.models.remove(name);
        Ok(())
    }
}
