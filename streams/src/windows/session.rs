use super::demand;

/// Sessions: records of a key that follow each other within a gap (KIP-94).
///
/// **Law.** A session is `[first record, last record]`, both included. A record that comes within the gap of a session widens it, and one
/// between two sessions makes them one. A session takes records until stream time passes its end, the gap and the grace.
///
/// ```
/// let _visits = millstream::SessionWindows::of_inactivity_gap_with_no_grace(1_800_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWindows {
    pub(crate) gap_ms: i64,
    pub(crate) grace_ms: i64,
}

impl SessionWindows {
    /// Sessions that end when nothing has come for `gap_ms`.
    ///
    /// ```
    /// # use millstream::*;
    /// let visits = SessionWindows::of_inactivity_gap_with_no_grace(1_800_000);
    /// ```
    pub fn of_inactivity_gap_with_no_grace(gap_ms: i64) -> Self {
        Self::of_inactivity_gap_and_grace(gap_ms, 0)
    }

    /// The same; they close `grace_ms` later.
    ///
    /// ```
    /// # use millstream::*;
    /// let visits = SessionWindows::of_inactivity_gap_and_grace(1_800_000, 60_000);
    /// ```
    pub fn of_inactivity_gap_and_grace(gap_ms: i64, grace_ms: i64) -> Self {
        Self { gap_ms, grace_ms }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        demand(&[
            (self.gap_ms >= 0, "the inactivity gap of sessions is not negative"),
            (self.grace_ms >= 0, "the grace of sessions is not negative"),
        ])
    }
}
