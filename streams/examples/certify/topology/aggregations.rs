//! Grouping, windowing, cogrouping, and the aggregations on all of them.

use millstream::{
    CogroupedKStream, EmitStrategy, KGroupedStream, SessionWindows, SlidingWindows, TimeWindowedKStream, TimeWindows, UnlimitedWindows,
};

use super::{
    Builder,
    handle::{Handle, Key, Object, each_table, seen},
    options::{call, grouped, grouped_table},
    required,
    streams::keys,
};
use crate::{
    functions::{Bad, aggregator, mapper, merger, reducer},
    run::Stop,
    scenario::{Aggregate, Cogroup, Count, Emit, GroupBy, GroupByKey, Reduce, Window, WindowedBy},
    value::{Type, Value},
};

impl<'a> Builder<'a> {
    pub(super) fn group_by_key(&mut self, op: &'a GroupByKey) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let group = input.stream()?.group_by_key_with(grouped(input.key, input.value, &op.name));
        self.define(&op.id, Object::GroupedStream(group), input.key, input.value)
    }

    pub(super) fn group_by(&mut self, op: &'a GroupBy) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let key = mapper(&op.key, input.key, input.value)?;
        let group = match &input.object {
            Object::Stream(stream) => stream.group_by_with(keys(key.apply), grouped(key.out, input.value, &op.name)),
            Object::WindowedStream(stream) => stream.group_by_with(keys(key.apply), grouped(key.out, input.value, &op.name)),
            _ => {
                let (value, key_out) = (mapper(op.value.as_deref().unwrap_or("id"), input.key, input.value)?, key.out);
                let group = each_table!(input, table => {
                    let pair = move |k: &_, v: &Value| ((key.apply)(&Key::seen(k), v), (value.apply)(&Key::seen(k), v));
                    table.group_by_with(pair, grouped_table(key_out, value.out, &op.name))
                })?;
                return self.define(&op.id, Object::GroupedTable(group), key_out, value.out);
            }
        };
        self.define(&op.id, Object::GroupedStream(group), key.out, input.value)
    }

