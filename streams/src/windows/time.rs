use millstream_topology::{Error, Window};

use super::demand;

/// Windows of a fixed size, one after the other (tumbling) or overlapping (hopping).
///
/// **Law.** A window is `[start, start + size)`; starts are the multiples of the advance, from 0 on. A window takes records until stream
/// time reaches its end and the grace after it.
///
/// ```
/// use millstream::TimeWindows;
/// let _five_minutes = TimeWindows::of_size_with_no_grace(300_000);
/// let _every_minute = TimeWindows::of_size_and_grace(300_000, 10_000).advance_by(60_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindows {
    pub(crate) size_ms: i64,
    pub(crate) advance_ms: i64,
    pub(crate) grace_ms: i64,
}

impl TimeWindows {
    /// Tumbling windows of `size_ms` that close at their end.
    ///
    /// ```
    /// # use millstream::*;
    /// let minutes = TimeWindows::of_size_with_no_grace(60_000);
    /// ```
    pub fn of_size_with_no_grace(size_ms: i64) -> Self {
        Self::of_size_and_grace(size_ms, 0)
    }

    /// Tumbling windows of `size_ms` that close `grace_ms` after their end.
    ///
    /// ```
    /// # use millstream::*;
    /// let minutes = TimeWindows::of_size_and_grace(60_000, 5_000);
    /// ```
    pub fn of_size_and_grace(size_ms: i64, grace_ms: i64) -> Self {
        Self { size_ms, advance_ms: size_ms, grace_ms }
    }

    /// Begins a window every `advance_ms`: more than 0, and at most the size.
    ///
    /// ```
    /// # use millstream::*;
    /// let every_second = TimeWindows::of_size_with_no_grace(60_000).advance_by(1_000);
    /// ```
    pub fn advance_by(self, advance_ms: i64) -> Self {
        Self { advance_ms, ..self }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        demand(&[
            (self.size_ms > 0, "the size of a window is more than 0 ms"),
            (self.advance_ms > 0 && self.advance_ms <= self.size_ms, "windows advance by more than 0 ms and at most by their size"),
            (self.grace_ms >= 0, "the grace of windows is not negative"),
        ])
    }

    /// The starts of the windows of a time: the first, and the last.
    pub(crate) fn starts(&self, timestamp: i64) -> (i64, i64) {
        let first = timestamp.wrapping_sub(self.size_ms).wrapping_add(self.advance_ms).max(0) / self.advance_ms * self.advance_ms;
        (first, first + (timestamp - first) / self.advance_ms * self.advance_ms)
    }

    /// The windows of a time, by their start; an error if one of them would end after the end of time.
    pub(crate) fn windows_of(&self, timestamp: i64) -> Result<impl Iterator<Item = Window> + use<>, Error> {
        let Self { size_ms, advance_ms, .. } = *self;
        let (first, last) = self.starts(timestamp);
        Window::time(last, last.wrapping_add(size_ms))?;
        let starts = std::iter::successors(Some(first), move |start| start.checked_add(advance_ms));
        Ok(starts.take_while(move |start| *start <= last).map(move |start| Window { start, end: start + size_ms }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(windows: TimeWindows, timestamp: i64) -> Vec<i64> {
        windows.windows_of(timestamp).unwrap().map(|window| window.start).collect()
    }

    #[test]
    fn windows_start_at_multiples_of_the_advance_and_never_before_0() {
        let tumbling = TimeWindows::of_size_with_no_grace(10);
        assert_eq!(starts(tumbling, 9), [0]);
        assert_eq!(starts(tumbling, 10), [10]);
        let hopping = tumbling.advance_by(4);
        assert_eq!(starts(hopping, 3), [0]);
        assert_eq!(starts(hopping, 9), [0, 4, 8]);
        assert_eq!(starts(hopping, 10), [4, 8]);
    }

    #[test]
    fn a_window_past_the_end_of_time_is_an_error() {
        assert!(TimeWindows::of_size_with_no_grace(i64::MAX).windows_of(5).is_ok());
        assert!(TimeWindows::of_size_with_no_grace(i64::MAX).advance_by(4).windows_of(5).is_err());
    }
}
