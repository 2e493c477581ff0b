//! Running a topology on a broker: [`KafkaStreams`].
//!
//! Each stream thread has one consumer, one producer and one worker. The consumer's thread polls and commits, the worker's thread runs the
//! tasks on timely, and records cross between them in batches.
//!
//! | file | what |
//! | --- | --- |
//! | `kafka_streams` | [`KafkaStreams`]: what users hold |
//! | `config`, `handlers`, `error` | settings, what to do about failures, and failures |
//! | `state` | the states of an application |
//! | `topics` | the topics of an application, and which task reads what |
//! | `thread` | a stream thread's loop, and what happens when it fails |
//! | `member`, `feeding`, `committing` | a thread's share: its tasks, how they are fed, how they commit |
//! | `restore`, `globals` | stores rebuilt from changelogs; global tables |
//! | `outbox`, `fetched` | from tasks to the broker, and back |
//! | `commit` | what is written beside offsets |
//! | `hosts` | which worker runs which task |

mod commit;
mod committing;
mod config;
mod error;
mod feeding;
mod fetched;
mod globals;
mod handlers;
mod hosts;
mod kafka_streams;
mod member;
mod outbox;
mod restore;
mod state;
mod thread;
mod topics;

pub use config::{ProcessingGuarantee, StreamsConfig};
pub use error::StreamsError;
pub use fetched::Fetched;
pub use handlers::{
    DefaultProductionExceptionHandler, FailedRecord, ProductionExceptionHandler, ProductionExceptionHandlerResponse, StateRestoreListener,
    StreamThreadExceptionResponse, UncaughtExceptionHandler,
};
pub use kafka_streams::KafkaStreams;
use outbox::Outbox;
pub use restore::restore;
pub use state::{State, StateListener};
pub use topics::Plan;

/// The clock, in milliseconds since the epoch.
fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64)
}

fn now_us() -> i64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros() as i64)
}
