//! [`KafkaStreams`]: a topology that runs on a broker.

use std::{sync::Arc, thread::JoinHandle, time::Duration};

use millstream_broker::{Broker, partition_for_key};
use millstream_topology::{
    DefaultSerde, Error, Topology,
    store::bytes::{RocksState, StateOptions},
};
use parking_lot::Mutex;

use crate::query::{Query, QueryFailure, StateQueryError, StateQueryRequest, StateQueryResult, ask_all};

use super::{
    State, StateListener, StreamsConfig, StreamsError, UncaughtExceptionHandler,
    hosts::Hosts,
    member::DATAFLOW,
    state::Status,
    thread::{Shared, StreamThread},
    topics::Plan,
};

/// A topology that runs on a broker.
///
/// **Law.** What it has committed is what it has processed: outputs, changelogs, offsets and local state of an epoch belong together, and
/// local state is never ahead of what is committed.
///
/// ```
/// use std::time::Duration;
/// use millstream::{KafkaStreams, State, StreamsBuilder, StreamsConfig};
/// use millstream_broker::{Broker, EmbeddedBroker, NewTopic};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = EmbeddedBroker::temporary()?;
/// let deadline = Duration::from_secs(30);
/// broker.admin().create_topics(&[NewTopic::new("in", 1), NewTopic::new("out", 1)], deadline)?;
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, String>("in").to("out");
///
/// let streams = KafkaStreams::new(builder.build()?, StreamsConfig::new("doc"), broker)?;
/// streams.set_state_listener(|new, old| println!("{old:?} -> {new:?}"));
/// streams.start()?;
/// streams.wait_until_running(deadline)?;
/// streams.close()?;
/// assert_eq!(streams.state(), State::NotRunning);
/// # Ok(())
/// # }
/// ```
pub struct KafkaStreams {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl KafkaStreams {
    /// Looks up the topics that must be there, creates those of the application's own, and opens the state directory. Nothing runs before
    /// [`start`](Self::start).
    ///
    /// # Errors
    /// A source topic that is not there, topics that are joined and differ in partitions, a state directory that cannot be used, or the
    /// broker's.
    pub fn new(topology: Topology, config: StreamsConfig, broker: Arc<dyn Broker>) -> Result<Self, StreamsError> {
        config.check()?;
        let plan = Plan::make(&topology, &config, &*broker)?;
        let directory = config.state_dir.join(&config.application_id);
        std::fs::create_dir_all(&directory)
            .map_err(|error| StreamsError::System(format!("state directory {} cannot be made: {error}", directory.display())))?;
        let rocks = match plan.needs_rocks {
            true => Some(RocksState::open(&directory, StateOptions::default()).map_err(Error::from)?),
            false => None,
        };
        let shared = Shared {
            topology: Arc::new(topology),
            config,
            broker,
            rocks: Mutex::new(rocks),
            status: Status::new(),
            hosts: Hosts::default(),
            uncaught: Mutex::default(),
            process: std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos()),
            plan: Mutex::new(Arc::new(plan)),
        };
        Ok(Self { shared: Arc::new(shared), threads: Mutex::default() })
    }

    /// Has `listener` hear of every change of the state, with the new one and the old one, on the thread that changes it. It must not
    /// block, nor close the application.
    pub fn set_state_listener(&self, listener: impl Fn(State, State) + Send + Sync + 'static) {
        let listener: StateListener = Arc::new(listener);
        self.shared.status.set_listener(listener);
    }

    /// Has `handler` decide what becomes of the application when a thread fails. Default: this instance stops.
    pub fn set_uncaught_exception_handler(&self, handler: UncaughtExceptionHandler) {
        *self.shared.uncaught.lock() = Some(handler);
    }

    /// Starts the threads, which join the group. Returns at once: see [`wait_until_running`](Self::wait_until_running).
    ///
    /// # Errors
    /// It was started before, or there are no threads to be had.
    pub fn start(&self) -> Result<(), StreamsError> {
        let Self { shared, threads } = self;
        if !shared.status.start(shared.config.num_stream_threads) {
            return Err(StreamsError::State("the application was started or closed before: make another one"));
        }
        for index in 0..shared.config.num_stream_threads {
            let thread = StreamThread { index, shared: shared.clone() };
            let name = format!("{}-StreamThread-{}", shared.config.application_id, index + 1);
            let spawned = std::thread::Builder::new().name(name).spawn(move || thread.run());
            let spawned = spawned.map_err(|error| StreamsError::System(format!("no thread: {error}")))?;
            threads.lock().push(spawned);
        }
        Ok(())
    }

    /// How it is.
    pub fn state(&self) -> State {
        self.shared.status.state()
    }

    /// Why it failed, if it did.
    pub fn error(&self) -> Option<StreamsError> {
        self.shared.status.error()
    }

