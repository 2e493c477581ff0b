//! The closed vocabulary of processors: what a spec means, and the types of what it forwards.

mod commands;
mod fixed_key;
mod run;

use std::sync::Arc;

pub use fixed_key::FixedRun;
pub use run::Run;

use crate::{
    functions::{Bad, Mapper, Spec, mapper},
    value::{Type, Value},
};

/// What a processor does with each record.
#[derive(Clone)]
pub enum Processor {
    Echo,
    Drop,
    HeaderAdd(Arc<str>),
    HeaderMutate(Arc<str>),
    HeaderDrop,
    TsShift(i64),
    TsSet(i64),
    Copies(i64),
    /// To the child of the first prefix that fits.
    Route(Vec<(String, String)>),
    Commit,
    ThrowIf(Arc<str>),
    Value(Arc<Mapper>),
    Meta,
    StoreCount,
    StoreAppend,
    StoreRead,
    StoreCommand,
    Punctuate(Punctuate),
}

/// Fires every `interval` milliseconds, `firings` times at most.
#[derive(Clone, Copy)]
pub struct Punctuate {
    pub by_stream_time: bool,
    pub by_wall_clock: bool,
    pub interval: i64,
    pub firings: u64,
}

impl Processor {
    /// A processor of `process`, and the types that it forwards.
    pub fn parse(spec: &str, key: Type, value: Type) -> Result<(Self, Type, Type), Bad> {
        let spec = Spec::new(spec);
        let (processor, out) = match spec.name {
            "echo" => (Self::Echo, value),
            "drop" => (Self::Drop, value),
            "header_add" => (Self::HeaderAdd(spec.text()?), value),
            "header_mutate" => (Self::HeaderMutate(spec.text()?), value),
            "header_drop" => (Self::HeaderDrop, value),
            "ts_shift" => (Self::TsShift(spec.number()?), value),
            "ts_set" => (Self::TsSet(spec.number()?), value),
            "copies" => (Self::Copies(spec.number()?), value),
            "route" => (Self::Route(rules(&spec)?), value),
            "commit" => (Self::Commit, value),
            "throw_if" => (Self::ThrowIf(spec.text()?), value),
            "meta" => (Self::Meta, Type::Str),
            "store_count" => (Self::StoreCount, Type::I64),
            "store_append" => (Self::StoreAppend, Type::Str),
            "store_read" => (Self::StoreRead, Type::Str),
            "store_command" => (Self::StoreCommand, Type::Str),
            "punct_stream" | "punct_wall" | "punct_both" if key == Type::Str && value == Type::Str => {
                (Self::Punctuate(punctuate(&spec)?), Type::Str)
            }
            _ => return Err(spec.bad("there is no such processor of these types")),
        };
        Ok((processor, key, out))
    }

    /// A processor of `process_values`, and the type of its values.
    pub fn parse_fixed_key(spec: &str, value: Type) -> Result<(Self, Type), Bad> {
        let spec_ = Spec::new(spec);
        match spec_.name {
            "value" => Ok((Self::Value(mapper(&spec_.text()?, Type::Str, Type::Str)?.apply), Type::Str)),
            "echo" | "drop" | "header_add" | "ts_shift" | "copies" | "meta" | "store_count" => {
                Self::parse(spec, Type::Str, value).map(|(processor, _, value)| (processor, value))
            }
            _ => Err(spec_.bad("there is no such fixed-key processor")),
        }
    }
}

fn rules(spec: &Spec) -> Result<Vec<(String, String)>, Bad> {
    let rule = |rule: &str| rule.split_once('=').map(|(prefix, child)| (prefix.to_string(), child.to_string()));
    spec.text()?.split(',').map(rule).collect::<Option<_>>().ok_or_else(|| spec.bad("rules are PREFIX=CHILD,…"))
}

fn punctuate(spec: &Spec) -> Result<Punctuate, Bad> {
    let argument = spec.text()?;
    let (interval, firings) = argument.split_once(',').map_or((&*argument, None), |(interval, firings)| (interval, Some(firings)));
    let number = |text: &str| text.parse().map_err(|_| spec.bad("its argument is INTERVAL or INTERVAL,FIRINGS"));
    Ok(Punctuate {
        by_stream_time: spec.name != "punct_wall",
        by_wall_clock: spec.name != "punct_stream",
        interval: number(interval)?,
        firings: firings.map_or(Ok(i64::MAX), number)? as u64,
    })
}

/// The next count of a key.
fn count(old: &Value) -> Value {
    Value::I64(old.number().wrapping_add(1))
}

/// The text that a key has collected.
fn append(old: &Value, value: &Value) -> Value {
    match old {
        Value::Null => Value::str(value.text()),
        old => Value::str(format!("{},{}", old.text(), value.text())),
    }
}
