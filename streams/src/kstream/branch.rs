//! Splitting a stream: each record goes to the first branch whose predicate holds (KIP-418).

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use millstream_topology::{Children, Data, Error, Node, Record, TaskContext};

use super::{KStream, write_processor};
use crate::{
    builder::graph::{GraphNode, Kind, NodeId},
    operator::PassThrough,
    options::{Branched, Named},
};

type Predicates<K, V> = Vec<Arc<dyn Fn(&K, &V) -> bool + Send + Sync>>;

/// A stream in the middle of a split.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// # let orders = builder.stream::<String, i64>("orders");
/// let parts = orders
///     .split_named(Named::new("orders-"))
///     .branch(|_, amount| *amount > 100, Branched::new().name("large"))
///     .default_branch(Branched::new().name("small"));
/// parts["orders-large"].to("large");
/// parts["orders-small"].to("small");
/// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// # let input = driver.input_topic("orders"); input.pipe("a".to_string(), 50i64, 0)?; input.pipe("b".to_string(), 200, 0)?;
/// assert_eq!(driver.output_topic::<String, i64>("large").read_values()?, [200]);
/// assert_eq!(driver.output_topic::<String, i64>("small").read_values()?, [50]);
/// # Ok::<(), Error>(())
/// ```
pub struct BranchedKStream<K: Data, V: Data> {
    source: KStream<K, V>,
    splitter: NodeId,
    name: Arc<str>,
    plan: Rc<RefCell<(Predicates<K, V>, Vec<Arc<str>>)>>,
    branches: BTreeMap<String, KStream<K, V>>,
}

impl<K: Data, V: Data> KStream<K, V> {
    /// Begins a split.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// let parts = orders.split().branch(|_, amount| *amount > 100, Branched::new()).no_default_branch();
    /// assert_eq!(parts.keys().collect::<Vec<_>>(), ["KSTREAM-BRANCH-00000000011"]);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn split(&self) -> BranchedKStream<K, V> {
        self.split_as(None)
    }

    /// The same, named: the names of branches begin with this one.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// let parts = orders.split_named(Named::new("by-size-")).default_branch(Branched::new());
    /// assert!(parts.contains_key("by-size-0"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn split_named(&self, named: Named) -> BranchedKStream<K, V> {
        self.split_as(Some(&named))
    }

    fn split_as(&self, named: Option<&Named>) -> BranchedKStream<K, V> {
        let mut graph = self.builder.graph.borrow_mut();
        let name: Arc<str> = graph.name_or(named.map(|named| &*named.0), "KSTREAM-BRANCH-").into();
        let plan: Rc<RefCell<(Predicates<K, V>, Vec<Arc<str>>)>> = Rc::default();
        let (written, node_name) = (plan.clone(), name.clone());
        let write = move |topology: &mut millstream_topology::Topology, env: &crate::builder::graph::Written| {
            let (predicates, names) = written.take();
            let (predicates, names) = (Arc::new(predicates), Arc::new(names));
            let make = move |assembly: &mut millstream_topology::Assembly<'_>| {
                Ok(Branch { predicates: predicates.clone(), names: names.clone(), children: assembly.children()? })
            };
            topology.add_processor(&node_name, &env.parents, super::maker::<K, V, _, _>(make))
        };
        let splitter = graph.add(&[self.node], GraphNode::new(name.clone(), Kind::Plain, write));
        BranchedKStream { source: self.clone(), splitter, name, plan, branches: BTreeMap::new() }
    }
}

impl<K: Data, V: Data> BranchedKStream<K, V> {
    /// A branch for the records of which `predicate` holds and no branch before took.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders
    ///     .split()
    ///     .branch(|_, amount| *amount > 100, Branched::new().with_consumer(|large| large.to("large")))
    ///     .no_default_branch();
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn branch(mut self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static, branched: Branched<K, V>) -> Self {
        self.plan.borrow_mut().0.push(Arc::new(predicate));
        let index = self.plan.borrow().0.len();
        self.add(branched, index);
        self
    }

    /// A branch for all other records; the branches by name.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// let rest = orders.split().branch(|_, amount| *amount > 100, Branched::new()).default_branch(Branched::new());
    /// assert_eq!(rest.len(), 2);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn default_branch(mut self, branched: Branched<K, V>) -> BTreeMap<String, KStream<K, V>> {
        self.add(branched, 0);
        self.branches
    }

    /// All other records are dropped; the branches by name.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// let large = orders.split().branch(|_, amount| *amount > 100, Branched::new()).no_default_branch();
    /// assert_eq!(large.len(), 1);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn no_default_branch(self) -> BTreeMap<String, KStream<K, V>> {
        self.branches
    }

    fn add(&mut self, branched: Branched<K, V>, index: usize) {
        let name: Arc<str> = match &branched.name {
            Some(name) => format!("{}{name}", self.name).into(),
            None => format!("{}{index}", self.name).into(),
        };
        self.plan.borrow_mut().1.push(name.clone());
        let node = {
            let mut graph = self.source.builder.graph.borrow_mut();
            graph.generate("");
            let write = write_processor::<K, V, _, _>(&name, |assembly| Ok(PassThrough(assembly.children()?)));
            graph.add(&[self.splitter], GraphNode::new(name.clone(), Kind::Plain, write))
        };
        let serdes = (self.source.key.clone(), self.source.value.clone());
        let branch = self.source.derived(name.clone(), node, self.source.repartition_required, serdes);
        let made = match branched.chain {
            Some(chain) => chain(branch),
            None => Some(branch),
        };
        if let Some(made) = made {
            self.branches.insert(name.to_string(), made);
        }
    }
}

/// **Law.** A record goes to the first branch whose predicate holds, or to the default branch, which is named last.
struct Branch<K, V> {
    predicates: Arc<Predicates<K, V>>,
    names: Arc<Vec<Arc<str>>>,
    children: Children<K, V>,
}

impl<K: Data, V: Data> Node<K, V> for Branch<K, V> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let first = self.predicates.iter().position(|holds| holds(&record.key, &record.value)).unwrap_or(self.predicates.len());
        match self.names.get(first) {
            Some(branch) => self.children.forward_to(context, branch, record),
            None => Ok(()),
        }
    }
}
