//! What happens when a thread fails, or a record cannot be written.

use std::sync::Arc;

use millstream_broker::{Error as BrokerError, Record};

use super::StreamsError;

/// What becomes of an application one of whose threads has failed (KIP-671).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamThreadExceptionResponse {
    /// Another thread takes its place and begins at what is committed. The record that failed it will come again.
    ReplaceThread,
    /// This instance stops; others of the application take over.
    #[default]
    ShutdownClient,
    /// All instances stop: those that run now find the request with the offsets of the partitions that they take over.
    ShutdownApplication,
}

/// Called with what failed a stream thread, on that thread.
///
/// ```
/// use std::sync::Arc;
/// use millstream::{StreamThreadExceptionResponse, StreamsError, UncaughtExceptionHandler};
///
/// let handler: UncaughtExceptionHandler = Arc::new(|error| match error {
///     StreamsError::Broker(_) => StreamThreadExceptionResponse::ReplaceThread,
///     _ => StreamThreadExceptionResponse::ShutdownClient,
/// });
/// ```
pub type UncaughtExceptionHandler = Arc<dyn Fn(&StreamsError) -> StreamThreadExceptionResponse + Send + Sync>;

/// What becomes of a record that could not be written (KIP-210).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductionExceptionHandlerResponse {
    /// The thread fails.
    Fail,
    /// The record is dropped, and processing goes on.
    Continue,
    /// Nothing of this epoch is committed; the thread goes back to what is, and does it again.
    Retry,
}

/// A record that could not be written.
#[derive(Clone, Debug)]
pub struct FailedRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// The record, as it was to be written.
    pub record: &'a Record,
}

/// Called for every record that could not be written (`production.exception.handler`).
///
/// ```
/// use millstream::{FailedRecord, ProductionExceptionHandler, ProductionExceptionHandlerResponse};
///
/// struct DropTooLarge;
/// impl ProductionExceptionHandler for DropTooLarge {
///     fn handle(&self, _: &FailedRecord<'_>, error: &millstream_broker::Error) -> ProductionExceptionHandlerResponse {
///         match error {
///             millstream_broker::Error::TooLarge { .. } => ProductionExceptionHandlerResponse::Continue,
///             _ => ProductionExceptionHandlerResponse::Fail,
///         }
///     }
/// }
/// ```
pub trait ProductionExceptionHandler: Send + Sync {
    /// What becomes of the record.
    fn handle(&self, record: &FailedRecord<'_>, error: &BrokerError) -> ProductionExceptionHandlerResponse;
}

/// Does again what may work the next time, and fails for anything else.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultProductionExceptionHandler;

impl ProductionExceptionHandler for DefaultProductionExceptionHandler {
    fn handle(&self, _: &FailedRecord<'_>, error: &BrokerError) -> ProductionExceptionHandlerResponse {
        match error {
            BrokerError::Timeout(_) | BrokerError::Unreachable(_) | BrokerError::QueueFull => ProductionExceptionHandlerResponse::Retry,
            _ => ProductionExceptionHandlerResponse::Fail,
        }
    }
}

/// Watches how stores are rebuilt (`StateRestoreListener`). Called on stream threads: it must not block.
pub trait StateRestoreListener: Send + Sync {
    /// A store is rebuilt from this partition of its changelog, from one offset to another.
    fn on_restore_start(&self, _partition: &millstream_broker::TopicPartition, _store: &str, _starting: i64, _ending: i64) {}
    /// So many records were replayed, up to that offset.
    fn on_batch_restored(&self, _partition: &millstream_broker::TopicPartition, _store: &str, _batch_end: i64, _restored: u64) {}
    /// It is rebuilt, of so many records.
    fn on_restore_end(&self, _partition: &millstream_broker::TopicPartition, _store: &str, _total_restored: u64) {}
}
