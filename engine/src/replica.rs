//! An engine replica: one consumer, one producer and one worker for all the lanes that it was given.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use millstream::{
    OnError, StreamsConfig, Topology,
    embed::{Command, Fetched, Installation, Plan, TaskConfig, Worker, WorkerHandle, restore},
};
use millstream_broker::{
    Broker, Consumer, ConsumerOptions, FetchedBatch, Isolation, NewTopic, Position, Producer, ProducerOptions, StoredRecord,
    TopicPartition, Waker,
};
use millstream_proto::{lanes::Assignment, seldon::scheduler::Pipeline};

use crate::{
    EngineError, EngineOptions, Topics,
    compile::{PIPELINE, compile},
    progress::{DEADLINE, Offsets, Progress, Reading, fence, read},
    sink::Sink,
};

/// How long a poll waits while nothing comes and no commit is due.
const POLL: Duration = Duration::from_millis(500);
/// After so many commits the progress of idle lanes is written too, so that a restart does not read far back for them.
const COMMITS_UNTIL_IDLE: u32 = 120;
/// How long a request through an errors or join topic can matter, in milliseconds: their retention.
const RETENTION_MS: i64 = 24 * 60 * 60 * 1_000;

/// What the control task asks of the replica's thread.
pub(crate) enum Request {
    /// Run these lanes and no others. The answer names pipelines that cannot be run, with the reason.
    Apply(Box<Assignment>, tokio::sync::oneshot::Sender<HashMap<String, String>>),
    /// Commit and stop.
    Stop,
}

/// A pipeline of which this replica runs lanes.
struct Installed {
    uid: String,
    dataflow: u64,
    plan: Arc<Plan>,
    sources: Vec<Arc<str>>,
    /// Its lanes: partition, and the offsets before which records are known already, by topic.
    lanes: BTreeMap<i32, HashMap<Arc<str>, i64>>,
    /// Partitions with records since the last commit.
    dirty: BTreeSet<i32>,
}

pub(crate) struct Replica {
    broker: Arc<dyn Broker>,
    topics: Topics,
    requests: mpsc::Receiver<Request>,
    consumer: Box<dyn Consumer>,
    producer: Arc<dyn Producer>,
    progress: Option<Progress>,
    transactional_id: String,
    sink: Sink,
    worker: WorkerHandle,
    _worker: Worker,
    pipelines: BTreeMap<Arc<str>, Installed>,
    next_dataflow: u64,
    /// Up to where the consumer has read.
    read_to: HashMap<TopicPartition, i64>,
    /// The progress of the epoch that is closing.
    closing: Option<HashMap<i32, Offsets>>,
    last_commit: Instant,
    commits: u32,
    commit_interval: Duration,
}

