//! Operations that look at one record at a time.

use std::{fs::File, sync::Arc};

use millstream_topology::{Data, ErrorKind};
use parking_lot::Mutex;

use super::{Changes, KStream};
use crate::{
    operator::{Filter, FlatMap, FlatMapValues, ForEach, Map, MapValues, PassThrough, Peek, Print, Printer},
    options::{Named, PrintTo, Printed},
};

impl<K: Data, V: Data> KStream<K, V> {
    /// Keeps the records for which `predicate` holds.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.filter(|_, amount| *amount > 100).to("large");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("orders"); input.pipe("a".to_string(), 50i64, 0)?; input.pipe("b".to_string(), 200, 0)?;
    /// let large = driver.output_topic::<String, i64>("large").read_key_values()?;
    /// assert_eq!(large, [("b".to_string(), 200)]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(None, predicate)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.filter_named(Named::new("large"), |_, amount| *amount > 100);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn filter_named(&self, named: Named, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(Some(&named), predicate)
    }

    /// Keeps the records for which `predicate` does not hold.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.filter_not(|_, amount| *amount > 100).to("small");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("orders"); input.pipe("a".to_string(), 50i64, 0)?; input.pipe("b".to_string(), 200, 0)?;
    /// let small = driver.output_topic::<String, i64>("small").read_key_values()?;
    /// assert_eq!(small, [("a".to_string(), 50)]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_as(None, move |key, value| !predicate(key, value))
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.filter_not_named(Named::new("small"), |_, amount| *amount > 100);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
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
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.map(|id, amount| (*amount, id.clone())).to("by-amount");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// let by_amount = driver.output_topic::<i64, String>("by-amount").read_key_values()?;
    /// assert_eq!(by_amount, [(50, "a".to_string())]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn map<L: Data, W: Data>(&self, mapper: impl Fn(&K, &V) -> (L, W) + Send + Sync + 'static) -> KStream<L, W> {
        self.map_as(None, mapper)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.map_named(Named::new("by-amount"), |id, amount| (*amount, id.clone()));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
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
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.map_values(|amount| format!("{amount} €")).to("texts");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.output_topic::<String, String>("texts").read_values()?, ["50 €"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn map_values<W: Data>(&self, mapper: impl Fn(&V) -> W + Send + Sync + 'static) -> KStream<K, W> {
        self.map_values_as(None, move |_, value| mapper(value))
    }

    /// Replaces the value, looking at the key.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.map_values_with_key(|id, amount| format!("{id}: {amount} €")).to("texts");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.output_topic::<String, String>("texts").read_values()?, ["a: 50 €"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn map_values_with_key<W: Data>(&self, mapper: impl Fn(&K, &V) -> W + Send + Sync + 'static) -> KStream<K, W> {
        self.map_values_as(None, mapper)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.map_values_named(Named::new("texts"), |id, amount| format!("{id}: {amount} €"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
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
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, String>("words");
    /// words.flat_map(|_, text| text.chars().map(|c| (c.to_string(), 1)).collect::<Vec<(String, i32)>>()).to("letters");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("words").pipe("a".to_string(), "to be".to_string(), 0)?;
    /// assert_eq!(driver.output_topic::<String, i32>("letters").read_key_values()?.len(), 5);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn flat_map<L: Data, W: Data, I>(&self, mapper: impl Fn(&K, &V) -> I + Send + Sync + 'static) -> KStream<L, W>
    where
        I: IntoIterator<Item = (L, W)> + 'static,
    {
        self.flat_map_as(None, mapper)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, String>("words");
    /// words.flat_map_named(Named::new("letters"), |_, text| text.chars().map(|c| (c.to_string(), 1)).collect::<Vec<_>>());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
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
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, String>("words");
    /// words.flat_map_values(|text| text.split(' ').map(String::from).collect::<Vec<_>>()).to("single");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("words").pipe("a".to_string(), "to be".to_string(), 0)?;
    /// assert_eq!(driver.output_topic::<String, String>("single").read_values()?, ["to", "be"]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn flat_map_values<W: Data, I>(&self, mapper: impl Fn(&V) -> I + Send + Sync + 'static) -> KStream<K, W>
    where
        I: IntoIterator<Item = W> + 'static,
    {
        self.flat_map_values_as(None, move |_, value| mapper(value))
    }

    /// The same, looking at the key, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, String>("words");
    /// words.flat_map_values_named(Named::new("single"), |_, text| text.split(' ').map(String::from).collect::<Vec<_>>());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn flat_map_values_named<W: Data, I>(&self, named: Named, mapper: impl Fn(&K, &V) -> I + Send + Sync + 'static) -> KStream<K, W>
    where
        I: IntoIterator<Item = W> + 'static,
    {
        self.flat_map_values_as(Some(&named), mapper)
    }

    /// The same, looking at the key.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let words = builder.stream::<String, String>("words");
    /// words.flat_map_values_with_key(|key, text| [key.clone(), text.clone()]).to("both");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("words").pipe("a".to_string(), "to be".to_string(), 0)?;
    /// assert_eq!(driver.output_topic::<String, String>("both").read_values()?, ["a", "to be"]);
    /// # Ok::<(), Error>(())
    /// ```
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
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.select_key(|_, amount| amount / 100).to("by-hundreds");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("orders"); input.pipe("a".to_string(), 50i64, 0)?; input.pipe("b".to_string(), 200, 0)?;
    /// let by_hundreds = driver.output_topic::<i64, i64>("by-hundreds").read_key_values()?;
    /// assert_eq!(by_hundreds, [(0, 50), (2, 200)]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn select_key<L: Data>(&self, selector: impl Fn(&K, &V) -> L + Send + Sync + 'static) -> KStream<L, V> {
        self.select_key_as(None, selector)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.select_key_named(Named::new("by-hundreds"), |_, amount| amount / 100);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
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
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.merge(&builder.stream("returns")).to("all");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?; driver.input_topic("returns").pipe("b".to_string(), -50i64, 1)?;
    /// assert_eq!(driver.output_topic::<String, i64>("all").read_values()?, [50, -50]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn merge(&self, other: &Self) -> Self {
        self.merge_as(None, other)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.merge_named(Named::new("all"), &builder.stream("returns")).to("all");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
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
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.peek(|id, amount| println!("{id}: {amount}")).to("copy");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn peek(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        self.peek_as(None, action)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.peek_named(Named::new("look"), |id, amount| println!("{id}: {amount}")).to("copy");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
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
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); use std::sync::{Arc, atomic::{AtomicI64, Ordering::Relaxed}};
    /// let sum = Arc::new(AtomicI64::new(0));
    /// let add = sum.clone();
    /// orders.for_each(move |_, amount| drop(add.fetch_add(*amount, Relaxed)));
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("orders"); input.pipe("a".to_string(), 50i64, 0)?; input.pipe("b".to_string(), 200, 0)?;
    /// assert_eq!(sum.load(Relaxed), 250);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn for_each(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) {
        self.for_each_as(None, action);
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.for_each_named(Named::new("last"), |id, amount| println!("{id}: {amount}"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn for_each_named(&self, named: Named, action: impl Fn(&K, &V) + Send + Sync + 'static) {
        self.for_each_as(Some(&named), action);
    }

    fn for_each_as(&self, named: Option<&Named>, action: impl Fn(&K, &V) + Send + Sync + 'static) {
        let action = Arc::new(action);
        self.draw::<K, V, _, _>(named, "KSTREAM-FOREACH-", Changes::Nothing, (None, None), move |_| Ok(ForEach(action.clone())));
    }

    /// Prints every record, last.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.print(Printed::to_sys_out().label("orders"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn print(&self, printed: Printed<K, V>) {
        let Printed { to, name, label, mapper } = printed;
        let label: Arc<str> = label.map_or_else(|| self.name.clone(), Into::into);
        let to: Printer = match to {
            PrintTo::SysOut => None,
            PrintTo::Writer(writer) => Some(writer.into()),
            PrintTo::File(path) => match File::create(&path) {
                Ok(file) => Some(Mutex::new(Box::new(file))),
                Err(error) => {
                    let text = format!("{}: cannot print to file {}: {error}: name one that can be written", self.name, path.display());
                    self.builder.graph.borrow_mut().fail(ErrorKind::Topology, text);
                    None
                }
            },
        };
        let (to, named) = (Arc::new(to), name.map(Named));
        self.draw::<K, V, _, _>(named.as_ref(), "KSTREAM-PRINTER-", Changes::Nothing, (None, None), move |_| {
            Ok(Print { to: to.clone(), label: label.clone(), mapper: mapper.clone() })
        });
    }
}
