//! A stream of all topics that match a pattern, also of those that come later.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use millstream::{KafkaStreams, Materialized, StoreType, StreamsBuilder, StreamsConfig, Topology, query::*};
use support::*;

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let store = Materialized::store("counts").store_type(StoreType::RocksDb);
    builder.stream_pattern::<String, String>("orders-.*").group_by_key().count_with::<i64>(store).to_stream().to("counts");
    builder.build().unwrap()
}

fn count_of(streams: &[&KafkaStreams], key: &str) -> i64 {
    let request = StateQueryRequest::in_store("counts").with_query(KeyQuery::<String, i64>::with_key(key.into()));
    streams.iter().filter_map(|streams| streams.query(&request, SOON).unwrap().found().ok().flatten()).sum()
}

#[test]
fn topics_that_match_are_read_when_they_come() {
    let (broker, one, other) = (broker(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    create(&*broker, &["orders-eu", "counts", "my-orders-eu"], 2);
    let often = |directory| StreamsConfig { metadata_max_age: Duration::from_millis(50), ..config("app", directory) };
    let first = start_and_wait(topology(), often(&one), &broker);
    let second = start_and_wait(topology(), often(&other), &broker);
    produce_by_key(&*broker, "orders-eu", 2, &[row("a", "", 0), row("b", "", 1)]);
    wait_consumed(&*broker, "app", &["orders-eu"]);

    create(&*broker, &["orders-us"], 2);
    produce_by_key(&*broker, "orders-us", 2, &[row("a", "", 2), row("b", "", 3), row("b", "", 4)]);
    wait_consumed(&*broker, "app", &["orders-us"]);
    wait_until("all are counted", || count_of(&[&first, &second], "a") == 2 && count_of(&[&first, &second], "b") == 3);
    first.close().unwrap();
    second.close().unwrap();
}

#[test]
fn a_pattern_is_shown_as_it_was_written_and_must_not_match_a_topic_of_another_source() {
    assert!(topology().describe().contains("Source: KSTREAM-SOURCE-0000000000 (topics: orders-.*)"));
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("orders-eu").to("a");
    builder.stream_pattern::<String, String>("orders-.*").to("b");
    assert!(builder.build().err().unwrap().to_string().contains("matches topic orders-eu"));
    let builder = StreamsBuilder::new();
    builder.stream_pattern::<String, String>("orders-(").to("b");
    assert!(builder.build().err().unwrap().to_string().contains("cannot be read"));
}
