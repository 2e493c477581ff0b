//! Changelogs: the topic from which a store is rebuilt.

use std::sync::Arc;

use bytes::Bytes;

use super::StoreEnv;
use crate::{
    context::{Output, Target, TaskContext},
    record::{Headers, RawRecord},
};

/// How a changelog topic is kept.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// let days = ChangelogConfig { retention_ms: Some(7 * 86_400_000), ..ChangelogConfig::default() };
/// assert!(days.compact);
/// ```
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

/// Which records of a changelog have the headers of the record that was in process.
///
/// ```
/// # use millstream_topology::{*, store::*};
/// assert_eq!(LoggedHeaders::default(), LoggedHeaders::None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoggedHeaders {
    /// None.
    #[default]
    None,
    /// Deletions: what stores in the headers format do (KIP-1271).
    OfDeletions,
    /// All.
    All,
}

/// A store's changelog; to nowhere if it is not logged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changelog {
    topic: Option<Arc<str>>,
    headers: LoggedHeaders,
}

impl Changelog {
    pub fn of(env: &StoreEnv<'_>) -> Self {
        Self { topic: env.changelog.clone(), headers: env.logged_headers }
    }

    /// Whether anything is logged.
    pub fn is_on(&self) -> bool {
        self.topic.is_some()
    }

    /// Writes a change to the task's own partition.
    #[inline]
    pub fn log(&self, context: &mut TaskContext, key: Bytes, value: Option<Bytes>, timestamp: i64, headers: Headers) {
        if let Some(topic) = &self.topic {
            let headers = match self.headers {
                LoggedHeaders::All => context.record.headers.copied(),
                LoggedHeaders::OfDeletions if value.is_none() => context.record.headers.copied(),
                _ => headers,
            };
            let record = RawRecord { key: Some(key), value, timestamp, headers };
            let target = Target::Partition(context.task.partition);
            context.send(Output { topic: topic.clone(), target, record });
        }
    }

    /// The same, of bytes that belong to a store.
    #[inline]
    pub fn log_copies(&self, context: &mut TaskContext, key: &[u8], value: Option<&[u8]>, timestamp: i64, headers: Headers) {
        if self.is_on() {
            let (key, value) = (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice));
            self.log(context, key, value, timestamp, headers);
        }
    }
}
