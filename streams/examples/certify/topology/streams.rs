//! Sources, sinks and the operators of a stream.

use super::{Builder, Shape, required};
use crate::{
    functions::{Bad, Spec, mapper, predicate, splitter},
    processors::Processor,
    run::Stop,
    scenario::{Branch, FlatMap, FlatMapValues, Foreach, Map, Merge, Peek, Process, Repartition, SelectKey, Split, Stream, To, ToTable},
    value::Type,
};

impl<'a> Builder<'a> {
    pub(super) fn stream(&mut self, op: &'a Stream) -> Result<(), Stop> {
        let first = op.topics.first().ok_or_else(|| Bad("a stream without topics".into()))?;
        let (key, value) = self.topic(first)?;
        self.define(&op.id, Shape::Stream, key, value)
    }

    pub(super) fn to(&mut self, op: &'a To) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        Ok(self.check_sink(&op.topic, input)?)
    }

    pub(super) fn to_dynamic(&mut self, op: &'a To) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        let topic = mapper(&op.topic, input.key, input.value)?;
        if topic.out != Type::Str {
            return Err(Bad(format!("{} does not give a topic's name", &*op.topic)).into());
        }
        Ok(())
    }

    pub(super) fn repartition(&mut self, op: &'a Repartition) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        self.define(&op.id, Shape::Stream, input.key, input.value)
    }

    pub(super) fn to_table(&mut self, op: &'a ToTable) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        self.define(&op.id, Shape::Table, input.key, input.value)
    }

    pub(super) fn merge(&mut self, op: &'a Merge) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        let with = self.handle_of(&op.with, &[Shape::Stream])?;
        if !input.key.fits(with.key) || !input.value.fits(with.value) {
            return Err(Bad("a merge of different types".into()).into());
        }
        self.define(&op.id, Shape::Stream, input.key, input.value)
    }

    pub(super) fn split(&mut self, op: &'a Split) -> Result<(), Stop> {
        for branch in &op.branches {
            predicate(required(&branch.pred, "pred")?)?;
            self.branch(op, branch)?;
        }
        op.default.iter().try_for_each(|branch| self.branch(op, branch))
    }

    fn branch(&mut self, op: &'a Split, branch: &'a Branch) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        let chain = Spec::new(branch.chain.as_deref().unwrap_or("none"));
        match chain.name {
            "none" => self.define(&branch.id, Shape::Stream, input.key, input.value),
            "map_values" => {
                let value = mapper(&chain.text()?, input.key, input.value)?.out;
                self.define(&branch.id, Shape::Stream, input.key, value)
            }
            "to" => Ok(self.check_sink(&chain.text()?, input)?),
            "null" => Ok(()),
            _ => Err(chain.bad("there is no such chain").into()),
        }
    }

    pub(super) fn map(&mut self, op: &'a Map) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        let key = mapper(&op.key, input.key, input.value)?;
        let value = mapper(&op.value, input.key, input.value)?;
        self.define(&op.id, Shape::Stream, key.out, value.out)
    }

    pub(super) fn flat_map(&mut self, op: &'a FlatMap) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        splitter(&op.split)?;
        let key = mapper(&op.key, input.key, Type::Str)?;
        let value = mapper(&op.value, input.key, Type::Str)?;
        self.define(&op.id, Shape::Stream, key.out, value.out)
    }

    pub(super) fn flat_map_values(&mut self, op: &'a FlatMapValues) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        splitter(&op.split)?;
        self.define(&op.id, Shape::Stream, input.key, Type::Str)
    }

    pub(super) fn select_key(&mut self, op: &'a SelectKey) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        let key = mapper(&op.key, input.key, input.value)?;
        self.define(&op.id, Shape::Stream, key.out, input.value)
    }

    pub(super) fn peek(&mut self, op: &'a Peek) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        self.define(&op.id, Shape::Stream, input.key, input.value)
    }

    pub(super) fn foreach(&mut self, op: &'a Foreach) -> Result<(), Stop> {
        self.handle_of(&op.input, &[Shape::Stream])?;
        Ok(())
    }

    pub(super) fn process(&mut self, op: &'a Process) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        let (_, key, value) = Processor::parse(&op.processor, input.key, input.value)?;
        self.define(&op.id, Shape::Stream, key, value)
    }

    pub(super) fn process_values(&mut self, op: &'a Process) -> Result<(), Stop> {
        let input = self.handle_of(&op.input, &[Shape::Stream])?;
        let (_, value) = Processor::parse_fixed_key(&op.processor, input.value)?;
        self.define(&op.id, Shape::Stream, input.key, value)
    }
}
