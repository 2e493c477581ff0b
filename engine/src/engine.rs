//! The engine's control side: subscribes to its lanes and has the replica's thread run them.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use millstream_broker::{Broker, Waker};
use millstream_proto::lanes::{AssignmentApplied, Role, SubscribeRequest, lanes_client::LanesClient};
use tokio::sync::{oneshot, watch};
use tonic::transport::{Channel, Endpoint};

use crate::{
    EngineError, EngineOptions,
    replica::{Replica, Request},
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Shorter than the scheduler's patience after its restart, or lanes would move for nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(5);
/// A scheduler that is silent for so long is taken for gone; lanes go on running meanwhile.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// An engine replica.
pub struct Engine;

/// A running engine replica. Dropped, it stops.
pub struct EngineHandle {
    requests: mpsc::Sender<Request>,
    waker: Arc<dyn Waker>,
    thread: Option<JoinHandle<Result<(), EngineError>>>,
    control: tokio::task::JoinHandle<()>,
    stopped: watch::Receiver<bool>,
}

impl Engine {
    /// Starts a replica under the scheduler at `host:port`. It runs the lanes that it is given until it is stopped, also while the
    /// scheduler is away.
    ///
    /// # Errors
    /// An address that is none, or a broker that cannot be reached.
    pub fn start(options: EngineOptions, scheduler: &str, broker: Arc<dyn Broker>) -> Result<EngineHandle, EngineError> {
        let endpoint = Endpoint::from_shared(format!("http://{scheduler}")).map_err(|_| EngineError::Scheduler(scheduler.into()))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let (requests, receiver) = mpsc::channel();
        let replica = Replica::new(&options, broker, receiver)?;
        let (waker, (on_stop, stopped)) = (replica.waker(), watch::channel(false));
        let thread = std::thread::Builder::new().name(options.replica.clone()).spawn(move || {
            let outcome = replica.run();
            if let Err(error) = &outcome {
                tracing::error!(%error, "engine stopped");
            }
            let _ = on_stop.send(true);
            outcome
        });
        let thread = thread.map_err(|error| EngineError::System(format!("no thread for the engine: {error}")))?;
        let control = tokio::spawn(follow(endpoint, options.replica, requests.clone(), waker.clone()));
        Ok(EngineHandle { requests, waker, thread: Some(thread), control, stopped })
    }
}

impl EngineHandle {
    /// Waits until the replica has stopped by itself: fenced, or without its broker.
    pub async fn wait(&mut self) {
        let _ = self.stopped.wait_for(|stopped| *stopped).await;
    }

    /// Commits what is done and stops.
    ///
    /// # Errors
    /// What the replica failed with.
    pub async fn stop(mut self) -> Result<(), EngineError> {
        self.ask_to_stop();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        joined.ok().and_then(Result::ok).unwrap_or_else(|| Err(EngineError::System("the engine's thread panicked".into())))
    }

    fn ask_to_stop(&self) {
        self.control.abort();
        let _ = self.requests.send(Request::Stop);
        self.waker.wake();
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Subscribes again and again, with a pause that grows while there is no scheduler.
async fn follow(endpoint: Endpoint, replica: String, requests: mpsc::Sender<Request>, waker: Arc<dyn Waker>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match subscribe(&endpoint, &replica, &requests, &*waker, &mut pause).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(status) => tracing::debug!(%status, "no scheduler"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Follows one subscription to its end. `false`: the replica's thread is gone.
async fn subscribe(
    endpoint: &Endpoint,
    replica: &str,
    requests: &mpsc::Sender<Request>,
    waker: &dyn Waker,
    pause: &mut Duration,
) -> Result<bool, tonic::Status> {
    let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
    let channel: Channel = endpoint.connect().await.map_err(unavailable)?;
    let mut client = LanesClient::new(channel);
    let request = SubscribeRequest { replica: replica.into(), role: Role::Engine.into(), transactional_ids: vec![replica.into()] };
    let mut assignments = client.subscribe(request).await?.into_inner();
    while let Some(assignment) = assignments.message().await? {
        *pause = FIRST_PAUSE;
        let generation = assignment.generation;
        let (reply, answer) = oneshot::channel();
        if requests.send(Request::Apply(Box::new(assignment), reply)).is_err() {
            return Ok(false);
        }
        waker.wake();
        let Ok(failures): Result<HashMap<String, String>, _> = answer.await else { return Ok(false) };
        client.applied(AssignmentApplied { replica: replica.into(), role: Role::Engine.into(), generation, failures }).await?;
    }
    Ok(true)
}
