//! Processors of the user's own below a stream (KIP-820).

use std::sync::Arc;

use millstream_topology::{Data, Topology};

use super::{KStream, maker};
use crate::{
    builder::graph::{GraphNode, Kind, Written},
    options::Named,
    processor::{FixedKey, FixedKeyProcessor, Processor, ProcessorNode},
};

impl<K: Data, V: Data> KStream<K, V> {
    /// Hands the stream to a processor with these stores. It may change keys: a repartition follows before the next operation by key.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// struct Double;
    /// impl Processor<String, i64, String, i64> for Double {
    ///     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, order: Record<String, i64>) -> Result<(), Error> {
    ///         context.forward(Record { value: order.value * 2, ..order })
    ///     }
    /// }
    /// orders.process(|| Double, &[]).to("twice");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.output_topic::<String, i64>("twice").read_values()?, [100]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn process<L: Data, W: Data, P>(&self, supplier: impl Fn() -> P + Send + Sync + 'static, stores: &[&str]) -> KStream<L, W>
    where
        P: Processor<K, V, L, W>,
    {
        self.process_as(None, "KSTREAM-PROCESSOR-", supplier, stores, true)
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// # struct Double;
    /// # impl Processor<String, i64, String, i64> for Double {
    /// #     fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, order: Record<String, i64>) -> Result<(), Error> {
    /// #         context.forward(Record { value: order.value * 2, ..order })
    /// #     }
    /// # }
    /// orders.process_named(Named::new("double"), || Double, &[]).to("twice");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn process_named<L: Data, W: Data, P>(
        &self,
        named: Named,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: &[&str],
    ) -> KStream<L, W>
    where
        P: Processor<K, V, L, W>,
    {
        self.process_as(Some(named), "", supplier, stores, true)
    }

    /// Hands the stream to a processor that cannot change keys.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// struct Double;
    /// impl FixedKeyProcessor<String, i64, i64> for Double {
    ///     fn process(&mut self, context: &mut FixedKeyContext<'_, '_, String, i64>, order: FixedKeyRecord<String, i64>) -> Result<(), Error> {
    ///         let twice = order.value() * 2;
    ///         context.forward(order.with_value(twice))
    ///     }
    /// }
    /// // The key stays, so that grouping by it needs no repartition.
    /// orders.process_values(|| Double, &[]).group_by_key().count();
    /// assert!(!builder.build()?.describe().contains("repartition"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn process_values<W: Data, P>(&self, supplier: impl Fn() -> P + Send + Sync + 'static, stores: &[&str]) -> KStream<K, W>
    where
        P: FixedKeyProcessor<K, V, W>,
    {
        let mut stream = self.process_as(None, "KSTREAM-PROCESSVALUES-", move || FixedKey(supplier()), stores, false);
        stream.key = self.key.clone();
        stream
    }

    /// The same, named.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// # struct Double;
    /// # impl FixedKeyProcessor<String, i64, i64> for Double {
    /// #     fn process(&mut self, context: &mut FixedKeyContext<'_, '_, String, i64>, order: FixedKeyRecord<String, i64>) -> Result<(), Error> {
    /// #         let twice = order.value() * 2;
    /// #         context.forward(order.with_value(twice))
    /// #     }
    /// # }
    /// orders.process_values_named(Named::new("double"), || Double, &[]).to("twice");
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn process_values_named<W: Data, P>(
        &self,
        named: Named,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: &[&str],
    ) -> KStream<K, W>
    where
        P: FixedKeyProcessor<K, V, W>,
    {
        let mut stream = self.process_as(Some(named), "", move || FixedKey(supplier()), stores, false);
        stream.key = self.key.clone();
        stream
    }

    fn process_as<L: Data, W: Data, P>(
        &self,
        named: Option<Named>,
        prefix: &str,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: &[&str],
        key_changing: bool,
    ) -> KStream<L, W>
    where
        P: Processor<K, V, L, W>,
    {
        let mut graph = self.builder.graph.borrow_mut();
        // Here alone a name given by the user spends no number.
        let name: Arc<str> = named.map_or_else(|| graph.generate(prefix), |named| named.0).into();
        let supplier = Arc::new(supplier);
        let stores: Vec<String> = stores.iter().map(ToString::to_string).collect();
        let write = {
            let name = name.clone();
            move |topology: &mut Topology, written: &Written| {
                let make = move |assembly: &mut millstream_topology::Assembly<'_>| {
                    ProcessorNode::<P, L, W>::new(supplier(), assembly, !key_changing)
                };
                topology.add_processor(&name, &written.parents, maker::<K, V, _, _>(make))?;
                stores.iter().try_for_each(|store| topology.connect(&name, store))
            }
        };
        // The optimiser does not know that keys may change here, as in Kafka Streams: no repartition is moved above a processor.
        let node = graph.add(&[self.node], GraphNode::new(name.clone(), Kind::Plain, write));
        self.derived(name, node, key_changing || self.repartition_required, (None, None))
    }
}
