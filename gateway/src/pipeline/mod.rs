//! The pipeline gateway: REST and gRPC in front of the pipelines' topics.
//!
//! | file | what |
//! | --- | --- |
//! | `options` | [`PipelineGatewayOptions`] |
//! | `listen` | one port for all protocols |
//! | `rest`, `grpc` | the two faces of the Open Inference Protocol |
//! | `core` | one request: to its target, and the answer back |
//! | `waiters` | the requests that wait for their answers, by key |
//! | `replies` | the thread that reads the pipelines' outputs |
//! | `lanes` | which partitions this gateway may use |
//! | `catalogue` | which pipelines there are |

mod catalogue;
mod core;
mod grpc;
mod lanes;
mod listen;
mod options;
mod replies;
mod rest;
mod waiters;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
};

use millstream_broker::{Broker, ProducerOptions};
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};

pub use self::options::PipelineGatewayOptions;
use self::{catalogue::Catalogue, core::Core, lanes::Follower, replies::Replies, waiters::Waiters};
use crate::{Error, InferenceServer, failure::Failure, inference, link, request_id::RequestIds, topics::Topics};

const SERVER_NAME: &str = "millstream";
const SERVER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answers inference requests for pipelines, and hands those for models to an inference server.
///
/// **Law.** Every request is answered exactly once and by its deadline: with a result, or with one line that says why not.
#[derive(Debug)]
pub struct PipelineGateway;

impl PipelineGateway {
    /// Listens, and follows the scheduler at `host:port`, which may come later. `models` answers for models; without it the
    /// server that the options name; without that the servers on which the scheduler has loaded them.
    pub async fn start(
        options: PipelineGatewayOptions,
        broker: Arc<dyn Broker>,
        scheduler: &str,
        models: Option<Arc<dyn InferenceServer>>,
    ) -> Result<PipelineGatewayHandle, Error> {
        let topics = Topics::new(&options.topic_prefix, &options.namespace)?;
        let channel = link::channel("scheduler", scheduler)?;
        let models = models.map_or_else(|| inference::server(options.inference_server.as_deref(), &options.replica, &channel), Ok)?;
        let refused = |source| Error::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let waiters = Waiters::new();
        let replies = Arc::new(Replies::start(&*broker, waiters.clone())?);
        let (owned, owned_receiver) = watch::channel(Arc::default());
        let catalogue = Arc::new(Catalogue::default());
        let core = Arc::new(Core {
            producer: broker.producer(ProducerOptions::default())?,
            waiters: waiters.clone(),
            owned: owned_receiver,
            catalogue: catalogue.clone(),
            models,
            permits: Semaphore::new(options.max_in_flight.min(Semaphore::MAX_PERMITS)),
            ids: RequestIds::new(),
            turn: AtomicUsize::new(0),
            hasher: foldhash::fast::FixedState::default(),
            options: options.clone(),
        });
        let follower = Follower {
            replica: options.replica.clone(),
            topics,
            channel: channel.clone(),
            admin: broker.admin(),
            replies: replies.clone(),
            waiters: waiters.clone(),
            owned,
            drain: options.lane_drain(),
            leaving: Default::default(),
        };
        let (stop, stopped) = watch::channel(false);
        let background = vec![tokio::spawn(follower.run()), tokio::spawn(async move { catalogue.follow(options.replica, channel).await })];
        let server = tokio::spawn(listen::serve(listener, core, stopped));
        Ok(PipelineGatewayHandle(Arc::new(Running { address, waiters, replies, stop, background, server: Mutex::new(Some(server)) })))
    }
}

/// A gateway that runs.
#[derive(Clone)]
pub struct PipelineGatewayHandle(Arc<Running>);

struct Running {
    address: SocketAddr,
    waiters: Arc<Waiters>,
    replies: Arc<Replies>,
    stop: watch::Sender<bool>,
    background: Vec<JoinHandle<()>>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl PipelineGatewayHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// How many requests wait for an answer of a pipeline.
    pub fn waiting(&self) -> usize {
        self.0.waiters.len()
    }

    /// Takes no more requests, lets those that are under way finish for a few seconds, and stops.
    pub async fn shutdown(&self) {
        self.0.stop.send_replace(true);
        let server = self.0.server.lock().take();
        if let Some(server) = server {
            let _panicked = server.await;
        }
        self.0.waiters.fail(|_| true, || Failure::unavailable("the gateway stops: ask again"));
        self.0.background.iter().for_each(JoinHandle::abort);
        let replies = self.0.replies.clone();
        let _panicked = tokio::task::spawn_blocking(move || replies.stop()).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.background.iter().for_each(JoinHandle::abort);
    }
}

impl Core {
    /// Whether this gateway knows what it has to do.
    pub(crate) fn ready(&self) -> Result<(), Failure> {
        if self.owned.borrow().assigned { Ok(()) } else { Err(Failure::unavailable("the scheduler has not been reached yet")) }
    }

    pub(crate) fn knows_pipeline(&self, name: &str) -> bool {
        self.owned.borrow().pipelines.contains_key(name) || self.catalogue.get(name).is_some()
    }

    pub(crate) fn pipeline_state(&self, name: &str) -> Result<catalogue::Pipeline, Failure> {
        self.catalogue.get(name).ok_or_else(|| Failure::not_found(format!("there is no pipeline {name}: load it first")))
    }
}