    pub(super) fn windowed_by(&mut self, op: &'a WindowedBy) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        if input.key != Type::Str {
            return Err(Bad(format!("windows need str keys, not {:?}", input.key)).into());
        }
        if let Object::Cogrouped(cogroup) = &input.object {
            let (windowed, key) = windowed_cogroup(cogroup, op.window);
            return self.define(&op.id, windowed, key, input.value);
        }
        let group = grouped_stream(&input.object)?;
        let emit = op.emit.map(|emit| match emit {
            Emit::Close => EmitStrategy::OnWindowClose,
            Emit::Update => EmitStrategy::OnWindowUpdate,
        });
        let time = |stream: TimeWindowedKStream<_, _>| {
            Object::TimeWindowed(match emit {
                Some(emit) => stream.emit_strategy(emit),
                None => stream,
            })
        };
        let (windowed, key) = match op.window {
            Window::Tumbling { size, grace } => (time(group.windowed_by(sized(size, grace))), Type::TimeWindowed(size)),
            Window::Hopping { size, advance, grace } => {
                (time(group.windowed_by(sized(size, grace).advance_by(advance))), Type::TimeWindowed(size))
            }
            Window::Sliding { diff, grace } => (time(group.windowed_by(sliding(diff, grace))), Type::TimeWindowed(diff)),
            Window::Unlimited { start } => (time(group.windowed_by(unlimited(start))), Type::TimeWindowed(i64::MAX)),
            Window::Session { gap, grace } => {
                let stream = group.windowed_by(sessions(gap, grace));
                let stream = match emit {
                    Some(emit) => stream.emit_strategy(emit),
                    None => stream,
                };
                (Object::SessionWindowed(stream), Type::SessionWindowed)
            }
        };
        self.define(&op.id, windowed, key, input.value)
    }

    pub(super) fn cogroup(&mut self, op: &'a Cogroup) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let type_ = match &op.with {
            None => op.r#type.ok_or_else(|| Bad("field type is missing".into()))?,
            Some(_) => input.value,
        };
        let function = aggregator(&op.agg, type_)?;
        let add = move |k: &Value, v: &Option<Value>, a: Value| function(k, seen(v), &a);
        let cogroup = match (&input.object, &op.with) {
            (Object::Cogrouped(cogroup), Some(with)) => cogroup.cogroup(grouped_stream(&self.handle(with)?.object)?, add),
            (object, _) => grouped_stream(object)?.cogroup(add),
        };
        self.define(&op.id, Object::Cogrouped(cogroup), input.key, type_)
    }

    pub(super) fn count(&mut self, op: &'a Count) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        if op.materialized.is_none() {
            let serde = Type::I64.serde();
            let table = match &input.object {
                Object::TimeWindowed(stream) => call!(stream, &op.name, count_as / count_as_named(serde)).into(),
                Object::SessionWindowed(stream) => call!(stream, &op.name, count_as / count_as_named(serde)).into(),
                Object::GroupedTable(table) => call!(table, &op.name, count_as / count_as_named(serde)).into(),
                object => call!(grouped_stream(object)?, &op.name, count_as / count_as_named(serde)).into(),
            };
            return self.define(&op.id, table, input.key, Type::I64);
        }
        let materialized = self.materialized(&op.materialized, &op.name, (stored_key(&input), Type::I64));
        let table = match &input.object {
            Object::TimeWindowed(stream) => stream.count_with(materialized).into(),
            Object::SessionWindowed(stream) => stream.count_with(materialized).into(),
            Object::GroupedTable(table) => table.count_with(materialized).into(),
            object => grouped_stream(object)?.count_with(materialized).into(),
        };
        self.define(&op.id, table, input.key, Type::I64)
    }

    pub(super) fn reduce(&mut self, op: &'a Reduce) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let function = reducer(&op.reducer, input.value)?;
        let materialized = self.materialized(&op.materialized, &op.name, (stored_key(&input), input.value));
        let table = match &input.object {
            Object::TimeWindowed(stream) => stream.reduce_with(move |old, v| function(old, seen(v)), materialized).into(),
            Object::SessionWindowed(stream) => stream.reduce_with(move |old, v| function(old, seen(v)), materialized).into(),
            Object::GroupedTable(table) => {
                let subtract = reducer(required(&op.subtractor, "subtractor")?, input.value)?;
                table.reduce_with(move |old, v| function(old, v), move |old, v| subtract(old, v), materialized).into()
            }
            object => grouped_stream(object)?.reduce_with(move |old, v| function(old, v), materialized).into(),
        };
        self.define(&op.id, table, input.key, input.value)
    }

    pub(super) fn aggregate(&mut self, op: &'a Aggregate) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        if matches!(input.object, Object::Cogrouped(_) | Object::TimeWindowedCogroup(_) | Object::SessionWindowedCogroup(_)) {
            return self.aggregate_cogroup(op, &input);
        }
        let type_ = op.r#type.ok_or_else(|| Bad("field type is missing".into()))?;
        let init = type_.parse(&op.init).ok_or_else(|| Bad(format!("init {} is not of type {type_:?}", op.init)))?;
        let function = aggregator(required(&op.agg, "agg")?, type_)?;
        let materialized = self.materialized(&op.materialized, &op.name, (stored_key(&input), type_));
        let (init, add) = (move || init.clone(), move |k: &Value, v: &Option<Value>, a: Value| function(k, seen(v), &a));
        let table = match &input.object {
            Object::TimeWindowed(stream) => stream.aggregate_with(init, add, materialized).into(),
            Object::SessionWindowed(stream) => {
                let merge = merger(required(&op.merger, "merger")?, type_)?;
                stream.aggregate_with(init, add, move |k, one, other| merge(k, &one, &other), materialized).into()
            }
            Object::GroupedTable(table) => {
                let subtract = aggregator(required(&op.sub, "sub")?, type_)?;
                let add = move |k: &Value, v: &Value, a: Value| add(k, &Some(v.clone()), a);
                table.aggregate_with(init, add, move |k: &Value, v: &Value, a: Value| subtract(k, v, &a), materialized).into()
            }
            object => grouped_stream(object)?.aggregate_with(init, add, materialized).into(),
        };
        self.define(&op.id, table, input.key, type_)
    }
}

