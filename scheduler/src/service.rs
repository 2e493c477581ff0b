//! The running scheduler.

use std::{future::Future, io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use millstream_broker::Broker;
use millstream_proto::{
    FILE_DESCRIPTOR_SET,
    lanes::lanes_server::LanesServer,
    seldon::{
        agent::agent_service_server::AgentServiceServer, chainer::chainer_server::ChainerServer,
        health::health_check_service_server::HealthCheckServiceServer, scheduler::scheduler_server::SchedulerServer,
    },
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tonic::transport::{Server, server::TcpIncoming};

use crate::{
    Error, Options,
    client::Client,
    control::{self, DeleteTopics},
    fleet::Rules,
    journal::Journal,
    rpc::Services,
    state::{Config, State},
    time::Clock,
    topics::Topics,
};

/// How many calls wait for the task that owns the state.
const INBOX: usize = 1_024;
/// How long connections have to end after the scheduler has.
const LINGER: Duration = Duration::from_secs(1);
const DELETE_DEADLINE: Duration = Duration::from_secs(30);

/// The control plane.
///
/// **Law.** What it has acknowledged is in the state topic, so a scheduler that starts again, here or elsewhere, forgets nothing; and of two
/// schedulers of a namespace the older one stops.
#[derive(Debug)]
pub struct Scheduler;

impl Scheduler {
    /// Starts a scheduler; it listens and knows its state when this returns.
    pub async fn start(options: Options, broker: Arc<dyn Broker>) -> Result<Handle, Error> {
        if let Some(problem) = options.problem() {
            return Err(Error::Option(problem));
        }
        // Listen first: with the port in use, the scheduler that uses it is not fenced.
        let listeners: Vec<_> = [Some(options.listen), options.agent_listen, options.chainer_listen]
            .into_iter()
            .flatten()
            .map(listen)
            .collect::<Result<_, _>>()?;
        let address = listeners[0].local_addr().map_err(|source| Error::Listen { address: options.listen, source })?;
        let topics = Topics::new(&options.topic_prefix, &options.namespace);
        let (journal, clock) = (open(&broker, topics.state(), options.namespace.clone()), Clock::start());
        let (journal, state) = restore(journal.await?, config(&options, topics), clock)?;

        let (inbox, messages) = mpsc::channel(INBOX);
        let (stop, stopped) = watch::channel(false);
        let services = Services { client: Client::new(inbox) };
        let control = control::run(state, messages, journal, clock, deleter(broker));
        let servers = serve(listeners, services, &options, stopped.clone());
        let task = tokio::spawn(supervise(control, servers, stopped));
        tracing::info!(%address, namespace = options.namespace, "scheduler started");
        Ok(Handle { address, stop, task })
    }

    /// Starts a scheduler and runs it until `shutdown` completes.
    pub async fn run(options: Options, broker: Arc<dyn Broker>, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let mut handle = Self::start(options, broker).await?;
        tokio::select! {
            result = handle.wait() => result,
            () = shutdown => handle.stop().await,
        }
    }
}

/// A running scheduler. Dropping it stops the scheduler.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), Error>>,
}

impl Handle {
    /// Where every service is offered; with the port that was taken if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the scheduler stops by itself, which it does only if it must.
    pub async fn wait(&mut self) -> Result<(), Error> {
        (&mut self.task).await.unwrap_or(Err(Error::Stopped("task")))
    }

    /// Stops the scheduler: streams end, and calls in progress are told to try again.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.send_replace(true);
        self.wait().await
    }
}

fn listen(address: SocketAddr) -> Result<TcpIncoming, Error> {
    let bound = TcpIncoming::bind(address).map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => Error::PortInUse(address),
        _ => Error::Listen { address, source },
    });
    Ok(bound?.with_nodelay(Some(true)))
}

type Records = std::collections::BTreeMap<String, bytes::Bytes>;

async fn open(broker: &Arc<dyn Broker>, topic: String, namespace: String) -> Result<(String, Journal, Records), Error> {
    let broker = broker.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let (journal, records) = Journal::open(broker.as_ref(), &topic, &namespace)?;
        Ok((topic, journal, records))
    });
    opened.await.unwrap_or(Err(Error::Stopped("journal")))
}

fn restore((topic, journal, records): (String, Journal, Records), config: Config, clock: Clock) -> Result<(Journal, State), Error> {
    let state = State::restore(config, records.iter().map(|(key, value)| (key.as_str(), value.as_ref())), clock.now());
    let state = state.map_err(|(key, reason)| Error::Corrupt { topic, key: key.into(), reason: reason.to_string() })?;
    tracing::info!(resources = state.resources(), "state restored");
    Ok((journal, state))
}

fn config(options: &Options, topics: Topics) -> Config {
    Config {
        topics,
        rules: Rules { partitions: options.partitions, load_bound: options.load_bound, handover: options.handover_ms },
        debounce: options.debounce_ms,
        grace: options.rejoin_grace_ms,
        deleted_ttl: options.deleted_ttl_s.saturating_mul(1_000),
    }
}

fn deleter(broker: Arc<dyn Broker>) -> DeleteTopics {
    Arc::new(move |topics| {
        let admin = broker.admin();
        tokio::task::spawn_blocking(move || {
            let names: Vec<_> = topics.iter().map(String::as_str).collect();
            match admin.delete_topics(&names, DELETE_DEADLINE) {
                Ok(()) => tracing::info!(?topics, "topics deleted"),
                Err(error) => tracing::warn!(?topics, %error, "topics not deleted"),
            }
        });
    })
}

/// Every service on every listener.
fn serve(
    listeners: Vec<TcpIncoming>,
    services: Services,
    options: &Options,
    stopped: watch::Receiver<bool>,
) -> JoinSet<Result<(), tonic::transport::Error>> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptor set is the one that the generated code was made from");
    let mut servers = JoinSet::new();
    for listener in listeners {
        let mut stopped = stopped.clone();
        // What died without a word is noticed after two intervals and a half.
        let router = Server::builder()
            .http2_keepalive_interval(Some(options.keepalive()))
            .http2_keepalive_timeout(Some(options.keepalive() * 3 / 2))
            .add_service(SchedulerServer::new(services.clone()))
            .add_service(ChainerServer::new(services.clone()))
            .add_service(AgentServiceServer::new(services.clone()))
            .add_service(HealthCheckServiceServer::new(services.clone()))
            .add_service(LanesServer::new(services.clone()))
            .add_service(reflection.clone())
            .add_service(health_service.clone());
        servers.spawn(router.serve_with_incoming_shutdown(listener, async move {
            let _ = stopped.wait_for(|stopped| *stopped).await; // a dropped handle stops as well
        }));
    }
    tokio::spawn(async move {
        health.set_serving::<SchedulerServer<Services>>().await;
        health.set_serving::<LanesServer<Services>>().await;
    });
    servers
}

/// Runs the parts until one of them ends or the scheduler is stopped; then the streams end with the state task, and the servers after them.
async fn supervise(
    control: impl Future<Output = Result<(), Error>>,
    mut servers: JoinSet<Result<(), tonic::transport::Error>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Error> {
    let result = {
        tokio::pin!(control);
        // In this order: servers that end because they were stopped are no failure.
        tokio::select! {
            biased;
            result = &mut control => result,
            _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
            _ = servers.join_next() => Err(Error::Stopped("server")),
        }
    };
    if let Err(error) = &result {
        tracing::error!(%error, "scheduler failed");
    }
    let ended = async { while servers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LINGER, ended).await; // what lingers is cut off
    servers.shutdown().await;
    tracing::info!("scheduler stopped");
    result
}
