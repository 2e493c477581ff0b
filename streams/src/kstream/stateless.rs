//! Operations that look at one record at a time.

use std::sync::Arc;

use millstream_topology::Data;

use super::{Changes, KStream};
use crate::{
    operator::{Filter, FlatMap, FlatMapValues, ForEach, Map, MapValues, PassThrough, Peek},
    options::Named,
};

impl<K: Data, V: Data> KStream<K, V> {
    /// Keeps the records for which `predicate` holds.
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(None, predicate)
    }

    /// The same, named.
    pub fn filter_named(&self, named: Named, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(Some(&named), predicate)
    }

    /// Keeps the records for which `predicate` does not hold.
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(None, move |key, value| !predicate(key, value))
    }

    /// The same, named.
    pub fn filter_not_named(&self, named: Named, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(Some(&named), move |key, value| !predicate(key, value))
    }

    fn filter_as(&self, named: Option<&Named>, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        let predicate = Arc::new(predicate);
        let make = move |assembly: &mut millstream_topology::Assembly<'_>| {
            Ok(Filter { predicate: predicate.clone(), children: assembly.children()? })
        };
        self.draw(named, "KSTREAM-FILTER-", Changes::Nothing, (self.key.clone(), self.value.clone()), make)
    }

    /// Replaces key and value. Needs a repartition before the next operation by key.
    pub fn map<L: Data, W: Data>(&self, mapper: impl Fn(&K, &V) -> (L, W) + Send + Sync + 'static) -> KStream<L, W> {
        self.map_as(None, mapper)
    }

    /// The same, named.
    pub fn map_named<L: Data, W: Data>(&self, named: Named, mapper: impl Fn(&K, &V) -> (L, W) + Send + Sync + 'static) -> KStream<L, W> {
        self.map_as(Some(&named), mapper)
    }

    fn map_as<L: Data, W: Data>(&self, named: Option<&Named>, mapper: impl Fn(&K, &V) -> (L, W) + Send + Sync + 'static) -> KStream<L, W> {
        let mapper = Arc::new(mapper);
        self.draw(named, "KSTREAM-MAP-", Changes::Key, (None, None), move |assembly| {
            let mapper = mapper.clone();
            Ok(Map { mapper: move |key: K, value: V| mapper(&key, &value), children: assembly.children()? })
        })
    }

    /// Replaces the value.
    pub fn map_values<W: Data>(&self, mapper: impl Fn(&V) -> W + Send + Sync + 'static) -> KStream<K, W> {
        self.map_values_as(None, move |_, value| mapper(value))
    }

    /// Replaces the value, looking at the key.
    pub fn map_values_with_key<W: Data>(&self, mapper: impl Fn(&K, &V) -> W + Send + Sync + 'static) -> KStream<K, W> {
        self.map_values_as(None, mapper)
    }

    /// The same, named.
    pub fn map_values_named<W: Data>(&self, named: Named, mapper: impl Fn(&K, &V) -> W + Send + Sync + 'static) -> KStream<K, W> {
        self.map_values_as(Some(&named), mapper)
    }

    fn map_values_as<W: Data>(&self, named: Option<&Named>, mapper: impl Fn(&K, &V) -> W + Send + Sync + 'static) -> KStream<K, W> {
        let mapper = Arc::new(mapper);
        self.draw(named, "KSTREAM-MAPVALUES-", Changes::Value, (self.key.clone(), None), move |assembly| {
            Ok(MapValues { mapper: mapper.clone(), children: assembly.children()? })
        })
    }

    /// Replaces the record by any number of records.
    pub fn flat_map<L: Data, W: Data, I>(&self, mapper: impl Fn(&K, &V) -> I + Send + Sync + 'static) -> KStream<L, W>
    where
        I: IntoIterator<Item = (L, W)> + 'static,
    {
        self.flat_map_as(None, mapper)
    }

    /// The same, named.
    pub fn flat_map_named<L: Data, W: Data, I>(&self, named: Named, mapper: impl Fn(&K, &V) -> I + Send + Sync + 'static) -> KStream<L, W>
    where
        I: IntoIterator<Item = (L, W)> + 'static,
    {
        self.flat_map_as(Some(&named), mapper)
    }

    fn flat_map_as<L: Data, W: Data, I>(&self, named: Option<&Named>, mapper: impl Fn(&K, &V) -> I + Send + Sync + 'static) -> KStream<L, W>
    where
        I: IntoIterator<Item = (L, W)> + 'static,
    {
        let mapper = Arc::new(mapper);
        self.draw(named, "KSTREAM-FLATMAP-", Changes::Key, (None, None), move |assembly| {
            Ok(FlatMap { mapper: mapper.clone(), children: assembly.children()? })
        })
    }

    /// Replaces the value by any number of values.
    pub fn flat_map_values<W: Data, I>(&self, mapper: impl Fn(&V) -> I + Send + Sync + 'static) -> KStream<K, W>
    where
        I: IntoIterator<Item = W> + 'static,
    {
        self.flat_map_values_as(None, move |_, value| mapper(value))
    }

    /// The same, looking at the key, named.
    pub fn flat_map_values_named<W: Data, I>(&self, named: Named, mapper: impl Fn(&K, &V) -> I + Send + Sync + 'static) -> KStream<K, W>
    where
        I: IntoIterator<Item = W> + 'static,
    {
        self.flat_map_values_as(Some(&named), mapper)
    }

    /// The same, looking at the key.
    pub fn flat_map_values_with_key<W: Data, I>(&self, mapper: impl Fn(&K, &V) -> I + Send + Sync + 'static) -> KStream<K, W>
    where
        I: IntoIterator<Item = W> + 'static,
    {
        self.flat_map_values_as(None, mapper)
    }

    fn flat_map_values_as<W: Data, I>(&self, named: Option<&Named>, mapper: impl Fn(&K, &V) -> I + Send + Sync + 'static) -> KStream<K, W>
    where
        I: IntoIterator<Item = W> + 'static,
    {
        let mapper = Arc::new(mapper);
        self.draw(named, "KSTREAM-FLATMAPVALUES-", Changes::Value, (self.key.clone(), None), move |assembly| {
            Ok(FlatMapValues { mapper: mapper.clone(), children: assembly.children()? })
        })
    }

    /// Replaces the key. Needs a repartition before the next operation by key.
    pub fn select_key<L: Data>(&self, selector: impl Fn(&K, &V) -> L + Send + Sync + 'static) -> KStream<L, V> {
        self.select_key_as(None, selector)
    }

    /// The same, named.
    pub fn select_key_named<L: Data>(&self, named: Named, selector: impl Fn(&K, &V) -> L + Send + Sync + 'static) -> KStream<L, V> {
        self.select_key_as(Some(&named), selector)
    }

    pub(crate) fn select_key_as<L: Data>(
        &self,
        named: Option<&Named>,
        selector: impl Fn(&K, &V) -> L + Send + Sync + 'static,
    ) -> KStream<L, V> {
        let selector = Arc::new(selector);
        self.draw(named, "KSTREAM-KEY-SELECT-", Changes::Key, (None, self.value.clone()), move |assembly| {
            let selector = selector.clone();
            let mapper = move |key: K, value: V| (selector(&key, &value), value);
            Ok(Map { mapper, children: assembly.children()? })
        })
    }

    /// Interleaves this stream and another. Between the two there is no order but the task's choice by timestamp.
    pub fn merge(&self, other: &Self) -> Self {
        self.merge_as(None, other)
    }

    /// The same, named.
    pub fn merge_named(&self, named: Named, other: &Self) -> Self {
        self.merge_as(Some(&named), other)
    }

    fn merge_as(&self, named: Option<&Named>, other: &Self) -> Self {
        let mut graph = self.builder.graph.borrow_mut();
        let name: Arc<str> = graph.name_or(named.map(|named| &*named.0), "KSTREAM-MERGE-").into();
        let write = super::write_processor::<K, V, _, _>(&name, |assembly| Ok(PassThrough(assembly.children()?)));
        let mut node = crate::builder::graph::GraphNode::new(name.clone(), crate::builder::graph::Kind::Plain, write);
        node.is_merge = true;
        let node = graph.add(&[self.node, other.node], node);
        let mut merged = self.derived(name, node, self.repartition_required || other.repartition_required, (None, None));
        merged.sources.extend(other.sources.iter().cloned());
        merged
    }

    /// Looks at every record and passes it on as it is.
    pub fn peek(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        self.peek_as(None, action)
    }

    /// The same, named.
    pub fn peek_named(&self, named: Named, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        self.peek_as(Some(&named), action)
    }

    fn peek_as(&self, named: Option<&Named>, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        let action = Arc::new(action);
        self.draw(named, "KSTREAM-PEEK-", Changes::Nothing, (self.key.clone(), self.value.clone()), move |assembly| {
            Ok(Peek { action: action.clone(), children: assembly.children()? })
        })
    }

    /// Looks at every record, last.
    pub fn for_each(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) {
        self.for_each_as(None, action);
    }

    /// The same, named.
    pub fn for_each_named(&self, named: Named, action: impl Fn(&K, &V) + Send + Sync + 'static) {
        self.for_each_as(Some(&named), action);
    }

    fn for_each_as(&self, named: Option<&Named>, action: impl Fn(&K, &V) + Send + Sync + 'static) {
        let action = Arc::new(action);
        self.draw::<K, V, _, _>(named, "KSTREAM-FOREACH-", Changes::Nothing, (None, None), move |_| Ok(ForEach(action.clone())));
    }

    /// Prints every record to standard output, as `[label]: key, value`.
    pub fn print(&self, label: &str)
    where
        K: std::fmt::Debug,
        V: std::fmt::Debug,
    {
        let label = label.to_string();
        let print = Arc::new(move |key: &K, value: &V| println!("[{label}]: {key:?}, {value:?}"));
        self.draw::<K, V, _, _>(None, "KSTREAM-PRINTER-", Changes::Nothing, (None, None), move |_| Ok(ForEach(print.clone())));
    }
}
