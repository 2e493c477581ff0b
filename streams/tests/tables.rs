//! What tables do with rows that come, change, move and go.
#![allow(clippy::unwrap_used)]

use millstream::{
    DefaultSerde, Error, ErrorKind, Materialized, RawRecord, StoreType, StreamsBuilder, TableJoined, TaskContext, TestDriverConfig,
    TopologyTestDriver, TransformerContext, ValueAndTimestamp, ValueTransformerWithKey,
};
use millstream_topology::{
    Task, TaskConfig, TaskEnv,
    store::{
        KeyValueStore, StoreDef, StoreSet, VersionedKeyValueStore,
        bytes::{RocksState, StateOptions},
    },
};

type Rows = Vec<(String, Option<String>)>;

fn started(builder: &StreamsBuilder) -> TopologyTestDriver {
    TopologyTestDriver::new(&builder.build().unwrap(), TestDriverConfig::default()).unwrap()
}

fn put(driver: &TopologyTestDriver, topic: &str, key: &str, value: impl Into<Option<&'static str>>, time: i64) {
    let value = value.into().map(String::from);
    driver.input_topic::<String, Option<String>>(topic).pipe(key.to_string(), value, time).unwrap();
}

fn out(driver: &TopologyTestDriver) -> Rows {
    driver.output_topic::<String, Option<String>>("out").read_key_values().unwrap()
}

fn rows(rows: &[(&str, Option<&str>)]) -> Rows {
    rows.iter().map(|(key, value)| (key.to_string(), value.map(String::from))).collect()
}

#[test]
fn a_row_that_is_mapped_to_nothing_is_deleted() {
    let builder = StreamsBuilder::new();
    builder.table::<String, String>("in").map_values(|text| text.strip_prefix('+').map(String::from)).to_stream().to("out");
    let driver = started(&builder);
    put(&driver, "in", "a", "+1", 0);
    put(&driver, "in", "a", "2", 1);
    assert_eq!(out(&driver), rows(&[("a", Some("1")), ("a", None)]));
}

#[test]
fn a_stored_table_spares_deletions_of_rows_that_never_passed_the_filter() {
    for stored in [true, false] {
        let builder = StreamsBuilder::new();
        let table = match stored {
            true => builder.table_with("in", Default::default(), Materialized::<String, String>::store("rows")),
            false => builder.table::<String, String>("in"),
        };
        table.filter(|_, text| text == "yes").to_stream().to("out");
        let driver = started(&builder);
        put(&driver, "in", "a", "no", 0);
        put(&driver, "in", "b", "yes", 1);
        put(&driver, "in", "b", "no", 2);
        let spared = if stored { &[][..] } else { &[("a", None)] };
        assert_eq!(out(&driver), rows(&[spared, &[("b", Some("yes")), ("b", None)]].concat()));
    }
}

#[test]
fn a_row_that_moves_leaves_its_old_group() {
    let builder = StreamsBuilder::new();
    let cities = builder.table::<String, String>("in").group_by(|name, city| (city.clone(), name.clone()));
    cities.count().to_stream().map_values(|count| count.map(|count| count.to_string())).to("out");
    let driver = started(&builder);
    put(&driver, "in", "ann", "rome", 0);
    put(&driver, "in", "bob", "rome", 1);
    put(&driver, "in", "bob", "oslo", 2);
    put(&driver, "in", "ann", None, 3);
    let expected = [("rome", Some("1")), ("rome", Some("2")), ("rome", Some("1")), ("oslo", Some("1")), ("rome", Some("0"))];
    assert_eq!(out(&driver), rows(&expected));
}

#[test]
fn an_outer_join_keeps_both_sides() {
    let builder = StreamsBuilder::new();
    let (left, right) = (builder.table::<String, String>("left"), builder.table::<String, String>("right"));
    left.outer_join(&right, |left, right| format!("{left:?} {right:?}").replace('"', "")).to_stream().to("out");
    let driver = started(&builder);
    put(&driver, "right", "a", "r", 0);
    put(&driver, "left", "a", "l", 1);
    put(&driver, "right", "a", None, 2);
    put(&driver, "left", "a", None, 3);
    let expected = [("a", Some("None Some(r)")), ("a", Some("Some(l) Some(r)")), ("a", Some("Some(l) None")), ("a", None)];
    assert_eq!(out(&driver), rows(&expected));
}

#[test]
fn a_foreign_key_join_follows_both_tables() {
    let builder = StreamsBuilder::new();
    let (orders, customers) = (builder.table::<String, String>("orders"), builder.table::<String, String>("customers"));
    orders.foreign_key_join(&customers, |_, order| order.clone(), |_, name| name.clone()).to_stream().to("out");
    let driver = started(&builder);
    put(&driver, "orders", "1", "c1", 0);
    put(&driver, "customers", "c1", "Ann", 1);
    put(&driver, "customers", "c2", "Bob", 2);
    put(&driver, "orders", "1", "c2", 3);
    put(&driver, "customers", "c1", "Anna", 4);
    put(&driver, "customers", "c2", None, 5);
    assert_eq!(out(&driver), rows(&[("1", Some("Ann")), ("1", Some("Bob")), ("1", None)]));
}

