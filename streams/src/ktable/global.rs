//! [`GlobalKTable`]: a table that every task sees whole.

use std::sync::Arc;

use millstream_topology::{Data, DefaultSerde, Error, ErrorKind, SourceDef, Topology};

use super::{StoreSpec, TableNode, TableSource, View};
use crate::{
    StreamsBuilder,
    builder::{
        graph::{GraphNode, Kind, ROOT, Written},
        need,
    },
    options::{Consumed, Materialized},
};

/// A table that every task sees whole, whatever its partitions: streams join it by any key.
///
/// **Law.** Its topic is its changelog. It is as new as its topic, not as the stream that is joined with it.
///
/// ```
/// # use millstream::*; let builder = StreamsBuilder::new();
/// let rates = builder.global_table::<String, i64>("rates");
/// let orders = builder.stream::<String, i64>("orders");
/// orders.join_global(&rates, |_, _| "USD".to_string(), |amount, rate| amount * rate).to("dollars");
/// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// # driver.input_topic("rates").pipe("USD".to_string(), 2i64, 0)?; driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
/// assert_eq!(driver.output_topic::<String, i64>("dollars").read_values()?, [100]);
/// # Ok::<(), Error>(())
/// ```
pub struct GlobalKTable<K: Data, V: Data> {
    pub(crate) view: View<K, V>,
    queryable: Option<Arc<str>>,
}

impl<K: Data, V: Data> Clone for GlobalKTable<K, V> {
    fn clone(&self) -> Self {
        Self { view: self.view.clone(), queryable: self.queryable.clone() }
    }
}

impl<K: Data, V: Data> GlobalKTable<K, V> {
    /// The name of its store, if it can be queried.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// let rates = builder.global_table_with::<String, i64>("rates", Consumed::new(), Some(Materialized::store("rates")));
    /// assert_eq!(rates.queryable_store_name(), Some("rates"));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn queryable_store_name(&self) -> Option<&str> {
        self.queryable.as_deref()
    }
}

impl StreamsBuilder {
    /// The global table that a topic's records are the changes of. A null value deletes; a record without a key is dropped.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// let rates = builder.global_table::<String, i64>("rates");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn global_table<K, V>(&self, topic: &str) -> GlobalKTable<K, V>
    where
        K: DefaultSerde + Data<Present = K>,
        V: DefaultSerde + Data<Present = V>,
    {
        self.global_table_with(topic, Consumed::new(), None)
    }

    /// The same, with options. A `Materialized` names the store.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// let rates = builder.global_table_with::<String, i64>("rates", Consumed::new().name("rates"), Some(Materialized::store("rates")));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn global_table_with<K, V>(
        &self,
        topic: &str,
        consumed: Consumed<Option<K>, Option<V>>,
        materialized: Option<Materialized<K, V>>,
    ) -> GlobalKTable<K, V>
    where
        K: Data<Present = K>,
        V: Data<Present = V>,
    {
        let mut graph = self.graph.borrow_mut();
        let (key, value) = (consumed.key.resolve(None), consumed.value.resolve(None));
        let is_unnamed = materialized.as_ref().is_some_and(|materialized| materialized.store_name.is_none());
        let materialized = materialized.unwrap_or_else(|| Materialized::carried(key.clone(), value.clone())).logging(false);
        let store = StoreSpec::new(&mut graph, &format!("{topic}-"), &materialized, key.as_ref(), value.as_ref(), &self.config);
        if store.is_versioned() {
            graph.fail(ErrorKind::Topology, format!("{}: a global table keeps no versions: use a table", store.name));
        }
        let source_name: Arc<str> = graph.name_with_suffix_or(consumed.name.as_deref(), "-source", "KSTREAM-SOURCE-").into();
        let name: Arc<str> = graph.name_or(consumed.name.as_deref(), "KTABLE-SOURCE-").into();
        let (view, queryable) = (store.view(), store.queryable());
        let write = {
            let (name, topic) = (name.clone(), Arc::<str>::from(topic));
            move |topology: &mut Topology, _: &Written| {
                if is_unnamed {
                    let text =
                        format!("{name}: the store of a global table has no name: give it one with Materialized::store, or pass None");
                    return Err(Error::new(ErrorKind::IllegalArgument, text));
                }
                let source: SourceDef<Option<K>, Option<V>> = SourceDef {
                    key: need(key, &source_name, "key")?,
                    value: need(value, &source_name, "value")?,
                    extractor: consumed.extractor,
                };
                let table = TableSource::new(store.clone());
                table.view();
                let node = table.maker::<Option<K>, Option<V>>();
                topology.add_global_store(store.def()?, (&source_name, source.into_maker()), topic, (&name, node))
            }
        };
        graph.add(&[ROOT], GraphNode::new(name, Kind::Plain, write));
        GlobalKTable { view, queryable }
    }
}
