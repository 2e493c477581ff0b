//! Global tables: read to their ends before a thread begins, and followed from then on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use millstream_broker::{Broker, Consumer, ConsumerOptions, Position, TopicPartition, Waker};
use millstream_topology::{
    dataflow::{Command, DataflowId, WorkerHandle, global_offset_name},
    store::bytes::RocksState,
};

use super::{StreamsError, fetched::Fetched, topics::Plan};

/// How long nothing may come while a topic is not at its end.
const STALLED: Duration = Duration::from_secs(60);
/// How long a poll waits.
const POLL: Duration = Duration::from_millis(100);

/// Where a worker's global stores are.
pub(super) struct Copy<'a> {
    pub worker: WorkerHandle,
    pub dataflow: DataflowId,
    pub number: i32,
    pub rocks: Option<&'a Arc<RocksState>>,
}

/// The thread that follows the topics of global tables for one worker. Dropped, it stops.
pub(super) struct GlobalThread {
    stop: Arc<AtomicBool>,
    waker: Arc<dyn Waker>,
    thread: Option<JoinHandle<()>>,
}

impl GlobalThread {
    /// Reads to the ends, or as long as `stopped` does not say so, then goes on in a thread of its own; `failed` hears what ends it.
    pub fn start(
        broker: &dyn Broker,
        plan: &Plan,
        copy: Copy<'_>,
        stopped: &dyn Fn() -> bool,
        failed: impl FnOnce(StreamsError) + Send + 'static,
    ) -> Result<Option<Self>, StreamsError> {
        if plan.global_topics.is_empty() {
            return Ok(None);
        }
        let mut consumer = broker.consumer(ConsumerOptions { max_poll_records: 10_000, ..ConsumerOptions::default() })?;
        let mut start = vec![];
        for topic in &plan.global_topics {
            let count = broker.admin().describe_topic(topic, STALLED)?.partitions;
            for partition in 0..count {
                start.push((TopicPartition::new(topic.clone(), partition), position(plan, &copy, topic, partition)?));
            }
        }
        let partitions: Vec<_> = start.iter().map(|(partition, _)| partition.clone()).collect();
        consumer.assign(&start)?;
        // In this order: on its way to an end that it was asked for, a consumer gets past the ends of transactions.
        let ends = consumer.end_offsets(&partitions, STALLED)?;
        let Copy { worker, dataflow, .. } = copy;
        let mut last = Instant::now();
        loop {
            let mut behind = false;
            for partition in &partitions {
                behind |= consumer.position(partition)? < ends.get(partition).copied().unwrap_or(0);
            }
            if !behind || stopped() {
                break;
            }
            if feed(&mut *consumer, &worker, dataflow)? {
                last = Instant::now();
            } else if last.elapsed() > STALLED {
                return Err(StreamsError::Timeout("reading a global table"));
            }
        }
        let (stop, waker) = (Arc::new(AtomicBool::new(false)), consumer.waker());
        let stopping = stop.clone();
        let follow = move || {
            while !stopping.load(SeqCst) {
                if let Err(error) = feed(&mut *consumer, &worker, dataflow) {
                    if !stopping.load(SeqCst) {
                        failed(error);
                    }
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("GlobalStreamThread".into()).spawn(follow);
        let thread = thread.map_err(|error| StreamsError::System(format!("no thread: {error}")))?;
        Ok(Some(Self { stop, waker, thread: Some(thread) }))
    }
}

impl Drop for GlobalThread {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Local state that is on disk is continued; what is in memory is read from the beginning.
fn position(plan: &Plan, copy: &Copy<'_>, topic: &Arc<str>, partition: i32) -> Result<Position, StreamsError> {
    let Some(rocks) = copy.rocks.filter(|_| plan.persistent_globals.contains(topic)) else { return Ok(Position::Beginning) };
    let stored = rocks.offset(&global_offset_name(topic, copy.number), partition).map_err(millstream_topology::Error::from)?;
    Ok(stored.map_or(Position::Beginning, Position::Offset))
}

fn feed(consumer: &mut dyn Consumer, worker: &WorkerHandle, dataflow: DataflowId) -> Result<bool, StreamsError> {
    let batches = consumer.poll(POLL)?;
    let some = !batches.is_empty();
    for batch in batches {
        let command = Command::FeedGlobal(dataflow, batch.from.topic.clone(), Box::new(Fetched(batch)));
        worker.send(command).map_err(|error| StreamsError::System(error.to_string()))?;
    }
    Ok(some)
}
