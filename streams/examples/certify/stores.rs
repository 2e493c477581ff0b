//! What the stores hold after the last step.

use millstream::{Error, TopologyTestDriver, ValueAndTimestamp, Windowed};
use millstream_topology::store::{AnyStore, KeyValueStore, SessionStore, TimestampedKeyValueStore, TimestampedWindowStore, WindowStore};
use serde_json::{Map, Value as Json, json};

use crate::{run::Stop, value::Value};

/// Every store that can be shown, by name.
pub fn dump(driver: &TopologyTestDriver) -> Result<Json, Stop> {
    let mut stores = Map::new();
    for store in driver.all_stores() {
        if let Some(rows) = rows(&*store).transpose().map_err(|e| Stop::Bad(format!("store {}: {e}", store.name())))? {
            stores.insert(store.name().to_string(), rows);
        }
    }
    Ok(stores.into())
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

fn windowed(key: &Windowed<Value>) -> Json {
    json!([key.key.to_json(), key.window.start, key.window.end])
}

/// Windows by key, start and end.
fn sorted(rows: impl Iterator<Item = Result<(Windowed<Value>, Json), Error>>) -> Result<Json, Error> {
    let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
    rows.sort_by_cached_key(|(key, _)| (key.key.text().into_owned(), key.window));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}
