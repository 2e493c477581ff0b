//! Joins of two streams within a window of time.

use std::{collections::BTreeSet, sync::Arc};

use millstream_topology::{
    Assembly, Data, DefaultSerde, Error, SerdeRef, Topology,
    store::{KeyValueStore, StoreDef, WindowStoreOptions},
};

use super::{KStream, maker, write_processor};
use crate::{
    JoinWindows,
    builder::{
        graph::{GraphNode, Kind, Written},
        need,
    },
    operator::{JoinRows, JoinSide, JoinWindow, PassThrough, SelfJoin, Sides},
    options::StreamJoined,
};

/// Which records without a partner are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outer {
    Neither,
    Left,
    Both,
}

/// Makes a result of the key and both sides, one of which may be missing.
pub(crate) type Joiner<K, V1, V2, R> = Arc<dyn Fn(&K, Option<&V1>, Option<&V2>) -> R + Send + Sync>;

impl<K: Data, V: Data> KStream<K, V> {
    /// Joins records of equal keys whose times are close. Records without a key or a value are dropped; a result's time is the later one.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let payments = builder.stream::<String, i64>("payments");
    /// let minute = JoinWindows::of_time_difference_with_no_grace(60_000);
    /// orders.join(&payments, |order, payment| order - payment, minute).to("owed");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?; driver.input_topic("payments").pipe("a".to_string(), 20i64, 10)?;
    /// assert_eq!(driver.output_topic::<String, i64>("owed").read_values()?, [30]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Keys of different types do not compile, nor does a null that a joiner does not expect:
    ///
    /// ```compile_fail
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// let (names, cities) = (builder.stream::<i64, String>("names"), builder.stream::<String, String>("cities"));
    /// names.join(&cities, |name, city| format!("{name} of {city}"), JoinWindows::of_time_difference_with_no_grace(1));
    /// ```
    /// ```compile_fail
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// let (names, cities) = (builder.stream::<i64, String>("names"), builder.stream::<i64, String>("cities"));
    /// names.left_join(&cities, |name: &String, city: &String| format!("{name}{city}"), JoinWindows::of_time_difference_with_no_grace(1));
    /// ```
    pub fn join<V2: DefaultSerde, R: Data>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&V::Present, &V2::Present) -> R + Send + Sync + 'static,
        windows: JoinWindows,
    ) -> KStream<K, R>
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.join_with(other, joiner, windows, StreamJoined::new())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let payments = builder.stream::<String, i64>("payments");
    /// let minute = JoinWindows::of_time_difference_with_no_grace(60_000);
    /// orders.join_with(&payments, |order, payment| order - payment, minute, StreamJoined::new().name("owed"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn join_with<V2: Data, R: Data>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&V::Present, &V2::Present) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
    ) -> KStream<K, R> {
        self.join_with_key(other, move |_, left, right| joiner(left, right), windows, joined)
    }

    /// The same, with a joiner that looks at the key.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let payments = builder.stream::<String, i64>("payments");
    /// let minute = JoinWindows::of_time_difference_with_no_grace(60_000);
    /// let text = |id: &String, order: &i64, payment: &i64| format!("{id}: {order} - {payment}");
    /// orders.join_with_key(&payments, text, minute, StreamJoined::new());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn join_with_key<V2: Data, R: Data>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&K, &V::Present, &V2::Present) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
    ) -> KStream<K, R> {
        // An inner join never calls with a side missing.
        let joiner = move |key: &K, left: Option<&V::Present>, right: Option<&V2::Present>| match (left, right) {
            (Some(left), Some(right)) => joiner(key, left, right),
            _ => unreachable!("an inner join has both sides"),
        };
        self.join_as(other, Arc::new(joiner), windows, joined, Outer::Neither)
    }

    /// Joins as [`join`](Self::join), and keeps a record of this stream that finds no partner: once its window and grace have passed.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let payments = builder.stream::<String, i64>("payments");
    /// let minute = JoinWindows::of_time_difference_with_no_grace(60_000);
    /// orders.left_join(&payments, |order, payment| order - payment.unwrap_or(&0), minute).to("owed");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("orders"); input.pipe("a".to_string(), 50i64, 0)?; input.pipe("b".to_string(), 7i64, 120_000)?;
    /// // A day later, of which another order tells, nobody has paid.
    /// assert_eq!(driver.output_topic::<String, i64>("owed").read_values()?, [50]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join<V2: DefaultSerde, R: Data>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&V::Present, Option<&V2::Present>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
    ) -> KStream<K, R>
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.left_join_with(other, joiner, windows, StreamJoined::new())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let payments = builder.stream::<String, i64>("payments");
    /// let minute = JoinWindows::of_time_difference_with_no_grace(60_000);
    /// let owed = |order: &i64, payment: Option<&i64>| order - payment.unwrap_or(&0);
    /// orders.left_join_with(&payments, owed, minute, StreamJoined::new().name("owed"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join_with<V2: Data, R: Data>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&V::Present, Option<&V2::Present>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
    ) -> KStream<K, R> {
        self.left_join_with_key(other, move |_, left, right| joiner(left, right), windows, joined)
    }

    /// The same, with a joiner that looks at the key.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let payments = builder.stream::<String, i64>("payments");
    /// let minute = JoinWindows::of_time_difference_with_no_grace(60_000);
    /// let text = |id: &String, order: &i64, payment: Option<&i64>| format!("{id}: {order}, {payment:?}");
    /// orders.left_join_with_key(&payments, text, minute, StreamJoined::new());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn left_join_with_key<V2: Data, R: Data>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&K, &V::Present, Option<&V2::Present>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
    ) -> KStream<K, R> {
        let joiner = move |key: &K, left: Option<&V::Present>, right: Option<&V2::Present>| match left {
            Some(left) => joiner(key, left, right),
            None => unreachable!("a left join has its left side"),
        };
        self.join_as(other, Arc::new(joiner), windows, joined, Outer::Left)
    }

    /// Joins as [`join`](Self::join), and keeps records of both streams that find no partner.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let payments = builder.stream::<String, i64>("payments");
    /// let minute = JoinWindows::of_time_difference_with_no_grace(60_000);
    /// let text = |order: Option<&i64>, payment: Option<&i64>| format!("{order:?}, {payment:?}");
    /// orders.outer_join(&payments, text, minute).to("both");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn outer_join<V2: DefaultSerde, R: Data>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(Option<&V::Present>, Option<&V2::Present>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
    ) -> KStream<K, R>
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.outer_join_with(other, joiner, windows, StreamJoined::new())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let payments = builder.stream::<String, i64>("payments");
    /// let minute = JoinWindows::of_time_difference_with_no_grace(60_000);
    /// let text = |order: Option<&i64>, payment: Option<&i64>| format!("{order:?}, {payment:?}");
    /// orders.outer_join_with(&payments, text, minute, StreamJoined::new().name("both"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn outer_join_with<V2: Data, R: Data>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(Option<&V::Present>, Option<&V2::Present>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
    ) -> KStream<K, R> {
        self.outer_join_with_key(other, move |_, left, right| joiner(left, right), windows, joined)
    }

    /// The same, with a joiner that looks at the key.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders"); let payments = builder.stream::<String, i64>("payments");
    /// let minute = JoinWindows::of_time_difference_with_no_grace(60_000);
    /// let text = |id: &String, order: Option<&i64>, payment: Option<&i64>| format!("{id}: {order:?}, {payment:?}");
    /// orders.outer_join_with_key(&payments, text, minute, StreamJoined::new());
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn outer_join_with_key<V2: Data, R: Data>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&K, Option<&V::Present>, Option<&V2::Present>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
    ) -> KStream<K, R> {
        self.join_as(other, Arc::new(joiner), windows, joined, Outer::Both)
    }

    fn join_as<V2: Data, R: Data>(
        &self,
        other: &KStream<K, V2>,
        joiner: Joiner<K, V::Present, V2::Present, R>,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
        outer: Outer,
    ) -> KStream<K, R> {
        let (user, named) = (joined.name.clone(), joined.name.is_some());
        let base = |stream: &Arc<str>, suffix: &str| user.as_ref().map_or_else(|| stream.to_string(), |name| format!("{name}{suffix}"));
        let (key, value) = (joined.key.resolve(self.key.as_ref()), joined.value.resolve(self.value.as_ref()));
        let other_value = joined.other_value.resolve(other.value.as_ref());
        let this = match self.repartition_required {
            true => self.repartitioned_for_join(&base(&self.name, "-left"), (key.clone(), value.clone()), named),
            false => self.clone(),
        };
        let other = match other.repartition_required {
            true => other.repartitioned_for_join(&base(&other.name, "-right"), (key.clone(), other_value.clone()), named),
            false => other.clone(),
        };
        let mut graph = self.builder.graph.borrow_mut();
        graph.check(windows.check());
        let sources: BTreeSet<Arc<str>> = this.sources.union(&other.sources).cloned().collect();
        graph.copartitioned.push(sources.clone());

        let user = user.as_deref();
        let this_windowed: Arc<str> = graph.name_with_suffix_or(user, "-this-windowed", "KSTREAM-WINDOWED-").into();
        let other_windowed: Arc<str> = graph.name_with_suffix_or(user, "-other-windowed", "KSTREAM-WINDOWED-").into();
        let (this_prefix, this_suffix) =
            if outer == Outer::Both { ("KSTREAM-OUTERTHIS-", "-outer-this-join") } else { ("KSTREAM-JOINTHIS-", "-this-join") };
        let (other_prefix, other_suffix) =
            if outer == Outer::Neither { ("KSTREAM-JOINOTHER-", "-other-join") } else { ("KSTREAM-OUTEROTHER-", "-outer-other-join") };
        let (this_generated, other_generated) = (graph.generate(this_prefix), graph.generate(other_prefix));
        let suffixed = |generated: &str, suffix: &str| user.map_or_else(|| generated.to_string(), |name| format!("{name}{suffix}"));
        let this_join: Arc<str> = suffixed(&this_generated, this_suffix).into();
        let other_join: Arc<str> = suffixed(&other_generated, other_suffix).into();
        let name: Arc<str> = graph.name_with_suffix_or(user, "-merge", "KSTREAM-MERGE-").into();

        let store_base = joined.store_name.as_deref();
        let store_name = |generated: &str, suffix: &str| -> Arc<str> {
            store_base.map_or_else(|| format!("{generated}-store"), |base| format!("{base}{suffix}-store")).into()
        };
        let number = this_generated.rsplit('-').next().unwrap_or_default();
        let shared_suffix = if outer == Outer::Both { "-outer-shared-join" } else { "-left-shared-join" };
        let stores = Stores {
            this: store_name(&this_generated, this_suffix),
            other: store_name(&other_generated, other_suffix),
            outer: (outer != Outer::Neither).then(|| store_name(&format!("KSTREAM-OUTERSHARED-{number}"), shared_suffix)),
        };
        if store_base.is_none() {
            graph.implicit_names.extend([&stores.this, &stores.other].into_iter().chain(&stores.outer).map(ToString::to_string));
        }
        let store_type = joined.store_type.unwrap_or(self.builder.config.store_type);
        let options = WindowStoreOptions {
            store_type,
            retention_ms: windows.size_ms() + windows.grace_ms,
            window_size_ms: windows.size_ms(),
            retain_duplicates: true,
            log_headers: true,
            ..WindowStoreOptions::default()
        };
        let (logging, has_headers) = (joined.logging, self.builder.config.headers_format);

        // The nodes that put each side into its window, with its store.
        let this_store = window_store(&stores.this, key.clone(), value.clone(), options, logging, has_headers);
        let other_store = window_store(&stores.other, key.clone(), other_value.clone(), options, logging, has_headers);
        let (this_store, other_store) = match (this_store, other_store) {
            (Ok(this), Ok(other)) => (this, other),
            (Err(error), _) | (_, Err(error)) => {
                graph.check(Err(error));
                // The error comes from `build`; what is drawn until then does not matter.
                return this.derived(name, this.node, false, (key, None));
            }
        };
        let window = windowed::<K, V>(&this_windowed, this_store.clone());
        graph.add(&[this.node], window);
        let window = windowed::<K, V2>(&other_windowed, other_store.clone());
        graph.add(&[other.node], window);

        let outer_store = stores.outer.clone().map(|name| {
            let raw = bytes::Bytes::default_serde;
            let mut def = StoreDef::new(name, KeyValueStore::<bytes::Bytes, bytes::Bytes>::maker(raw(), raw(), store_type));
            (def.caching, def.logging, def.store_type) = (false, logging, store_type);
            def
        });
        let sides =
            Sides { name: name.clone(), windows, stores_outer: stores.outer.clone(), key: key.clone(), left: value, right: other_value };
        let write = {
            let (this_windowed, other_windowed, name) = (this_windowed.clone(), other_windowed.clone(), name.clone());
            move |topology: &mut Topology, written: &Written| {
                let sides = Arc::new(sides);
                if written.self_join {
                    let store = stores.this.clone();
                    let make = move |assembly: &mut Assembly<'_>| SelfJoin::<K, V, V2::Present, R>::new(windows, &joiner, &store, assembly);
                    topology.add_processor(&name, &[&this_windowed], maker::<K, V, _, _>(make))?;
                    return topology.add_store(this_store, &[&name]);
                }
                let (left, joiner_left, store) = (sides.clone(), joiner.clone(), stores.other.clone());
                let make = move |assembly: &mut Assembly<'_>| {
                    JoinSide::<K, V::Present, V2::Present, R>::left(&left, &joiner_left, &store, outer, assembly)
                };
                topology.add_processor(&this_join, &[&this_windowed], maker::<K, V, _, _>(make))?;
                topology.add_store(other_store, &[&this_join])?;
                if let Some(store) = &outer_store {
                    topology.add_store(store.clone(), &[&this_join])?;
                }
                let store = stores.this.clone();
                let make = move |assembly: &mut Assembly<'_>| {
                    JoinSide::<K, V::Present, V2::Present, R>::right(&sides, &joiner, &store, outer, assembly)
                };
                topology.add_processor(&other_join, &[&other_windowed], maker::<K, V2, _, _>(make))?;
                topology.add_store(this_store, &[&other_join])?;
                if let Some(store) = outer_store {
                    topology.add_store(store, &[&other_join])?;
                }
                let merge = |assembly: &mut Assembly<'_>| Ok(PassThrough(assembly.children()?));
                topology.add_processor(&name, &[&this_join, &other_join], maker::<K, R, _, _>(merge))
            }
        };
        let kind = Kind::StreamJoin { other_windowed: other_windowed.to_string() };
        let mut node = GraphNode::new(name.clone(), kind, write);
        node.relaxed_null_key = outer != Outer::Neither;
        let node = graph.add(&[this.node, other.node], node);
        KStream::at(&self.builder, (name, node), sources, (key, None))
    }
}

fn window_store<K: Data, V: Data>(
    name: &Arc<str>,
    key: Option<SerdeRef<K>>,
    value: Option<SerdeRef<V>>,
    options: WindowStoreOptions,
    logging: bool,
    has_headers: bool,
) -> Result<StoreDef, Error> {
    let mut def = JoinRows::def(name, need(key, name, "key")?, need(value, name, "value")?, options, has_headers);
    (def.caching, def.logging) = (false, logging);
    Ok(def)
}

struct Stores {
    this: Arc<str>,
    other: Arc<str>,
    outer: Option<Arc<str>>,
}

/// The node that puts a side into its window: after the join has seen the record.
fn windowed<K: Data, V: Data>(name: &Arc<str>, store: StoreDef) -> GraphNode {
    let (node_name, store_name) = (name.clone(), store.name.clone());
    let make = move |assembly: &mut Assembly<'_>| {
        Ok(JoinWindow::<K, V> { store: JoinRows::open(&store_name, assembly)?, children: assembly.children()? })
    };
    let processor = write_processor::<K, V, _, _>(name, make);
    GraphNode::new(name.clone(), Kind::Windowed, move |topology, written| {
        processor(topology, written)?;
        topology.add_store(store, &[&node_name])
    })
}
