//! A scheduler on an embedded broker, and stand-ins for those who talk to it. Every wait has a deadline.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use millstream_broker::{Broker, EmbeddedBroker};
use millstream_proto::{
    lanes::{Assignment, AssignmentApplied, Role, SubscribeRequest, lanes_client::LanesClient},
    seldon::{
        agent::{
            AgentSubscribeRequest, ModelEventMessage, ReplicaConfig, agent_service_client::AgentServiceClient, model_event_message::Event,
            model_operation_message::Operation,
        },
        scheduler::{scheduler_client::SchedulerClient, *},
    },
};
use millstream_scheduler::{Handle, Options, Scheduler};
use model_status::ModelState;
use pipeline_version_state::PipelineStatus;
use tokio::{
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};
use tokio_stream::{Stream, StreamExt};
use tonic::{Status, transport::Channel};

const DEADLINE: Duration = Duration::from_secs(15);

pub fn options() -> Options {
    Options { listen: SocketAddr::from(([127, 0, 0, 1], 0)), rejoin_grace_ms: 500, ..Options::default() }
}

/// A running scheduler.
pub struct Plane {
    pub handle: Handle,
    pub broker: Arc<dyn Broker>,
}

impl Plane {
    pub async fn start() -> Self {
        let broker: Arc<dyn Broker> = EmbeddedBroker::temporary().expect("a broker");
        Self { handle: Scheduler::start(options(), broker.clone()).await.expect("started"), broker }
    }

    /// Another scheduler on the same broker.
    pub async fn second(&self) -> Self {
        Self { handle: Scheduler::start(options(), self.broker.clone()).await.expect("started"), broker: self.broker.clone() }
    }

    pub async fn crash_and_restart(self) -> Self {
        let broker = self.broker.clone();
        drop(self.handle);
        Self { handle: Scheduler::start(options(), broker.clone()).await.expect("started"), broker }
    }

    pub async fn stop(self) {
        tokio::time::timeout(DEADLINE, self.handle.stop()).await.expect("it stops").expect("without an error");
    }

    pub fn address(&self) -> SocketAddr {
        self.handle.address()
    }

    pub async fn channel(&self) -> Channel {
        connect(self.address()).await
    }

    pub async fn client(&self) -> SchedulerClient<Channel> {
        SchedulerClient::new(self.channel().await)
    }

    pub async fn agents(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(self.channel().await)
    }

    pub async fn lanes(&self) -> LanesClient<Channel> {
        LanesClient::new(self.channel().await)
    }

    pub async fn load_model(&self, name: &str) -> Result<(), Status> {
        let model = Model {
            meta: Some(MetaData { name: name.into(), ..Default::default() }),
            model_spec: Some(ModelSpec { uri: format!("file:///{name}"), ..Default::default() }),
            ..Default::default()
        };
        self.client().await.load_model(LoadModelRequest { model: Some(model) }).await.map(drop)
    }

    pub async fn load_pipeline(&self, pipeline: Pipeline) -> Result<(), Status> {
        self.client().await.load_pipeline(LoadPipelineRequest { pipeline: Some(pipeline) }).await.map(drop)
    }

    pub async fn pipeline(&self, name: &str) -> Result<PipelineStatusResponse, Status> {
        let request = PipelineStatusRequest { subscriber_name: "test".into(), name: Some(name.into()), all_versions: false };
        let mut stream = self.client().await.pipeline_status(request).await?.into_inner();
        stream.next().await.expect("one status")
    }

    /// Waits until something is the case.
    pub async fn until<F: Future<Output = bool>>(&self, condition: impl Fn() -> F) {
        let wait = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("in time");
    }

    pub async fn until_pipeline(&self, name: &str, status: PipelineStatus) {
        self.until(|| async {
            let state = self.pipeline(name).await.expect("known").versions.remove(0).state.expect("state");
            state.status() == status
        })
        .await;
    }

    pub async fn until_model(&self, name: &str, state: ModelState) {
        let request = ModelStatusRequest { model: Some(ModelReference { name: name.into(), version: None }), ..Default::default() };
        self.until(|| async {
            let mut stream = self.client().await.model_status(request.clone()).await.expect("known").into_inner();
            let status = stream.next().await.expect("one status").expect("a status");
            status.versions[0].state.as_ref().expect("state").state() == state
        })
        .await;
    }

