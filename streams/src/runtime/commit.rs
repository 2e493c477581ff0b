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
    /// When all instances of the application were asked to stop, in microseconds since the epoch.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    shutdown: Option<i64>,
}

pub(super) fn write(progress: &Progress, topic: &str, shutdown: Option<i64>) -> String {
    let processors = progress.processor_metadata.iter().map(|(node, value)| (node.to_string(), *value)).collect();
    let metadata = Metadata { partition_time: progress.partition_times.get(topic).copied(), processors, shutdown };
    serde_json::to_string(&metadata).unwrap_or_default()
}

/// Adds what a topic-partition's metadata says; what cannot be read says nothing. The answer is when a shutdown was asked for.
///
/// The partitions of a task may have been committed at different times: of what operators remember, the highest is the newest.
pub(super) fn read(progress: &mut Progress, topic: &Arc<str>, metadata: &str) -> Option<i64> {
    let metadata = serde_json::from_str::<Metadata>(metadata).ok()?;
    if let Some(time) = metadata.partition_time {
        progress.partition_times.insert(topic.clone(), time);
    }
    for (node, value) in metadata.processors {
        let known = progress.processor_metadata.entry(node.into()).or_insert(value);
        *known = value.max(*known);
    }
    metadata.shutdown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_partitions_say_about_an_operator_the_highest_counts() {
        let progress = |value| Progress { processor_metadata: [("node".into(), value)].into(), ..Progress::default() };
        let mut read_again = Progress::default();
        for value in [3, 9, 5] {
            assert_eq!(read(&mut read_again, &"topic".into(), &write(&progress(value), "topic", None)), None);
        }
        assert_eq!(read_again.processor_metadata[&Arc::from("node")], 9);
        assert_eq!(read(&mut read_again, &"topic".into(), "something else"), None);
    }
}
