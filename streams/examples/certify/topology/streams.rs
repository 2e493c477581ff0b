//! Sources, sinks and the operators of a stream.

use std::sync::Arc;

use millstream::{Branched, KStream, Produced, Record, Repartitioned, Windowed};
use serde_json::{Map as JsonMap, Value as Json};

use super::{
    Builder,
    handle::{Handle, Key, Object, each_stream, returned, seen},
    options::{call, consumed, produced},
    required,
};
use crate::{
    functions::{Bad, Mapper, Spec, Splitter, mapper, predicate, splitter},
    processors::{FixedRun, Processor, Run},
    run::Stop,
    scenario::{Branch, FlatMap, FlatMapValues, Foreach, Map, Merge, Peek, Process, Repartition, SelectKey, Split, Stream, To, ToTable},
    value::{Type, Value},
};

impl<'a> Builder<'a> {
    pub(super) fn stream(&mut self, op: &'a Stream) -> Result<(), Stop> {
        let topics: Vec<&str> = op.topics.iter().map(|topic| &**topic).collect();
        let (key, value) = self.topic(topics.first().ok_or_else(|| Bad("a stream without topics".into()))?)?;
        let stream = self.builder.stream_with(&topics, consumed((key, value), &op.name, op.extractor, op.offset_reset));
        self.define(&op.id, Object::Stream(stream), key, value)
    }

    pub(super) fn to(&mut self, op: &'a To) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        self.check_sink(&op.topic, &input)?;
        Ok(each_stream!(input, stream => stream.to_with(&op.topic, produced(&input, &op.name, &op.partitioner)?))?)
    }

    pub(super) fn to_dynamic(&mut self, op: &'a To) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let topic = mapper(&op.topic, input.key, input.value)?.apply;
        Ok(each_stream!(input, stream => {
            let extractor = move |record: &Record<_, _>, _: &_| Arc::from(topic(&Key::seen(&record.key), seen(&record.value)).text());
            stream.to_dynamic(extractor, produced(&input, &op.name, &op.partitioner)?);
        })?)
    }

