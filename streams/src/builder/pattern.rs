//! Streams of all topics whose names match a pattern.

use std::sync::Arc;

use millstream_topology::{Data, DefaultSerde, SourceDef, Topology};

use super::{
    StreamsBuilder,
    graph::{self, GraphNode, Kind, ROOT},
    need,
};
use crate::{Consumed, KStream};

impl StreamsBuilder {
    /// The records of all topics whose whole name matches a regular expression, also of those that are created later: a running
    /// application looks for them every `metadata_max_age`.
    ///
    /// ```
    /// use millstream::{StreamsBuilder, TopologyTestDriver};
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream_pattern::<String, String>("orders-.*").to("all-orders");
    /// let driver = TopologyTestDriver::new(&builder.build().unwrap(), Default::default()).unwrap();
    /// driver.input_topic::<String, String>("orders-eu").pipe("a".into(), "1".into(), 0).unwrap();
    /// driver.input_topic::<String, String>("orders-us").pipe("b".into(), "2".into(), 1).unwrap();
    /// assert_eq!(driver.output_topic::<String, String>("all-orders").read_key_values().unwrap().len(), 2);
    /// ```
    pub fn stream_pattern<K: DefaultSerde, V: DefaultSerde>(&self, pattern: &str) -> KStream<K, V> {
        self.stream_pattern_with(pattern, Consumed::new())
    }

    /// The same, with options. Two calls for the same pattern share a source.
    pub fn stream_pattern_with<K: Data, V: Data>(&self, pattern: &str, consumed: Consumed<K, V>) -> KStream<K, V> {
        let mut graph = self.graph.borrow_mut();
        let name: Arc<str> = graph.name_or(consumed.name.as_deref(), "KSTREAM-SOURCE-").into();
        let (key, value, reset) = (consumed.key.resolve(None), consumed.value.resolve(None), consumed.offset_reset);
        let write = {
            let (name, key, value, pattern) = (name.clone(), key.clone(), value.clone(), pattern.to_owned());
            move |topology: &mut Topology, _: &graph::Written| {
                let (key, value) = (need(key, &name, "key")?, need(value, &name, "value")?);
                let source = SourceDef::<K, V> { key, value, extractor: consumed.extractor };
                topology.add_pattern_source(&name, &pattern, reset, source.into_maker())
            }
        };
        // No topic has such a name, so patterns merge with equal ones alone.
        let topics = vec![format!("/{pattern}/").into()];
        let node = graph.add(&[ROOT], GraphNode::new(name.clone(), Kind::Source { topics, reset }, write));
        KStream::at(self, (name.clone(), node), [name].into(), (key, value))
    }
}
