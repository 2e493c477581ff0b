//! The thread that reads the models' input topics and commits what is answered.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use millstream_broker::{
    Broker, CommittedOffset, Consumer, ConsumerOptions, Error as BrokerError, FetchedBatch, Offsets, Position, TopicPartition, Waker,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    progress::Progress,
    work::{Model, Work},
};
use crate::Error;

pub(crate) enum Command {
    /// Reads the partitions of this topic for the model, from where the group got to.
    Add(Arc<Model>, Vec<TopicPartition>, oneshot::Sender<Result<(), BrokerError>>),
    /// Reads this topic no more. What has been read is still answered.
    Remove(Arc<str>, oneshot::Sender<Result<(), BrokerError>>),
    /// Ends when all that has been read is answered and committed, or soon.
    Stop,
}

/// The only one who talks to the consumer.
pub(crate) struct Reader {
    commands: mpsc::SyncSender<Command>,
    waker: Arc<dyn Waker>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Reader {
    pub fn start(broker: &dyn Broker, group: &str, commit_interval: Duration, max_queued: usize) -> Result<Self, Error> {
        let consumer = broker.consumer(ConsumerOptions::group(group))?;
        let waker = consumer.waker();
        let (commands, receiver) = mpsc::sync_channel(1_024);
        let work = Loop {
            consumer,
            waker: waker.clone(),
            relieved: Arc::new(AtomicBool::new(false)),
            runtime: tokio::runtime::Handle::current(),
            topics: HashMap::new(),
            leaving: HashMap::new(),
            commit_interval,
            max_queued,
        };
        let thread = std::thread::Builder::new().name("gateway-models".into()).spawn(move || work.run(&receiver)).map_err(Error::Thread)?;
        Ok(Self { commands, waker, thread: Mutex::new(Some(thread)) })
    }

    pub async fn ask(&self, command: impl FnOnce(oneshot::Sender<Result<(), BrokerError>>) -> Command) -> Result<(), BrokerError> {
        let (done, outcome) = oneshot::channel();
        let ended = || BrokerError::State("the thread that reads requests has ended".into());
        self.commands.try_send(command(done)).map_err(|_| ended())?;
        self.waker.wake();
        outcome.await.map_err(|_| ended())?
    }

    pub fn stop(&self) {
        let _ended = self.commands.try_send(Command::Stop);
        self.waker.wake();
        if let Some(thread) = self.thread.lock().take() {
            let _panicked = thread.join();
        }
    }
}

struct Topic {
    model: Arc<Model>,
    partitions: HashMap<i32, Arc<Progress>>,
}

/// Law: a partition's committed offset never passes a record that is not answered.
struct Loop {
    consumer: Box<dyn Consumer>,
    waker: Arc<dyn Waker>,
    /// A queue of which the topic may be paused has become short.
    relieved: Arc<AtomicBool>,
    runtime: tokio::runtime::Handle,
    topics: HashMap<Arc<str>, Topic>,
    /// Read no more, but not all answered and committed.
    leaving: HashMap<TopicPartition, Arc<Progress>>,
    commit_interval: Duration,
    max_queued: usize,
}

impl Loop {
    const DEADLINE: Duration = Duration::from_secs(10);
    const GRACE: Duration = Duration::from_secs(5);

    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        let mut pause = Duration::ZERO;
        let mut commit_at = Instant::now() + self.commit_interval;
        loop {
            loop {
                match commands.try_recv() {
                    Ok(Command::Add(model, partitions, done)) => {
                        let _gone = done.send(self.add(model, partitions));
                    }
                    Ok(Command::Remove(topic, done)) => {
                        let _gone = done.send(self.remove(&topic));
                    }
                    Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return self.finish(),
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            if self.relieved.swap(false, Ordering::SeqCst)
                && let Err(error) = self.resume()
            {
                tracing::warn!(%error, "cannot resume reading requests");
            }
            let now = Instant::now();
            if now >= commit_at {
                self.commit();
                commit_at = now + self.commit_interval;
            }
            // Without anything to commit only a wake-up or a record ends the wait.
            let patience = if self.committable().is_empty() && self.all_idle() { Duration::from_secs(5) } else { commit_at - now };
            match self.consumer.poll(patience) {
                Ok(batches) => {
                    pause = Duration::ZERO;
                    batches.into_iter().for_each(|batch| self.take(batch));
                    if let Err(error) = self.pause_long() {
                        tracing::warn!(%error, "cannot pause reading requests");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read requests; trying again");
                    pause = (pause * 2).clamp(Duration::from_millis(10), Duration::from_millis(500));
                    std::thread::sleep(pause);
                }
            }
        }
    }

    fn take(&mut self, batch: FetchedBatch) {
        let Some(topic) = self.topics.get(&batch.from.topic) else { return };
        let Some(progress) = topic.partitions.get(&batch.from.partition) else { return };
        progress.begin(batch.records.iter().map(|r| r.offset), batch.next_offset);
        for record in batch.records {
            let (key, work) = (record.record.key.clone(), Work { record, partition: batch.from.partition, progress: progress.clone() });
            if let Some(first) = topic.model.queue.push(key, work) {
                let (relieved, waker, low) = (self.relieved.clone(), self.waker.clone(), self.max_queued / 2);
                self.runtime.spawn(topic.model.clone().run(first, move |model| {
                    if model.paused.load(Ordering::SeqCst) && model.queue.queued() <= low && !relieved.swap(true, Ordering::SeqCst) {
                        waker.wake();
                    }
                }));
            }
        }
    }

    fn add(&mut self, model: Arc<Model>, partitions: Vec<TopicPartition>) -> Result<(), BrokerError> {
        let Some(name) = partitions.first().map(|p| p.topic.clone()) else { return Ok(()) };
        if self.topics.contains_key(&name) {
            return Ok(());
        }
        self.commit();
        let committed = self.consumer.committed(&partitions, Self::DEADLINE)?;
        let progress = |p: &TopicPartition| (p.partition, Arc::new(Progress::new(committed.get(p).map(|c| c.offset))));
        let topic = Topic { model, partitions: partitions.iter().map(progress).collect() };
        partitions.iter().for_each(|p| drop(self.leaving.remove(p)));
        self.topics.insert(name.clone(), topic);
        self.assign().inspect_err(|_| drop(self.topics.remove(&name)))?;
        if self.topics.contains_key(&name) { Ok(()) } else { Err(BrokerError::UnknownTopic(name.to_string())) }
    }

    fn remove(&mut self, topic: &Arc<str>) -> Result<(), BrokerError> {
        let Some(gone) = self.topics.remove(topic) else { return Ok(()) };
        self.leaving.extend(
            gone.partitions.into_iter().map(|(partition, progress)| (TopicPartition { topic: topic.clone(), partition }, progress)),
        );
        self.assign()
    }

    fn assign(&mut self) -> Result<(), BrokerError> {
        let all = self.topics.iter().flat_map(|(topic, t)| t.partitions.iter().map(move |(p, progress)| (topic, *p, progress)));
        let positions: Vec<_> = all
            .map(|(topic, partition, progress)| {
                let position = progress.next().map_or(Position::Beginning, Position::Offset);
                (TopicPartition { topic: topic.clone(), partition }, position)
            })
            .collect();
        if let Err(error) = self.consumer.assign(&positions) {
            // A topic that was deleted must not keep the others from being read.
            let (BrokerError::UnknownTopic(topic) | BrokerError::UnknownPartition { topic, .. }) = &error else { return Err(error) };
            if self.topics.remove(topic.as_str()).is_none() {
                return Err(error);
            }
            tracing::warn!(topic, "the topic is gone; its model is not fed any more");
            return self.assign();
        }
        // An assignment forgets what was paused.
        let paused: Vec<_> =
            self.topics.iter().filter(|(_, t)| t.model.paused.load(Ordering::SeqCst)).flat_map(|(name, t)| partitions(name, t)).collect();
        if paused.is_empty() { Ok(()) } else { self.consumer.pause(&paused) }
    }

    fn pause_long(&mut self) -> Result<(), BrokerError> {
        for (name, topic) in &self.topics {
            let Model { queue, paused, .. } = &*topic.model;
            if !paused.load(Ordering::SeqCst) && queue.queued() > self.max_queued {
                self.consumer.pause(&partitions(name, topic))?;
                paused.store(true, Ordering::SeqCst);
                // Its last work may have ended before that was said.
                if queue.queued() <= self.max_queued / 2 {
                    self.relieved.store(true, Ordering::SeqCst);
                }
            }
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), BrokerError> {
        for (name, topic) in &self.topics {
            let Model { queue, paused, .. } = &*topic.model;
            if paused.load(Ordering::SeqCst) && queue.queued() <= self.max_queued / 2 {
                self.consumer.resume(&partitions(name, topic))?;
                paused.store(false, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    fn progress(&self) -> impl Iterator<Item = (TopicPartition, &Arc<Progress>)> {
        let read = self.topics.iter().flat_map(|(topic, t)| {
            t.partitions.iter().map(|(p, progress)| (TopicPartition { topic: topic.clone(), partition: *p }, progress))
        });
        read.chain(self.leaving.iter().map(|(p, progress)| (p.clone(), progress)))
    }

    fn all_idle(&self) -> bool {
        self.progress().all(|(_, progress)| progress.idle())
    }

    fn committable(&self) -> Offsets {
        let offset = |(p, progress): (TopicPartition, &Arc<Progress>)| {
            progress.committable().map(|offset| (p, CommittedOffset { offset, metadata: String::new() }))
        };
        self.progress().filter_map(offset).collect()
    }

    fn commit(&mut self) {
        let offsets = self.committable();
        if !offsets.is_empty() {
            match self.consumer.commit(&offsets, Self::DEADLINE) {
                Ok(()) => {
                    for (p, progress) in self.progress() {
                        if let Some(committed) = offsets.get(&p) {
                            progress.committed(committed.offset);
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot commit offsets; trying again"),
            }
        }
        self.leaving.retain(|_, progress| !progress.idle() || progress.committable().is_some());
    }

    fn finish(mut self) {
        let until = Instant::now() + Self::GRACE;
        while !self.all_idle() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.commit();
    }
}

fn partitions(topic: &Arc<str>, state: &Topic) -> Vec<TopicPartition> {
    state.partitions.keys().map(|partition| TopicPartition { topic: topic.clone(), partition: *partition }).collect()
}
