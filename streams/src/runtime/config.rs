//! The settings of a running application, with Kafka Streams' names and defaults.

use std::{path::PathBuf, sync::Arc, time::Duration};

use millstream_topology::{Compatibility, OnError, TaskConfig};

use super::{DefaultProductionExceptionHandler, ProductionExceptionHandler, StateRestoreListener, StreamsError};

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
#[derive(Clone)]
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
    /// The record cache of a store, in bytes, divided among the threads (`statestore.cache.max.bytes`; in Kafka Streams all stores of a
    /// thread share it).
    pub cache_max_bytes: usize,
    /// A source record that cannot be read (`deserialization.exception.handler`).
    pub on_deserialization_error: OnError,
    /// A record at which user code fails (`processing.exception.handler`).
    pub on_processing_error: OnError,
    /// A record that cannot be written (`production.exception.handler`).
    pub production_exception_handler: Arc<dyn ProductionExceptionHandler>,
    /// Where records go that could not be read, processed or written (`errors.dead.letter.queue.topic.name`).
    pub dead_letter_topic: Option<String>,
    /// Whether results that Kafka Streams loses or doubles are lost and doubled here, too.
    pub compatibility: Compatibility,
    /// The partitions of a topic on which nothing else decides.
    pub default_partitions: i32,
    /// How long a task with records of one topic waits for those of another, in milliseconds (`max.task.idle.ms`): −1, not at all; 0, as
    /// long as the broker has more of it; a positive number, so much longer.
    pub max_task_idle_ms: i64,
    /// How many records of a partition wait in memory for those of others before it is not read any more
    /// (`buffered.records.per.partition`).
    pub buffered_records_per_partition: usize,
    /// How long a thread tries again what may work the next time, without any commit between (`task.timeout.ms`).
    pub task_timeout: Duration,
    /// How often what was read from repartition topics is deleted (`repartition.purge.interval.ms`).
    pub repartition_purge_interval: Duration,
    /// How often new topics are looked for that match a pattern (`metadata.max.age.ms`).
    pub metadata_max_age: Duration,
    /// How long the group waits for a member that is silent (`session.timeout.ms`).
    pub session_timeout: Duration,
    /// The least wall-clock time between two emissions of windows that closed, in milliseconds.
    pub emit_interval_ms: i64,
    /// Watches how stores are rebuilt.
    pub state_restore_listener: Option<Arc<dyn StateRestoreListener>>,
}

impl std::fmt::Debug for StreamsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("StreamsConfig");
        shown.field("application_id", &self.application_id).field("guarantee", &self.guarantee);
        shown.field("num_stream_threads", &self.num_stream_threads).field("state_dir", &self.state_dir).finish_non_exhaustive()
    }
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
            production_exception_handler: Arc::new(DefaultProductionExceptionHandler),
            dead_letter_topic: None,
            compatibility: Compatibility::default(),
            default_partitions: 1,
            max_task_idle_ms: 0,
            buffered_records_per_partition: 1_000,
            task_timeout: Duration::from_secs(300),
            repartition_purge_interval: Duration::from_secs(30),
            metadata_max_age: Duration::from_secs(300),
            session_timeout: Duration::from_secs(10),
            emit_interval_ms: 1_000,
            state_restore_listener: None,
        }
    }

    /// Exactly-once, with its commit interval of 100 ms.
    pub fn exactly_once(self) -> Self {
        Self { guarantee: ProcessingGuarantee::ExactlyOnce, commit_interval: Duration::from_millis(100), ..self }
    }

    pub(crate) fn check(&self) -> Result<(), StreamsError> {
        match self {
            Self { num_stream_threads: 0, .. } => Err(StreamsError::State("num_stream_threads is 0: set it to at least 1")),
            Self { application_id, .. } if application_id.is_empty() => {
                Err(StreamsError::State("application_id is empty: name the application"))
            }
            _ => Ok(()),
        }
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
            emit_interval_ms: self.emit_interval_ms,
            ..TaskConfig::new(&*self.application_id)
        }
    }
}
