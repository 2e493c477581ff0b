//! Grouping the rows of a table by another key.

use std::{collections::BTreeSet, marker::PhantomData, rc::Rc, sync::Arc};

use millstream_topology::{Change, Data, DefaultSerde, Topology};

use super::KTable;
use crate::{
    KGroupedTable,
    builder::graph::{GraphNode, Kind, Written},
    kstream::maker,
    operator::TableGroup,
    options::Grouped,
};

impl<K: Data<Present = K>, V: Data<Present = V>> KTable<K, V> {
    /// Groups the rows by a new key; `selector` also gives the value that the group sees. Always repartitions. A row whose new key or
    /// value is null belongs to no group.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let cities = builder.table::<String, String>("city-of");
    /// cities.group_by(|name, city| (city.clone(), name.clone())).count().to_stream().to("citizens");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("city-of"); input.pipe("ann".to_string(), "Ulm".to_string(), 0)?; input.pipe("ann".to_string(), "Bonn".to_string(), 1)?;
    /// let citizens = driver.output_topic::<String, i64>("citizens").read_key_values()?;
    /// assert_eq!(citizens, [("Ulm".to_string(), 1), ("Ulm".to_string(), 0), ("Bonn".to_string(), 1)]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn group_by<L: DefaultSerde, W: DefaultSerde>(
        &self,
        selector: impl Fn(&K, &V) -> (L, W) + Send + Sync + 'static,
    ) -> KGroupedTable<L::Present, W::Present>
    where
        L::Present: PartialEq,
    {
        self.group_by_with(selector, Grouped::new())
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let cities = builder.table::<String, String>("city-of");
    /// cities.group_by_with(|name, city| (city.clone(), name.clone()), Grouped::new().name("by-city")).count();
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn group_by_with<L: Data, W: Data>(
        &self,
        selector: impl Fn(&K, &V) -> (L, W) + Send + Sync + 'static,
        grouped: Grouped<L, W>,
    ) -> KGroupedTable<L::Present, W::Present>
    where
        L::Present: PartialEq,
    {
        let mut graph = self.builder.graph.borrow_mut();
        let name: Arc<str> = graph.name_or(grouped.name.as_deref(), "KTABLE-SELECT-").into();
        let write = {
            let (name, selector) = (name.clone(), Arc::new(selector));
            move |topology: &mut Topology, written: &Written| {
                let is_versioned = !written.versioned.is_empty();
                let make = maker::<K, Change<V>, _, _>(move |assembly| {
                    let (selector, children) = (selector.clone(), assembly.children()?);
                    Ok(TableGroup::<K, V, L, W, _> { selector, is_versioned, children, types: PhantomData })
                });
                topology.add_processor(&name, &written.parents, make)
            }
        };
        let mut node = GraphNode::new(name, Kind::Plain, write);
        node.heeds_versions = true;
        let node = graph.add(&[self.node], node);
        self.table.send_old_values(true);
        KGroupedTable {
            key: grouped.key.resolve(None),
            value: grouped.value.resolve(None),
            name: grouped.name,
            node,
            builder: self.builder.clone(),
            repartition: Rc::default(),
        }
    }

    /// The sources of this table's sub-topology and of another's, which must have equally many partitions from now on.
    pub(crate) fn copartition_with(&self, other: &BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        let all: BTreeSet<Arc<str>> = self.sources.union(other).cloned().collect();
        self.builder.graph.borrow_mut().copartitioned.push(all.clone());
        all
    }
}
