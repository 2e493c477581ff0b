//! What the stores hold after the last step.

use std::collections::BTreeSet;

use millstream::{
    Data, Error, TopologyTestDriver, ValueAndTimestamp, ValueTimestampHeaders, Windowed,
    store::{
        AnyStore, KeyValueStore, SessionStore, TimestampedKeyValueStore, TimestampedWindowStore, TimestampedWindowStoreWithHeaders,
        VersionedKeyValueStore, WindowStore,
    },
};
use serde_json::{Map, Value as Json, json};

use crate::{
    records::headers,
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
            if scenario.config.store_format == StoreFormat::Headers && is_table_on_rocks(&*store, scenario) {
                add_headers(&mut rows);
            }
            stores.insert(store.name().to_string(), rows);
        }
    }
    Ok(stores.into())
}

/// Whether a store is on RocksDB and belongs to a table: rows of tables have no headers of their own, which the format shows as none.
fn is_table_on_rocks(store: &(dyn AnyStore + 'static), scenario: &Scenario) -> bool {
    let is_users = |op: &Op| matches!(op, Op::AddStateStore(op) | Op::AddStore(op) if *op.name == **store.name());
    let of_join = store.typed::<TimestampedWindowStoreWithHeaders<Value, Value>>().is_some()
        || store.typed::<TimestampedWindowStoreWithHeaders<Windowed<Value>, Value>>().is_some();
    store.rocks().is_some() && !of_join && !scenario.topology.iter().any(is_users)
}

fn add_headers(rows: &mut Json) {
    rows.as_array_mut().into_iter().flatten().filter_map(Json::as_array_mut).for_each(|row| row.push(json!([])));
}

/// Key-value stores in store order, window and session stores by key and window.
pub fn rows(store: &(dyn AnyStore + 'static)) -> Option<Result<Json, Error>> {
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
    if let Some(rows) = windows(store, windowed)
        .or_else(|| windows(store, |key: &Windowed<Windowed<Value>>| json!([windowed(&key.key), key.window.start, key.window.end])))
    {
        return rows;
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

/// The rows of a window store without timestamps: a join's, whose keys may be windowed themselves, or one that was added by name. `None`
/// inside: Kafka Streams has no windows of size 0, and cannot list the store of a join at equal times.
fn windows<K: Data>(store: &(dyn AnyStore + 'static), show: impl Fn(&Windowed<K>) -> Json + Copy) -> Option<Option<Result<Json, Error>>> {
    let rows: Result<Vec<(Windowed<K>, Json)>, Error> = if let Some(store) = store.typed::<WindowStore<K, Value>>() {
        let row = |(key, value): (Windowed<K>, Value)| {
            let shown = json!([show(&key), value.to_json()]);
            (key, shown)
        };
        store.all().and_then(|rows| rows.map(|entry| entry.map(row)).collect())
    } else {
        let store = store.typed::<TimestampedWindowStoreWithHeaders<K, Value>>()?;
        let row = |(key, row): (Windowed<K>, ValueTimestampHeaders<Value>)| {
            let shown = json!([show(&key), row.value.to_json(), row.timestamp, headers(&row.headers.to_vec())]);
            (key, shown)
        };
        store.all().and_then(|rows| rows.map(|entry| entry.map(row)).collect())
    };
    Some(match rows {
        Ok(rows) if rows.iter().any(|(key, _)| key.window.start == key.window.end) => None,
        rows => Some(rows.map(|mut rows| {
            rows.sort_by_cached_key(|(key, shown)| (key_text(shown), key.window));
            rows.into_iter().map(|(_, row)| row).collect()
        })),
    })
}

/// The text of a shown row's key without its outermost window.
fn key_text(row: &Json) -> String {
    match &row[0][0] {
        Json::Array(inner) => format!("{}@{}/{}", text_of(&inner[0]), inner[1], inner[2]),
        key => text_of(key),
    }
}

fn text_of(key: &Json) -> String {
    key.as_str().map_or_else(|| key.to_string(), String::from)
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
