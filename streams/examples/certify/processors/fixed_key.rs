//! A processor of `process_values` at run time.

use std::sync::Arc;

use millstream::{Error, FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, store::KeyValueStore};

use super::{
    Processor, count,
    run::{source, with_header},
};
use crate::{
    topology::handle::{Key, returned, seen},
    value::Value,
};

/// One instance of a fixed-key processor, with the store that it works on.
pub struct FixedRun {
    processor: Processor,
    store: Option<Arc<str>>,
}

impl FixedRun {
    pub fn new(processor: Processor, store: Option<Arc<str>>) -> Self {
        Self { processor, store }
    }
}

impl<K: Key> FixedKeyProcessor<K, Option<Value>, Option<Value>> for FixedRun {
    fn process(
        &mut self,
        context: &mut FixedKeyContext<'_, '_, K, Option<Value>>,
        record: FixedKeyRecord<K, Option<Value>>,
    ) -> Result<(), Error> {
        match &self.processor {
            Processor::HeaderAdd(name) => {
                let headers = with_header(record.headers(), name, &seen(record.value()).text());
                context.forward(record.with_headers(headers))
            }
            Processor::TsShift(by) => {
                let timestamp = record.timestamp().wrapping_add(*by);
                context.forward(record.with_timestamp(timestamp))
            }
            Processor::Copies(n) => (0..*n).try_for_each(|i| {
                let copy = record.clone();
                let timestamp = copy.timestamp().wrapping_add(i);
                context.forward(copy.with_timestamp(timestamp))
            }),
            Processor::Value(apply) => {
                let value = returned(apply(&record.key().seen(), seen(record.value())));
                context.forward(record.with_value(value))
            }
            Processor::Meta => {
                let meta = Value::str(format!("{} stream={}", source(context.record_metadata()), context.stream_time()));
                context.forward(record.with_value(Some(meta)))
            }
            Processor::StoreCount => {
                let key = record.key().seen().into_owned();
                if key == Value::Null {
                    return Ok(());
                }
                let store: KeyValueStore<Value, Value> = context.store(self.store.as_deref().unwrap_or_default())?;
                let counted = count(&store.get(&key)?.unwrap_or(Value::Null));
                store.put(context, &key, Some(&counted))?;
                context.forward(record.with_value(Some(counted)))
            }
            Processor::Drop => Ok(()),
            _ => context.forward(record),
        }
    }
}
