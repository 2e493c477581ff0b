//! Table sources and the operators of a table; filters and value maps of streams, too.

use std::sync::Arc;

use millstream::{
    Error, ErrorKind, KStream, KTable, StrictBufferConfig, Suppressed, TaskContext, TransformerContext, ValueTransformerWithKey, Windowed,
    store::KeyValueStore,
};

use super::{
    Builder,
    handle::{Handle, Key, Object, each_stream, each_table, seen},
    options::{call, consumed, named},
    streams::{keys, values},
};
use crate::{
    functions::{Bad, Mapper, Predicate, mapper, predicate},
    run::Stop,
    scenario::{Filter, Full, MapValues, Suppress, Table, Text, ToStream, TransformValues, Transformer, Until},
    value::{Type, Value},
};

impl<'a> Builder<'a> {
    pub(super) fn table(&mut self, op: &'a Table) -> Result<(), Stop> {
        let (key, value) = self.topic(&op.topic)?;
        let materialized = self.materialized(&op.materialized, &None, (key, value));
        let table = self.builder.table_with(&op.topic, consumed((key, value), &op.name, op.extractor, None), materialized);
        self.define(&op.id, Object::Table(table), key, value)
    }

    pub(super) fn global_table(&mut self, op: &'a Table) -> Result<(), Stop> {
        let (key, value) = self.topic(&op.topic)?;
        let materialized = op.materialized.is_some().then(|| self.materialized(&op.materialized, &None, (key, value)));
        let table = self.builder.global_table_with(&op.topic, consumed((key, value), &op.name, op.extractor, None), materialized);
        self.define(&op.id, Object::GlobalTable(table), key, value)
    }

    pub(super) fn filter(&mut self, op: &'a Filter, not: bool) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let holds = predicate(&op.pred)?;
        if input.is_table() {
            let table = each_table!(input, table => Object::from(self.filter_table(op, table, &input, holds, not)))?;
            return self.define(&op.id, table, input.key, input.value);
        }
        let stream = each_stream!(input, stream => {
            let holds = move |k: &_, v: &Option<Value>| holds(&Key::seen(k), seen(v));
            Object::from(match not {
                false => call!(stream, &op.name, filter / filter_named(holds)),
                true => call!(stream, &op.name, filter_not / filter_not_named(holds)),
            })
        })?;
        self.define(&op.id, stream, input.key, input.value)
    }

    fn filter_table<K: Key>(
        &mut self,
        op: &Filter,
        table: &KTable<K, Value>,
        input: &Handle,
        holds: Arc<Predicate>,
        not: bool,
    ) -> KTable<K, Value> {
        let holds = move |k: &K, v: &Value| holds(&k.seen(), v);
        match (&op.materialized, not) {
            (None, false) => call!(table, &op.name, filter / filter_named(holds)),
            (None, true) => call!(table, &op.name, filter_not / filter_not_named(holds)),
            (Some(_), not) => {
                let materialized = self.materialized(&op.materialized, &op.name, (input.key, input.value));
                if not { table.filter_not_with(holds, materialized) } else { table.filter_with(holds, materialized) }
            }
        }
    }

    pub(super) fn map_values(&mut self, op: &'a MapValues) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let function = mapper(&op.r#fn, input.key, input.value)?;
        if input.is_table() {
            let out = function.out;
            let table = each_table!(input, table => {
                let map = move |k: &_, v: &Value| (function.apply)(&Key::seen(k), v);
                Object::from(match &op.materialized {
                    Some(_) => table.map_values_with(map, self.materialized(&op.materialized, &op.name, (input.key, out))),
                    None => call!(table, &op.name, map_values_with_key / map_values_named(map)),
                })
            })?;
            return self.define(&op.id, table, input.key, out);
        }
        let stream = each_stream!(input, stream => {
            Object::from(call!(stream, &op.name, map_values_with_key / map_values_named(values(function.apply))))
        })?;
        self.define(&op.id, stream, input.key, function.out)
    }

