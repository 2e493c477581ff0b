//! Global tables are there, whole, before the first record is processed.
#![allow(clippy::unwrap_used)]

mod support;

use millstream::{Consumed, Materialized, StoreType, StreamsBuilder, StreamsConfig, Topology, query::*};
use support::*;

const ROWS: usize = 5_000;

fn joined(store_type: StoreType) -> Topology {
    let builder = StreamsBuilder::new();
    let store = Materialized::store("global").store_type(store_type);
    let global = builder.global_table_with::<String, String>("global", Consumed::new(), Some(store));
    builder
        .stream::<String, String>("in")
        .join_global(&global, |_, value| value.clone(), |value, found: &String| format!("{value}={found}"))
        .to("out");
    builder.build().unwrap()
}

#[test]
fn every_record_finds_its_row_from_the_first_on_also_after_a_restart_and_in_every_thread() {
    for store_type in [StoreType::InMemory, StoreType::RocksDb] {
        let (broker, directory) = (broker(), tempfile::tempdir().unwrap());
        create(&*broker, &["in", "global", "out"], 4);
        let rows: Vec<Row> = (0..ROWS).map(|i| row(format!("g{i}"), format!("row {i}"), 0)).collect();
        produce_by_key(&*broker, "global", 4, &rows);
        let records: Vec<Row> = (0..ROWS).map(|i| row(i, format!("g{}", i * 7 % ROWS), i as i64)).collect();
        produce_by_key(&*broker, "in", 4, &records);
        for round in 1..=2 {
            let config = StreamsConfig { num_stream_threads: 2, ..config("app", &directory) };
            let streams = start_and_wait(joined(store_type), config, &broker);
            wait_consumed(&*broker, "app", &["in"]);
            assert_eq!(read(&*broker, "out").iter().map(Vec::len).sum::<usize>(), ROWS * round, "{store_type:?}, round {round}");
            let request = StateQueryRequest::in_store("global").with_query(KeyQuery::<String, String>::with_key("g42".into()));
            assert_eq!(streams.query(&request, SOON).unwrap().found().unwrap().as_deref(), Some("row 42"));
            streams.close().unwrap();
            drop(streams);
            produce_by_key(&*broker, "in", 4, &records);
        }
    }
}

#[test]
fn a_row_that_changes_while_the_application_runs_is_seen() {
    let (broker, directory) = (broker(), tempfile::tempdir().unwrap());
    create(&*broker, &["in", "global", "out"], 1);
    produce(&*broker, "global", 0, &[row("g", "old", 0)]);
    let streams = start_and_wait(joined(StoreType::RocksDb), config("app", &directory), &broker);
    produce(&*broker, "global", 0, &[row("g", "new", 1)]);
    let request = StateQueryRequest::in_store("global").with_query(KeyQuery::<String, String>::with_key("g".into()));
    wait_until("the row is new", || streams.query(&request, SOON).unwrap().found().unwrap().as_deref() == Some("new"));
    produce(&*broker, "in", 0, &[row("a", "g", 2)]);
    wait_consumed(&*broker, "app", &["in"]);
    assert_eq!(read_texts(&*broker, "out"), [("a".to_string(), "g=new".to_string())]);
    streams.close().unwrap();
}