    pub(super) fn repartition(&mut self, op: &'a Repartition) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let stream = each_stream!(input, stream => {
            let mut options = Repartitioned::with(Key::serde(input.key), input.value.serde());
            if let Some(name) = &op.name {
                options = options.name(&**name);
            }
            if let Some(partitions) = op.partitions {
                options = options.partitions(partitions);
            }
            Object::from(stream.repartition_with(options))
        })?;
        self.define(&op.id, stream, input.key, input.value)
    }

    pub(super) fn to_table(&mut self, op: &'a ToTable) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let types = (input.key, input.value);
        let table =
            each_stream!(input, stream => Object::from(stream.to_table_with(self.materialized(&op.materialized, &op.name, types))))?;
        self.define(&op.id, table, input.key, input.value)
    }

    pub(super) fn merge(&mut self, op: &'a Merge) -> Result<(), Stop> {
        let (input, with) = (self.handle(&op.input)?, self.handle(&op.with)?);
        if !input.key.fits(with.key) || !input.value.fits(with.value) {
            return Err(Bad("a merge of different types".into()).into());
        }
        let stream = match (&input.object, &with.object) {
            (Object::Stream(stream), Object::Stream(with)) => Object::from(call!(stream, &op.name, merge / merge_named(with))),
            (Object::WindowedStream(stream), Object::WindowedStream(with)) => {
                Object::from(call!(stream, &op.name, merge / merge_named(with)))
            }
            _ => return Err(Bad("a merge of what are not two streams".into()).into()),
        };
        self.define(&op.id, stream, input.key, input.value)
    }

    pub(super) fn split(&mut self, op: &'a Split) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        each_stream!(input, stream => self.split_stream(op, &input, stream)?)?;
        Ok(())
    }

    fn split_stream<K: Key>(&mut self, op: &'a Split, input: &Handle, stream: &KStream<K, Option<Value>>) -> Result<(), Stop> {
        let mut split = call!(stream, &op.name, split / split_named());
        for branch in &op.branches {
            let holds = predicate(required(&branch.pred, "pred")?)?;
            split = split.branch(move |k: &K, v| holds(&k.seen(), seen(v)), self.branched(branch, input)?);
        }
        let made = match &op.default {
            Some(branch) => split.default_branch(self.branched(branch, input)?),
            None => split.no_default_branch(),
        };
        let mut keys = JsonMap::new();
        let numbered = op.branches.iter().zip(1..).chain(op.default.iter().map(|branch| (branch, 0)));
        for (branch, number) in numbered {
            let suffix = branch.name.as_deref().map_or_else(|| number.to_string(), String::from);
            let found = made.iter().find(|(key, _)| is_branch(key, op.name.as_deref(), &suffix));
            keys.insert(branch.id.to_string(), found.map_or(Json::Null, |(key, _)| key.as_str().into()));
            if let Some((_, stream)) = found {
                let value = match chain(branch) {
                    Spec { name: "map_values", .. } => mapper(&chain(branch).text()?, input.key, input.value)?.out,
                    _ => input.value,
                };
                self.define(&branch.id, stream.clone().into(), input.key, value)?;
            }
        }
        self.branches.insert(op.id.to_string(), keys.into());
        Ok(())
    }

    fn branched<K: Key>(&self, branch: &Branch, input: &Handle) -> Result<Branched<K, Option<Value>>, Bad> {
        let mut branched = Branched::new();
        if let Some(name) = &branch.name {
            branched = branched.name(&**name);
        }
        let chain = chain(branch);
        Ok(match chain.name {
            "none" => branched,
            "null" => branched.with_function(|_| None),
            "map_values" => {
                let apply = mapper(&chain.text()?, input.key, input.value)?.apply;
                branched.with_function(move |stream| Some(stream.map_values_with_key(values(apply))))
            }
            "to" => {
                let topic = chain.text()?;
                self.check_sink(&topic, input)?;
                let (key, value) = (input.key, input.value);
                branched.with_consumer(move |stream: KStream<_, _>| stream.to_with(&topic, Produced::with(K::serde(key), value.serde())))
            }
            _ => return Err(chain.bad("there is no such chain")),
        })
    }

    pub(super) fn map(&mut self, op: &'a Map) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let key = mapper(&op.key, input.key, input.value)?;
        let value = mapper(&op.value, input.key, input.value)?;
        let (key_out, value_out) = (key.out, value.out);
        let stream = each_stream!(input, stream => match key_out.is_windowed() {
            false => Object::from(call!(stream, &op.name, map / map_named(pairs::<_, Value>(key.apply, value.apply)))),
            true => Object::from(call!(stream, &op.name, map / map_named(pairs::<_, Windowed<Value>>(key.apply, value.apply)))),
        })?;
        self.define(&op.id, stream, key_out, value_out)
    }

    pub(super) fn flat_map(&mut self, op: &'a FlatMap) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let split = splitter(&op.split)?;
        let key = mapper(&op.key, input.key, Type::Str)?;
        let value = mapper(&op.value, input.key, Type::Str)?;
        let (key_out, value_out) = (key.out, value.out);
        let stream = each_stream!(input, stream => match key_out.is_windowed() {
            false => {
                let pairs = pieces(split, pairs_of::<_, Value>(key.apply, value.apply));
                Object::from(call!(stream, &op.name, flat_map / flat_map_named(pairs)))
            }
            true => {
                let pairs = pieces(split, pairs_of::<_, Windowed<Value>>(key.apply, value.apply));
                Object::from(call!(stream, &op.name, flat_map / flat_map_named(pairs)))
            }
        })?;
        self.define(&op.id, stream, key_out, value_out)
    }

    pub(super) fn flat_map_values(&mut self, op: &'a FlatMapValues) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let split = splitter(&op.split)?;
        let stream = each_stream!(input, stream => {
            let pieces = move |_: &_, v: &Option<Value>| split(seen(v)).into_iter().map(Some).collect::<Vec<_>>();
            Object::from(call!(stream, &op.name, flat_map_values_with_key / flat_map_values_named(pieces)))
        })?;
        self.define(&op.id, stream, input.key, Type::Str)
    }

    pub(super) fn select_key(&mut self, op: &'a SelectKey) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let key = mapper(&op.key, input.key, input.value)?;
        let stream = each_stream!(input, stream => match key.out.is_windowed() {
            false => Object::from(call!(stream, &op.name, select_key / select_key_named(keys::<_, Value>(key.apply)))),
            true => Object::from(call!(stream, &op.name, select_key / select_key_named(keys::<_, Windowed<Value>>(key.apply)))),
        })?;
        self.define(&op.id, stream, key.out, input.value)
    }

    pub(super) fn peek(&mut self, op: &'a Peek) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let stream = each_stream!(input, stream => Object::from(call!(stream, &op.name, peek / peek_named(|_, _| {}))))?;
        self.define(&op.id, stream, input.key, input.value)
    }

    pub(super) fn foreach(&mut self, op: &'a Foreach) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        Ok(each_stream!(input, stream => call!(stream, &op.name, for_each / for_each_named(|_, _| {})))?)
    }

    pub(super) fn process(&mut self, op: &'a Process) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let (processor, key, value) = Processor::parse(&op.processor, input.key, input.value)?;
        let names: Vec<&str> = op.stores.iter().map(|store| &**store).collect();
        let store = names.first().map(|name| Arc::from(*name));
        let stream = each_stream!(input, stream => {
            let supplier = move || Run::new(processor.clone(), store.clone());
            Object::from(same_keys(stream, call!(stream, &op.name, process / process_named(supplier, &names))))
        })?;
        self.define(&op.id, stream, key, value)
    }

    pub(super) fn process_values(&mut self, op: &'a Process) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let (processor, value) = Processor::parse_fixed_key(&op.processor, input.value)?;
        let names: Vec<&str> = op.stores.iter().map(|store| &**store).collect();
        let store = names.first().map(|name| Arc::from(*name));
        let stream = each_stream!(input, stream => {
            let supplier = move || FixedRun::new(processor.clone(), store.clone());
            Object::from(call!(stream, &op.name, process_values / process_values_named(supplier, &names)))
        })?;
        self.define(&op.id, stream, input.key, value)
    }
}

