use super::demand;

/// One window without an end.
///
/// **Law.** Records before its start belong to no window, and nothing happens with them. It never closes.
///
/// ```
/// let _since_2024 = millstream::UnlimitedWindows::of().start_on(1_704_067_200_000);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnlimitedWindows {
    pub(crate) start_ms: i64,
}

impl UnlimitedWindows {
    /// A window from the beginning of time.
    ///
    /// ```
    /// # use millstream::*;
    /// let ever = UnlimitedWindows::of();
    /// ```
    pub fn of() -> Self {
        Self::default()
    }

    /// A window from `start_ms`, in milliseconds since the epoch.
    ///
    /// ```
    /// # use millstream::*;
    /// let since_2024 = UnlimitedWindows::of().start_on(1_704_067_200_000);
    /// ```
    pub fn start_on(self, start_ms: i64) -> Self {
        Self { start_ms }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        demand(&[(self.start_ms >= 0, "the start of an unlimited window is not negative")])
    }
}