    /// Waits until it processes records.
    ///
    /// # Errors
    /// The one that it failed with, that it was closed, or that the deadline passed.
    pub fn wait_until_running(&self, deadline: Duration) -> Result<(), StreamsError> {
        let status = &self.shared.status;
        match status.wait_for(|state| state == State::Running, "start of the application", deadline)? {
            State::Running => Ok(()),
            _ => Err(status.error().unwrap_or(StreamsError::State("the application is closed: start another one"))),
        }
    }

    /// Waits until it has ended, of itself or because it was closed; says how.
    ///
    /// # Errors
    /// The deadline passed.
    pub fn wait_until_ended(&self, deadline: Duration) -> Result<State, StreamsError> {
        self.shared.status.wait_for(State::has_ended, "end of the application", deadline)
    }

    /// Asks a store, from any thread. Each partition that is asked answers for itself; stream threads answer between two records.
    ///
    /// # Errors
    /// There is no such store, the application does not run, or an answer did not come in time. What one partition cannot answer is an
    /// error of that partition in the result.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millstream::{KafkaStreams, query::{KeyQuery, StateQueryRequest}};
    /// fn count(streams: &KafkaStreams, word: &str) -> Result<Option<i64>, Box<dyn std::error::Error>> {
    ///     let request = StateQueryRequest::in_store("counts").with_query(KeyQuery::<String, i64>::with_key(word.into()));
    ///     Ok(streams.query(&request, Duration::from_secs(1))?.found()?)
    /// }
    /// ```
    pub fn query<Q: Query>(
        &self,
        request: &StateQueryRequest<Q>,
        deadline: Duration,
    ) -> Result<StateQueryResult<Q::Result>, StateQueryError> {
        let Self { shared, .. } = self;
        match shared.status.state() {
            State::Created => return Err(StateQueryError::NotStarted),
            state if !state.is_running_or_rebalancing() => return Err(StateQueryError::NotRunning),
            _ => {}
        }
        let plan = shared.plan();
        let Some((subtopology, is_global)) = plan.store(request.store()) else {
            let names = plan.store_names().join(", ");
            return Err(StateQueryError::UnknownStateStore(request.store().into(), names));
        };
        if is_global {
            let worker = shared.hosts.any_globals().ok_or(StateQueryError::NotRunning)?;
            let answers = ask_all(request, DATAFLOW, vec![(None, worker)], deadline)?;
            return Ok(StateQueryResult { global_result: answers.into_values().next(), ..StateQueryResult::default() });
        }
        let here = shared.hosts.tasks_of(subtopology);
        let wanted = |partition: i32| request.partitions.as_ref().is_none_or(|partitions| partitions.contains(&partition));
        let asked: Vec<_> =
            here.into_iter().filter(|(task, _)| wanted(task.partition)).map(|(task, worker)| (Some(task), worker)).collect();
        let mut partition_results = ask_all(request, DATAFLOW, asked, deadline)?;
        for partition in request.partitions.iter().flatten() {
            let is_there = (0..plan.tasks_of(subtopology)).contains(partition);
            let absent = || Err(if is_there { QueryFailure::NotPresent(*partition) } else { QueryFailure::DoesNotExist(*partition) });
            partition_results.entry(*partition).or_insert_with(absent);
        }
        Ok(StateQueryResult { partition_results, global_result: None })
    }

    /// The partition of a store in which a key is, if records are partitioned by their keys as they are by default.
    pub fn partition_for_key<K: DefaultSerde>(&self, store: &str, key: &K::Present) -> Result<Option<i32>, Error> {
        let plan = self.shared.plan();
        let Some((subtopology, false)) = plan.store(store) else { return Ok(None) };
        Ok(Some(partition_for_key(&K::default_serde().serialize(key)?, plan.tasks_of(subtopology).max(1))))
    }

    /// Commits what is processed, leaves the group and stops the threads. A second call does nothing.
    ///
    /// # Errors
    /// The one that it had failed with, or that the last commit failed with.
    pub fn close(&self) -> Result<(), StreamsError> {
        let Self { shared, threads } = self;
        let was_created = shared.status.state() == State::Created;
        shared.status.become_state(State::PendingShutdown);
        shared.status.stop();
        for thread in threads.lock().drain(..) {
            if thread.join().is_err() {
                shared.status.fail(StreamsError::System("a stream thread panicked".into()));
            }
        }
        shared.rocks.lock().take();
        if !shared.status.become_state(State::NotRunning) && !was_created {
            shared.status.become_state(State::Error);
        }
        self.error().map_or(Ok(()), Err)
    }
}

impl Drop for KafkaStreams {
    fn drop(&mut self) {
        // Its error was said when it happened.
        let _ = self.close();
    }
}
