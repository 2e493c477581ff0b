//! What survives a restart, clean or not, and from where stores are rebuilt.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use millstream::{
    Consumed, EmitStrategy, Error, InvalidTimestamp, KafkaStreams, Materialized, Processor, ProcessorContext, PunctuationType, Record,
    Schedule, State, StateRestoreListener, StoreType, StreamsBuilder, StreamsConfig, StrictBufferConfig, Suppressed, TimeWindows, Topology,
    query::*,
};
use millstream_broker::{
    EmbeddedBroker, Error as BrokerError, TopicPartition,
    embedded::{Faults, Operation},
};
use support::*;

/// How an application ends before it is started again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Clean,
    /// Its last commit fails: what came after the one before is done again.
    Crash,
}

/// An application that is fed one topic, `in`, and is ended and started again.
struct Application {
    broker: Arc<EmbeddedBroker>,
    directory: tempfile::TempDir,
    build: fn() -> Topology,
    fails: Arc<AtomicBool>,
    running: Option<KafkaStreams>,
    restored: Arc<Restored>,
    change: fn(&mut StreamsConfig),
}

/// How many records were replayed, by store.
#[derive(Default)]
struct Restored(Mutex<BTreeMap<String, u64>>);

impl StateRestoreListener for Restored {
    fn on_restore_end(&self, _: &TopicPartition, store: &str, total: u64) {
        *self.0.lock().unwrap().entry(store.into()).or_default() += total;
    }
}

impl Application {
    fn new(build: fn() -> Topology) -> Self {
        let fails = Arc::new(AtomicBool::new(false));
        let faulty = fails.clone();
        let faults = Faults::new(move |operation, _| match operation {
            Operation::Commit if faulty.load(SeqCst) => Err(BrokerError::Other("on purpose".into())),
            _ => Ok(()),
        });
        let broker = EmbeddedBroker::temporary_with(|options| options.faults = faults).unwrap();
        create(&*broker, &["in", "out"], 1);
        let directory = tempfile::tempdir().unwrap();
        Self { broker, directory, build, fails, running: None, restored: Arc::default(), change: |_| () }
    }

    fn start(&mut self) {
        self.restored = Arc::default();
        let restored: Arc<dyn StateRestoreListener> = self.restored.clone();
        let mut config = StreamsConfig { state_restore_listener: Some(restored), emit_interval_ms: 0, ..config("app", &self.directory) };
        (self.change)(&mut config);
        self.running = Some(start_and_wait((self.build)(), config, &self.broker));
    }

    /// Writes rows and waits until they are committed.
    fn feed(&self, rows: &[Row]) {
        produce(&*self.broker, "in", 0, rows);
        wait_consumed(&*self.broker, "app", &["in"]);
    }

    fn end(&mut self, end: End, lost: &[Row]) {
        let streams = self.running.take().unwrap();
        if end == End::Crash {
            self.fails.store(true, SeqCst);
            produce(&*self.broker, "in", 0, lost);
            assert_eq!(streams.wait_until_ended(SOON).unwrap(), State::Error);
            let _ = streams.close();
            self.fails.store(false, SeqCst);
        } else {
            streams.close().unwrap();
        }
    }

    fn out(&self) -> Vec<(String, String)> {
        read_texts(&*self.broker, "out")
    }

    fn restored(&self, store: &str) -> u64 {
        self.restored.0.lock().unwrap().get(store).copied().unwrap_or(0)
    }
}

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// Writes of each record its time and the task's, and of each stream-time punctuation its time.
struct Times;

impl Processor<String, String, String, String> for Times {
    fn init(&mut self, context: &mut ProcessorContext<'_, String, String>) -> Result<(), Error> {
        context.schedule(1_000, PunctuationType::StreamTime).map(drop)
    }

    fn process(&mut self, context: &mut ProcessorContext<'_, String, String>, record: Record<String, String>) -> Result<(), Error> {
        let text = format!("at {}, stream time {}", record.timestamp, context.stream_time());
        context.forward(record.with_value(text))
    }

    fn punctuate(&mut self, context: &mut ProcessorContext<'_, String, String>, _: &Schedule, now: i64) -> Result<(), Error> {
        context.forward(Record::new("punctuation".into(), format!("at {now}"), now))
    }
}

fn times() -> Topology {
    let builder = StreamsBuilder::new();
    let consumed = Consumed::new().timestamp_extractor(InvalidTimestamp::PartitionTime);
    builder.stream_with::<String, String>(&["in"], consumed).process(|| Times, &[]).to("out");
    builder.build().unwrap()
}

