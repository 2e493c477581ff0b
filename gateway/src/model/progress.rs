//! How far a partition is answered.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// Law: what may be committed is the first offset that is not answered, never one behind it.
#[derive(Debug)]
pub(crate) struct Progress(Mutex<State>);

#[derive(Debug)]
struct State {
    under_way: BTreeSet<i64>,
    /// The next offset to be read; unknown until something has been.
    next: Option<i64>,
    committed: Option<i64>,
}

impl Progress {
    pub fn new(committed: Option<i64>) -> Self {
        Self(Mutex::new(State { under_way: BTreeSet::new(), next: committed, committed }))
    }

    /// These were read; `next` is the position behind them.
    pub fn begin(&self, offsets: impl Iterator<Item = i64>, next: i64) {
        let mut state = self.0.lock();
        state.under_way.extend(offsets);
        state.next = Some(next);
    }

    /// This one is answered for good.
    pub fn done(&self, offset: i64) {
        self.0.lock().under_way.remove(&offset);
    }

    /// Where reading goes on.
    pub fn next(&self) -> Option<i64> {
        self.0.lock().next
    }

    /// Whether all that was read is answered.
    pub fn idle(&self) -> bool {
        self.0.lock().under_way.is_empty()
    }

    /// What is to be committed, if it is more than is committed already.
    pub fn committable(&self) -> Option<i64> {
        let state = self.0.lock();
        state.under_way.first().copied().or(state.next).filter(|offset| state.committed.is_none_or(|c| c < *offset))
    }

    pub fn committed(&self, offset: i64) {
        self.0.lock().committed = Some(offset);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_answered_without_a_gap_is_committed() {
        let progress = Progress::new(None);
        assert_eq!(progress.committable(), None);
        progress.begin([5, 6, 7].into_iter(), 9);
        assert_eq!(progress.committable(), Some(5));
        progress.done(6);
        assert_eq!(progress.committable(), Some(5));
        progress.done(5);
        assert_eq!(progress.committable(), Some(7));
        progress.committed(7);
        assert_eq!(progress.committable(), None);
        progress.done(7);
        assert_eq!((progress.committable(), progress.idle()), (Some(9), true));
    }
}
