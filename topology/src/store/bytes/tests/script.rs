//! Scripts of store operations as text: `operation arguments |answer`. Bytes are `x` and hexadecimal digits, `-` is null, `*` no bound.

use std::{fmt::Write, sync::Arc};

use bytes::Bytes;

use crate::store::bytes::{
    KeyValueBytes, Map, Put, RocksHandle, RocksState, SessionBytes, SessionKey, SessionOptions, SessionOrder, SessionRows, StoreError,
    VersionedBytes, VersionedOptions, VersionedPut, VersionedValue, WindowBytes, WindowOptions, WindowOrder, WindowRows,
};

/// A store of any kind, driven by text.
pub enum Store {
    KeyValue(KeyValueBytes),
    Window(WindowBytes),
    Session(SessionBytes),
    Versioned(VersionedBytes),
}

type Answer = Result<String, StoreError>;

impl Store {
    /// Opens what a script's first line says: `store kind retention interval duplicates|unique`; on that disk, or in memory although it is
    /// a kind that belongs on disk.
    pub fn open(head: &str, disk: Option<(&Arc<RocksState>, i32)>) -> Result<Self, StoreError> {
        let head: Vec<&str> = head.split(' ').collect();
        let (retention, segment_interval) = (number(head[2]), number(head[3]));
        let retain_duplicates = head[4] == "duplicates";
        let map = || match disk {
            Some((state, partition)) => Ok(Map::Rocks(state.store(head[1], partition)?)),
            None => Ok(Map::memory()),
        };
        let window = |order| WindowOptions { retention, segment_interval, retain_duplicates, order };
        let session = |order| SessionOptions { retention, segment_interval, order };
        Ok(match head[1] {
            "key-value-memory" | "key-value-disk" => Self::KeyValue(KeyValueBytes::Map(map()?)),
            "lru" => Self::KeyValue(KeyValueBytes::lru(retention as usize)),
            "window-memory" => Self::Window(WindowBytes::memory(window(WindowOrder::Key))),
            "window-disk" => Self::Window(WindowBytes::segmented(map()?, window(WindowOrder::Key))?),
            "window-time" => Self::Window(WindowBytes::segmented(map()?, window(WindowOrder::Time))?),
            "window-time-indexed" => Self::Window(WindowBytes::segmented(map()?, window(WindowOrder::TimeIndexed))?),
            "session-memory" => Self::Session(SessionBytes::memory(session(SessionOrder::Key))),
            "session-disk" => Self::Session(SessionBytes::segmented(map()?, session(SessionOrder::Key))?),
            "session-time-indexed" => Self::Session(SessionBytes::segmented(map()?, session(SessionOrder::TimeIndexed))?),
            "versioned" => {
                Self::Versioned(VersionedBytes::new(map()?, VersionedOptions { history_retention: retention, segment_interval })?)
            }
            other => panic!("no store is called {other}"),
        })
    }

    pub fn rocks(&self) -> Option<RocksHandle> {
        match self {
            Self::KeyValue(store) => store.rocks(),
            Self::Window(store) => store.rocks(),
            Self::Session(store) => store.rocks(),
            Self::Versioned(store) => store.rocks(),
        }
    }

    /// Does one operation.
    pub fn answer(&mut self, operation: &str) -> Answer {
        let op: Vec<&str> = operation.split(' ').collect();
        match self {
            Self::KeyValue(store) => key_value(store, &op),
            Self::Window(store) => window(store, &op),
            Self::Session(store) => session(store, &op),
            Self::Versioned(store) => versioned(store, &op),
        }
    }
}

fn key_value(store: &mut KeyValueBytes, op: &[&str]) -> Answer {
    let rows = |rows: &mut dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>>| {
        rows.map(|row| row.map(|(key, value)| format!("{}={}", hex(&key), hex(&value))))
            .collect::<Result<Vec<_>, _>>()
            .map(|rows| rows.join(" "))
    };
    match *op {
        ["put", key, value] => {
            store.put(bytes(key), optional(value));
            Ok(String::new())
        }
        ["get", key] => Ok(shown(store.get(&bytes(key))?)),
        ["absent", key, value] => Ok(shown(store.put_if_absent(bytes(key), optional(value))?.0)),
        ["delete", key] => Ok(shown(store.delete(&bytes(key))?)),
        ["range", from, to, order] => rows(&mut store.range(optional(from).as_deref(), optional(to).as_deref(), order == "down")),
        ["all", order] => rows(&mut store.all(order == "down")),
        ["prefix", prefix] => rows(&mut store.prefix_scan(&bytes(prefix))),
        ["count"] => Ok(store.approximate_num_entries().to_string()),
        _ => panic!("no key-value operation: {op:?}"),
    }
}

