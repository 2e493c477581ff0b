use super::demand;

/// Windows around records: every set of records that are at most a time difference apart is the content of a window (KIP-450).
///
/// **Law.** A window is `[start, start + time difference]`, both included. There is one that ends at each record, and one that begins 1 ms
/// after it if a later record falls into that. Records without a value are dropped.
///
/// ```
/// let _last_minute = millstream::SlidingWindows::of_time_difference_and_grace(60_000, 5_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindows {
    pub(crate) time_difference_ms: i64,
    pub(crate) grace_ms: i64,
}

impl SlidingWindows {
    /// Windows of records that are at most `time_difference_ms` apart, and that close at their end.
    ///
    /// ```
    /// # use millstream::*;
    /// let last_minute = SlidingWindows::of_time_difference_with_no_grace(60_000);
    /// ```
    pub fn of_time_difference_with_no_grace(time_difference_ms: i64) -> Self {
        Self::of_time_difference_and_grace(time_difference_ms, 0)
    }

    /// The same; they close `grace_ms` after their end.
    ///
    /// ```
    /// # use millstream::*;
    /// let last_minute = SlidingWindows::of_time_difference_and_grace(60_000, 5_000);
    /// ```
    pub fn of_time_difference_and_grace(time_difference_ms: i64, grace_ms: i64) -> Self {
        Self { time_difference_ms, grace_ms }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        demand(&[
            (self.time_difference_ms >= 0, "the time difference of sliding windows is not negative"),
            (self.grace_ms >= 0, "the grace of windows is not negative"),
        ])
    }
}
