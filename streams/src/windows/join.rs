//! Windows of stream-stream joins (KIP-633).

use millstream_topology::{Error, ErrorKind};

/// How far apart in time two records may be to be joined: another record joins one at *t* if it is in `[t - before, t + after]`.
///
/// ```
/// use millstream::JoinWindows;
/// let windows = JoinWindows::of_time_difference_with_no_grace(10).before(2);
/// assert_eq!(windows.size_ms(), 12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinWindows {
    pub(crate) before_ms: i64,
    pub(crate) after_ms: i64,
    pub(crate) grace_ms: i64,
    /// The first bounds on the way here that held nothing, before and after; they are an error even if they were made wider later.
    empty: Option<(i64, i64)>,
}

impl JoinWindows {
    /// At most so many milliseconds apart; a record that comes later than its window is not waited for.
    ///
    /// ```
    /// # use millstream::*;
    /// let minute = JoinWindows::of_time_difference_with_no_grace(60_000);
    /// assert_eq!(minute.size_ms(), 120_000);
    /// ```
    pub fn of_time_difference_with_no_grace(difference_ms: i64) -> Self {
        Self::of_time_difference_and_grace(difference_ms, 0)
    }

    /// At most so many milliseconds apart; records may come `grace_ms` late before their partners are given up.
    ///
    /// ```
    /// # use millstream::*;
    /// let minute = JoinWindows::of_time_difference_and_grace(60_000, 5_000);
    /// ```
    pub fn of_time_difference_and_grace(difference_ms: i64, grace_ms: i64) -> Self {
        Self { before_ms: difference_ms, after_ms: difference_ms, grace_ms, empty: None }.checked()
    }

    /// The other record may be so much earlier; negative: it must be later.
    ///
    /// ```
    /// # use millstream::*;
    /// let later_only = JoinWindows::of_time_difference_with_no_grace(60_000).before(0);
    /// ```
    pub fn before(self, before_ms: i64) -> Self {
        Self { before_ms, ..self }.checked()
    }

    /// The other record may be so much later; negative: it must be earlier.
    ///
    /// ```
    /// # use millstream::*;
    /// let earlier_only = JoinWindows::of_time_difference_with_no_grace(60_000).after(0);
    /// ```
    pub fn after(self, after_ms: i64) -> Self {
        Self { after_ms, ..self }.checked()
    }

    /// From the earliest to the latest partner, in milliseconds.
    ///
    /// ```
    /// # use millstream::*;
    /// assert_eq!(JoinWindows::of_time_difference_with_no_grace(10).after(5).size_ms(), 15);
    /// ```
    pub fn size_ms(&self) -> i64 {
        self.before_ms.wrapping_add(self.after_ms)
    }

    fn checked(self) -> Self {
        Self { empty: self.empty.or((self.size_ms() < 0).then_some((self.before_ms, self.after_ms))), ..self }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let illegal = |text: String| Err(Error::new(ErrorKind::IllegalArgument, text));
        match self {
            Self { grace_ms, .. } if *grace_ms < 0 => illegal(format!("join grace of {grace_ms} ms: it is not negative")),
            Self { empty: Some((before, after)), .. } => {
                illegal(format!("join window from {before} ms before to {after} ms after holds nothing: set its wider side first"))
            }
            _ => Ok(()),
        }
    }
}