#[test]
fn partition_and_stream_time_survive_as_of_the_last_commit_and_punctuators_begin_anew() {
    for end in [End::Clean, End::Crash] {
        let mut app = Application::new(times);
        app.start();
        app.feed(&[row("a", "", 5_000)]);
        app.end(end, &[row("lost", "", -1)]);
        let before = app.out().len();
        app.start();
        app.feed(&[row("b", "", -1), row("c", "", 10)]);
        let mut expected = vec![("b", "at 5000, stream time 5000"), ("c", "at 10, stream time 5000")];
        if end == End::Crash {
            expected.insert(0, ("lost", "at 5000, stream time 5000"));
        }
        expected.insert(1, ("punctuation", "at 5000"));
        assert_eq!(app.out()[before..], texts(&expected), "{end:?}");
    }
}

fn tumbling() -> Topology {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(10_000);
    let store = Materialized::store("windows").retention_ms(86_400_000).store_type(StoreType::InMemory);
    let counted = builder.stream::<String, String>("in").group_by_key().windowed_by(windows).count_with::<i64>(store);
    counted.to_stream().map(|key, count| (key.key.clone(), format!("{}={count:?}", key.window.start))).to("out");
    builder.build().unwrap()
}

#[test]
fn the_time_that_windowed_operators_have_observed_does_not_survive() {
    for end in [End::Clean, End::Crash] {
        let mut app = Application::new(tumbling);
        app.start();
        app.feed(&[row("a", "", 1_000), row("a", "", 100_000), row("a", "", 2_000)]);
        assert_eq!(app.out(), texts(&[("a", "0=Some(1)"), ("a", "100000=Some(1)")]), "the third is late");
        app.end(end, &[row("lost", "", 1_500)]);
        let before = app.out().len();
        app.start();
        app.feed(&[row("a", "", 2_000)]);
        let mut expected = vec![("a", "0=Some(2)")];
        if end == End::Crash {
            // Before the crash it was late.
            expected.insert(0, ("lost", "0=Some(1)"));
        }
        assert_eq!(app.out()[before..], texts(&expected), "{end:?}");
    }
}

fn emitted_on_close() -> Topology {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(1_000);
    let store = Materialized::store("windows").retention_ms(86_400_000).store_type(StoreType::RocksDb);
    let stream = builder.stream::<String, String>("in").group_by_key().windowed_by(windows);
    let counted = stream.emit_strategy(EmitStrategy::OnWindowClose).count_with::<i64>(store);
    counted.to_stream().map(|key, count| (key.key.clone(), format!("{}={count:?}", key.window.start))).to("out");
    builder.build().unwrap()
}

#[test]
fn windows_that_were_emitted_on_close_are_not_emitted_again() {
    for end in [End::Clean, End::Crash] {
        let mut app = Application::new(emitted_on_close);
        app.start();
        app.feed(&[row("a", "", 0), row("a", "", 1_500)]);
        app.end(end, &[row("lost", "", 1_550)]);
        app.start();
        app.feed(&[row("a", "", 1_600), row("a", "", 2_500)]);
        let expected: &[_] = match end {
            End::Clean => &[("a", "0=Some(1)"), ("a", "1000=Some(2)")],
            // At least once: the changelog has the count of the record that comes again.
            End::Crash => &[("a", "0=Some(1)"), ("a", "1000=Some(2)"), ("lost", "1000=Some(2)")],
        };
        assert_eq!(app.out(), texts(expected), "{end:?}");
    }
}

fn suppressed() -> Topology {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(1_000);
    let store = Materialized::store("windows").store_type(StoreType::InMemory);
    let counted = builder.stream::<String, String>("in").group_by_key().windowed_by(windows).count_with::<i64>(store);
    let last = counted.suppress(Suppressed::until_window_closes(StrictBufferConfig::unbounded()).name("buffer"));
    last.to_stream().map(|key, count| (key.key.clone(), format!("{}={count:?}", key.window.start))).to("out");
    builder.build().unwrap()
}

#[test]
fn what_suppress_holds_back_survives_and_its_changelog_has_the_time_of_its_writing() {
    let before_all = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let mut app = Application::new(suppressed);
    app.start();
    app.feed(&[row("a", "", 0), row("a", "", 500)]);
    let changelog = read(&*app.broker, "app-buffer-store-changelog").into_iter().flatten().collect::<Vec<_>>();
    assert!(!changelog.is_empty() && changelog.iter().all(|record| record.timestamp >= before_all), "{changelog:?}");
    app.end(End::Clean, &[]);
    app.start();
    app.feed(&[row("b", "", 200)]);
    assert_eq!(app.out(), []);
    app.feed(&[row("b", "", 1_000)]);
    assert_eq!(app.out(), texts(&[("a", "0=Some(2)"), ("b", "0=Some(1)")]));
    assert!(app.restored("buffer-store") > 0);
}

