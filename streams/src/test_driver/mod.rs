//! The test driver: a topology without a broker, record by record (KIP-247).

mod topics;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    sync::Arc,
};

use millstream_topology::{
    Data, Error, ErrorKind, Output, RawRecord, Serde, Task, TaskConfig, TaskContext, TaskEnv, Topology,
    store::{
        AnyStore, StoreSet,
        bytes::{RocksState, StateOptions},
    },
};
pub use topics::{TestInputTopic, TestOutputTopic, TestRecord};

use crate::ProcessingGuarantee;
use crate::query::{Query, QueryFailure, StateQueryError, StateQueryRequest, StateQueryResult, answer};

/// What a test driver is told.
///
/// ```
/// use millstream::{OnError, TestDriverConfig};
///
/// let mut config = TestDriverConfig { start_ms: 1_700_000_000_000, ..TestDriverConfig::default() };
/// config.task.on_processing_error = OnError::Continue;
/// config.task.cache_max_bytes = 1_000_000;
/// ```
#[derive(Clone, Debug)]
pub struct TestDriverConfig {
    /// What the task is told of the application. The record cache is off unless set here.
    pub task: TaskConfig,
    /// The clock at the start, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Whether stores that are to be on RocksDB are; otherwise all are in memory.
    pub rocksdb: bool,
    /// With exactly-once, only what a commit has written shows. As in the JVM's driver, which commits after each record that is processed, the
    /// dead letters of records that are dropped unread do not.
    pub guarantee: ProcessingGuarantee,
}

impl Default for TestDriverConfig {
    fn default() -> Self {
        let task = TaskConfig { cache_max_bytes: 0, emit_interval_ms: 0, ..TaskConfig::new("test") };
        Self { task, start_ms: 0, rocksdb: false, guarantee: ProcessingGuarantee::default() }
    }
}

/// Runs a topology without a broker, as one task with one partition per topic.
///
/// **Law.** Each input is processed to the end, with all that follows from it through topics that the topology itself reads, before the
/// next one. A commit follows every single record.
///
/// ```
/// use millstream::{StreamsBuilder, TopologyTestDriver};
///
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, i64>("in").map_values(|n| n + 1).to("out");
/// let driver = TopologyTestDriver::new(&builder.build().unwrap(), Default::default()).unwrap();
///
/// driver.input_topic::<String, i64>("in").pipe("a".to_string(), 1, 100).unwrap();
/// let out = driver.output_topic::<String, i64>("out").read_record().unwrap().unwrap();
/// assert_eq!((out.key.as_str(), out.value, out.timestamp), ("a", 2, 100));
/// ```
#[derive(Clone)]
pub struct TopologyTestDriver(Rc<RefCell<Driver>>);

struct Driver {
    task: Task,
    global: Option<Task>,
    sources: BTreeSet<Arc<str>>,
    globals: BTreeSet<Arc<str>>,
    matches_patterns: bool,
    offsets: BTreeMap<Arc<str>, i64>,
    outputs: BTreeMap<Arc<str>, VecDeque<RawRecord>>,
    clock: i64,
    guarantee: ProcessingGuarantee,
    _directory: Option<tempfile::TempDir>,
}

