//! [`KTable`]: a table of rows, kept up to date by a stream of changes.

mod change;
mod foreign_key;
mod global;
mod group;
mod join;
mod source;
mod store;
mod suppress;
mod to_stream;
mod values;

use std::{collections::BTreeSet, rc::Rc, sync::Arc};

use millstream_topology::{Assembly, Data, Error, SerdeRef, TaskContext, ValueAndTimestamp};

pub(crate) use change::ChangeSerde;
pub use global::GlobalKTable;
pub(crate) use source::TableSource;
pub(crate) use store::{Store, StoreSpec};

use crate::builder::{StreamsBuilder, graph::NodeId};

/// A table: the newest value of each key.
///
/// **Law.** Its rows are present: a row whose value is null is a row that is not there, and [`to_stream`](Self::to_stream) shows its
/// deletion as `None`. It may exist only as changes that pass; it is stored where the program needs it stored, or says so.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let prices = builder.table::<String, i64>("prices");
/// prices.filter(|_, price| *price < 100).to_stream().to("cheap");
/// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// # driver.input_topic("prices").pipe("a".to_string(), 50i64, 0)?;
/// assert_eq!(driver.output_topic::<String, Option<i64>>("cheap").read_values()?, [Some(50)]);
/// # Ok::<(), Error>(())
/// ```
pub struct KTable<K: Data, V: Data> {
    pub(crate) name: Arc<str>,
    pub(crate) key: Option<SerdeRef<K>>,
    pub(crate) value: Option<SerdeRef<V>>,
    pub(crate) sources: BTreeSet<Arc<str>>,
    pub(crate) queryable: Option<Arc<str>>,
    pub(crate) table: Rc<dyn TableNode<K, V>>,
    pub(crate) node: NodeId,
    pub(crate) builder: StreamsBuilder,
}

impl<K: Data, V: Data> Clone for KTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
            sources: self.sources.clone(),
            queryable: self.queryable.clone(),
            table: self.table.clone(),
            node: self.node,
            builder: self.builder.clone(),
        }
    }
}

impl<K: Data, V: Data> KTable<K, V> {
    /// The name of its store, if it can be queried.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// let prices = builder.table_with::<String, i64>("prices", Consumed::new(), Materialized::store("prices"));
    /// assert_eq!(prices.queryable_store_name(), Some("prices"));
    /// assert_eq!(prices.map_values(|price| price * 2).queryable_store_name(), None);
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn queryable_store_name(&self) -> Option<&str> {
        self.queryable.as_deref()
    }

    /// The table that a node below this one puts out.
    pub(crate) fn derived<W: Data>(
        &self,
        name: Arc<str>,
        node: NodeId,
        (key, value): (Option<SerdeRef<K>>, Option<SerdeRef<W>>),
        queryable: Option<Arc<str>>,
        table: Rc<dyn TableNode<K, W>>,
    ) -> KTable<K, W> {
        KTable { name, key, value, sources: self.sources.clone(), queryable, table, node, builder: self.builder.clone() }
    }
}

/// What a table's node is to the operations below it, while the topology is drawn.
pub(crate) trait TableNode<K: Data, V: Data> {
    /// Has the node send the value before each change along. `force`: store it for that if it is not stored yet. Whether it will.
    fn send_old_values(&self, force: bool) -> bool;
    /// How to look up a row of the table; stores it if there is no other way.
    fn view(&self) -> View<K, V>;
}

/// How to look up rows of a table: from which stores, and with what.
pub(crate) struct View<K, V> {
    /// The stores that whoever looks must be connected to.
    pub stores: Vec<Arc<str>>,
    /// Makes the looker for one task.
    pub make: Arc<dyn Fn(&Assembly<'_>) -> Result<Box<dyn Getter<K, V>>, Error> + Send + Sync>,
}

impl<K, V> Clone for View<K, V> {
    fn clone(&self) -> Self {
        Self { stores: self.stores.clone(), make: self.make.clone() }
    }
}

/// Looks up rows of a table.
pub(crate) trait Getter<K, V> {
    /// The row now.
    fn get(&mut self, context: &mut TaskContext, key: &K) -> Result<Option<ValueAndTimestamp<V>>, Error>;
    /// The row as of a time, if the table keeps versions; otherwise the row now.
    fn get_as_of(&mut self, context: &mut TaskContext, key: &K, _: i64) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        self.get(context, key)
    }
    /// Whether it keeps versions.
    fn is_versioned(&self) -> bool {
        false
    }
}
