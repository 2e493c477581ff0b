//! Records between a scenario's JSON and bytes, and errors as symbols.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use millstream::{ErrorKind, Header, RawRecord, Serde};
use serde_json::{Map, Value as Json, json};

use crate::{
    functions::Bad,
    run::Stop,
    scenario::{Input, Text},
    value::{Type, Value, hex, java_text, unhex},
};

pub type Topics = BTreeMap<String, (Type, Type)>;

/// The record that a step pipes in.
pub fn input(step: &Input, topics: &Topics) -> Result<RawRecord, Stop> {
    let (key, value) = topics.get(&*step.topic).ok_or_else(|| Bad(format!("topic {} has no types", &*step.topic)))?;
    let header = |(name, text): &(Text, Option<Text>)| Header {
        name: (**name).into(),
        value: text.as_ref().map(|text| Bytes::copy_from_slice(text.as_bytes())),
    };
    Ok(RawRecord {
        key: side(*key, &step.k, &step.kx)?,
        value: side(*value, &step.v, &step.vx)?,
        timestamp: step.ts,
        headers: step.h.iter().map(header).collect::<Vec<_>>().into(),
    })
}

fn side(type_: Type, typed: &Json, raw: &Option<String>) -> Result<Option<Bytes>, Bad> {
    if let Some(raw) = raw {
        return unhex(raw).map(Some).ok_or_else(|| Bad(format!("{raw} is not hex")));
    }
    match type_.parse(typed).ok_or_else(|| Bad(format!("{typed} is not of type {type_:?}")))? {
        Value::Null => Ok(None),
        value => type_.serialize(&value).map(Some).map_err(|e| Bad(e.0)),
    }
}

/// What a step wrote: typed for the scenario's own topics, in hex for the internal ones.
pub fn outputs(written: BTreeMap<Arc<str>, Vec<RawRecord>>, topics: &Topics) -> Result<Json, Stop> {
    let (mut out, mut internal) = (Map::new(), Map::new());
    for (topic, records) in written {
        match topics.get(&*topic) {
            Some(types) => out.insert(topic.to_string(), records.iter().map(|r| external(r, *types)).collect::<Result<_, _>>()?),
            None => internal.insert(topic.to_string(), records.iter().map(raw).collect()),
        };
    }
    let mut step = Map::new();
    for (name, side) in [("out", out), ("internal", internal)] {
        if !side.is_empty() {
            step.insert(name.into(), side.into());
        }
    }
    Ok(step.into())
}

fn external(record: &RawRecord, (key, value): (Type, Type)) -> Result<Json, Bad> {
    let typed = |type_: Type, bytes: &Option<Bytes>| match bytes {
        None => Ok(Json::Null),
        Some(bytes) => type_.deserialize(bytes).map(|value| value.to_json()).map_err(|e| Bad(e.0)),
    };
    Ok(finish(typed(key, &record.key)?, typed(value, &record.value)?, record))
}

fn raw(record: &RawRecord) -> Json {
    let hex = |bytes: &Option<Bytes>| bytes.as_deref().map_or(Json::Null, |bytes| hex(bytes).into());
    finish(hex(&record.key), hex(&record.value), record)
}

fn finish(key: Json, value: Json, record: &RawRecord) -> Json {
    // Below zero: the producer has none, and sets the clock's.
    let timestamp = Some(record.timestamp).filter(|timestamp| *timestamp >= 0);
    let mut json = json!({"k": key, "v": value, "ts": timestamp});
    if !record.headers.is_empty() {
        json["h"] = headers(&record.headers.to_vec());
    }
    json
}

/// Headers as `[name, text]`; what an error handler says in its own words is `*`.
pub fn headers(headers: &[Header]) -> Json {
    let text = |header: &Header| match &*header.name {
        "__streams.errors.exception" | "__streams.errors.message" | "__streams.errors.stacktrace" => json!("*"),
        _ => header.value.as_deref().map_or(Json::Null, |value| java_text(value).into()),
    };
    headers.iter().map(|header| json!([&*header.name, text(header)])).collect()
}

/// The symbol of an error's kind.
pub fn symbol(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Topology => "topology_error",
        ErrorKind::IllegalArgument => "illegal_argument",
        ErrorKind::IllegalState => "illegal_state",
        ErrorKind::Null => "null_pointer",
        ErrorKind::ClassCast => "class_cast",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Config => "config_error",
        ErrorKind::Serialization => "serialization_error",
        ErrorKind::User => "user_error",
        ErrorKind::Streams => "streams_error",
    }
}
