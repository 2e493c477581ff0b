//! Milliseconds since the epoch, as the scheduler counts them: they never go back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// The wall clock when the scheduler started, and the monotonic clock since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    start: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), start: since_epoch.as_millis() as u64 }
    }

    pub(crate) fn now(&self) -> u64 {
        self.start + self.origin.elapsed().as_millis() as u64
    }

    /// The instant at which this clock shows that time.
    pub(crate) fn instant(&self, at: u64) -> Instant {
        self.origin + std::time::Duration::from_millis(at.saturating_sub(self.start))
    }
}

pub(crate) fn timestamp(millis: u64) -> Timestamp {
    Timestamp { seconds: (millis / 1000) as i64, nanos: (millis % 1000) as i32 * 1_000_000 }
}

pub(crate) fn millis(timestamp: Option<&Timestamp>) -> u64 {
    timestamp.map_or(0, |t| t.seconds.max(0) as u64 * 1000 + t.nanos.max(0) as u64 / 1_000_000)
}
