//! A stream thread: polls, feeds its worker, and commits what the worker has done; and begins anew when it may after a failure.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use millstream_broker::{Broker, Consumer, ConsumerOptions, Error as BrokerError, Isolation, Offsets, RebalanceListener, TopicPartition};
use millstream_topology::{Topology, store::bytes::RocksState};
use parking_lot::Mutex;

use super::{
    StreamThreadExceptionResponse, StreamsConfig, StreamsError, UncaughtExceptionHandler,
    hosts::Hosts,
    member::{COMMIT_DEADLINE, Member},
    state::Status,
    topics::Plan,
};

/// How long a poll waits while nothing comes and no commit is due.
const POLL: Duration = Duration::from_millis(100);
/// How long a thread waits before it begins anew.
const PAUSE: Duration = Duration::from_millis(100);

/// What the threads of an application share.
pub(crate) struct Shared {
    pub topology: Arc<Topology>,
    pub config: StreamsConfig,
    pub broker: Arc<dyn Broker>,
    /// Local state on disk, until the application is closed.
    pub rocks: Mutex<Option<Arc<RocksState>>>,
    pub status: Status,
    pub hosts: Hosts,
    pub uncaught: Mutex<Option<UncaughtExceptionHandler>>,
    /// Tells this process apart: its transactional ids must not be those of another that still runs.
    pub process: u128,
    pub plan: Mutex<Arc<Plan>>,
}

impl Shared {
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.lock().clone()
    }

    pub fn rocks(&self) -> Option<Arc<RocksState>> {
        self.rocks.lock().clone()
    }
}

pub(super) struct StreamThread {
    pub index: usize,
    pub shared: Arc<Shared>,
}

impl StreamThread {
    pub fn run(self) {
        let Self { index, shared } = self;
        let mut failing_since = None;
        loop {
            let began = Instant::now();
            let mut session = None;
            let outcome = Session::open(index, &shared).and_then(|opened| session.insert(opened).run());
            let error = match outcome {
                Ok(End::Stopped) => break,
                Ok(End::OtherTopics) => continue,
                Err(error) => error,
            };
            let has_progressed = session.as_ref().is_some_and(|session| session.member.lock().has_progressed);
            if has_progressed || began.elapsed() > shared.config.task_timeout {
                failing_since = None;
            }
            let patient = failing_since.get_or_insert_with(Instant::now).elapsed() < shared.config.task_timeout;
            if shared.status.is_stopping() {
                shared.status.fail(error);
                break;
            }
            let response = match error {
                StreamsError::ShutdownRequested => StreamThreadExceptionResponse::ShutdownClient,
                _ if error.is_migration() && patient => {
                    tracing::warn!(thread = index, %error, "thread begins anew at what is committed");
                    StreamThreadExceptionResponse::ReplaceThread
                }
                _ => shared.uncaught.lock().clone().map_or_else(Default::default, |handler| handler(&error)),
            };
            match response {
                StreamThreadExceptionResponse::ReplaceThread => {
                    tracing::warn!(thread = index, %error, "thread is replaced");
                    drop(session);
                    shared.status.thread_rebalances(index);
                    std::thread::sleep(PAUSE);
                    continue;
                }
                StreamThreadExceptionResponse::ShutdownClient => {}
                StreamThreadExceptionResponse::ShutdownApplication => {
                    if let Some(session) = &mut session {
                        session.member.lock().request_shutdown(&mut *session.consumer);
                    }
                }
            }
            drop(session);
            shared.status.fail(error);
            break;
        }
        shared.status.thread_ends(index);
    }
}

/// A membership in the group, from joining it to leaving it or failing. Dropped, it is as if it had crashed: nothing more is committed.
struct Session {
    // Before the consumer: stores are free when the group gives their partitions to others.
    member: Arc<Mutex<Member>>,
    consumer: Box<dyn Consumer>,
    shared: Arc<Shared>,
    index: usize,
    /// When topics were looked for that match a pattern.
    looked: Instant,
    /// Not all that the group has given has started.
    rebalances: bool,
}

/// Why a session ended without an error.
enum End {
    Stopped,
    OtherTopics,
}