    pub(super) fn to_stream(&mut self, op: &'a ToStream) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let Some(key) = &op.key else {
            let stream = each_table!(input, table => Object::from(call!(table, &op.name, to_stream / to_stream_named())))?;
            return self.define(&op.id, stream, input.key, input.value);
        };
        let key = mapper(key, input.key, input.value)?;
        let stream = each_table!(input, table => match key.out.is_windowed() {
            false => Object::from(with_key::<_, Value>(table, &op.name, key.apply)),
            true => Object::from(with_key::<_, Windowed<Value>>(table, &op.name, key.apply)),
        })?;
        self.define(&op.id, stream, key.out, input.value)
    }

    pub(super) fn transform_values(&mut self, op: &'a TransformValues) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let stores: Vec<&str> = op.stores.iter().map(|store| &**store).collect();
        let table = each_table!(input, table => {
            let (kind, name) = (op.transformer, op.stores.first().map(|store| store.to_string()));
            let supplier = move || Transform { kind, calls: 0, name: name.clone(), store: None };
            Object::from(match (&op.materialized, named(&op.name)) {
                (None, None) => table.transform_values(supplier, &stores),
                (None, Some(name)) => table.transform_values_named(name, supplier, &stores),
                (options, _) => table.transform_values_with(supplier, &stores, self.materialized(options, &op.name, (input.key, Type::Str))),
            })
        })?;
        self.define(&op.id, table, input.key, Type::Str)
    }

    pub(super) fn suppress(&mut self, op: &'a Suppress) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let table = match (&input.object, op.until) {
            (Object::WindowedTable(table), Until::WindowCloses) => {
                let until = suppressed(Suppressed::until_window_closes(strict(op)), &op.name);
                Object::from(table.suppress_with(until, Key::serde(input.key), input.value.serde()))
            }
            // Such a program does not compile; Kafka Streams finds out when it builds the topology.
            (_, Until::WindowCloses) => return Err(Error::new(ErrorKind::Topology, "windows close only where keys are in windows").into()),
            (_, Until::TimeLimit) => each_table!(input, table => {
                let wait = op.ms.ok_or_else(|| Bad("field ms is missing".into()))?;
                let until = match op.full {
                    Full::Emit if op.max_records.is_some() || op.max_bytes.is_some() => {
                        Suppressed::until_time_limit(wait, strict(op).emit_early_when_full())
                    }
                    _ => Suppressed::until_time_limit(wait, strict(op)),
                };
                Object::from(table.suppress_with(suppressed(until, &op.name), Key::serde(input.key), input.value.serde()))
            })?,
        };
        self.define(&op.id, table, input.key, input.value)
    }
}

/// A transformer of the vocabulary.
struct Transform {
    kind: Transformer,
    calls: i64,
    name: Option<String>,
    store: Option<KeyValueStore<Value, Value>>,
}

impl<K: Key> ValueTransformerWithKey<K, Value> for Transform {
    type Output = Value;

    fn init(&mut self, context: &mut TransformerContext<'_>) -> Result<(), Error> {
        if let (Transformer::StoreCalls, Some(name)) = (self.kind, &self.name) {
            self.store = Some(context.store(name)?);
        }
        Ok(())
    }

    fn transform(&mut self, context: &mut TaskContext, key: &K, value: Option<&Value>) -> Result<Value, Error> {
        let (key, value) = (key.seen(), value.unwrap_or(&Value::Null));
        let calls = match (self.kind, &self.store) {
            (Transformer::ShowNonNull, _) if *value == Value::Null => return Ok(Value::Null),
            (Transformer::Show | Transformer::ShowNonNull, _) => return Ok(Value::str(format!("{}:{}", key.text(), value.text()))),
            (_, None) => {
                self.calls += 1;
                self.calls
            }
            (_, Some(store)) => {
                let calls = store.get(&key)?.map_or(0, |calls| calls.number()) + 1;
                store.put(context, &key, Some(&Value::I64(calls)))?;
                calls
            }
        };
        Ok(Value::str(format!("{}#{calls}", value.text())))
    }
}

/// A buffer with the bounds of the op that fails when it is full.
fn strict(op: &Suppress) -> StrictBufferConfig {
    let mut buffer = StrictBufferConfig::unbounded().logging(op.logging.unwrap_or(true));
    if let Some(records) = op.max_records {
        buffer = buffer.with_max_records(records);
    }
    match op.max_bytes {
        Some(bytes) => buffer.with_max_bytes(bytes),
        None => buffer,
    }
}

fn suppressed<K>(suppressed: Suppressed<K>, name: &Option<Text>) -> Suppressed<K> {
    match name {
        Some(name) => suppressed.name(&**name),
        None => suppressed,
    }
}

/// A table's changes under another key.
fn with_key<K: Key, L: Key>(table: &KTable<K, Value>, name: &Option<Text>, key: Arc<Mapper>) -> KStream<L, Option<Value>> {
    match name {
        Some(_) => call!(table, name, to_stream / to_stream_named()).select_key(keys(key)),
        None => table.to_stream_with_key(keys(key)),
    }
}