impl TopologyTestDriver {
    /// Starts a topology. Fails if a store cannot be made, or a node's `init` fails.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("orders").to("copy");
    /// let on_disk = TestDriverConfig { rocksdb: true, ..TestDriverConfig::default() };
    /// let driver = TopologyTestDriver::new(&builder.build()?, on_disk)?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new(topology: &Topology, config: TestDriverConfig) -> Result<Self, Error> {
        let io = |error: std::io::Error| Error::new(ErrorKind::Streams, format!("no temporary directory for stores: {error}"));
        let directory = config.rocksdb.then(tempfile::tempdir).transpose().map_err(io)?;
        let rocks = directory.as_ref().map(|directory| RocksState::open(directory.path(), StateOptions::default())).transpose()?;
        let mut env =
            TaskEnv { config: config.task, rocks, global_stores: StoreSet::default(), wall_clock: config.start_ms, global_copy: 0 };
        let mut global = Task::new_global(topology, &env)?;
        if let Some(global) = &mut global {
            env.global_stores = global.stores().clone();
            global.init()?;
        }
        let mut task = Task::new_whole(topology, &env)?;
        task.init()?;
        let mut driver = Driver {
            sources: task.topics().cloned().collect(),
            globals: topology.global_topics().clone(),
            matches_patterns: !topology.patterns().is_empty(),
            task,
            global,
            offsets: BTreeMap::new(),
            outputs: BTreeMap::new(),
            clock: config.start_ms,
            guarantee: config.guarantee,
            _directory: directory,
        };
        driver.commit()?;
        Ok(Self(Rc::new(RefCell::new(driver))))
    }

    /// An input topic with the serdes of the types.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").to("copy");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// driver.input_topic::<String, i64>("orders").pipe("a".to_string(), 50i64, 0)?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn input_topic<K: millstream_topology::DefaultSerde, V: millstream_topology::DefaultSerde>(
        &self,
        topic: &str,
    ) -> TestInputTopic<K, V> {
        self.input_topic_with(topic, K::default_serde(), V::default_serde())
    }

    /// An input topic.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").to("copy");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// let orders = driver.input_topic_with::<String, i64>("orders", String::default_serde(), i64::default_serde());
    /// orders.pipe("a".to_string(), 50i64, 0)?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn input_topic_with<K: Data, V: Data>(
        &self,
        topic: &str,
        key: Arc<dyn Serde<K::Present>>,
        value: Arc<dyn Serde<V::Present>>,
    ) -> TestInputTopic<K, V> {
        TestInputTopic { driver: self.clone(), topic: topic.into(), key, value, time: Rc::default(), auto_advance: 0 }
    }

    /// An output topic with the serdes of the types.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").to("copy");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.output_topic::<String, i64>("copy").read_values()?, [50]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn output_topic<K: millstream_topology::DefaultSerde, V: millstream_topology::DefaultSerde>(
        &self,
        topic: &str,
    ) -> TestOutputTopic<K, V> {
        self.output_topic_with(topic, K::default_serde(), V::default_serde())
    }

    /// An output topic.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").to("copy");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// let copies = driver.output_topic_with::<String, i64>("copy", String::default_serde(), i64::default_serde());
    /// assert_eq!(copies.read_values()?, [50]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn output_topic_with<K: Data, V: Data>(
        &self,
        topic: &str,
        key: Arc<dyn Serde<K::Present>>,
        value: Arc<dyn Serde<V::Present>>,
    ) -> TestOutputTopic<K, V> {
        TestOutputTopic { driver: self.clone(), topic: topic.into(), key, value }
    }

    /// Pipes a record in bytes.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").to("copy");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// let unreadable = RawRecord { key: Some("a".into()), value: Some("no number".into()), ..RawRecord::default() };
    /// assert_eq!(driver.pipe_raw("orders", unreadable).unwrap_err().kind(), ErrorKind::Serialization);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn pipe_raw(&self, topic: &str, record: RawRecord) -> Result<(), Error> {
        self.0.borrow_mut().pipe(topic, record)
    }

    /// The topics that were written to, those of changelogs and repartitions included, also if nothing of them is left.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").group_by_key().count_with(Materialized::<_, i64>::store("counts")).to_stream().to("out");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.produced_topic_names().iter().map(|topic| &**topic).collect::<Vec<_>>(), ["out", "test-counts-changelog"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn produced_topic_names(&self) -> BTreeSet<Arc<str>> {
        self.0.borrow().outputs.keys().cloned().collect()
    }

    /// Takes all records that were written, by topic: also those of changelogs and repartition topics.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").group_by_key().count_with(Materialized::<_, i64>::store("counts")).to_stream().to("out");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// let written = driver.drain();
    /// assert_eq!(written["test-counts-changelog"][0].key.as_deref(), Some(&b"a"[..]));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn drain(&self) -> BTreeMap<Arc<str>, Vec<RawRecord>> {
        let mut driver = self.0.borrow_mut();
        let left = driver.outputs.iter_mut().filter(|(_, records)| !records.is_empty());
        left.map(|(topic, records)| (topic.clone(), records.drain(..).collect())).collect()
    }

    /// Moves the clock and calls the punctuators that are due.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").to("copy");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// driver.advance_wall_clock_ms(60_000)?; // calls the punctuators that are due
    /// # Ok::<(), Error>(())
    /// ```
    pub fn advance_wall_clock_ms(&self, by: i64) -> Result<(), Error> {
        let mut driver = self.0.borrow_mut();
        driver.clock += by;
        let clock = driver.clock;
        driver.task.set_wall_clock(clock);
        driver.task.punctuate_wall_clock()?;
        driver.commit()?;
        driver.drain_queues()
    }

    /// How many records were dropped.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").group_by_key().count_with(Materialized::<_, i64>::store("counts")).to_stream().to("out");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// driver.input_topic::<Option<String>, i64>("orders").pipe(None, 50, 0).unwrap_err(); // the stream has no null keys
    /// assert_eq!(driver.dropped_records(), 0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn dropped_records(&self) -> u64 {
        let driver = self.0.borrow();
        driver.task.dropped_records() + driver.global.as_ref().map_or(0, Task::dropped_records)
    }

    /// Asks a store as [`KafkaStreams::query`](crate::KafkaStreams::query) does; there is one partition.
    ///
    /// # Errors
    /// There is no such store.
    pub fn query<Q: Query>(&self, request: &StateQueryRequest<Q>) -> Result<StateQueryResult<Q::Result>, StateQueryError> {
        let driver = &mut *self.0.borrow_mut();
        let read = driver.offsets.iter().filter(|(topic, _)| driver.sources.contains(*topic));
        read.for_each(|(topic, next)| driver.task.set_position(topic, *next));
        let has = |task: &&Task| task.stores().get(request.store()).is_some();
        if let Some(global) = driver.global.as_ref().filter(has) {
            return Ok(StateQueryResult { global_result: Some(answer(global, request)), ..StateQueryResult::default() });
        }
        if !has(&&driver.task) {
            let names: Vec<_> = driver.task.stores().iter().map(|store| store.name().to_string()).collect();
            return Err(StateQueryError::UnknownStateStore(request.store().into(), names.join(", ")));
        }
        let asked = |partition: &i32| request.partitions.as_ref().is_none_or(|partitions| partitions.contains(partition));
        let mut result = StateQueryResult::default();
        for partition in request.partitions.iter().flatten().copied().chain([0]).filter(asked) {
            let answered = if partition == 0 { answer(&driver.task, request) } else { Err(QueryFailure::DoesNotExist(partition)) };
            result.partition_results.insert(partition, answered);
        }
        Ok(result)
    }

    /// A store by name and type, a [`KeyValueStore`](millstream_topology::store::KeyValueStore) for example.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").group_by_key().count_with(Materialized::<_, i64>::store("counts")).to_stream().to("out");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// let counts: store::TimestampedKeyValueStore<String, i64> = driver.store("counts").expect("it is there");
    /// assert_eq!(counts.get(&"a".to_string())?.map(|row| row.value), Some(1));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn store<S: Clone + 'static>(&self, name: &str) -> Option<S> {
        self.any_store(name)?.typed()
    }

    /// Lends the task's context, with which a test writes stores itself; a commit follows.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").group_by_key().reduce_with(|a, b| a + b, Materialized::store("sums")).to_stream().to("out");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// let sums: store::TimestampedKeyValueStore<String, i64> = driver.store("sums").expect("it is there");
    /// driver.with_context(|context| sums.put(context, &"a".into(), Some((&100, 0))))?;
    /// driver.input_topic::<String, i64>("orders").pipe("a".into(), 5, 1)?;
    /// assert_eq!(driver.output_topic::<String, i64>("out").read_values()?, [105]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn with_context<R>(&self, act: impl FnOnce(&mut TaskContext) -> Result<R, Error>) -> Result<R, Error> {
        let mut driver = self.0.borrow_mut();
        let done = act(driver.task.context())?;
        driver.commit()?;
        Ok(done)
    }

    /// A store by name.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").group_by_key().count_with(Materialized::<_, i64>::store("counts")).to_stream().to("out");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// assert!(driver.any_store("counts").is_some() && driver.any_store("sums").is_none());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn any_store(&self, name: &str) -> Option<Rc<dyn AnyStore>> {
        self.all_stores().into_iter().find(|store| &**store.name() == name)
    }

    /// All stores.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").group_by_key().count_with(Materialized::<_, i64>::store("counts")).to_stream().to("out");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// assert_eq!(driver.all_stores().len(), 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn all_stores(&self) -> Vec<Rc<dyn AnyStore>> {
        let driver = self.0.borrow();
        let globals = driver.global.iter().flat_map(|global| global.stores().iter().cloned().collect::<Vec<_>>());
        driver.task.stores().iter().cloned().chain(globals).collect()
    }

    /// Closes the nodes.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # builder.stream::<String, i64>("orders").group_by_key().count_with(Materialized::<_, i64>::store("counts")).to_stream().to("out");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// driver.close()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn close(&self) -> Result<(), Error> {
        self.0.borrow_mut().task.close()
    }

    fn queue_len(&self, topic: &str) -> usize {
        self.0.borrow().outputs.get(topic).map_or(0, VecDeque::len)
    }

    fn take_output(&self, topic: &str) -> Option<RawRecord> {
        self.0.borrow_mut().outputs.get_mut(topic)?.pop_front()
    }
}