impl Session {
    fn open(index: usize, shared: &Arc<Shared>) -> Result<Self, StreamsError> {
        let config = &shared.config;
        let isolation = if config.is_exactly_once() { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
        let options =
            ConsumerOptions { isolation, session_timeout: config.session_timeout, ..ConsumerOptions::group(&*config.application_id) };
        let consumer = shared.broker.consumer(options)?;
        shared.status.set_waker(index, consumer.waker());
        let member = Arc::new(Mutex::new(Member::new(shared, index, &*consumer)?));
        Ok(Self { member, consumer, shared: shared.clone(), index, looked: Instant::now(), rebalances: false })
    }

    fn run(&mut self) -> Result<End, StreamsError> {
        self.subscribe()?;
        let mut end = End::Stopped;
        while !self.shared.status.is_stopping() {
            if self.turn()? {
                end = End::OtherTopics;
                break;
            }
        }
        let Self { member, consumer, .. } = self;
        member.lock().commit_now(&mut |offsets| consumer.commit(offsets, COMMIT_DEADLINE))?;
        self.consumer.unsubscribe()?;
        Ok(end)
    }

    /// Whether other topics match the topology's patterns: looked at now and then, and before any task starts, so that no two members go
    /// on with different topics.
    fn has_other_topics(&mut self, look_now: bool) -> Result<bool, StreamsError> {
        let Self { member, shared, looked, .. } = self;
        if shared.topology.patterns().is_empty() {
            return Ok(false);
        }
        let plan = member.lock().plan.clone();
        if !Arc::ptr_eq(&plan, &shared.plan()) {
            return Ok(true);
        }
        if !look_now && looked.elapsed() < shared.config.metadata_max_age {
            return Ok(false);
        }
        *looked = Instant::now();
        let stale = plan.is_stale(&shared.topology, &*shared.broker)?;
        if stale {
            let plan = Plan::make(&shared.topology, &shared.config, &*shared.broker)?;
            *shared.plan.lock() = Arc::new(plan);
        }
        Ok(stale)
    }

    fn subscribe(&mut self) -> Result<(), StreamsError> {
        let plan = self.member.lock().plan.clone();
        if plan.subscription.is_empty() {
            self.shared.status.thread_runs(self.index);
            return Ok(());
        }
        let topics: Vec<&str> = plan.subscription.iter().map(|topic| &**topic).collect();
        Ok(self.consumer.subscribe(&topics, Box::new(Listener(Arc::downgrade(&self.member))))?)
    }

    /// `true`: the topics are others by now.
    fn turn(&mut self) -> Result<bool, StreamsError> {
        let deadline = {
            let member = self.member.lock();
            let idle = member.lanes.deadline(self.shared.config.max_task_idle_ms);
            match member.restorer.is_idle() {
                true => [member.due(), idle].into_iter().flatten().fold(POLL, Duration::min),
                // Restoring waits by itself.
                false => Duration::ZERO,
            }
        };
        let batches = self.consumer.poll(deadline)?;
        let was_assigned = self.member.lock().assigned.is_some();
        if self.has_other_topics(was_assigned)? {
            return Ok(true);
        }
        let Self { member, consumer, shared, index, rebalances, .. } = self;
        let mut member = member.lock();
        if let Some(assigned) = member.assigned.take() {
            shared.status.thread_rebalances(*index);
            member.take_over(&assigned, &batches, &mut **consumer)?;
            *rebalances = true;
        }
        if !member.restorer.is_idle() {
            member.restore()?;
        }
        if *rebalances && member.is_running() {
            *rebalances = false;
            shared.status.thread_runs(*index);
        }
        if shared.config.is_exactly_once() {
            member.group = Some(consumer.group_metadata()?);
        }
        member.feed(batches, &mut **consumer)?;
        member.advance(&mut |offsets| consumer.commit(offsets, COMMIT_DEADLINE))?;
        Ok(false)
    }
}

/// It does not keep the member: who drops the session drops that first.
struct Listener(Weak<Mutex<Member>>);

impl RebalanceListener for Listener {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        if let Some(member) = self.0.upgrade() {
            member.lock().assigned.get_or_insert_default().extend_from_slice(partitions);
        }
    }

    fn revoked(&mut self, partitions: &[TopicPartition], commit: &mut dyn FnMut(&Offsets) -> Result<(), BrokerError>) {
        let Some(member) = self.0.upgrade() else { return };
        let mut member = member.lock();
        let (shared, thread) = (member.shared.clone(), member.thread);
        if !shared.status.is_stopping() {
            shared.status.thread_rebalances(thread);
        }
        if let Err(error) = member.give_up(partitions, commit) {
            tracing::warn!(%error, "the last commit before a rebalance failed: its records are processed again");
            member.outbox.fail(error);
        }
    }
}
