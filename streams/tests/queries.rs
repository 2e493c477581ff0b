//! Questions to state stores, of a running application and of the test driver.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use millstream::{
    KafkaStreams, Materialized, SessionWindows, StoreType, StreamsBuilder, TimeWindows, Topology, TopologyTestDriver, ValueAndTimestamp,
    query::*,
};
use support::*;

const PARTITIONS: i32 = 3;

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let grouped = builder.stream::<String, String>("in").group_by_key();
    let memory = |name: &str| Materialized::store(name).store_type(StoreType::InMemory);
    grouped.count_with::<i64>(memory("counts"));
    grouped.windowed_by(TimeWindows::of_size_with_no_grace(100)).count_with::<i64>(memory("windows").retention_ms(1_000_000));
    grouped.windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(50)).count_with::<i64>(memory("sessions").retention_ms(1_000_000));
    builder.table_with("table", Default::default(), Materialized::<String, String>::store("versions").versioned(1_000_000));
    builder.build().unwrap()
}

fn input() -> Vec<Row> {
    let mut rows: Vec<Row> = (0..30).map(|i| row(format!("k{:02}", i % 10), "", i * 10)).collect();
    rows.push(row("k03", "", 1_000));
    rows
}

fn versions() -> Vec<Row> {
    vec![row("v", "one", 100), row("v", "two", 200), row("v", "three", 300)]
}

/// Asks either of them.
trait Ask {
    fn ask<Q: Query>(&self, store: &str, query: Q) -> StateQueryResult<Q::Result>;
}

impl Ask for KafkaStreams {
    fn ask<Q: Query>(&self, store: &str, query: Q) -> StateQueryResult<Q::Result> {
        self.query(&StateQueryRequest::in_store(store).with_query(query), SOON).unwrap()
    }
}

impl Ask for TopologyTestDriver {
    fn ask<Q: Query>(&self, store: &str, query: Q) -> StateQueryResult<Q::Result> {
        self.query(&StateQueryRequest::in_store(store).with_query(query)).unwrap()
    }
}

fn key(i: usize) -> String {
    format!("k{i:02}")
}