    /// A replica of server `mlserver` that loads and unloads whatever it is told.
    pub async fn agent(&self, index: u32) -> Task {
        let mut client = self.agents().await;
        let request = AgentSubscribeRequest {
            server_name: "mlserver".into(),
            shared: true,
            replica_idx: index,
            replica_config: Some(ReplicaConfig {
                inference_svc: format!("replica-{index}"),
                inference_grpc_port: 9500,
                memory_bytes: 1_000,
                ..Default::default()
            }),
            available_memory_bytes: 1_000,
            ..Default::default()
        };
        let mut operations = client.subscribe(request).await.expect("subscribed").into_inner();
        Task(tokio::spawn(async move {
            while let Some(Ok(message)) = operations.next().await {
                let event = match message.operation() {
                    Operation::LoadModel => Event::Loaded,
                    Operation::UnloadModel => Event::Unloaded,
                    Operation::UnknownEvent => continue,
                };
                let version = message.model_version.expect("version");
                let report = ModelEventMessage {
                    server_name: "mlserver".into(),
                    replica_idx: index,
                    model_name: version.model.and_then(|model| model.meta).expect("meta").name,
                    model_version: version.version,
                    event: event.into(),
                    available_memory_bytes: 1_000,
                    ..Default::default()
                };
                client.agent_event(report).await.expect("reported");
            }
        }))
    }

    pub async fn replica(&self, role: Role, name: &str) -> Replica {
        Replica::connect(self.address(), role, name).await
    }
}

/// A task that ends with its handle.
pub struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An engine or gateway that does at once what it is told.
pub struct Replica {
    last: Arc<Mutex<Assignment>>,
    task: Task,
}

impl Replica {
    pub async fn connect(address: SocketAddr, role: Role, name: &str) -> Self {
        let mut client = LanesClient::new(connect(address).await);
        let name = name.to_string();
        let request = SubscribeRequest { replica: name.clone(), role: role.into(), transactional_ids: vec![] };
        let mut assignments = client.subscribe(request).await.expect("subscribed").into_inner();
        let last = Arc::new(Mutex::new(Assignment::default()));
        let newest = last.clone();
        let task = Task(tokio::spawn(async move {
            while let Some(Ok(assignment)) = assignments.next().await {
                let generation = assignment.generation;
                *newest.lock().expect("not poisoned") = assignment;
                let applied = AssignmentApplied { replica: name.clone(), role: role.into(), generation, failures: Default::default() };
                client.applied(applied).await.expect("confirmed");
            }
        }));
        Self { last, task }
    }

    pub fn last(&self) -> Assignment {
        self.last.lock().expect("not poisoned").clone()
    }

    /// What it runs: pipeline, version, partitions.
    pub fn lanes(&self) -> Vec<(String, u32, Vec<i32>)> {
        self.last().lanes.into_iter().map(|set| (set.pipeline, set.version, set.partitions)).collect()
    }

    pub fn count(&self) -> usize {
        self.last().lanes.iter().map(|set| set.partitions.len()).sum()
    }

    pub fn die(&self) {
        self.task.0.abort();
    }
}

async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).expect("an address").connect().await.expect("connected")
}

pub async fn next<T>(stream: &mut (impl Stream<Item = Result<T, Status>> + Unpin)) -> T {
    let message = tokio::time::timeout(DEADLINE, stream.next()).await.expect("in time");
    message.expect("not at its end").expect("a message")
}

/// Carries one connection there, until it is told to fall silent without closing it.
pub async fn relay(to: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let (stall, stalled) = watch::channel(false);
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("accepted");
        let server = TcpStream::connect(to).await.expect("connected");
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::join!(carry(from_client, to_server, stalled.clone()), carry(from_server, to_client, stalled));
    });
    (address, stall)
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut stalled: watch::Receiver<bool>) {
    tokio::select! {
        _ = tokio::io::copy(&mut from, &mut to) => return,
        _ = async { stalled.wait_for(|stalled| *stalled).await.is_ok() } => {}
    }
    std::future::pending().await // silent, and open
}

/// A chain of models.
pub fn chain(name: &str, models: &[&str]) -> Pipeline {
    let mut steps: Vec<PipelineStep> = Vec::new();
    for model in models {
        let inputs = steps.last().map(|last| last.name.clone()).into_iter().collect();
        steps.push(PipelineStep { name: model.to_string(), inputs, ..Default::default() });
    }
    let output = PipelineOutput { steps: models.last().map(ToString::to_string).into_iter().collect(), ..Default::default() };
    Pipeline { name: name.into(), steps, output: Some(output), ..Default::default() }
}
