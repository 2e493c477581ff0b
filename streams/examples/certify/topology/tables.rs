//! Table sources and the operators of a table; filters and value maps of streams, too.

use super::{Builder, Shape};
use crate::{
    functions::{mapper, predicate},
    run::Stop,
    scenario::{Filter, MapValues, Suppress, Table, ToStream, TransformValues},
    value::Type,
};

impl<'a> Builder<'a> {
    pub(super) fn table(&mut self, op: &'a Table) -> Result<(), Stop> {
        let (key, value) = self.topic(&op.topic)?;
        self.define(&op.id, Shape::Table, key, value)
    }

    pub(super) fn global_table(&mut self, op: &'a Table) -> Result<(), Stop> {
        let (key, value) = self.topic(&op.topic)?;
        self.define(&op.id, Shape::GlobalTable, key, value)
    }

    pub(super) fn filter(&mut self, op: &'a Filter, _not: bool) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream, Shape::Table])?;
        predicate(&op.pred)?;
        self.define(&op.id, input.shape, input.key, input.value)
    }

    pub(super) fn map_values(&mut self, op: &'a MapValues) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream, Shape::Table])?;
        let function = mapper(&op.r#fn, input.key, input.value)?;
        self.define(&op.id, input.shape, input.key, function.out)
    }

    pub(super) fn to_stream(&mut self, op: &'a ToStream) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Table])?;
        let key = match &op.key {
            Some(key) => mapper(key, input.key, input.value)?.out,
            None => input.key,
        };
        self.define(&op.id, Shape::Stream, key, input.value)
    }

    pub(super) fn transform_values(&mut self, op: &'a TransformValues) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Table])?;
        self.define(&op.id, Shape::Table, input.key, Type::Str)
    }

    pub(super) fn suppress(&mut self, op: &'a Suppress) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Table])?;
        self.define(&op.id, Shape::Table, input.key, input.value)
    }
}
