//! How records get from the consumer to the worker, and when a task waits for those of another topic.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use millstream_broker::{Consumer, Error as BrokerError, FetchedBatch, TopicPartition, Waker};
use millstream_topology::{
    RawRecord, TaskId,
    dataflow::{Batch, Command, WorkerHandle},
};

use super::{
    StreamsError,
    fetched::unpack,
    member::{DATAFLOW, Member, send},
};

/// How many batches wait for a worker that is behind, before the consumer is paused.
const PENDING: usize = 64;
/// How many records may be on their way to the worker before it gets no more: a commit and a question come after them.
const IN_FLIGHT: usize = 2_000;
/// For how many records a small batch counts, so that batches fit into the worker's channel, too.
const LEAST_WEIGHT: usize = 8;
/// How old what is known of the ends of partitions may be.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);

/// How many records are on their way to the worker.
pub(super) struct InFlight {
    records: AtomicUsize,
    /// Wakes the stream thread when there is room again.
    waker: Arc<dyn Waker>,
}

impl InFlight {
    pub fn new(waker: Arc<dyn Waker>) -> Arc<Self> {
        Arc::new(Self { records: AtomicUsize::new(0), waker })
    }

    fn is_full(&self) -> bool {
        self.records.load(Relaxed) >= IN_FLIGHT
    }
}

/// A batch that is in flight until the worker takes it.
struct Counted {
    batch: FetchedBatch,
    weight: usize,
    in_flight: Arc<InFlight>,
}

impl Counted {
    fn new(batch: FetchedBatch, in_flight: &Arc<InFlight>) -> Self {
        let weight = batch.records.len().max(LEAST_WEIGHT);
        in_flight.records.fetch_add(weight, Relaxed);
        Self { batch, weight, in_flight: in_flight.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let before = self.in_flight.records.fetch_sub(self.weight, Relaxed);
        if before >= IN_FLIGHT / 2 && before - self.weight < IN_FLIGHT / 2 {
            self.in_flight.waker.wake();
        }
    }
}

impl Batch for Counted {
    fn partition(&self) -> i32 {
        self.batch.from.partition
    }

    fn next_offset(&self) -> i64 {
        self.batch.next_offset
    }

    fn unpack(mut self: Box<Self>, each: &mut dyn FnMut(i64, RawRecord)) {
        let records = std::mem::take(&mut self.batch.records);
        // So that the next batch is on its way while this one is processed.
        drop(self);
        unpack(records, each);
    }
}

/// The partitions that a thread reads.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<TopicPartition, Lane>,
    looked: Option<Instant>,
}

struct Lane {
    task: TaskId,
    /// Up to where the worker was fed.
    fed: i64,
    /// Its task reads other topics, too: the order of their records matters.
    shared: bool,
    end: i64,
    /// The task waits for its records.
    behind: bool,
    /// When it was seen to be at its end.
    idle_since: Option<Instant>,
    paused: bool,
}

impl Lanes {
    pub fn add(&mut self, partition: &TopicPartition, task: TaskId, position: i64, shared: bool) {
        let lane = Lane { task, fed: position, shared, end: i64::MAX, behind: false, idle_since: None, paused: false };
        self.lanes.insert(partition.clone(), lane);
        self.looked = None;
    }

