//! The little command language of the processor `store_command`. Keys and values of the store are texts.

use millstream::{
    Error, ErrorKind, ProcessorContext, ValueAndTimestamp, Windowed,
    store::{KeyValueStore, SessionStore, TimestampedKeyValueStore, VersionedKeyValueStore, WindowStore},
};

use crate::{topology::handle::seen, value::Value};

type Context<'a, 'b, K> = &'a mut ProcessorContext<'b, K, Option<Value>>;

/// Runs a command on the store of that name, whatever its kind is.
pub fn run<K>(context: Context<'_, '_, K>, name: &str, key: &Value, command: &str, timestamp: i64) -> Result<String, Error> {
    let words: Vec<&str> = command.split(' ').collect();
    let has_key = !matches!(words[0], "range" | "reverse_range" | "all" | "reverse_all" | "prefix");
    if has_key && key == &Value::Null {
        return Err(Error::new(ErrorKind::Null, format!("a store has no null keys: {command}")));
    }
    if let Ok(store) = context.store::<VersionedKeyValueStore<Value, Value>>(name) {
        return versioned(context, &store, key, &words, timestamp);
    }
    if let Ok(store) = context.store::<TimestampedKeyValueStore<Value, Value>>(name) {
        return timestamped(context, &store, key, &words, timestamp);
    }
    if let Ok(store) = context.store::<WindowStore<Value, Value>>(name) {
        return window(context, &store, key, &words, timestamp);
    }
    if let Ok(store) = context.store::<SessionStore<Value, Value>>(name) {
        return session(context, &store, key, &words);
    }
    let store = context.store::<KeyValueStore<Value, Value>>(name)?;
    key_value(context, &store, key, &words)
}

fn key_value<K>(context: Context<'_, '_, K>, store: &KeyValueStore<Value, Value>, key: &Value, words: &[&str]) -> Result<String, Error> {
    let pair = |(key, value): (Value, Value)| format!("{}={}", key.text(), value.text());
    match *words {
        ["put", value] => store.put(context, key, Some(&Value::str(value))).map(ok),
        ["del"] => Ok(show(store.delete(context, key)?)),
        ["get"] => Ok(show(store.get(key)?)),
        ["put_if_absent", value] => Ok(show(store.put_if_absent(context, key, &Value::str(value))?)),
        ["range", from, to] => list(store.range(bound(from).as_ref(), bound(to).as_ref())?, pair),
        ["reverse_range", from, to] => list(store.reverse_range(bound(from).as_ref(), bound(to).as_ref())?, pair),
        ["all"] => list(store.all()?, pair),
        ["reverse_all"] => list(store.reverse_all()?, pair),
        ["prefix", prefix] => list(store.prefix_scan(prefix.as_bytes()), pair),
        _ => Err(unknown(words)),
    }
}

fn timestamped<K>(
    context: Context<'_, '_, K>,
    store: &TimestampedKeyValueStore<Value, Value>,
    key: &Value,
    words: &[&str],
    timestamp: i64,
) -> Result<String, Error> {
    let pair = |(key, row): (Value, ValueAndTimestamp<Value>)| format!("{}={}", key.text(), at(Some(row), ""));
    match *words {
        ["put", value] => store.put(context, key, Some((&Value::str(value), timestamp))).map(ok),
        ["del"] => {
            let old = store.get(key)?;
            store.put(context, key, None)?;
            Ok(at(old, ""))
        }
        ["get"] => Ok(at(store.get(key)?, "")),
        ["all"] => list(store.all()?, pair),
        ["range", from, to] => list(store.range(bound(from).as_ref(), bound(to).as_ref())?, pair),
        _ => Err(unknown(words)),
    }
}

fn versioned<K>(
    context: Context<'_, '_, K>,
    store: &VersionedKeyValueStore<Value, Value>,
    key: &Value,
    words: &[&str],
    timestamp: i64,
) -> Result<String, Error> {
    match *words {
        ["put", value] => Ok(format!("valid_to={}", store.put(context, key, Some(&Value::str(value)), timestamp)?.code())),
        ["put_null"] => Ok(format!("valid_to={}", store.put(context, key, None, timestamp)?.code())),
        ["del"] => Ok(at(store.delete(context, key, timestamp)?, "-inf")),
        ["get"] => Ok(at(store.get(key)?, "-inf")),
        ["as_of", time] => Ok(at(store.get_as_of(key, number(time)?)?, "-inf")),
        _ => Err(unknown(words)),
    }
}

fn window<K>(
    context: Context<'_, '_, K>,
    store: &WindowStore<Value, Value>,
    key: &Value,
    words: &[&str],
    timestamp: i64,
) -> Result<String, Error> {
    let pair = |(start, value): (i64, Value)| format!("{start}={}", value.text());
    match *words {
        ["put", value] => store.put(context, key, Some(&Value::str(value)), timestamp).map(ok),
        ["put_at", start, value] => store.put(context, key, Some(&Value::str(value)), number(start)?).map(ok),
        ["del"] => store.put(context, key, None, timestamp).map(ok),
        ["at", start] => Ok(show(store.fetch(key, number(start)?)?)),
        ["fetch", from, to] => list(store.fetch_range(key, number(from)?, number(to)?)?, pair),
        ["backward_fetch", from, to] => list(store.backward_fetch_range(key, number(from)?, number(to)?)?, pair),
        _ => Err(unknown(words)),
    }
}

fn session<K>(context: Context<'_, '_, K>, store: &SessionStore<Value, Value>, key: &Value, words: &[&str]) -> Result<String, Error> {
    let of = |start: &str, end: &str| Ok::<_, Error>(Windowed::new(key.clone(), number(start)?, number(end)?));
    let pair = |(session, value): (Windowed<Value>, Value)| {
        format!("{}@{}/{}={}", session.key.text(), session.window.start, session.window.end, value.text())
    };
    match *words {
        ["put", start, end, value] => store.put(context, &of(start, end)?, Some(&Value::str(value))).map(ok),
        ["remove", start, end] => store.remove(context, &of(start, end)?).map(ok),
        ["at", start, end] => Ok(show(store.fetch_session(key, number(start)?, number(end)?)?)),
        ["fetch"] => list(store.fetch(key)?, pair),
        ["find", earliest_end, latest_start] => list(store.find_sessions(key, number(earliest_end)?, number(latest_start)?)?, pair),
        _ => Err(unknown(words)),
    }
}

fn ok((): ()) -> String {
    "ok".into()
}

fn show(value: Option<Value>) -> String {
    seen(&value).text().into_owned()
}

fn at(row: Option<ValueAndTimestamp<Value>>, until: &str) -> String {
    row.map_or_else(|| "null".into(), |row| format!("{}@{}{until}", row.value.text(), row.timestamp))
}

fn list<T>(rows: impl Iterator<Item = Result<T, Error>>, show: impl Fn(T) -> String) -> Result<String, Error> {
    let rows: Vec<String> = rows.map(|row| row.map(&show)).collect::<Result<_, _>>()?;
    Ok(format!("[{}]", rows.join(" ")))
}

fn bound(word: &str) -> Option<Value> {
    (word != "*").then(|| Value::str(word))
}

fn number(word: &str) -> Result<i64, Error> {
    word.parse().map_err(|_| unknown(&[word]))
}

fn unknown(words: &[&str]) -> Error {
    Error::new(ErrorKind::User, format!("there is no such store command: {}", words.join(" ")))
}
