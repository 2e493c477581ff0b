//! What the stores of windowed tables answer, and that they come back from their changelogs.
#![allow(clippy::unwrap_used)]

use millstream::{
    Compatibility, EmitStrategy, Error, Materialized, RawRecord, SessionWindows, SlidingWindows, StoreType, StreamsBuilder,
    StrictBufferConfig, Suppressed, TestDriverConfig, TimeWindows, Topology, TopologyTestDriver, ValueAndTimestamp, Windowed,
};
use millstream_topology::store::{SessionStore, TimestampedWindowStore};

type Windows = TimestampedWindowStore<String, i64>;
type Sessions = SessionStore<String, i64>;

fn rocksdb(rocksdb: bool) -> TestDriverConfig {
    TestDriverConfig { rocksdb, ..TestDriverConfig::default() }
}

fn started(topology: &Topology, on_disk: bool, records: &[(&str, i64)]) -> TopologyTestDriver {
    let driver = TopologyTestDriver::new(topology, rocksdb(on_disk)).unwrap();
    feed(&driver, records);
    driver
}

fn feed(driver: &TopologyTestDriver, records: &[(&str, i64)]) {
    let input = driver.input_topic::<String, String>("in");
    records.iter().for_each(|(key, time)| input.pipe(key.to_string(), "v".into(), *time).unwrap());
}

fn hopping(store: StoreType) -> Topology {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_and_grace(10, 50).advance_by(5);
    let materialized = Materialized::<String, i64>::store("counts").store_type(store);
    builder.stream::<String, String>("in").group_by_key().windowed_by(windows).count_with(materialized).to_stream().to("out");
    builder.build().unwrap()
}

fn sessions(store: StoreType) -> Topology {
    let builder = StreamsBuilder::new();
    let windows = SessionWindows::of_inactivity_gap_and_grace(5, 50);
    let materialized = Materialized::<String, i64>::store("counts").store_type(store);
    builder.stream::<String, String>("in").group_by_key().windowed_by(windows).count_with(materialized).to_stream().to("out");
    builder.build().unwrap()
}

/// A driver whose stores hold what the other one has written to its changelogs.
fn restored(topology: &Topology, on_disk: bool, from: &TopologyTestDriver) -> TopologyTestDriver {
    let driver = TopologyTestDriver::new(topology, rocksdb(on_disk)).unwrap();
    for (topic, records) in from.drain() {
        let Some(store) = topic.strip_prefix("test-").and_then(|topic| topic.strip_suffix("-changelog")) else { continue };
        let store = driver.any_store(store).unwrap();
        records.into_iter().for_each(|record: RawRecord| store.restore(record).unwrap());
    }
    driver
}

fn starts<R>(rows: impl Iterator<Item = Result<(i64, R), Error>>) -> Vec<i64> {
    rows.map(|row| row.unwrap().0).collect()
}

fn keys<R>(rows: impl Iterator<Item = Result<(Windowed<String>, R), Error>>) -> Vec<(String, i64, i64)> {
    rows.map(|row| row.unwrap().0).map(|key| (key.key, key.window.start, key.window.end)).collect()
}

const KINDS: [(StoreType, bool); 2] = [(StoreType::InMemory, false), (StoreType::RocksDb, true)];

#[test]
fn windows_are_found_by_key_and_by_time_in_both_directions() {
    for (store, on_disk) in KINDS {
        let driver = started(&hopping(store), on_disk, &[("a", 7), ("b", 7), ("a", 12), ("aa", 12)]);
        let store: Windows = driver.store("counts").unwrap();
        let a = "a".to_string();
        assert_eq!(store.fetch(&a, 5).unwrap(), Some(ValueAndTimestamp { value: 2, timestamp: 12 }));
        assert_eq!(store.fetch(&a, 6).unwrap(), None);
        assert_eq!(starts(store.fetch_range(&a, 0, 5).unwrap()), [0, 5]);
        assert_eq!(starts(store.backward_fetch_range(&a, 5, i64::MAX).unwrap()), [10, 5]);
        let mut all = keys(store.all().unwrap());
        let backward: Vec<_> = keys(store.backward_all().unwrap()).into_iter().rev().collect();
        assert_eq!(all, backward);
        all.sort();
        let row = |key: &str, start| (key.to_string(), start, start + 10);
        assert_eq!(all, [row("a", 0), row("a", 5), row("a", 10), row("aa", 5), row("aa", 10), row("b", 0), row("b", 5)]);
        let mut some = keys(store.fetch_keys(Some(&"aa".into()), None, 0, 5).unwrap());
        some.sort();
        assert_eq!(some, [row("aa", 5), row("b", 0), row("b", 5)]);
        assert_eq!(keys(store.fetch_all(10, 10).unwrap()), [row("a", 10), row("aa", 10)]);
    }
}

#[test]
fn sessions_are_found_by_key_and_by_time() {
    for (store, on_disk) in KINDS {
        let driver = started(&sessions(store), on_disk, &[("a", 0), ("a", 3), ("a", 20), ("b", 20)]);
        let store: Sessions = driver.store("counts").unwrap();
        let a = "a".to_string();
        assert_eq!(store.fetch_session(&a, 0, 3).unwrap(), Some(2));
        let row = |key: &str, start, end| (key.to_string(), start, end);
        assert_eq!(keys(store.fetch(&a).unwrap()), [row("a", 0, 3), row("a", 20, 20)]);
        assert_eq!(keys(store.backward_find_sessions(&a, 3, 20).unwrap()), [row("a", 20, 20), row("a", 0, 3)]);
        assert_eq!(keys(store.find_sessions(&a, 4, 20).unwrap()), [row("a", 20, 20)]);
        let mut all = keys(store.fetch_keys(None, None).unwrap());
        all.sort();
        assert_eq!(all, [row("a", 0, 3), row("a", 20, 20), row("b", 20, 20)]);
    }
}