impl Driver {
    fn pipe(&mut self, topic: &str, record: RawRecord) -> Result<(), Error> {
        if !self.sources.contains(topic) && !self.globals.contains(topic) && !self.task.reads(topic) {
            let known: Vec<_> = self.sources.iter().chain(&self.globals).map(|topic| &**topic).collect();
            let text = format!("the topology does not read topic {topic}: it reads {}", known.join(", "));
            return Err(Error::new(ErrorKind::IllegalArgument, text));
        }
        if record.timestamp < 0 {
            let text = format!("{topic}: timestamp {} is negative: a record's time is not before 1970", record.timestamp);
            return Err(Error::new(ErrorKind::IllegalArgument, text));
        }
        self.enqueue(topic, record)?;
        self.drain_queues()
    }

    fn enqueue(&mut self, topic: &str, record: RawRecord) -> Result<(), Error> {
        let offset = self.offsets.entry(topic.into()).or_insert(0);
        let at = *offset;
        *offset += 1;
        if self.sources.contains(topic) || self.matches_patterns && self.task.reads(topic) {
            self.task.push(topic, at, record)?;
        } else if let Some(global) = self.global.as_mut().filter(|_| self.globals.contains(topic)) {
            global.push(topic, at, record)?;
            while global.process()? {}
            global.flush()?;
            commit_stores(global)?;
        }
        Ok(())
    }

    fn drain_queues(&mut self) -> Result<(), Error> {
        while self.task.process()? {
            self.commit()?;
        }
        // Records that were dropped before they could be processed may have left something for the dead-letter topic.
        if self.guarantee == ProcessingGuarantee::ExactlyOnce {
            while self.task.take_outputs().is_some() {}
        }
        self.collect()
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.task.flush()?;
        commit_stores(&self.task)?;
        self.collect()
    }

    fn collect(&mut self) -> Result<(), Error> {
        while let Some(outputs) = self.task.take_outputs() {
            for Output { topic, record, .. } in outputs {
                // Headers stop being shared between what was written and what is read again.
                let again = RawRecord { headers: record.headers.copied(), ..record.clone() };
                self.outputs.entry(topic.clone()).or_default().push_back(record);
                self.enqueue(&topic, again)?;
            }
        }
        Ok(())
    }
}

fn commit_stores(task: &Task) -> Result<(), Error> {
    for store in task.stores().iter() {
        if let Some(rocks) = store.rocks() {
            rocks.commit(vec![])?;
        }
    }
    Ok(())
}
