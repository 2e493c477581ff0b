//! [`CogroupedKStream`]: grouped streams of several types, about to be aggregated into one table (KIP-150).

mod input;
mod windowed;

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc};

use input::{Drawn, Input, Member};
use millstream_topology::{Assembly, Change, Compatibility, Data, DefaultSerde, Error, ErrorKind, SerdeRef, Topology};
pub use windowed::{SessionWindowedCogroupedKStream, TimeWindowedCogroupedKStream};

use crate::{
    KGroupedStream, KTable, StreamsBuilder, WindowDefinition,
    builder::graph::{Grace, GraphNode, Kind, NodeId, Written},
    kstream::write_processor,
    ktable::{StoreSpec, TableNode, View},
    operator::PassThrough,
    options::Materialized,
};

const AGGREGATE: &str = "COGROUPKSTREAM-AGGREGATE-";

/// Makes an aggregate of nothing.
pub(crate) type Initializer<A> = Arc<dyn Fn() -> A + Send + Sync>;

/// Grouped streams, each with its aggregator, about to be aggregated into one table of `A`.
///
/// **Law.** Each record goes to its own stream's aggregator; all write to one store. Handles of one cogroup are one: what is added to one
/// of them is added to all.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key();
/// let both = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1);
/// both.aggregate(|| 0).to_stream().to("sums");
/// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// # driver.input_topic("paid").pipe("a".to_string(), 5i64, 0)?; driver.input_topic("notes").pipe("a".to_string(), "late".to_string(), 0)?;
/// assert_eq!(driver.output_topic::<String, i64>("sums").read_values()?, [5, 4]);
/// # Ok::<(), Error>(())
/// ```
pub struct CogroupedKStream<K: Data<Present = K>, A: Data> {
    inputs: Rc<RefCell<Vec<Rc<dyn Input<K, A>>>>>,
    key: Option<SerdeRef<K>>,
    builder: StreamsBuilder,
}

impl<K: Data<Present = K>, A: Data> Clone for CogroupedKStream<K, A> {
    fn clone(&self) -> Self {
        Self { inputs: self.inputs.clone(), key: self.key.clone(), builder: self.builder.clone() }
    }
}

impl<L: Data, V: Data> KGroupedStream<L, V> {
    /// Begins a cogroup: an aggregation of this and further grouped streams into one table.
    ///
    /// ```
    /// use millstream::{StreamsBuilder, TopologyTestDriver};
    ///
    /// let builder = StreamsBuilder::new();
    /// let paid = builder.stream::<String, i64>("paid").group_by_key();
    /// let notes = builder.stream::<String, String>("notes").group_by_key();
    /// let table = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1).aggregate(|| 0);
    /// table.to_stream().to("sums");
    ///
    /// let driver = TopologyTestDriver::new(&builder.build().unwrap(), Default::default()).unwrap();
    /// driver.input_topic::<String, i64>("paid").pipe("a".into(), 5, 0).unwrap();
    /// driver.input_topic::<String, String>("notes").pipe("a".into(), "late".into(), 1).unwrap();
    /// assert_eq!(driver.output_topic::<String, i64>("sums").read_values().unwrap(), [5, 4]);
    /// ```
    pub fn cogroup<A: Data>(
        &self,
        aggregator: impl Fn(&L::Present, &V, A) -> A + Send + Sync + 'static,
    ) -> CogroupedKStream<L::Present, A> {
        let (key, builder) = (self.key.clone(), self.stream.builder.clone());
        CogroupedKStream { inputs: Rc::default(), key, builder }.cogroup(self, aggregator)
    }
}