fn window(store: &mut WindowBytes, op: &[&str]) -> Answer {
    let rows = |rows: WindowRows<'_>| {
        let row = |row: Result<_, _>| {
            row.map(|(window, value): (super::super::WindowKey, Bytes)| format!("{}@{}={}", hex(&window.key), window.start, hex(&value)))
        };
        rows.map(row).collect::<Result<Vec<_>, _>>().map(|rows| rows.join(" "))
    };
    match *op {
        ["put", key, value, start] => Ok(put(store.put(bytes(key), optional(value), number(start)))),
        ["fetch", key, start] => Ok(shown(store.fetch(&bytes(key), number(start))?)),
        ["key", key, from, to, order] => rows(store.fetch_key(&bytes(key), number(from), number(to), order == "down")),
        ["keys", key_from, key_to, from, to, order] => {
            let (key_from, key_to) = (optional(key_from), optional(key_to));
            rows(store.fetch_keys(key_from.as_deref(), key_to.as_deref(), number(from), number(to), order == "down"))
        }
        ["times", from, to, order] => rows(store.fetch_all(number(from), number(to), order == "down")),
        ["all", order] => rows(store.all(order == "down")),
        _ => panic!("no window operation: {op:?}"),
    }
}

fn session(store: &mut SessionBytes, op: &[&str]) -> Answer {
    let rows = |rows: SessionRows<'_>| {
        let row = |row: Result<_, _>| {
            row.map(|(session, value): (SessionKey, Bytes)| {
                format!("{}@{}/{}={}", hex(&session.key), session.start, session.end, hex(&value))
            })
        };
        rows.map(row).collect::<Result<Vec<_>, _>>().map(|rows| rows.join(" "))
    };
    let key = |key, start, end| SessionKey { key: bytes(key), start: number(start), end: number(end) };
    match *op {
        ["put", name, start, end, value] => Ok(put(store.put(&key(name, start, end), optional(value)))),
        ["remove", name, start, end] => {
            store.remove(&key(name, start, end));
            Ok(String::new())
        }
        ["fetch", key, start, end] => Ok(shown(store.fetch_session(&bytes(key), number(start), number(end))?)),
        ["key", key, earliest, latest, order] => rows(store.find(&bytes(key), number(earliest), number(latest), order == "down")),
        ["keys", key_from, key_to, earliest, latest, order] => {
            let (key_from, key_to) = (optional(key_from), optional(key_to));
            rows(store.find_keys(key_from.as_deref(), key_to.as_deref(), number(earliest), number(latest), order == "down"))
        }
        ["ends", from, to] => rows(store.find_by_end(number(from), number(to))?),
        _ => panic!("no session operation: {op:?}"),
    }
}

fn versioned(store: &mut VersionedBytes, op: &[&str]) -> Answer {
    let version =
        |version: Option<VersionedValue>| version.map_or("-".into(), |version| format!("{}@{}", hex(&version.value), version.timestamp));
    let dropped = |put| if put == (VersionedPut::NotPut { dropped: true }) { "dropped " } else { "" };
    match *op {
        ["put", key, value, time] => {
            let put = store.put(&bytes(key), optional(value), number(time))?;
            Ok(format!("{}{}", dropped(put), put.code()))
        }
        ["delete", key, time] => {
            let (before, put) = store.delete(&bytes(key), number(time))?;
            Ok(format!("{}{}", dropped(put), version(before)))
        }
        ["get", key] => Ok(version(store.get(&bytes(key))?)),
        ["at", key, time] => Ok(version(store.get_as_of(&bytes(key), number(time))?)),
        ["range", key, from, to, order] => {
            let mut shown = String::new();
            for found in store.range(&bytes(key), number(from), number(to), order == "down")? {
                let valid_to = found.valid_to.map_or(String::new(), |time| time.to_string());
                let _ = write!(shown, "{}..{valid_to} ", version(Some(found)));
            }
            Ok(shown.trim_end().to_owned())
        }
        _ => panic!("no versioned operation: {op:?}"),
    }
}

fn put(put: Put) -> String {
    if put == Put::Dropped { "dropped".into() } else { String::new() }
}

fn number(text: &str) -> i64 {
    text.parse().expect("a number")
}

fn shown(value: Option<Bytes>) -> String {
    value.map_or("-".into(), |value| hex(&value))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn bytes(text: &str) -> Bytes {
    optional(text).expect("bytes begin with x")
}

fn optional(text: &str) -> Option<Bytes> {
    let digits = text.strip_prefix('x')?;
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect::<Option<Vec<u8>>>().map(Bytes::from)
}
