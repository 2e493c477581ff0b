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
    pub fn process<L: Data, W: Data, P>(&self, supplier: impl Fn() -> P + Send + Sync + 'static, stores: &[&str]) -> KStream<L, W>
    where
        P: Processor<K, V, L, W>,
    {
        self.process_as(None, "KSTREAM-PROCESSOR-", supplier, stores, true)
    }

    /// The same, named.
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
    pub fn process_values<W: Data, P>(&self, supplier: impl Fn() -> P + Send + Sync + 'static, stores: &[&str]) -> KStream<K, W>
    where
        P: FixedKeyProcessor<K, V, W>,
    {
        let mut stream = self.process_as(None, "KSTREAM-PROCESSVALUES-", move || FixedKey(supplier()), stores, false);
        stream.key = self.key.clone();
        stream
    }

    /// The same, named.
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
                let make = move |assembly: &mut millstream_topology::Assembly<'_>| ProcessorNode::<P, L, W>::new(supplier(), assembly);
                topology.add_processor(&name, &written.parents, maker::<K, V, _, _>(make))?;
                stores.iter().try_for_each(|store| topology.connect(&name, store))
            }
        };
        // The optimiser does not know that keys may change here, as in Kafka Streams: no repartition is moved above a processor.
        let node = graph.add(&[self.node], GraphNode::new(name.clone(), Kind::Plain, write));
        self.derived(name, node, key_changing || self.repartition_required, (None, None))
    }
}
