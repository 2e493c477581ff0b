//! A processor of `process` at run time.

use std::sync::Arc;

use bytes::Bytes;
use millstream::{
    Error, ErrorKind, Headers, Processor as Node, ProcessorContext, PunctuationType, Record, RecordMetadata, Schedule, store::KeyValueStore,
};

use super::{Processor, append, commands, count};
use crate::{
    functions::throw,
    topology::handle::{Key, returned, seen},
    value::Value,
};

type Store = KeyValueStore<Value, Value>;

/// One instance of a processor, with the store that it works on.
pub struct Run {
    processor: Processor,
    store: Option<Arc<str>>,
    /// By schedule, how often it fired.
    firings: [u64; 2],
}

impl Run {
    pub fn new(processor: Processor, store: Option<Arc<str>>) -> Self {
        Self { processor, store, firings: [0; 2] }
    }

    fn open<K>(&self, context: &ProcessorContext<'_, K, Option<Value>>) -> Result<Store, Error> {
        context.store(self.store.as_deref().unwrap_or_default())
    }
}

impl<K: Key> Node<K, Option<Value>, K, Option<Value>> for Run {
    fn init(&mut self, context: &mut ProcessorContext<'_, K, Option<Value>>) -> Result<(), Error> {
        match self.store.as_ref().map(|_| self.open(context)) {
            // Of another kind: commands are for all kinds.
            Some(Err(error)) if error.kind() != ErrorKind::ClassCast => return Err(error),
            _ => {}
        }
        let Processor::Punctuate(punctuate) = &self.processor else { return Ok(()) };
        if punctuate.by_stream_time {
            context.schedule(punctuate.interval, PunctuationType::StreamTime)?;
        }
        if punctuate.by_wall_clock {
            context.schedule(punctuate.interval, PunctuationType::WallClockTime)?;
        }
        Ok(())
    }

    fn process(&mut self, context: &mut ProcessorContext<'_, K, Option<Value>>, mut record: Record<K, Option<Value>>) -> Result<(), Error> {
        let key = record.key.seen().into_owned();
        let text = seen(&record.value).text().into_owned();
        match &self.processor {
            Processor::Echo => context.forward(record),
            Processor::Drop => Ok(()),
            Processor::HeaderAdd(name) => {
                let headers = with_header(&record.headers, name, &text);
                context.forward(record.with_headers(headers))
            }
            Processor::HeaderMutate(name) => {
                record.headers.add(name.clone(), Some(Bytes::from(text)));
                context.forward(record)
            }
            Processor::HeaderDrop => context.forward(record.with_headers(Headers::empty())),
            Processor::TsShift(by) => {
                let timestamp = record.timestamp.wrapping_add(*by);
                context.forward(record.with_timestamp(timestamp))
            }
            Processor::TsSet(timestamp) => context.forward(record.with_timestamp(*timestamp)),
            Processor::Copies(n) => (0..*n).try_for_each(|i| {
                let copy = record.clone();
                let timestamp = copy.timestamp.wrapping_add(i);
                context.forward(copy.with_timestamp(timestamp))
            }),
            Processor::Route(rules) => match rules.iter().find(|(prefix, _)| text.starts_with(prefix)) {
                Some((_, child)) => context.forward_to(child, record),
                None => context.forward(record),
            },
            Processor::Commit => {
                context.commit();
                context.forward(record)
            }
            Processor::ThrowIf(match_) if text == **match_ => throw(),
            Processor::ThrowIf(_) => context.forward(record),
            Processor::Meta => {
                let meta = Value::str(meta(context));
                context.forward(record.with_value(Some(meta)))
            }
            Processor::Value(apply) => {
                let value = returned(apply(&key, seen(&record.value)));
                context.forward(record.with_value(value))
            }
            Processor::StoreCount | Processor::StoreAppend if key == Value::Null => Ok(()),
            Processor::StoreCount => {
                let store = self.open(context)?;
                let counted = count(&store.get(&key)?.unwrap_or(Value::Null));
                store.put(context, &key, Some(&counted))?;
                context.forward(record.with_value(Some(counted)))
            }
            Processor::StoreAppend => {
                let store = self.open(context)?;
                if seen(&record.value) == &Value::Null {
                    store.delete(context, &key)?;
                    return context.forward(record.with_value(None));
                }
                let collected = append(&store.get(&key)?.unwrap_or(Value::Null), seen(&record.value));
                store.put(context, &key, Some(&collected))?;
                context.forward(record.with_value(Some(collected)))
            }
            Processor::StoreRead => {
                let stored = if key == Value::Null { None } else { self.open(context)?.get(&key)? };
                let both = Value::str(format!("{text}/{}", seen(&stored).text()));
                context.forward(record.with_value(Some(both)))
            }
            Processor::StoreCommand => {
                let name = self.store.as_deref().unwrap_or_default();
                let answer = commands::run(context, name, &key, &text, record.timestamp)?;
                context.forward(record.with_value(Some(Value::str(answer))))
            }
            Processor::Punctuate(_) if self.store.is_none() => context.forward(record),
            Processor::Punctuate(_) if key == Value::Null => Ok(()),
            Processor::Punctuate(_) => {
                let store = self.open(context)?;
                let collected = append(&store.get(&key)?.unwrap_or(Value::Null), seen(&record.value));
                store.put(context, &key, Some(&collected))
            }
        }
    }

    fn punctuate(&mut self, context: &mut ProcessorContext<'_, K, Option<Value>>, schedule: &Schedule, time: i64) -> Result<(), Error> {
        let Processor::Punctuate(punctuate) = self.processor else { return Ok(()) };
        let label = if punctuate.by_stream_time && schedule.id == 0 { "stream" } else { "wall" };
        self.firings[schedule.id] += 1;
        let fired = self.firings[schedule.id];
        if self.store.is_none() {
            let value = Value::str(format!("{label}@{time}#{fired} {}", meta(context)));
            context.forward(Record::new(K::returned(Value::str("punct")), Some(value), time))?;
        } else {
            let store = self.open(context)?;
            for row in store.all()?.collect::<Result<Vec<_>, _>>()? {
                let value = Value::str(format!("{label}@{time}={}", row.1.text()));
                context.forward(Record::new(K::returned(row.0.clone()), Some(value), time))?;
                store.delete(context, &row.0)?;
            }
        }
        if fired >= punctuate.firings {
            schedule.cancel();
        }
        Ok(())
    }
}

/// A copy of headers, and one more.
pub(super) fn with_header(headers: &Headers, name: &Arc<str>, text: &str) -> Headers {
    let mut headers = headers.copied();
    headers.add(name.clone(), Some(Bytes::copy_from_slice(text.as_bytes())));
    headers
}

/// Where the record in process came from.
pub(super) fn source(metadata: &RecordMetadata) -> String {
    format!("{}/{}/{}", metadata.topic.as_deref().unwrap_or("null"), metadata.partition, metadata.offset)
}

fn meta<K, V>(context: &ProcessorContext<'_, K, V>) -> String {
    let (task, stream, wall) = (context.task_id(), context.stream_time(), context.wall_clock());
    format!("{} task={task} stream={stream} wall={wall}", source(context.record_metadata()))
}