#[test]
fn an_iterator_shows_what_was_there_when_it_was_asked_for() {
    let driver = started(&hopping(StoreType::InMemory), false, &[("a", 7)]);
    let store: Windows = driver.store("counts").unwrap();
    let rows = store.all().unwrap();
    feed(&driver, &[("a", 30)]);
    assert_eq!(keys(rows).len(), 2);
}

#[test]
fn windows_and_sessions_come_back_from_their_changelogs() {
    for (store, on_disk) in KINDS {
        for topology in [hopping(store), sessions(store)] {
            let first = started(&topology, on_disk, &[("a", 7), ("a", 40), ("b", 41), ("a", 43)]);
            let second = restored(&topology, on_disk, &first);
            let rows = |driver: &TopologyTestDriver| match driver.store::<Windows>("counts") {
                Some(windows) => keys(windows.all().unwrap()),
                None => keys(driver.store::<Sessions>("counts").unwrap().fetch_keys(None, None).unwrap()),
            };
            assert!(!rows(&first).is_empty());
            assert_eq!(rows(&first), rows(&second));
            // Both go on as one would have.
            [&first, &second].into_iter().for_each(|driver| feed(driver, &[("a", 44), ("b", 60)]));
            let read = |driver: &TopologyTestDriver| driver.output_topic::<Windowed<String>, Option<i64>>("out").read_key_values().unwrap();
            assert_eq!(read(&first), read(&second));
        }
    }
}

#[test]
fn what_was_held_back_is_emitted_after_it_was_restored() {
    let builder = StreamsBuilder::new();
    let counts = builder.stream::<String, String>("in").group_by_key().windowed_by(TimeWindows::of_size_with_no_grace(10)).count();
    counts.suppress(Suppressed::until_window_closes(StrictBufferConfig::unbounded())).to_stream().to("out");
    let topology = builder.build().unwrap();
    let first = started(&topology, false, &[("a", 1), ("b", 2), ("a", 3)]);
    let second = restored(&topology, false, &first);
    feed(&second, &[("c", 10)]);
    let out = second.output_topic::<Windowed<String>, Option<i64>>("out").read_key_values().unwrap();
    let out: Vec<_> = out.into_iter().map(|(key, count)| (key.key, count)).collect();
    assert_eq!(out, [("a".to_string(), Some(2)), ("b".to_string(), Some(1))]);
}

#[test]
fn windows_that_closed_are_emitted_once_and_not_before_the_next_turn() {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(10);
    let on_close = builder.stream::<String, String>("in").group_by_key().windowed_by(windows).emit_strategy(EmitStrategy::OnWindowClose);
    on_close.count_with(Materialized::<String, i64>::new().retention_ms(1_000)).to_stream().to("out");
    let mut config = rocksdb(true);
    (config.task.emit_interval_ms, config.task.compatibility) = (1_000, Compatibility::Kafka);
    let driver = TopologyTestDriver::new(&builder.build().unwrap(), config).unwrap();
    let emitted = || driver.output_topic::<Windowed<String>, Option<i64>>("out").read_key_values().unwrap().len();
    feed(&driver, &[("a", 1), ("a", 12)]);
    // The first turn was spent on the first record.
    assert_eq!(emitted(), 0);
    driver.advance_wall_clock_ms(1_000).unwrap();
    feed(&driver, &[("a", 13), ("a", 25)]);
    assert_eq!(emitted(), 1);
    driver.advance_wall_clock_ms(1_000).unwrap();
    feed(&driver, &[("a", 26)]);
    assert_eq!(emitted(), 1);
}

#[test]
fn windows_that_cannot_be_are_errors_of_build() {
    let builds = |draw: &dyn Fn(&StreamsBuilder)| {
        let builder = StreamsBuilder::new();
        draw(&builder);
        builder.build().map(drop).map_err(|error| error.to_string())
    };
    let stream = |builder: &StreamsBuilder| builder.stream::<String, String>("in").group_by_key();
    assert!(builds(&|b| drop(stream(b).windowed_by(TimeWindows::of_size_with_no_grace(0)).count())).is_err());
    assert!(builds(&|b| drop(stream(b).windowed_by(TimeWindows::of_size_with_no_grace(5).advance_by(6)).count())).is_err());
    assert!(builds(&|b| drop(stream(b).windowed_by(SlidingWindows::of_time_difference_with_no_grace(-1)).count())).is_err());
    assert!(builds(&|b| drop(stream(b).windowed_by(SessionWindows::of_inactivity_gap_and_grace(1, -1)).count())).is_err());
    let too_short = builds(&|b| {
        let windows = stream(b).windowed_by(TimeWindows::of_size_and_grace(10, 5));
        drop(windows.count_with(Materialized::<String, i64>::store("counts").retention_ms(14)));
    });
    assert_eq!(too_short.unwrap_err(), "counts: a retention of 14 ms is less than the 15 ms in which its windows take records: raise it");
}
