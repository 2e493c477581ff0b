//! The operators of the DSL at run time: one file each, beginning with its law.

mod aggregate;
mod filter;
mod flat_map;
mod for_each;
mod map;
mod pass_through;

pub(crate) use aggregate::{Aggregate, AggregateNode, Count, Fold, Reduce};
pub(crate) use filter::Filter;
pub(crate) use flat_map::{FlatMap, FlatMapValues};
pub(crate) use for_each::{ForEach, Peek};
pub(crate) use map::{Map, MapValues};
pub(crate) use pass_through::PassThrough;