#[test]
fn a_foreign_key_left_join_answers_without_a_partner() {
    let builder = StreamsBuilder::new();
    let (orders, customers) = (builder.table::<String, String>("orders"), builder.table::<String, String>("customers"));
    let key = |_: &String, order: &String| (!order.is_empty()).then(|| order.clone());
    let joined = orders.foreign_key_left_join_with(
        &customers,
        key,
        |order, name| format!("{order}/{}", name.map_or("?", String::as_str)),
        TableJoined::new().name("names"),
        Materialized::store("named-orders"),
    );
    joined.to_stream().to("out");
    assert!(builder.build().is_ok_and(|topology| topology.describe().contains("names-subscription-registration-topic")));
    let builder = StreamsBuilder::new();
    let (orders, customers) = (builder.table::<String, String>("orders"), builder.table::<String, String>("customers"));
    orders
        .foreign_key_left_join(&customers, key, |order, name| format!("{order}/{}", name.map_or("?", String::as_str)))
        .to_stream()
        .to("out");
    let driver = started(&builder);
    put(&driver, "orders", "1", "", 0);
    put(&driver, "orders", "1", "c1", 1);
    put(&driver, "customers", "c1", "Ann", 2);
    put(&driver, "orders", "1", None, 3);
    assert_eq!(out(&driver), rows(&[("1", Some("/?")), ("1", Some("c1/?")), ("1", Some("c1/Ann")), ("1", None)]));
}

struct CountCalls(Option<KeyValueStore<String, i64>>);

impl ValueTransformerWithKey<String, String> for CountCalls {
    type Output = Option<String>;

    fn init(&mut self, context: &mut TransformerContext<'_>) -> Result<(), Error> {
        self.0 = Some(context.store("calls")?);
        Ok(())
    }

    fn transform(&mut self, context: &mut TaskContext, key: &String, text: Option<&String>) -> Result<Option<String>, Error> {
        let store = self.0.as_ref().unwrap();
        let calls = store.get(key)?.unwrap_or(0) + 1;
        store.put(context, key, Some(&calls))?;
        Ok(text.map(|text| format!("{text} #{calls}")))
    }
}

#[test]
fn a_transformer_has_its_stores() {
    let builder = StreamsBuilder::new();
    let make = KeyValueStore::<String, i64>::maker(String::default_serde(), i64::default_serde(), StoreType::InMemory);
    builder.add_state_store(StoreDef::new("calls", make));
    builder.table::<String, String>("in").transform_values(|| CountCalls(None), &["calls"]).to_stream().to("out");
    let driver = started(&builder);
    put(&driver, "in", "a", "x", 0);
    put(&driver, "in", "a", None, 1);
    put(&driver, "in", "a", "y", 2);
    assert_eq!(out(&driver), rows(&[("a", Some("x #1")), ("a", None), ("a", Some("y #3"))]));
}

fn versioned() -> StreamsBuilder {
    let builder = StreamsBuilder::new();
    let materialized = Materialized::<String, String>::store("rows").versioned(100);
    builder.table_with("in", Default::default(), materialized).to_stream().to("out");
    builder
}

fn as_of(driver: &TopologyTestDriver, time: i64) -> Option<(String, i64)> {
    let store = driver.store::<VersionedKeyValueStore<String, String>>("rows").unwrap();
    store.get_as_of(&"a".to_string(), time).unwrap().map(|ValueAndTimestamp { value, timestamp }| (value, timestamp))
}

#[test]
fn a_late_change_takes_its_place_in_the_history_and_comes_back_from_the_changelog() {
    let driver = started(&versioned());
    for (value, time) in [(Some("1"), 10), (Some("3"), 30), (Some("2"), 20), (None, 40), (Some("200"), 200), (Some("late"), 50)] {
        put(&driver, "in", "a", value, time);
    }
    assert_eq!(driver.dropped_records(), 1, "what is older than the history");
    let again = started(&versioned());
    for record in driver.drain().remove("test-rows-changelog").unwrap() {
        let record: RawRecord = record;
        again.any_store("rows").unwrap().restore(record).unwrap();
    }
    for driver in [driver, again] {
        assert_eq!(as_of(&driver, 300), Some(("200".into(), 200)));
        assert_eq!(as_of(&driver, 150), None);
        let store = driver.store::<VersionedKeyValueStore<String, String>>("rows").unwrap();
        let versions = store.versions(&"a".to_string(), 0, i64::MAX, false).unwrap();
        assert_eq!(versions.last().map(|version| (version.timestamp, version.valid_to)), Some((200, None)));
    }
}

#[test]
fn a_versioned_store_needs_a_name_and_a_sound_history() {
    let unnamed = Materialized::<String, String>::new().versioned(100);
    for (materialized, says) in [(unnamed, "has no name"), (Materialized::store("rows").versioned_with_segments(100, 0), "segments")] {
        let builder = StreamsBuilder::new();
        builder.table::<String, String>("in").filter_with(|_, _| true, materialized);
        let error = builder.build().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::IllegalArgument);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_task_that_goes_leaves_its_partition_free() {
    let builder = StreamsBuilder::new();
    let table = builder.table_with("in", Default::default(), Materialized::<String, String>::store("rows"));
    table.group_by(|key, text| (text.clone(), key.clone())).count_with(Materialized::<String, i64>::store("counts")).to_stream().to("out");
    let topology = builder.build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let rocks = RocksState::open(directory.path(), StateOptions::default()).unwrap();
    let env =
        TaskEnv { config: TaskConfig::new("test"), rocks: Some(rocks), global_stores: StoreSet::default(), wall_clock: 0, global_copy: 0 };
    for _ in 0..2 {
        Task::new_whole(&topology, &env).unwrap().init().unwrap();
    }
}
