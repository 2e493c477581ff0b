//! From a table's changes to a stream of records.

use std::sync::Arc;

use millstream_topology::{Change, Children, Data, Error, Node, Record, TaskContext};

use super::KTable;
use crate::{
    KStream,
    builder::graph::{GraphNode, Kind},
    kstream::write_processor,
    options::Named,
};

impl<K: Data<Present = K>, V: Data<Present = V>> KTable<K, V> {
    /// The table's changes: each row's new value, or `None` where a row was deleted.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.to_stream().to("changes");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic::<String, Option<i64>>("prices"); input.pipe("a".to_string(), Some(50), 0)?; input.pipe("a".to_string(), None, 1)?;
    /// assert_eq!(driver.output_topic::<String, Option<i64>>("changes").read_values()?, [Some(50), None]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        self.to_stream_as(None)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.to_stream_named(Named::new("changes")).to("changes");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_stream_named(&self, named: Named) -> KStream<K, Option<V>> {
        self.to_stream_as(Some(&named))
    }

    /// The same, with another key.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let prices = builder.table::<String, i64>("prices");
    /// prices.to_stream_with_key(|id, price| format!("{id}-{price:?}")).to("changes");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_stream_with_key<L: Data>(&self, selector: impl Fn(&K, &Option<V>) -> L + Send + Sync + 'static) -> KStream<L, Option<V>> {
        self.to_stream().select_key(selector)
    }

    fn to_stream_as(&self, named: Option<&Named>) -> KStream<K, Option<V>> {
        let mut graph = self.builder.graph.borrow_mut();
        let name: Arc<str> = graph.name_or(named.map(|named| &*named.0), "KTABLE-TOSTREAM-").into();
        let write = write_processor::<K, Change<V>, _, _>(&name, |assembly| Ok(ToStream(assembly.children()?)));
        let node = graph.add(&[self.node], GraphNode::new(name.clone(), Kind::Plain, write));
        KStream::at(&self.builder, (name, node), self.sources.clone(), (self.key.clone(), self.value.clone()))
    }
}

/// **Law.** Of each change the new value passes, deletions too.
struct ToStream<K, V>(Children<K, Option<V>>);

impl<K: Data, V: Data> Node<K, Change<V>> for ToStream<K, V> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, Change<V>>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        self.0.forward(context, Record { key, value: value.new, timestamp, headers: headers.copied() })
    }
}