    pub fn remove(&mut self, gone: &[TopicPartition]) {
        self.lanes.retain(|partition, _| !gone.contains(partition));
    }

    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.lanes.keys().cloned().collect()
    }

    /// A task is about to start: until the ends of its partitions are known, it waits for all of them.
    pub fn begin(&mut self, task: TaskId, max_task_idle_ms: i64, worker: &WorkerHandle) -> Result<(), StreamsError> {
        for (partition, lane) in self.lanes.iter_mut().filter(|(_, lane)| lane.task == task && lane.shared) {
            if max_task_idle_ms >= 0 {
                lane.set_behind(partition, true, worker)?;
            }
        }
        Ok(())
    }

    /// Looks where partitions end, and lets tasks go on whose empty partitions have nothing more (KIP-695): at once, or after having
    /// waited for `max_task_idle_ms`.
    fn look(&mut self, consumer: &mut dyn Consumer, max_task_idle_ms: i64, worker: &WorkerHandle) -> Result<(), StreamsError> {
        if max_task_idle_ms < 0 {
            return Ok(());
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN) {
            let shared: Vec<_> = self.lanes.iter().filter(|(_, lane)| lane.shared).map(|(partition, _)| partition.clone()).collect();
            if shared.is_empty() {
                return Ok(());
            }
            match consumer.end_offsets(&shared, LOOK) {
                Ok(ends) => {
                    for (partition, end) in ends {
                        self.lanes.entry(partition).and_modify(|lane| lane.end = end);
                    }
                    self.looked = Some(Instant::now());
                }
                // As long as nobody knows, they wait.
                Err(BrokerError::Timeout(_) | BrokerError::Unreachable(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.release(max_task_idle_ms, worker)
    }

    fn release(&mut self, max_task_idle_ms: i64, worker: &WorkerHandle) -> Result<(), StreamsError> {
        for (partition, lane) in self.lanes.iter_mut().filter(|(_, lane)| lane.shared) {
            if lane.fed < lane.end {
                lane.idle_since = None;
                lane.set_behind(partition, true, worker)?;
            } else {
                let since = *lane.idle_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= Duration::from_millis(max_task_idle_ms.unsigned_abs()) {
                    lane.set_behind(partition, false, worker)?;
                }
            }
        }
        Ok(())
    }

    /// When the next task has waited long enough.
    pub fn deadline(&self, max_task_idle_ms: i64) -> Option<Duration> {
        let waiting = self.lanes.values().filter(|lane| lane.shared && lane.behind).filter_map(|lane| lane.idle_since);
        let left = |since: Instant| Duration::from_millis(max_task_idle_ms.max(0).unsigned_abs()).saturating_sub(since.elapsed());
        waiting.map(left).min()
    }

    /// Stops and resumes partitions: while too much waits for the worker, while their task is not running, and while too many records of
    /// theirs wait for those of others.
    fn pause(&mut self, consumer: &mut dyn Consumer, too_much: impl Fn(&TopicPartition, TaskId, i64) -> bool) -> Result<(), StreamsError> {
        let (mut stop, mut go) = (vec![], vec![]);
        for (partition, lane) in &mut self.lanes {
            let pause = too_much(partition, lane.task, lane.fed);
            if pause != lane.paused {
                lane.paused = pause;
                if pause { stop.push(partition.clone()) } else { go.push(partition.clone()) }
            }
        }
        consumer.pause(&stop)?;
        Ok(consumer.resume(&go)?)
    }
}

impl Lane {
    fn set_behind(&mut self, partition: &TopicPartition, behind: bool, worker: &WorkerHandle) -> Result<(), StreamsError> {
        if std::mem::replace(&mut self.behind, behind) == behind {
            return Ok(());
        }
        send(worker, Command::Behind(DATAFLOW, self.task, partition.topic.clone(), behind))
    }
}

impl Member {
    /// Takes what was polled, and feeds the worker until it is behind.
    pub fn feed(&mut self, polled: Vec<FetchedBatch>, consumer: &mut dyn Consumer) -> Result<(), StreamsError> {
        self.pending.extend(polled);
        let max_idle = self.shared.config.max_task_idle_ms;
        self.lanes.look(consumer, max_idle, &self.handle)?;
        for _ in 0..self.pending.len() {
            if self.in_flight.is_full() {
                break;
            }
            let Some(batch) = self.pending.pop_front() else { break };
            if self.plan.task_of(&batch.from).is_some_and(|task| self.restorer.is_restoring(task)) {
                self.pending.push_back(batch);
            } else {
                self.feed_one(batch)?;
            }
        }
        if max_idle >= 0 {
            self.lanes.release(max_idle, &self.handle)?;
        }
        let Self { lanes, pending, restorer, outbox, shared, .. } = self;
        let (full, limit) = (pending.len() > PENDING, shared.config.buffered_records_per_partition as i64);
        lanes.pause(consumer, |partition, task, fed| {
            let waiting = outbox.consumed(partition).map_or(0, |consumed| fed - consumed);
            full || waiting > limit || restorer.is_restoring(task)
        })
    }

    fn feed_one(&mut self, batch: FetchedBatch) -> Result<(), StreamsError> {
        let Some(lane) = self.lanes.lanes.get_mut(&batch.from) else { return Ok(()) };
        if lane.shared && self.shared.config.max_task_idle_ms > 0 {
            lane.idle_since = None;
            lane.set_behind(&batch.from, true, &self.handle)?;
        }
        lane.fed = batch.next_offset;
        self.dirty = true;
        let (task, topic) = (lane.task, batch.from.topic.clone());
        send(&self.handle, Command::Feed(DATAFLOW, task, topic, Box::new(Counted::new(batch, &self.in_flight))))
    }
}
