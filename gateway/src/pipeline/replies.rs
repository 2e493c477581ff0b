//! The thread that reads the pipelines' output topics and wakes those who wait.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use millstream_broker::{Broker, Consumer, ConsumerOptions, Error as BrokerError, Isolation, Position, TopicPartition, Waker};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::waiters::Waiters;
use crate::Error;

/// By pipeline: its output partitions.
pub(crate) type Partitions = BTreeMap<Arc<str>, Vec<TopicPartition>>;

/// Pipelines whose partitions cannot be read, and why.
pub(crate) type Failures = HashMap<Arc<str>, String>;

enum Command {
    Assign(Partitions, oneshot::Sender<Failures>),
    Stop,
}

/// Law: when [`Replies::assign`] has returned, no record that is written to those partitions from then on is missed.
pub(crate) struct Replies {
    commands: mpsc::SyncSender<Command>,
    waker: Arc<dyn Waker>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Replies {
    pub fn start(broker: &dyn Broker, waiters: Arc<Waiters>) -> Result<Self, Error> {
        // Answers are taken as soon as they are written: only the first one counts, whatever becomes of the transaction that it is in.
        let consumer = broker.consumer(ConsumerOptions { isolation: Isolation::ReadUncommitted, ..ConsumerOptions::default() })?;
        let waker = consumer.waker();
        let (commands, receiver) = mpsc::sync_channel(16);
        let reader = Reader { consumer, waiters, positions: HashMap::new() };
        let thread =
            std::thread::Builder::new().name("gateway-replies".into()).spawn(move || reader.run(&receiver)).map_err(Error::Thread)?;
        Ok(Self { commands, waker, thread: Mutex::new(Some(thread)) })
    }

    /// Reads these partitions from now on, and no others.
    pub async fn assign(&self, partitions: Partitions) -> Failures {
        let (done, failures) = oneshot::channel();
        // The queue is as long as there can be callers: one.
        if self.commands.try_send(Command::Assign(partitions, done)).is_err() {
            tracing::error!("the thread that reads answers has ended");
        }
        self.waker.wake();
        failures.await.unwrap_or_default()
    }

    pub fn stop(&self) {
        let _ended = self.commands.try_send(Command::Stop);
        self.waker.wake();
        if let Some(thread) = self.thread.lock().take() {
            let _panicked = thread.join();
        }
    }
}

struct Reader {
    consumer: Box<dyn Consumer>,
    waiters: Arc<Waiters>,
    /// What is read, and the next offset of each.
    positions: HashMap<TopicPartition, i64>,
}

impl Reader {
    const DEADLINE: Duration = Duration::from_secs(10);

    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        let mut pause = Duration::ZERO;
        loop {
            loop {
                match commands.try_recv() {
                    Ok(Command::Assign(partitions, done)) => {
                        let _gone = done.send(self.assign(partitions));
                    }
                    Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return,
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            match self.consumer.poll(Duration::from_secs(1)) {
                Ok(batches) => {
                    pause = Duration::ZERO;
                    for batch in batches {
                        for stored in batch.records {
                            if let Some(key) = stored.record.key.clone() {
                                self.waiters.complete(&key, Ok(stored.record));
                            }
                        }
                        if let Some(position) = self.positions.get_mut(&batch.from) {
                            *position = batch.next_offset;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read answers; trying again");
                    if let BrokerError::UnknownTopic(topic) = &error {
                        self.positions.retain(|p, _| *p.topic != **topic);
                    }
                    pause = (pause * 2).clamp(Duration::from_millis(10), Duration::from_millis(500));
                    std::thread::sleep(pause);
                }
            }
        }
    }

    fn assign(&mut self, wanted: Partitions) -> Failures {
        let mut failures = Failures::new();
        let mut positions = HashMap::new();
        let topics: HashMap<_, _> =
            wanted.iter().filter_map(|(pipeline, ps)| Some((pipeline.clone(), ps.first()?.topic.clone()))).collect();
        for (pipeline, partitions) in wanted {
            let (kept, new): (Vec<_>, Vec<_>) = partitions.into_iter().partition(|p| self.positions.contains_key(p));
            positions.extend(kept.into_iter().map(|p| {
                let position = self.positions[&p];
                (p, position)
            }));
            if new.is_empty() {
                continue;
            }
            match self.consumer.end_offsets(&new, Self::DEADLINE) {
                Ok(ends) => positions.extend(ends),
                Err(error) => {
                    failures.insert(pipeline, error.to_string());
                }
            }
        }
        loop {
            let assignment: Vec<_> = positions.iter().map(|(p, offset)| (p.clone(), Position::Offset(*offset))).collect();
            match self.consumer.assign(&assignment) {
                Ok(()) => self.positions = positions,
                // A topic that was deleted must not keep the others from being read.
                Err(error @ (BrokerError::UnknownTopic(_) | BrokerError::UnknownPartition { .. })) => {
                    let (BrokerError::UnknownTopic(topic) | BrokerError::UnknownPartition { topic, .. }) = &error else { continue };
                    let before = positions.len();
                    positions.retain(|p, _| *p.topic != **topic);
                    let concerned = topics.iter().find(|(_, t)| t[..] == topic[..]).map(|(pipeline, _)| pipeline.clone());
                    failures.extend(concerned.map(|pipeline| (pipeline, error.to_string())));
                    if positions.len() < before {
                        continue;
                    }
                }
                Err(error) => failures.extend(topics.into_keys().map(|pipeline| (pipeline, error.to_string()))),
            }
            return failures;
        }
    }
}
