//! Ends of a stream in a topic.

use std::sync::Arc;

use millstream_topology::{Data, DefaultSerde, ErrorKind, Record, SinkDef, SinkTopic, TaskContext, Topology};

use super::KStream;
use crate::{
    builder::{
        graph::{GraphNode, Kind, Written},
        need,
    },
    options::Produced,
};

impl<K: Data, V: Data> KStream<K, V> {
    /// Writes the stream to a topic.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.to("copy");
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # driver.input_topic("orders").pipe("a".to_string(), 50i64, 0)?;
    /// assert_eq!(driver.output_topic::<String, i64>("copy").read_values()?, [50]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to(&self, topic: &str)
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.to_with(topic, Produced::new());
    }

    /// The same, with options.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.to_with("copy", Produced::new().name("copying").partitioner(|_, _, amount, n| Some(vec![(*amount as i32) % n])));
    /// # builder.build()?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_with(&self, topic: &str, produced: Produced<K, V>) {
        if topic.is_empty() {
            self.builder.graph.borrow_mut().fail(ErrorKind::IllegalArgument, format!("{}: the topic to write to has no name", self.name));
        }
        self.write_to(SinkTopic::Fixed(topic.into()), produced);
    }

    /// Writes each record to the topic that `extractor` names; topics must exist.
    ///
    /// ```
    /// # use millstream::*; let builder = StreamsBuilder::new();
    /// # let orders = builder.stream::<String, i64>("orders");
    /// orders.to_dynamic(|order, _| if order.value > 100 { "large".into() } else { "small".into() }, Produced::new());
    /// # let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    /// # let input = driver.input_topic("orders"); input.pipe("a".to_string(), 50i64, 0)?; input.pipe("b".to_string(), 200, 0)?;
    /// assert_eq!(driver.output_topic::<String, i64>("large").read_values()?, [200]);
    /// assert_eq!(driver.output_topic::<String, i64>("small").read_values()?, [50]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn to_dynamic(
        &self,
        extractor: impl Fn(&Record<K, V>, &TaskContext) -> Arc<str> + Send + Sync + 'static,
        produced: Produced<K, V>,
    ) {
        self.write_to(SinkTopic::Extracted(Arc::new(extractor)), produced);
    }

    fn write_to(&self, topic: SinkTopic<K, V>, produced: Produced<K, V>) {
        let mut graph = self.builder.graph.borrow_mut();
        let name: Arc<str> = graph.name_or(produced.name.as_deref(), "KSTREAM-SINK-").into();
        let (key, value) = (produced.key.resolve(self.key.as_ref()), produced.value.resolve(self.value.as_ref()));
        let sink_name = name.clone();
        let write = move |topology: &mut Topology, written: &Written| {
            let fixed = match &topic {
                SinkTopic::Fixed(topic) | SinkTopic::Internal(topic) => Some(topic.clone()),
                SinkTopic::Extracted(_) => None,
            };
            let sink = SinkDef {
                key: need(key, &sink_name, "key")?,
                value: need(value, &sink_name, "value")?,
                topic,
                partitioner: produced.partitioner,
                partition_key: produced.partition_key,
            };
            topology.add_sink(&sink_name, fixed, &written.parents, sink.into_maker())
        };
        graph.add(&[self.node], GraphNode::new(name, Kind::Plain, write));
    }
}