impl<K: Data<Present = K>, A: Data> CogroupedKStream<K, A> {
    /// Adds a grouped stream with its aggregator; one that is there already gets a new aggregator.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key();
    /// paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1).aggregate(|| 0);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn cogroup<L: Data<Present = K>, V: Data>(
        &self,
        grouped: &KGroupedStream<L, V>,
        aggregator: impl Fn(&K, &V, A) -> A + Send + Sync + 'static,
    ) -> Self {
        let member: Rc<dyn Input<K, A>> = Rc::new(Member::new(grouped, aggregator));
        let mut inputs = self.inputs.borrow_mut();
        match inputs.iter_mut().find(|input| input.id() == member.id()) {
            Some(input) => *input = member,
            None => inputs.push(member),
        }
        drop(inputs);
        self.clone()
    }

    /// Folds the records of all streams into one table; an aggregate of `None` deletes the row.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key(); let both = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1);
    /// both.aggregate(|| 0).to_stream().to("sums");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate(&self, initializer: impl Fn() -> A + Send + Sync + 'static) -> KTable<K, A::Present>
    where
        A: DefaultSerde,
    {
        self.aggregate_with(initializer, Materialized::with_value(A::default_serde()))
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key(); let both = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1);
    /// both.aggregate_with(|| 0, Materialized::store("sums"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn aggregate_with(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        materialized: Materialized<K, A::Present>,
    ) -> KTable<K, A::Present> {
        let (store, initializer): (_, Initializer<A>) = (self.store(&materialized), Arc::new(initializer));
        let plan = Plan { key: store.key.clone(), versioned: Some(store.is_versioned()), grace: None, store: store.clone() };
        self.table(plan, materialized.node_name.as_deref(), |input| input.plain(&store, &initializer))
    }

    /// Aggregates by key and window: [`TimeWindows`](crate::TimeWindows), [`SlidingWindows`](crate::SlidingWindows),
    /// [`UnlimitedWindows`](crate::UnlimitedWindows) or [`SessionWindows`](crate::SessionWindows). Results are sent at every update.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let paid = builder.stream::<String, i64>("paid").group_by_key(); let notes = builder.stream::<String, String>("notes").group_by_key(); let both = paid.cogroup(|_, paid, sum: i64| sum + paid).cogroup(&notes, |_, _, sum| sum - 1);
    /// both.windowed_by(TimeWindows::of_size_with_no_grace(60_000)).aggregate(|| 0);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn windowed_by<W: WindowDefinition>(&self, windows: W) -> W::Cogrouped<K, A> {
        if let Err(text) = windows.check() {
            self.builder.graph.borrow_mut().fail(ErrorKind::IllegalArgument, format!("cogroup: {text}"));
        }
        windows.cogrouped(self)
    }

    fn store(&self, materialized: &Materialized<K, A::Present>) -> StoreSpec<K, A::Present> {
        let mut graph = self.builder.graph.borrow_mut();
        StoreSpec::new(&mut graph, AGGREGATE, materialized, self.key.as_ref(), None, &self.builder.config)
    }

    /// Draws a node for each stream, and the node that unites them.
    fn table<W: Data>(
        &self,
        plan: Plan<K, A, W>,
        named: Option<&str>,
        draw: impl Fn(&dyn Input<K, A>) -> Drawn<W, A::Present>,
    ) -> KTable<W, A::Present> {
        let mut graph = self.builder.graph.borrow_mut();
        let inputs = self.inputs.borrow();
        let store = &plan.store;
        let parents: Vec<NodeId> = inputs.iter().map(|input| input.parent(&mut graph, &store.name, store.named_by_user)).collect();
        let sources: BTreeSet<Arc<str>> = inputs.iter().flat_map(|input| input.sources().iter().cloned()).collect();
        graph.copartitioned.push(sources);
        let (mut nodes, mut tables) = (vec![], vec![]);
        for (i, (input, parent)) in inputs.iter().zip(parents).enumerate() {
            let name: Arc<str> = graph.name_with_suffix_or(named, &format!("-cogroup-agg-{i}"), AGGREGATE).into();
            let Drawn { make, store_def, table } = draw(&**input);
            let write = {
                let name = name.clone();
                move |topology: &mut Topology, written: &Written| {
                    topology.add_processor(&name, &written.parents, make)?;
                    topology.add_store(store_def()?, &[&name])
                }
            };
            let mut node = GraphNode::new(name, Kind::Plain, write);
            (node.output_versioned, node.grace) = (plan.versioned, plan.grace);
            nodes.push(graph.add(&[parent], node));
            tables.push(table);
        }
        let name: Arc<str> = graph.name_with_suffix_or(named, "-cogroup-merge", "COGROUPKSTREAM-MERGE-").into();
        let write =
            write_processor::<W, Change<A::Present>, _, _>(&name, |assembly: &mut Assembly<'_>| Ok(PassThrough(assembly.children()?)));
        let node = graph.add(&nodes, GraphNode::new(name.clone(), Kind::Plain, write));
        KTable {
            key: plan.key,
            value: store.value.clone(),
            sources: [name.clone()].into(),
            queryable: store.queryable(),
            name,
            table: Rc::new(Merged { tables, has_windows: plan.grace.is_some() }),
            node,
            builder: self.builder.clone(),
        }
    }
}

/// What all nodes of a cogroup have in common.
struct Plan<K: Data<Present = K>, A: Data, W> {
    store: StoreSpec<K, A::Present>,
    key: Option<SerdeRef<W>>,
    versioned: Option<bool>,
    grace: Option<Grace>,
}

/// The table that several aggregations write to.
struct Merged<W: Data, A: Data> {
    tables: Vec<Rc<dyn TableNode<W, A>>>,
    has_windows: bool,
}

impl<W: Data, A: Data> TableNode<W, A> for Merged<W, A> {
    fn send_old_values(&self, force: bool) -> bool {
        self.tables.iter().all(|table| table.send_old_values(force))
    }

    fn view(&self) -> View<W, A> {
        let View { stores, make } = self.tables[0].view();
        let has_windows = self.has_windows;
        let checked = move |assembly: &Assembly<'_>| match assembly.config().compatibility {
            Compatibility::Kafka if has_windows => {
                let text =
                    format!("{}: Kafka Streams cannot look up rows of a cogroup in windows: run as Compatibility::Sound", assembly.name());
                Err(Error::new(ErrorKind::Streams, text))
            }
            _ => make(assembly),
        };
        View { stores, make: Arc::new(checked) }
    }
}