/// Says that what a processor forwards has keys of the type that it takes.
fn same_keys<K: Key>(_: &KStream<K, Option<Value>>, out: KStream<K, Option<Value>>) -> KStream<K, Option<Value>> {
    out
}

fn chain(branch: &Branch) -> Spec<'_> {
    Spec::new(branch.chain.as_deref().unwrap_or("none"))
}

/// Whether a key of a split's map is that of the branch with this suffix.
fn is_branch(key: &str, split: Option<&str>, suffix: &str) -> bool {
    let Some(base) = key.strip_suffix(suffix) else { return false };
    match split {
        Some(split) => base == split,
        None => base.strip_prefix("KSTREAM-BRANCH-").is_some_and(|n| n.len() == 10 && n.bytes().all(|b| b.is_ascii_digit())),
    }
}

/// A mapper as a function of a stream that gives values.
pub(super) fn values<K: Key>(apply: Arc<Mapper>) -> impl Fn(&K, &Option<Value>) -> Option<Value> + Send + Sync + 'static {
    move |k, v| returned(apply(&k.seen(), seen(v)))
}

/// A mapper as a function of a stream that gives keys.
pub(super) fn keys<K: Key, L: Key>(apply: Arc<Mapper>) -> impl Fn(&K, &Option<Value>) -> L + Send + Sync + 'static {
    move |k, v| L::returned(apply(&k.seen(), seen(v)))
}

/// Two mappers as a function that gives pairs.
fn pairs<K: Key, L: Key>(
    key: Arc<Mapper>,
    value: Arc<Mapper>,
) -> impl Fn(&K, &Option<Value>) -> (L, Option<Value>) + Send + Sync + 'static {
    let pair = pairs_of(key, value);
    move |k, v| pair(k, seen(v))
}

fn pairs_of<K: Key, L: Key>(key: Arc<Mapper>, value: Arc<Mapper>) -> impl Fn(&K, &Value) -> (L, Option<Value>) + Send + Sync + 'static {
    move |k, v| (L::returned(key(&k.seen(), v)), returned(value(&k.seen(), v)))
}

/// What `pair` makes of every piece of a value.
fn pieces<K: Key, L: Key>(
    split: Arc<Splitter>,
    pair: impl Fn(&K, &Value) -> (L, Option<Value>) + Send + Sync + 'static,
) -> impl Fn(&K, &Option<Value>) -> Vec<(L, Option<Value>)> + Send + Sync + 'static {
    move |k, v| split(seen(v)).iter().map(|piece| pair(k, piece)).collect()
}