fn asks_everything(of: &impl Ask) {
    assert_eq!(of.ask("counts", KeyQuery::<String, i64>::with_key(key(3))).found().unwrap(), Some(4));
    assert_eq!(of.ask("counts", KeyQuery::<String, i64>::with_key("nobody".into())).found().unwrap(), None);
    let stamped = of.ask("counts", TimestampedKeyQuery::<String, i64>::with_key(key(3))).found().unwrap();
    assert_eq!(stamped, Some(ValueAndTimestamp { value: 4, timestamp: 1_000 }));

    let sorted = |mut rows: Vec<(String, i64)>| {
        rows.sort();
        rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let range = RangeQuery::<String, i64>::with_range(Some(key(2)), Some(key(5)));
    assert_eq!(sorted(of.ask("counts", range).into_rows().unwrap()), [key(2), key(3), key(4), key(5)]);
    let prefix = RangeQuery::<String, i64>::with_prefix("k0");
    assert_eq!(of.ask("counts", prefix).into_rows().unwrap().len(), 10);
    let descending = of.ask("counts", RangeQuery::<String, i64>::with_lower_bound(key(0)).with_descending_keys());
    for (_, listing) in descending.successes() {
        assert!(listing.rows.is_sorted_by(|one, other| one.0 > other.0) && listing.is_complete);
    }
    let stamped = of.ask("counts", TimestampedRangeQuery::<String, i64>::with_upper_bound(key(0))).into_rows().unwrap();
    assert_eq!(stamped, [(key(0), ValueAndTimestamp { value: 3, timestamp: 200 })]);
    let few = of.ask("counts", RangeQuery::<String, i64>::with_no_bounds().with_limit(1));
    assert!(few.successes().all(|(_, listing)| listing.rows.len() == 1 && !listing.is_complete));

    let windows = WindowKeyQuery::<String, i64>::with_key_and_window_start_range(key(3), 100, 2_000);
    assert_eq!(of.ask("windows", windows.clone()).into_rows().unwrap(), [(100, 1), (200, 1), (1_000, 1)]);
    assert_eq!(of.ask("windows", windows.descending().with_limit(2)).into_rows().unwrap(), [(1_000, 1), (200, 1)]);
    let stamped = TimestampedWindowKeyQuery::<String, i64>::with_key_and_window_start_range(key(3), 1_000, 1_000);
    assert_eq!(of.ask("windows", stamped).into_rows().unwrap(), [(1_000, ValueAndTimestamp { value: 1, timestamp: 1_000 })]);
    let all = of.ask("windows", WindowRangeQuery::<String, i64>::with_window_start_range(200, 1_000)).into_rows().unwrap();
    assert_eq!(all.len(), 11);
    let all = of.ask("windows", TimestampedWindowRangeQuery::<String, i64>::with_window_start_range(0, 0)).into_rows().unwrap();
    assert!(all.len() == 10 && all.iter().all(|(key, _)| (key.window.start, key.window.end) == (0, 100)));

    let sessions = of.ask("sessions", WindowRangeQuery::<String, i64>::with_key(key(3))).into_rows().unwrap();
    let sessions: Vec<_> = sessions.into_iter().map(|(key, count)| (key.window.start, key.window.end, count)).collect();
    assert_eq!(sessions, [(30, 30, 1), (130, 130, 1), (230, 230, 1), (1_000, 1_000, 1)]);

    let version = |query: VersionedKeyQuery<String, String>| of.ask("versions", query).found().unwrap();
    let found = version(VersionedKeyQuery::with_key("v".into()).as_of(250)).unwrap();
    assert_eq!((found.value.as_str(), found.timestamp, found.valid_to), ("two", 200, Some(300)));
    let latest = version(VersionedKeyQuery::with_key("v".into())).unwrap();
    assert_eq!((latest.value.as_str(), latest.valid_to), ("three", None));
    assert!(version(VersionedKeyQuery::with_key("v".into()).as_of(50)).is_none());
    let some = MultiVersionedKeyQuery::<String, String>::with_key("v".into()).from_time(150).to_time(250);
    let values = |query: MultiVersionedKeyQuery<String, String>| -> Vec<String> {
        of.ask("versions", query).successes().flat_map(|(_, versions)| versions.iter().map(|version| version.value.clone())).collect()
    };
    assert_eq!(values(some.clone()), ["two", "one"]);
    assert_eq!(values(some.with_ascending_timestamps()), ["one", "two"]);

    let wrong = of.ask("counts", KeyQuery::<String, String>::with_key(key(3)));
    assert!(wrong.partition_results.values().all(|result| matches!(result, Err(QueryFailure::UnknownQueryType(_)))));
}

#[test]
fn the_test_driver_answers_all_queries() {
    let driver = TopologyTestDriver::new(&topology(), Default::default()).unwrap();
    for (topic, rows) in [("in", input()), ("table", versions())] {
        let topic = driver.input_topic::<String, String>(topic);
        rows.into_iter().for_each(|(key, value, timestamp)| topic.pipe(key.unwrap(), value.unwrap(), timestamp).unwrap());
    }
    asks_everything(&driver);
    let missing = StateQueryRequest::in_store("nothing").with_query(KeyQuery::<String, i64>::with_key(key(3)));
    assert!(matches!(driver.query(&missing), Err(StateQueryError::UnknownStateStore(_, known)) if known.contains("counts")));
    let result = driver.ask("counts", KeyQuery::<String, i64>::with_key(key(3)));
    assert_eq!(result.position().get("in", 0), Some(30));
}

#[test]
fn a_running_application_answers_all_queries_from_any_thread() {
    let (broker, directory) = (broker(), tempfile::tempdir().unwrap());
    create(&*broker, &["in", "table"], PARTITIONS);
    produce_by_key(&*broker, "in", PARTITIONS, &input());
    produce_by_key(&*broker, "table", PARTITIONS, &versions());
    let config = millstream::StreamsConfig { num_stream_threads: 2, ..config("app", &directory) };
    let streams = KafkaStreams::new(topology(), config, broker.clone()).unwrap();
    let request = StateQueryRequest::in_store("counts").with_query(KeyQuery::<String, i64>::with_key(key(3)));
    assert!(matches!(streams.query(&request, SOON), Err(StateQueryError::NotStarted)));
    streams.start().unwrap();
    streams.wait_until_running(SOON).unwrap();
    wait_consumed(&*broker, "app", &["in", "table"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| asks_everything(&streams));
        }
    });

    let partition = partition_of(&key(3), PARTITIONS);
    assert_eq!(streams.partition_for_key::<String>("counts", &key(3)).unwrap(), Some(partition));
    let one = streams.query(&request.clone().with_partitions([partition, 7]), SOON).unwrap();
    assert_eq!(one.found().unwrap(), Some(4));
    assert!(matches!(one.partition_results[&7], Err(QueryFailure::DoesNotExist(7))));
    let position = one.position();
    let bound = position.clone().with("in", partition, position.get("in", partition).unwrap() + 1);
    let bounded = |position| request.clone().with_partitions([partition]).with_position_bound(PositionBound::at(position));
    assert_eq!(streams.query(&bounded(position), SOON).unwrap().found().unwrap(), Some(4));
    let early = streams.query(&bounded(bound.clone()), SOON).unwrap();
    assert!(matches!(early.partition_results[&partition], Err(QueryFailure::NotUpToBound { .. })));
    produce(&*broker, "in", partition, &[row(key(3), "", 2_000)]);
    wait_until("it is up to the bound", || matches!(streams.query(&bounded(bound.clone()), SOON).unwrap().found(), Ok(Some(5))));

    streams.close().unwrap();
    assert!(matches!(streams.query(&request, Duration::from_secs(1)), Err(StateQueryError::NotRunning)));
}