impl Replica {
    pub fn new(options: &EngineOptions, broker: Arc<dyn Broker>, requests: mpsc::Receiver<Request>) -> Result<Self, EngineError> {
        let consumer = broker.consumer(ConsumerOptions { isolation: Isolation::ReadUncommitted, ..ConsumerOptions::default() })?;
        let producer = broker.producer(ProducerOptions::default())?;
        let sink = Sink::new(producer.clone(), consumer.waker());
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64);
        let worker = Worker::spawn(&format!("{}-worker", options.replica), clock, Box::new(sink.clone()))
            .map_err(|error| EngineError::System(format!("no thread for the worker: {error}")))?;
        Ok(Self {
            topics: Topics::new(&options.topic_prefix, &options.namespace),
            requests,
            consumer,
            producer,
            progress: None,
            transactional_id: options.replica.clone(),
            sink,
            worker: worker.handle(),
            _worker: worker,
            pipelines: BTreeMap::new(),
            next_dataflow: 0,
            read_to: HashMap::new(),
            closing: None,
            last_commit: Instant::now(),
            commits: 0,
            commit_interval: Duration::from_millis(options.commit_interval_ms),
            broker,
        })
    }

    pub fn waker(&self) -> Arc<dyn Waker> {
        self.consumer.waker()
    }

    /// Runs until it is told to stop.
    pub fn run(mut self) -> Result<(), EngineError> {
        loop {
            match self.requests.try_recv() {
                Ok(Request::Apply(assignment, reply)) => {
                    let failures = self.apply(&assignment)?;
                    let _ = reply.send(failures);
                }
                Ok(Request::Stop) | Err(mpsc::TryRecvError::Disconnected) => return self.commit_now(),
                Err(mpsc::TryRecvError::Empty) => {}
            }
            for batch in self.consumer.poll(self.poll_deadline())? {
                self.dispatch(batch)?;
            }
            self.sink.check()?;
            self.drop_failed()?;
            if self.is_dirty() && self.closing.is_none() && self.last_commit.elapsed() >= self.commit_interval {
                self.close()?;
            }
            if self.sink.take_closed().is_some() {
                self.commit()?;
            }
        }
    }

    fn is_dirty(&self) -> bool {
        self.pipelines.values().any(|pipeline| !pipeline.dirty.is_empty())
    }

    fn poll_deadline(&self) -> Duration {
        match self.is_dirty() && self.closing.is_none() {
            true => self.commit_interval.saturating_sub(self.last_commit.elapsed()),
            false => POLL,
        }
    }

    /// Hands each record to the lane of the pipeline that its header names. Each record is read once, whatever the number of pipelines.
    fn dispatch(&mut self, batch: FetchedBatch) -> Result<(), EngineError> {
        let FetchedBatch { from, records, next_offset } = batch;
        let mut parts: Vec<(Arc<str>, Vec<StoredRecord>)> = vec![];
        for stored in records {
            if stored.record.value.is_none() {
                continue;
            }
            for header in stored.record.headers.iter().filter(|header| &*header.name == PIPELINE) {
                let Some(name) = header.value.as_ref().and_then(|value| std::str::from_utf8(value).ok()) else { continue };
                let Some((name, pipeline)) = self.pipelines.get_key_value(name) else { continue };
                let known = pipeline.lanes.get(&from.partition).map(|lane| lane.get(&from.topic).copied().unwrap_or(0));
                if known.is_none_or(|known| stored.offset < known) || pipeline.plan.task_at(&from.topic, from.partition).is_none() {
                    continue;
                }
                match parts.iter_mut().find(|(pipeline, _)| pipeline == name) {
                    Some((_, part)) => part.push(stored.clone()),
                    None => parts.push((name.clone(), vec![stored.clone()])),
                }
            }
        }
        for (name, records) in parts {
            let Some(pipeline) = self.pipelines.get_mut(&name) else { continue };
            let Some(task) = pipeline.plan.task_at(&from.topic, from.partition) else { continue };
            pipeline.dirty.insert(from.partition);
            let batch = FetchedBatch { from: from.clone(), records, next_offset };
            send(&self.worker, Command::Feed(pipeline.dataflow, task, from.topic.clone(), Box::new(Fetched(batch))))?;
        }
        self.read_to.insert(from, next_offset);
        Ok(())
    }

    /// Runs these lanes and no others. Says which pipelines cannot be run, and why.
    fn apply(&mut self, assignment: &Assignment) -> Result<HashMap<String, String>, EngineError> {
        self.commit_now()?;
        self.settle();
        let mut failures = HashMap::new();
        let wanted: HashMap<&str, &millstream_proto::lanes::LaneSet> =
            assignment.lanes.iter().map(|lanes| (lanes.pipeline.as_str(), lanes)).collect();
        for name in self.pipelines.keys().cloned().collect::<Vec<_>>() {
            let keep: BTreeSet<i32> = match wanted.get(&*name) {
                Some(lanes) if lanes.uid == self.pipelines[&name].uid => lanes.partitions.iter().copied().collect(),
                _ => BTreeSet::new(),
            };
            self.give_up(&name, &keep)?;
        }
        if self.progress.is_none() {
            let topic = NewTopic::new(&*self.topics.progress(), assignment.partitions.max(1)).compacted();
            self.broker.admin().create_topics(&[topic], DEADLINE)?;
            self.progress = Some(Progress::open(&*self.broker, self.topics.progress(), &self.transactional_id)?);
        }
        // Fence first, then read.
        let former: BTreeSet<&String> =
            assignment.lanes.iter().flat_map(|lanes| &lanes.former_owners).filter(|id| !id.is_empty()).collect();
        for owner in former.into_iter().filter(|owner| **owner != self.transactional_id) {
            fence(&*self.broker, owner)?;
        }
        let unknown = assignment.lanes.iter().flat_map(|lanes| {
            let known = self.pipelines.get(lanes.pipeline.as_str()).map(|pipeline| &pipeline.lanes);
            lanes.partitions.iter().copied().filter(move |partition| known.is_none_or(|known| !known.contains_key(partition)))
        });
        let unknown: BTreeSet<i32> = unknown.collect();
        let committed = (!unknown.is_empty()).then(|| read(self.broker.clone(), self.topics.progress(), unknown)).transpose()?;
        let mut fresh = vec![];
        for lanes in &assignment.lanes {
            let Some(spec) = &lanes.spec else { continue };
            let name: Arc<str> = lanes.pipeline.as_str().into();
            if !self.pipelines.contains_key(&name) {
                match self.install(spec, &lanes.uid, assignment.partitions.max(1)) {
                    Ok(installed) => drop(self.pipelines.insert(name.clone(), installed)),
                    Err(error) => {
                        tracing::warn!(pipeline = &*name, %error, "pipeline cannot be run");
                        failures.insert(lanes.pipeline.clone(), error.to_string());
                        continue;
                    }
                }
            }
            let known = &self.pipelines[&name].lanes;
            fresh.extend(
                lanes.partitions.iter().filter(|partition| !known.contains_key(partition)).map(|&partition| (name.clone(), partition)),
            );
        }
        if let Some(committed) = committed {
            self.take_over(&fresh, &committed, &mut failures)?;
        }
        self.assign()?;
        Ok(failures)
    }

    /// Gives up the lanes of a pipeline but these; forgets the pipeline if none is left.
    fn give_up(&mut self, name: &Arc<str>, keep: &BTreeSet<i32>) -> Result<(), EngineError> {
        let Some(pipeline) = self.pipelines.get_mut(name) else { return Ok(()) };
        for partition in pipeline.lanes.keys().copied().filter(|partition| !keep.contains(partition)).collect::<Vec<_>>() {
            pipeline.lanes.remove(&partition);
            for part in &pipeline.plan.parts {
                let task = millstream::embed::TaskId { subtopology: part.id, partition };
                send(&self.worker, Command::RemoveTask(pipeline.dataflow, task))?;
            }
        }
        if pipeline.lanes.is_empty() {
            send(&self.worker, Command::Uninstall(pipeline.dataflow))?;
            self.pipelines.remove(name);
        }
        Ok(())
    }

    fn install(&mut self, spec: &Pipeline, uid: &str, partitions: i32) -> Result<Installed, EngineError> {
        let compiled = compile(spec, &self.topics)?;
        let topics: Vec<NewTopic> =
            compiled.topics.iter().map(|topic| NewTopic::new(&**topic, partitions).retention_ms(RETENTION_MS)).collect();
        self.broker.admin().create_topics(&topics, DEADLINE)?;
        let config = StreamsConfig {
            cache_max_bytes: 0,
            on_deserialization_error: OnError::Continue,
            on_processing_error: OnError::Continue,
            ..StreamsConfig::new(self.topics.application(&spec.name))
        };
        let plan = Arc::new(Plan::make(&compiled.topology, &config, &*self.broker)?);
        let dataflow = self.next_dataflow;
        self.next_dataflow += 1;
        self.send_installation(dataflow, Arc::new(compiled.topology), config.task_config(&plan))?;
        Ok(Installed { uid: uid.to_string(), dataflow, plan, sources: compiled.sources, lanes: BTreeMap::new(), dirty: BTreeSet::new() })
    }

    fn send_installation(&self, dataflow: u64, topology: Arc<Topology>, config: TaskConfig) -> Result<(), EngineError> {
        send(&self.worker, Command::Install(dataflow, Box::new(Installation { topology, config, rocks: None, global_copy: 0 })))
    }

    /// Starts lanes from their committed progress. A lane without any starts with the first request to its pipeline, since gateways may be
    /// told of a pipeline earlier, and otherwise with what comes from now on: topics of models and errors hold what is not its own.
    fn take_over(
        &mut self,
        fresh: &[(Arc<str>, i32)],
        committed: &Reading,
        failures: &mut HashMap<String, String>,
    ) -> Result<(), EngineError> {
        if fresh.is_empty() {
            return Ok(());
        }
        let committed = committed.recv().map_err(|_| EngineError::System("the thread that reads progress panicked".into()))??;
        let unknown: BTreeSet<TopicPartition> = fresh
            .iter()
            .flat_map(|(name, partition)| {
                self.pipelines[name].sources.iter().map(move |topic| TopicPartition::new(topic.clone(), *partition))
            })
            .collect();
        let ends = self.consumer.end_offsets(&unknown.into_iter().collect::<Vec<_>>(), DEADLINE)?;
        let mut starts: HashMap<i32, Offsets> = HashMap::new();
        for (name, partition) in fresh {
            let Some(pipeline) = self.pipelines.get_mut(name) else { continue };
            let own = self.topics.pipeline(name, "inputs");
            let start = |topic: &Arc<str>| {
                let known = committed.get(partition).and_then(|offsets| offsets.get(&(name.clone(), topic.clone())));
                let end = || ends.get(&TopicPartition::new(topic.clone(), *partition)).copied().unwrap_or(0);
                (topic.clone(), known.copied().unwrap_or_else(|| if *topic == own { 0 } else { end() }))
            };
            let lane: HashMap<Arc<str>, i64> = pipeline.sources.iter().map(start).collect();
            for part in pipeline.plan.parts.iter() {
                let task = millstream::embed::TaskId { subtopology: part.id, partition: *partition };
                send(&self.worker, Command::AddTask(pipeline.dataflow, task))?;
                if let Err(error) = restore(&*self.broker, &pipeline.plan, None, &self.worker, pipeline.dataflow, task, false) {
                    failures.insert(name.to_string(), error.to_string());
                }
                send(&self.worker, Command::StartTask(pipeline.dataflow, task, Default::default()))?;
            }
            let offsets = starts.entry(*partition).or_default();
            offsets.extend(lane.iter().map(|(topic, offset)| ((name.clone(), topic.clone()), *offset)));
            pipeline.lanes.insert(*partition, lane);
        }
        // From now on a successor finds where these lanes began.
        self.progress.as_ref().map_or(Ok(()), |progress| progress.commit(starts))
    }

    /// Reads what the lanes need, each partition from the first offset that one of them does not know.
    fn assign(&mut self) -> Result<(), EngineError> {
        let mut positions: HashMap<TopicPartition, i64> = HashMap::new();
        for pipeline in self.pipelines.values() {
            for (partition, lane) in &pipeline.lanes {
                for (topic, &known) in lane {
                    let position = positions.entry(TopicPartition::new(topic.clone(), *partition)).or_insert(known);
                    *position = known.min(*position);
                }
            }
        }
        let assigned: Vec<_> = positions.iter().map(|(partition, &offset)| (partition.clone(), Position::Offset(offset))).collect();
        self.read_to = positions;
        Ok(self.consumer.assign(&assigned)?)
    }

    /// Notes that running lanes know everything up to where the consumer is, so that it may go back for others.
    fn settle(&mut self) {
        for pipeline in self.pipelines.values_mut() {
            for (partition, lane) in &mut pipeline.lanes {
                for (topic, known) in lane {
                    let read = self.read_to.get(&TopicPartition::new(topic.clone(), *partition));
                    *known = read.copied().unwrap_or(*known).max(*known);
                }
            }
        }
    }

    /// Closes the open epoch with the progress of the lanes that took part in it.
    fn close(&mut self) -> Result<(), EngineError> {
        self.commits += 1;
        let all = self.commits.is_multiple_of(COMMITS_UNTIL_IDLE);
        let mut offsets: HashMap<i32, Offsets> = HashMap::new();
        for (name, pipeline) in &mut self.pipelines {
            let dirty = std::mem::take(&mut pipeline.dirty);
            for (&partition, lane) in pipeline.lanes.iter().filter(|(partition, _)| all || dirty.contains(partition)) {
                let progress = offsets.entry(partition).or_default();
                for (topic, &known) in lane {
                    let read = self.read_to.get(&TopicPartition::new(topic.clone(), partition)).copied().unwrap_or(known);
                    progress.insert((name.clone(), topic.clone()), read.max(known));
                }
            }
        }
        self.closing = Some(offsets);
        send(&self.worker, Command::Close)
    }

    /// Commits a complete epoch: outputs first, then progress.
    fn commit(&mut self) -> Result<(), EngineError> {
        self.producer.flush(DEADLINE)?;
        let offsets = self.closing.take().unwrap_or_default();
        if let Some(progress) = &self.progress {
            progress.commit(offsets)?;
        }
        self.last_commit = Instant::now();
        send(&self.worker, Command::Applied)
    }

    /// Closes what is open and waits until it is committed.
    fn commit_now(&mut self) -> Result<(), EngineError> {
        let until = Instant::now() + DEADLINE;
        while self.is_dirty() || self.closing.is_some() {
            if self.closing.is_none() {
                self.close()?;
            }
            self.sink.check()?;
            match self.sink.take_closed() {
                Some(_) => self.commit()?,
                None if Instant::now() > until => return Err(EngineError::System("the worker did not finish an epoch in time".into())),
                None => std::thread::sleep(Duration::from_micros(200)),
            }
        }
        Ok(())
    }

    /// A pipeline with a failed task is forgotten here: its callers get their deadline's error, the others go on.
    fn drop_failed(&mut self) -> Result<(), EngineError> {
        for (dataflow, reason) in self.sink.take_failed() {
            let Some(name) = self.pipelines.iter().find(|(_, pipeline)| pipeline.dataflow == dataflow).map(|(name, _)| name.clone()) else {
                continue;
            };
            tracing::error!(pipeline = &*name, reason, "pipeline failed and was stopped on this replica");
            self.give_up(&name, &BTreeSet::new())?;
        }
        Ok(())
    }
}

fn send(worker: &WorkerHandle, command: Command) -> Result<(), EngineError> {
    worker.send(command).map_err(|error| EngineError::System(error.to_string()))
}
