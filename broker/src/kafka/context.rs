//! What librdkafka tells a client aside: logs, and for consumers what the group does.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};

use crate::TopicPartition;

/// What the group wants of a consumer.
#[derive(Debug)]
pub(crate) enum Change {
    Assign(Vec<TopicPartition>),
    Revoke,
}

/// **Law.** Nothing is done in a callback: what the group wants is noted, and done by the poll that called librdkafka.
#[derive(Debug, Default)]
pub(crate) struct Context {
    changes: Mutex<VecDeque<Change>>,
    /// Counts events that librdkafka's poll swallows: after one of them the queue may hold more although the poll gave nothing.
    swallowed: AtomicU64,
    closing: AtomicBool,
}

impl Context {
    /// The next thing that the group wants.
    pub fn next_change(&self) -> Option<Change> {
        self.changes.lock().pop_front()
    }

    /// It could not be done: the next poll tries again.
    pub fn put_back(&self, change: Change) {
        self.changes.lock().push_front(change);
    }

    /// How many events were swallowed.
    pub fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::Relaxed)
    }

    /// From now on nobody polls but librdkafka itself.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    fn swallow(&self) {
        self.swallowed.fetch_add(1, Ordering::Relaxed);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
        self.swallow();
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Who reads a partition is told of its end there.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            log_error(&error, reason);
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        self.swallow();
        if self.closing.load(Ordering::Relaxed) {
            let _ = consumer.unassign();
            return;
        }
        let change = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                Change::Assign(partitions.elements().iter().map(|p| TopicPartition::new(p.topic(), p.partition())).collect())
            }
            _ => Change::Revoke,
        };
        self.changes.lock().push_back(change);
    }
}

/// Passes a line of librdkafka's on.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    use RDKafkaLogLevel::*;
    match level {
        Emerg | Alert | Critical | Error => tracing::error!(target: "librdkafka", facility, "{message}"),
        Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
        Notice | Info => tracing::info!(target: "librdkafka", facility, "{message}"),
        Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// Passes an error of librdkafka's on; it goes on trying by itself.
pub(crate) fn log_error(error: &KafkaError, reason: &str) {
    tracing::warn!(target: "librdkafka", %error, "{reason}");
}
