//! The operators of the DSL at run time: one file each, beginning with its law.

mod aggregate;
mod emit_final;
mod filter;
mod flat_map;
mod for_each;
mod map;
mod pass_through;
mod session_aggregate;
mod sliding_aggregate;
mod suppress;
mod table_aggregate;
mod table_group;
mod table_join;
mod table_map;
mod table_transform;
mod window_aggregate;
mod window_fold;

pub use aggregate::Counter;
pub(crate) use aggregate::{Aggregate, AggregateNode, Count, Fold, Reduce};
pub(crate) use emit_final::EmitFinal;
pub(crate) use filter::Filter;
pub(crate) use flat_map::{FlatMap, FlatMapValues};
pub(crate) use for_each::{ForEach, Peek};
pub(crate) use map::{Map, MapValues};
pub(crate) use pass_through::PassThrough;
pub(crate) use session_aggregate::{SessionAggregate, SessionAggregateNode};
pub(crate) use sliding_aggregate::SlidingAggregateNode;
pub(crate) use suppress::{Suppress, SuppressedRows};
pub(crate) use table_aggregate::{TableAggregate, TableFold, TableFolder, TableReduce};
pub(crate) use table_group::TableGroup;
pub(crate) use table_join::{JoinKind, TableJoin};
pub(crate) use table_map::TableMap;
pub use table_transform::{TransformerContext, ValueTransformerWithKey};
pub(crate) use table_transform::{TableTransform, Transformed};
pub(crate) use window_aggregate::WindowAggregateNode;
pub(crate) use window_fold::{MergingFold, WindowReduce};
