//! Running a topology on a broker: [`KafkaStreams`].
//!
//! Each stream thread has one consumer, one producer and one worker. The consumer's thread polls and commits, the worker's thread runs the
//! tasks on timely, and records cross between them in batches.

mod commit;
mod config;
mod outbox;
mod restore;
mod tasks;
mod thread;
mod topics;

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use millstream_broker::{Broker, Waker};
use millstream_topology::{
    ErrorKind, Topology,
    store::bytes::{RocksState, StateOptions},
};

pub use config::{ProcessingGuarantee, StreamsConfig};
use outbox::Outbox;
pub use restore::restore;
pub use tasks::Fetched;
pub use topics::Plan;

/// What went wrong while a topology ran.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamsError {
    /// The topology, or user code in it.
    #[error(transparent)]
    Topology(#[from] millstream_topology::Error),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] millstream_broker::Error),
    /// A source topic is not there.
    #[error("source topic {0} does not exist: create it before the application starts")]
    MissingSourceTopic(String),
    /// It did not get ready, or did not stop, in time.
    #[error("{0} did not finish before its deadline")]
    Timeout(&'static str),
    /// Threads or directories could not be made.
    #[error("{0}")]
    System(String),
}

/// How a running application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its threads join the group and restore what they are assigned.
    Rebalancing,
    /// It processes records.
    Running,
    /// It was closed.
    NotRunning,
    /// A thread failed; the others were stopped.
    Error,
}

pub(crate) struct Status {
    state: Mutex<(State, Option<StreamsError>)>,
    changed: Condvar,
    pub stop: AtomicBool,
}

impl Status {
    fn new() -> Self {
        Self { state: Mutex::new((State::Rebalancing, None)), changed: Condvar::new(), stop: AtomicBool::new(false) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (State, Option<StreamsError>)> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn set(&self, state: State) {
        let mut current = self.lock();
        if current.0 != State::Error {
            current.0 = state;
        }
        self.changed.notify_all();
    }

    pub fn fail(&self, error: StreamsError) {
        let mut current = self.lock();
        if current.0 != State::Error {
            tracing::error!(%error, "application failed");
            *current = (State::Error, Some(error));
        }
        self.stop.store(true, SeqCst);
        self.changed.notify_all();
    }
}

/// A topology that runs on a broker.
///
/// **Law.** What it has committed is what it has processed: outputs, changelogs, offsets and local state of an epoch belong together, and
/// local state is never ahead of what is committed.
pub struct KafkaStreams {
    status: Arc<Status>,
    threads: Vec<(JoinHandle<()>, Arc<dyn Waker>)>,
}

impl KafkaStreams {
    /// Creates the internal topics, starts the threads and joins the group. Returns at once: see [`wait_until_running`](Self::wait_until_running).
    pub fn start(topology: Topology, config: StreamsConfig, broker: Arc<dyn Broker>) -> Result<Self, StreamsError> {
        let topology = Arc::new(topology);
        let plan = Arc::new(Plan::make(&topology, &config, &*broker)?);
        let directory = config.state_dir.join(&config.application_id);
        std::fs::create_dir_all(&directory)
            .map_err(|error| StreamsError::System(format!("state directory {} cannot be made: {error}", directory.display())))?;
        let rocks = match plan.needs_rocks {
            true => Some(RocksState::open(&directory, StateOptions::default()).map_err(millstream_topology::Error::from)?),
            false => None,
        };
        let status = Arc::new(Status::new());
        let mut threads = vec![];
        for index in 0..config.num_stream_threads {
            let thread = thread::StreamThread::new(index, &topology, &plan, &config, &broker, rocks.clone(), status.clone())?;
            let waker = thread.waker();
            let name = format!("{}-StreamThread-{}", config.application_id, index + 1);
            let spawned = std::thread::Builder::new().name(name).spawn(move || thread.run());
            threads.push((spawned.map_err(|error| StreamsError::System(format!("no thread: {error}")))?, waker));
        }
        Ok(Self { status, threads })
    }

    /// How it is.
    pub fn state(&self) -> State {
        self.status.lock().0
    }

    /// Why it failed, if it did.
    pub fn error(&self) -> Option<StreamsError> {
        self.status.lock().1.clone()
    }

    /// Waits until it processes records.
    pub fn wait_until_running(&self, deadline: Duration) -> Result<(), StreamsError> {
        let until = Instant::now() + deadline;
        let mut state = self.status.lock();
        loop {
            match &*state {
                (State::Running, _) => return Ok(()),
                (State::Error, Some(error)) => return Err(error.clone()),
                (State::NotRunning, _) => {
                    let closed = millstream_topology::Error::new(ErrorKind::IllegalState, "the application is closed: start another one");
                    return Err(closed.into());
                }
                _ => {}
            }
            let left = until.checked_duration_since(Instant::now()).ok_or(StreamsError::Timeout("start of the application"))?;
            state = self.status.changed.wait_timeout(state, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Commits what is processed, leaves the group and stops the threads. The error is the one that it had failed with.
    pub fn close(mut self) -> Result<(), StreamsError> {
        self.stop();
        self.error().map_or(Ok(()), Err)
    }

    fn stop(&mut self) {
        self.status.stop.store(true, SeqCst);
        for (_, waker) in &self.threads {
            waker.wake();
        }
        for (thread, _) in self.threads.drain(..) {
            if thread.join().is_err() {
                self.status.fail(StreamsError::System("a stream thread panicked".into()));
            }
        }
        self.status.set(State::NotRunning);
    }
}

impl Drop for KafkaStreams {
    fn drop(&mut self) {
        self.stop();
    }
}