fn two_stores() -> Topology {
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by_key();
    grouped.count_with::<i64>(Materialized::store("disk").store_type(StoreType::RocksDb));
    grouped.count_with::<i64>(Materialized::store("memory").store_type(StoreType::InMemory));
    builder.build().unwrap()
}

fn ten_keys(count: usize) -> Vec<Row> {
    (0..count).map(|i| row(format!("k{}", i % 10), "", i as i64)).collect()
}

fn stored(streams: &KafkaStreams, store: &str) -> BTreeMap<String, i64> {
    let request = StateQueryRequest::in_store(store).with_query(RangeQuery::<String, i64>::with_no_bounds());
    streams.query(&request, SOON).unwrap().into_rows().unwrap().into_iter().collect()
}

#[test]
fn only_what_local_state_does_not_have_is_restored() {
    let mut app = Application::new(two_stores);
    app.start();
    app.feed(&ten_keys(100));
    app.end(End::Clean, &[]);

    app.start();
    assert_eq!((app.restored("disk"), app.restored("memory")), (0, 100), "after a clean stop");
    app.end(End::Clean, &[]);

    // Another instance, with a directory of its own, goes on for a while.
    let elsewhere = std::mem::replace(&mut app.directory, tempfile::tempdir().unwrap());
    app.start();
    assert_eq!(app.restored("disk"), 100, "in an empty directory");
    app.feed(&ten_keys(50));
    app.end(End::Clean, &[]);
    app.directory = elsewhere;
    app.start();
    assert_eq!(app.restored("disk"), 50, "the changelog's tail");
    assert_eq!(stored(app.running.as_ref().unwrap(), "disk"), (0..10).map(|i| (format!("k{i}"), 15)).collect());
    assert_eq!(stored(app.running.as_ref().unwrap(), "memory"), (0..10).map(|i| (format!("k{i}"), 15)).collect());
    app.end(End::Clean, &[]);

    app.directory = tempfile::tempdir().unwrap();
    app.start();
    assert_eq!(app.restored("disk"), 150, "after the directory was deleted");
    assert_eq!(stored(app.running.as_ref().unwrap(), "disk"), (0..10).map(|i| (format!("k{i}"), 15)).collect());
}

#[test]
fn after_a_crash_local_state_is_what_is_committed() {
    let mut app = Application::new(two_stores);
    app.change = |config| config.guarantee = millstream::ProcessingGuarantee::ExactlyOnce;
    app.start();
    app.feed(&ten_keys(100));
    app.end(End::Crash, &ten_keys(30));
    // The lost records are there again, once; the changelog of the run that failed is not.
    app.start();
    wait_consumed(&*app.broker, "app", &["in"]);
    for store in ["disk", "memory"] {
        assert_eq!(stored(app.running.as_ref().unwrap(), store), (0..10).map(|i| (format!("k{i}"), 13)).collect(), "{store}");
    }
    assert_eq!((app.restored("disk"), app.restored("memory")), (0, 100));
}

fn reused_source() -> Topology {
    let config = millstream::TopologyConfig { optimization: millstream::Optimization::ALL, ..Default::default() };
    let builder = StreamsBuilder::with_config(config);
    let table =
        builder.table_with("in", Default::default(), Materialized::<String, String>::store("table").store_type(StoreType::InMemory));
    let grouped = table.group_by(|_, value| (value.clone(), value.clone()));
    grouped.count_with::<i64>(Materialized::store("groups").store_type(StoreType::InMemory)).to_stream().map_values(show).to("out");
    builder.build().unwrap()
}

fn show(count: &Option<i64>) -> String {
    format!("{count:?}")
}

#[test]
fn a_table_that_is_its_own_changelog_is_restored_up_to_what_is_committed() {
    let mut app = Application::new(reused_source);
    app.start();
    app.feed(&[row("a", "red", 1), row("b", "red", 2)]);
    app.end(End::Clean, &[]);
    // While nobody runs, a row moves from one group to another: with the future in the table its old value would be lost.
    produce(&*app.broker, "in", 0, &[row("a", "blue", 3)]);
    app.start();
    wait_until("both groups are right", || {
        stored(app.running.as_ref().unwrap(), "groups") == BTreeMap::from([("red".into(), 1), ("blue".into(), 1)])
    });
}
