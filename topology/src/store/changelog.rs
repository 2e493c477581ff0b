//! Changelogs: the topic from which a store is rebuilt.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    context::{Output, TaskContext, Target},
    record::{Headers, RawRecord},
};

/// How a changelog topic is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangelogConfig {
    /// Keep the newest record of each key.
    pub compact: bool,
    /// Delete older records, in milliseconds.
    pub retention_ms: Option<i64>,
    /// Do not compact younger records, in milliseconds.
    pub min_compaction_lag_ms: Option<i64>,
}

impl Default for ChangelogConfig {
    fn default() -> Self {
        Self { compact: true, retention_ms: None, min_compaction_lag_ms: None }
    }
}

/// A store's changelog; to nowhere if it is not logged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changelog(pub Option<Arc<str>>);

impl Changelog {
    /// Writes a change to the task's own partition.
    #[inline]
    pub fn log(&self, context: &mut TaskContext, key: Bytes, value: Option<Bytes>, timestamp: i64, headers: Headers) {
        if let Some(topic) = &self.0 {
            let record = RawRecord { key: Some(key), value, timestamp, headers };
            let target = Target::Partition(context.task.partition);
            context.send(Output { topic: topic.clone(), target, record });
        }
    }
}
