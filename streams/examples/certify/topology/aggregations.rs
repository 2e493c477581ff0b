//! Grouping, windowing, cogrouping, and the aggregations on all of them.

use super::{Builder, Shape, required};
use crate::{
    functions::{Bad, aggregator, mapper, merger, reducer},
    run::Stop,
    scenario::{Aggregate, Cogroup, Count, GroupBy, GroupByKey, Reduce, Window, WindowedBy},
    value::Type,
};

const COGROUPED: [Shape; 3] = [Shape::Cogrouped, Shape::TimeWindowedCogrouped, Shape::SessionWindowedCogrouped];
const GROUPED: [Shape; 4] = [Shape::GroupedStream, Shape::GroupedTable, Shape::TimeWindowed, Shape::SessionWindowed];

impl<'a> Builder<'a> {
    pub(super) fn group_by_key(&mut self, op: &'a GroupByKey) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        self.define(&op.id, Shape::GroupedStream, input.key, input.value)
    }

    pub(super) fn group_by(&mut self, op: &'a GroupBy) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream, Shape::Table])?;
        let key = mapper(&op.key, input.key, input.value)?;
        if input.shape == Shape::Stream {
            return self.define(&op.id, Shape::GroupedStream, key.out, input.value);
        }
        let value = mapper(op.value.as_deref().unwrap_or("id"), input.key, input.value)?;
        self.define(&op.id, Shape::GroupedTable, key.out, value.out)
    }

    pub(super) fn windowed_by(&mut self, op: &'a WindowedBy) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::GroupedStream, Shape::Cogrouped])?;
        if input.key != Type::Str {
            return Err(Bad(format!("windows need str keys, not {:?}", input.key)).into());
        }
        let key = match op.window {
            Window::Tumbling { size, .. } | Window::Hopping { size, .. } => Type::TimeWindowed(size),
            Window::Sliding { diff, .. } => Type::TimeWindowed(diff),
            Window::Unlimited { .. } => Type::TimeWindowed(i64::MAX),
            Window::Session { .. } => Type::SessionWindowed,
        };
        let shape = match (input.shape, key) {
            (Shape::Cogrouped, Type::SessionWindowed) => Shape::SessionWindowedCogrouped,
            (Shape::Cogrouped, _) => Shape::TimeWindowedCogrouped,
            (_, Type::SessionWindowed) => Shape::SessionWindowed,
            _ => Shape::TimeWindowed,
        };
        self.define(&op.id, shape, key, input.value)
    }

    pub(super) fn cogroup(&mut self, op: &'a Cogroup) -> Result<(), Stop> {
        if let Some(with) = &op.with {
            let input = self.handle_of(&op.input, &[Shape::Cogrouped])?;
            self.handle_of(with, &[Shape::GroupedStream])?;
            aggregator(&op.agg, input.value)?;
            return self.define(&op.id, Shape::Cogrouped, input.key, input.value);
        }
        let input = self.handle_of(&op.input, &[Shape::GroupedStream])?;
        let type_ = op.r#type.ok_or_else(|| Bad("field type is missing".into()))?;
        aggregator(&op.agg, type_)?;
        self.define(&op.id, Shape::Cogrouped, input.key, type_)
    }

    pub(super) fn count(&mut self, op: &'a Count) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &GROUPED)?;
        self.define(&op.id, Shape::Table, input.key, Type::I64)
    }

    pub(super) fn reduce(&mut self, op: &'a Reduce) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &GROUPED)?;
        reducer(&op.reducer, input.value)?;
        if input.shape == Shape::GroupedTable {
            reducer(required(&op.subtractor, "subtractor")?, input.value)?;
        }
        self.define(&op.id, Shape::Table, input.key, input.value)
    }

    pub(super) fn aggregate(&mut self, op: &'a Aggregate) -> Result<(), Stop> {
        let input = self.handle(&op.input)?;
        let is_cogroup = COGROUPED.contains(&input.shape);
        let type_ = match is_cogroup {
            true => input.value,
            false => op.r#type.ok_or_else(|| Bad("field type is missing".into()))?,
        };
        type_.parse(&op.init).ok_or_else(|| Bad(format!("init {} is not of type {type_:?}", op.init)))?;
        if !is_cogroup {
            self.handle_of(&op.input, &GROUPED)?;
            aggregator(required(&op.agg, "agg")?, type_)?;
        }
        if input.shape == Shape::GroupedTable {
            aggregator(required(&op.sub, "sub")?, type_)?;
        }
        if matches!(input.shape, Shape::SessionWindowed | Shape::SessionWindowedCogrouped) {
            merger(required(&op.merger, "merger")?, type_)?;
        }
        self.define(&op.id, Shape::Table, input.key, type_)
    }
}
