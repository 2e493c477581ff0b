//! What is written beside a committed offset: with what a task continues after a restart.

use std::{collections::HashMap, sync::Arc};

use millstream_topology::dataflow::Progress;

/// The metadata of a topic-partition's offset: the partition's time, and what the task's windowed operators remember.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Metadata {
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    partition_time: Option<i64>,
    #[serde(rename = "p", default, skip_serializing_if = "HashMap::is_empty")]
    processors: HashMap<String, i64>,
}

pub(super) fn write(progress: &Progress, topic: &str) -> String {
    let processors = progress.processor_metadata.iter().map(|(node, value)| (node.to_string(), *value)).collect();
    let metadata = Metadata { partition_time: progress.partition_times.get(topic).copied(), processors };
    serde_json::to_string(&metadata).unwrap_or_default()
}

/// Adds what a topic-partition's metadata says; what cannot be read says nothing.
pub(super) fn read(progress: &mut Progress, topic: &Arc<str>, metadata: &str) {
    let Ok(metadata) = serde_json::from_str::<Metadata>(metadata) else { return };
    if let Some(time) = metadata.partition_time {
        progress.partition_times.insert(topic.clone(), time);
    }
    progress.processor_metadata.extend(metadata.processors.into_iter().map(|(node, value)| (Arc::from(node), value)));
}
