//! Sinks: from typed records to bytes on their way to a topic.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Data, SerdeRef,
    context::{Output, Target, TaskContext},
    error::Error,
    node::{Node, NodeMaker},
    record::{RawRecord, Record},
};

/// Says to which topic a record goes.
///
/// ```
/// use std::sync::Arc;
/// use millstream_topology::{Record, TaskContext, TopicNameExtractor};
///
/// let by_key: TopicNameExtractor<String, i64> = Arc::new(|order: &Record<String, i64>, _: &TaskContext| format!("orders-{}", order.key).into());
/// ```
pub type TopicNameExtractor<K, V> = Arc<dyn Fn(&Record<K, V>, &TaskContext) -> Arc<str> + Send + Sync>;

/// Says to which partitions a record goes, given the topic and how many it has: `None` leaves it to the key's hash, no partition drops
/// it, several copy it (KIP-837).
///
/// ```
/// use std::sync::Arc;
/// use millstream_topology::StreamPartitioner;
///
/// let to_all: StreamPartitioner<String, i64> = Arc::new(|_topic, _key, _value, partitions| Some((0..partitions).collect()));
/// ```
pub type StreamPartitioner<K, V> = Arc<dyn Fn(&str, &K, &V, i32) -> Option<Vec<i32>> + Send + Sync>;

/// The bytes by whose hash a record is partitioned, where they are not the key's.
pub type PartitionKey<K> = Arc<dyn Fn(&K) -> Result<Option<Bytes>, Error> + Send + Sync>;

/// What a sink writes, and where to.
///
/// ```
/// use millstream_topology::{DefaultSerde, SinkDef, SinkTopic};
///
/// let sink = SinkDef::<String, i64> {
///     key: String::default_serde(),
///     value: i64::default_serde(),
///     topic: SinkTopic::Fixed("orders".into()),
///     partitioner: None,
///     partition_key: None,
/// };
/// let maker = sink.into_maker();
/// ```
pub struct SinkDef<K: Data, V: Data> {
    /// Writes keys.
    pub key: SerdeRef<K::Present>,
    /// Writes values.
    pub value: SerdeRef<V::Present>,
    /// The topic.
    pub topic: SinkTopic<K, V>,
    /// The partition.
    pub partitioner: Option<StreamPartitioner<K, V>>,
    /// What is hashed in place of the key.
    pub partition_key: Option<PartitionKey<K>>,
}

/// Where a sink writes to.
///
/// ```
/// use millstream_topology::SinkTopic;
/// let of_the_application: SinkTopic<String, i64> = SinkTopic::Internal("by-key-repartition".into());
/// ```
pub enum SinkTopic<K, V> {
    /// Always there.
    Fixed(Arc<str>),
    /// To a topic of the application's own, whose name gets the application's id in front.
    Internal(Arc<str>),
    /// The record says.
    Extracted(TopicNameExtractor<K, V>),
}

impl<K: Data, V: Data> SinkDef<K, V> {
    /// What makes the sink's node for a task.
    pub fn into_maker(self) -> NodeMaker {
        let sink = Arc::new(self);
        Arc::new(move |assembly| {
            let fixed = match &sink.topic {
                SinkTopic::Fixed(topic) => Some(topic.clone()),
                SinkTopic::Internal(topic) => Some(assembly.config().internal_topic(topic)),
                SinkTopic::Extracted(_) => None,
            };
            Ok(assembly.node(Sink { def: sink.clone(), fixed }))
        })
    }
}

struct Sink<K: Data, V: Data> {
    def: Arc<SinkDef<K, V>>,
    fixed: Option<Arc<str>>,
}

impl<K: Data, V: Data> Node<K, V> for Sink<K, V> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let sink = &*self.def;
        let topic = match (&self.fixed, &sink.topic) {
            (Some(topic), _) | (None, SinkTopic::Fixed(topic) | SinkTopic::Internal(topic)) => topic.clone(),
            (None, SinkTopic::Extracted(extract)) => extract(&record, context),
        };
        let key = record.key.present().map(|key| sink.key.serialize(key)).transpose()?;
        let value = record.value.present().map(|value| sink.value.serialize(value)).transpose()?;
        let partitions = sink.partitioner.as_ref().and_then(|p| p(&topic, &record.key, &record.value, context.partitions(&topic)));
        // Headers stop being shared here: what a sibling adds later is not written.
        let raw = RawRecord { key, value, timestamp: record.timestamp, headers: record.headers.copied() };
        let Some(partitions) = partitions else {
            let hashed = match (&sink.partition_key, &sink.topic, record.key.present()) {
                (Some(partition_key), ..) => partition_key(&record.key)?,
                // Behind a repartition topic the whole key counts, also a windowed one.
                (None, SinkTopic::Fixed(_) | SinkTopic::Extracted(_), Some(key)) => sink.key.partition_key(key)?,
                _ => None,
            };
            context.send(Output { topic, target: hashed.map_or(Target::Key, Target::Hash), record: raw });
            return Ok(());
        };
        if partitions.is_empty() {
            context.drop_record();
        }
        for partition in partitions {
            context.send(Output { topic: topic.clone(), target: Target::Partition(partition), record: raw.clone() });
        }
        Ok(())
    }
}
