//! What the stores hold after the last step.

use std::collections::BTreeSet;

use millstream::{
    Error, TopologyTestDriver, ValueAndTimestamp, Windowed,
    store::{AnyStore, KeyValueStore, SessionStore, TimestampedKeyValueStore, TimestampedWindowStore, VersionedKeyValueStore, WindowStore},
};
use serde_json::{Map, Value as Json, json};

use crate::{
    run::Stop,
    scenario::{Op, Scenario, Step, StoreFormat},
    value::{Type, Value, java_text, unhex},
};

/// Every store that can be shown, by name.
pub fn dump(driver: &TopologyTestDriver, scenario: &Scenario, steps: &[Json]) -> Result<Json, Stop> {
    let mut stores = Map::new();
    for store in driver.all_stores() {
        if let Some(versions) = store.typed::<VersionedKeyValueStore<Value, Value>>() {
            if let Some(rows) = versioned(&versions, scenario, steps) {
                stores.insert(store.name().to_string(), rows);
            }
            continue;
        }
        if let Some(mut rows) = rows(&*store).transpose().map_err(|e| Stop::Bad(format!("store {}: {e}", store.name())))? {
            let of_join = store.typed::<WindowStore<Value, Value>>().is_some();
            // In memory only the windows of joins have headers.
            let has_headers = (of_join || store.rocks().is_some()) && !is_users(store.name(), scenario);
            if scenario.config.store_format == StoreFormat::Headers && has_headers {
                add_headers(&mut rows, of_join);
            }
            stores.insert(store.name().to_string(), rows);
        }
    }
    Ok(stores.into())
}

/// Whether a store was added by name, not made by an operation.
fn is_users(store: &str, scenario: &Scenario) -> bool {
    scenario.topology.iter().any(|op| matches!(op, Op::AddStateStore(op) | Op::AddStore(op) if &*op.name == store))
}

/// Rows in the headers format have headers, which are empty; those of a join's windows have a timestamp, too: that of their record.
fn add_headers(rows: &mut Json, of_join: bool) {
    for row in rows.as_array_mut().into_iter().flatten().filter_map(Json::as_array_mut) {
        if of_join {
            let start = row[0][1].clone();
            row.push(start);
        }
        row.push(json!([]));
    }
}

/// Key-value stores in store order, window and session stores by key and window.
fn rows(store: &(dyn AnyStore + 'static)) -> Option<Result<Json, Error>> {
    if let Some(store) = store.typed::<TimestampedKeyValueStore<Value, Value>>() {
        let row = |(key, row): (Value, ValueAndTimestamp<Value>)| json!([key.to_json(), row.value.to_json(), row.timestamp]);
        return Some(store.all().and_then(|rows| rows.map(|entry| entry.map(row)).collect()));
    }
    if let Some(store) = store.typed::<TimestampedKeyValueStore<Windowed<Value>, Value>>() {
        let row = |(key, row): (Windowed<Value>, ValueAndTimestamp<Value>)| json!([windowed(&key), row.value.to_json(), row.timestamp]);
        return Some(store.all().and_then(|rows| rows.map(|entry| entry.map(row)).collect()));
    }
    if let Some(store) = store.typed::<TimestampedWindowStore<Value, Value>>() {
        let row = |(key, row): (Windowed<Value>, ValueAndTimestamp<Value>)| {
            let shown = json!([windowed(&key), row.value.to_json(), row.timestamp]);
            (key, shown)
        };
        return Some(store.all().and_then(|rows| sorted(rows.map(|entry| entry.map(row)))));
    }
    if let Some(store) = store.typed::<WindowStore<Value, Value>>() {
        let row = |(key, value): (Windowed<Value>, Value)| (key.clone(), json!([windowed(&key), value.to_json()]));
        // Kafka Streams has no windows of size 0: it cannot list the store of a join at equal times.
        if store.all().is_ok_and(|mut rows| rows.any(|row| row.is_ok_and(|(key, _)| key.window.start == key.window.end))) {
            return None;
        }
        return Some(store.all().and_then(|rows| sorted(rows.map(|entry| entry.map(row)))));
    }
    if let Some(store) = store.typed::<SessionStore<Value, Value>>() {
        let row = |(key, value): (Windowed<Value>, Value)| (key.clone(), json!([windowed(&key), value.to_json()]));
        return Some(store.fetch_keys(None, None).and_then(|rows| sorted(rows.map(|entry| entry.map(row)))));
    }
    let store = store.typed::<KeyValueStore<Value, Value>>()?;
    let row = |(key, value): (Value, Value)| json!([key.to_json(), value.to_json()]);
    Some(store.all().and_then(|rows| rows.map(|entry| entry.map(row)).collect()))
}

/// A versioned store cannot be scanned: for all keys of the scenario, and those of the store's changelog, what was valid at the time of
/// each step. Nothing if its keys are no texts.
fn versioned(store: &VersionedKeyValueStore<Value, Value>, scenario: &Scenario, steps: &[Json]) -> Option<Json> {
    let changelog = format!("oracle-{}-changelog", store.name());
    let logged = steps.iter().filter_map(|step| step["internal"][&*changelog].as_array()).flatten();
    let mut keys: Vec<String> = logged.filter_map(|record| unhex(record["k"].as_str()?)).map(|key| java_text(&key)).collect();
    let mut times = BTreeSet::new();
    for step in &scenario.steps {
        let Step::Record(record) = step else { continue };
        times.insert(record.ts);
        if matches!(scenario.topics.get(&*record.topic), Some((Type::Str, _))) {
            keys.extend(Type::Str.parse(&record.k).filter(|key| *key != Value::Null).map(|key| key.text().into_owned()));
        }
    }
    keys.sort_by_cached_key(|key| key.encode_utf16().collect::<Vec<_>>());
    keys.dedup();
    let mut rows = vec![];
    for key in keys.iter().map(Value::str) {
        for &time in &times {
            if let Some(row) = store.get_as_of(&key, time).ok()? {
                rows.push(json!([key.to_json(), time, row.value.to_json(), row.timestamp, null]));
            }
        }
    }
    Some(rows.into())
}

fn windowed(key: &Windowed<Value>) -> Json {
    json!([key.key.to_json(), key.window.start, key.window.end])
}

/// Windows by key, start and end.
fn sorted(rows: impl Iterator<Item = Result<(Windowed<Value>, Json), Error>>) -> Result<Json, Error> {
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_cached_key(|(key, _)| (key.key.text().into_owned(), key.window));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}