impl<'a> Builder<'a> {
    fn aggregate_cogroup(&mut self, op: &'a Aggregate, input: &Handle) -> Result<(), Stop> {
        let init = input.value.parse(&op.init).ok_or_else(|| Bad(format!("init {} is not of type {:?}", op.init, input.value)))?;
        let init = move || init.clone();
        let materialized = self.materialized(&op.materialized, &op.name, (stored_key(input), input.value));
        let table = match &input.object {
            Object::TimeWindowedCogroup(cogroup) => cogroup.aggregate_with(init, materialized).into(),
            Object::SessionWindowedCogroup(cogroup) => {
                let merge = merger(required(&op.merger, "merger")?, input.value)?;
                cogroup.aggregate_with(init, move |k, one, other| merge(k, &one, &other), materialized).into()
            }
            Object::Cogrouped(cogroup) => cogroup.aggregate_with(init, materialized).into(),
            _ => return Err(Bad("a handle is not a cogroup".into()).into()),
        };
        self.define(&op.id, table, input.key, input.value)
    }
}

/// The type of a store's keys: those of a windowed aggregation are without the window that it gives them.
fn stored_key(input: &Handle) -> Type {
    match input.object {
        Object::GroupedStream(_) | Object::GroupedTable(_) | Object::Cogrouped(_) => input.key,
        _ => Type::Str,
    }
}

fn windowed_cogroup(cogroup: &CogroupedKStream<Value, Value>, window: Window) -> (Object, Type) {
    let (windowed, key) = match window {
        Window::Tumbling { size, grace } => (cogroup.windowed_by(sized(size, grace)), Type::TimeWindowed(size)),
        Window::Hopping { size, advance, grace } => (cogroup.windowed_by(sized(size, grace).advance_by(advance)), Type::TimeWindowed(size)),
        Window::Sliding { diff, grace } => (cogroup.windowed_by(sliding(diff, grace)), Type::TimeWindowed(diff)),
        Window::Unlimited { start } => (cogroup.windowed_by(unlimited(start)), Type::TimeWindowed(i64::MAX)),
        Window::Session { gap, grace } => {
            return (Object::SessionWindowedCogroup(cogroup.windowed_by(sessions(gap, grace))), Type::SessionWindowed);
        }
    };
    (Object::TimeWindowedCogroup(windowed), key)
}

fn sliding(diff: i64, grace: Option<i64>) -> SlidingWindows {
    match grace {
        Some(grace) => SlidingWindows::of_time_difference_and_grace(diff, grace),
        None => SlidingWindows::of_time_difference_with_no_grace(diff),
    }
}

fn unlimited(start: Option<i64>) -> UnlimitedWindows {
    start.map_or(UnlimitedWindows::of(), |start| UnlimitedWindows::of().start_on(start))
}

fn sessions(gap: i64, grace: Option<i64>) -> SessionWindows {
    match grace {
        Some(grace) => SessionWindows::of_inactivity_gap_and_grace(gap, grace),
        None => SessionWindows::of_inactivity_gap_with_no_grace(gap),
    }
}

fn sized(size: i64, grace: Option<i64>) -> TimeWindows {
    match grace {
        Some(grace) => TimeWindows::of_size_and_grace(size, grace),
        None => TimeWindows::of_size_with_no_grace(size),
    }
}

fn grouped_stream(object: &Object) -> Result<&KGroupedStream<Value, Option<Value>>, Bad> {
    match object {
        Object::GroupedStream(group) => Ok(group),
        _ => Err(Bad("a handle is not a grouped stream".into())),
    }
}
