//! How a running application is: the states of Kafka Streams and the steps between them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use millstream_broker::Waker;
use parking_lot::{Condvar, Mutex};

use super::StreamsError;

/// How a running application is (`KafkaStreams.State`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It was made and not started.
    Created,
    /// Its threads join the group, or restore what they were assigned.
    Rebalancing,
    /// It processes records.
    Running,
    /// It is being closed.
    PendingShutdown,
    /// It was closed.
    NotRunning,
    /// A thread failed, and the others are being stopped.
    PendingError,
    /// A thread failed, and the others were stopped.
    Error,
}

impl State {
    /// Whether it may become `next`.
    fn may_become(self, next: Self) -> bool {
        use State::{Created, Error, NotRunning, PendingError, PendingShutdown, Rebalancing, Running};
        match self {
            Created => matches!(next, Rebalancing | PendingShutdown | PendingError),
            Rebalancing => matches!(next, Running | PendingShutdown | PendingError),
            Running => matches!(next, Rebalancing | PendingShutdown | PendingError),
            PendingShutdown => next == NotRunning,
            PendingError => next == Error,
            NotRunning | Error => false,
        }
    }

    /// Whether its threads are to run.
    pub fn is_running_or_rebalancing(self) -> bool {
        matches!(self, Self::Running | Self::Rebalancing)
    }

    /// Whether it is over.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::NotRunning | Self::Error)
    }
}

/// Called at every change of the state with the new one and the old one, in order, on the thread that changed it: it must not block.
pub type StateListener = Arc<dyn Fn(State, State) + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum ThreadState {
    Rebalancing,
    Running,
    Dead,
}

struct Current {
    state: State,
    error: Option<StreamsError>,
    threads: Vec<ThreadState>,
    wakers: Vec<Option<Arc<dyn Waker>>>,
}

/// The state of an application, shared by its threads.
pub(crate) struct Status {
    current: Mutex<Current>,
    changed: Condvar,
    listener: Mutex<Option<StateListener>>,
    stop: AtomicBool,
}

impl Status {
    pub fn new() -> Self {
        let current = Current { state: State::Created, error: None, threads: vec![], wakers: vec![] };
        Self { current: Mutex::new(current), changed: Condvar::new(), listener: Mutex::default(), stop: AtomicBool::new(false) }
    }

    pub fn set_listener(&self, listener: StateListener) {
        *self.listener.lock() = Some(listener);
    }

    pub fn state(&self) -> State {
        self.current.lock().state
    }

    pub fn error(&self) -> Option<StreamsError> {
        self.current.lock().error.clone()
    }

    /// Whether the threads are to end.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(SeqCst)
    }

    /// Begins with so many threads. `false`: it was started before.
    pub fn start(&self, threads: usize) -> bool {
        let mut current = self.current.lock();
        if current.state != State::Created {
            return false;
        }
        current.threads = vec![ThreadState::Rebalancing; threads];
        current.wakers = vec![None; threads];
        drop(current);
        self.become_state(State::Rebalancing)
    }

    /// What wakes a thread that is to end.
    pub fn set_waker(&self, thread: usize, waker: Arc<dyn Waker>) {
        self.current.lock().wakers[thread] = Some(waker.clone());
        if self.is_stopping() {
            waker.wake();
        }
    }

    pub fn thread_rebalances(&self, thread: usize) {
        self.current.lock().threads[thread] = ThreadState::Rebalancing;
        self.become_state(State::Rebalancing);
    }

    /// The application runs when all of its threads do.
    pub fn thread_runs(&self, thread: usize) {
        let mut current = self.current.lock();
        current.threads[thread] = ThreadState::Running;
        let all = !current.threads.contains(&ThreadState::Rebalancing);
        drop(current);
        if all {
            self.become_state(State::Running);
        }
    }

    /// The last thread that ends after a failure makes it one of the application.
    pub fn thread_ends(&self, thread: usize) {
        let mut current = self.current.lock();
        current.threads[thread] = ThreadState::Dead;
        current.wakers[thread] = None;
        let all = current.threads.iter().all(|state| *state == ThreadState::Dead);
        drop(current);
        if all {
            self.become_state(State::Error);
        }
    }

    /// Stops everything because of an error.
    pub fn fail(&self, error: StreamsError) {
        let mut current = self.current.lock();
        if !matches!(current.state, State::PendingShutdown | State::NotRunning) {
            tracing::error!(%error, "application failed");
        }
        current.error.get_or_insert(error);
        drop(current);
        self.become_state(State::PendingError);
        self.stop();
    }

    /// Tells the threads to end.
    pub fn stop(&self) {
        self.stop.store(true, SeqCst);
        self.current.lock().wakers.iter().flatten().for_each(|waker| waker.wake());
    }

    /// `false`: it cannot become that from what it is.
    pub fn become_state(&self, next: State) -> bool {
        // Held over the change and the call, so that a listener hears of changes in their order.
        let listener = self.listener.lock();
        let old = {
            let mut current = self.current.lock();
            if !current.state.may_become(next) {
                return false;
            }
            std::mem::replace(&mut current.state, next)
        };
        self.changed.notify_all();
        if let Some(listener) = &*listener {
            listener(next, old);
        }
        true
    }

    /// Waits until it is one of these, or has ended.
    pub fn wait_for(&self, wanted: impl Fn(State) -> bool, what: &'static str, deadline: Duration) -> Result<State, StreamsError> {
        let until = Instant::now() + deadline;
        let mut current = self.current.lock();
        loop {
            if wanted(current.state) || current.state.has_ended() {
                return Ok(current.state);
            }
            let left = until.checked_duration_since(Instant::now()).ok_or(StreamsError::Timeout(what))?;
            self.changed.wait_for(&mut current, left);
        }
    }
}
