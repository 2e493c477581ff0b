//! The settings of a running application, with Kafka Streams' names and defaults.

use std::{path::PathBuf, sync::Arc, time::Duration};

use millstream_topology::{Compatibility, OnError, TaskConfig};

/// What a crash can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessingGuarantee {
    /// A record may be processed again after a crash.
    #[default]
    AtLeastOnce,
    /// Outputs, state and offsets of each record are committed together or not at all (KIP-447).
    ExactlyOnce,
}

/// The settings of a running application.
#[derive(Clone, Debug)]
pub struct StreamsConfig {
    /// Names the group and the internal topics (`application.id`).
    pub application_id: String,
    /// `processing.guarantee`.
    pub guarantee: ProcessingGuarantee,
    /// `num.stream.threads`.
    pub num_stream_threads: usize,
    /// How often progress is committed (`commit.interval.ms`): 30 s, with exactly-once 100 ms.
    pub commit_interval: Duration,
    /// Where local state lives (`state.dir`).
    pub state_dir: PathBuf,
    /// The record cache for all threads, in bytes (`statestore.cache.max.bytes`).
    pub cache_max_bytes: usize,
    /// A source record that cannot be read (`deserialization.exception.handler`).
    pub on_deserialization_error: OnError,
    /// A record at which user code fails (`processing.exception.handler`).
    pub on_processing_error: OnError,
    /// Where records go that could not be read or processed (`errors.dead.letter.queue.topic.name`).
    pub dead_letter_topic: Option<String>,
    /// Whether results that Kafka Streams loses or doubles are lost and doubled here, too.
    pub compatibility: Compatibility,
    /// The partitions of a topic on which nothing else decides.
    pub default_partitions: i32,
}

impl StreamsConfig {
    /// The defaults.
    pub fn new(application_id: impl Into<String>) -> Self {
        Self {
            application_id: application_id.into(),
            guarantee: ProcessingGuarantee::default(),
            num_stream_threads: 1,
            commit_interval: Duration::from_secs(30),
            state_dir: std::env::temp_dir().join("millstream"),
            cache_max_bytes: 10 * 1024 * 1024,
            on_deserialization_error: OnError::Fail,
            on_processing_error: OnError::Fail,
            dead_letter_topic: None,
            compatibility: Compatibility::default(),
            default_partitions: 1,
        }
    }

    /// Exactly-once, with its commit interval of 100 ms.
    pub fn exactly_once(self) -> Self {
        Self { guarantee: ProcessingGuarantee::ExactlyOnce, commit_interval: Duration::from_millis(100), ..self }
    }

    pub(crate) fn is_exactly_once(&self) -> bool {
        self.guarantee == ProcessingGuarantee::ExactlyOnce
    }

    /// What the tasks of an application with these settings are told.
    pub fn task_config(&self, plan: &super::Plan) -> TaskConfig {
        self.task(plan.partitions.clone())
    }

    pub(crate) fn task(&self, partitions: std::collections::HashMap<Arc<str>, i32>) -> TaskConfig {
        TaskConfig {
            cache_max_bytes: self.cache_max_bytes / self.num_stream_threads.max(1),
            on_deserialization_error: self.on_deserialization_error.clone(),
            on_processing_error: self.on_processing_error.clone(),
            dead_letter_topic: self.dead_letter_topic.as_deref().map(Into::into),
            compatibility: self.compatibility,
            partitions: Arc::new(partitions),
            ..TaskConfig::new(&*self.application_id)
        }
    }
}
