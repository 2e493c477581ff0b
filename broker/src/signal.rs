//! How a consumer waits: one per consumer, told by partitions that have something new, by its group, and by its wakers.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use parking_lot::{Condvar, Mutex};

use crate::Waker;

/// **Law.** What was said before the wait ends the wait: nothing gets lost between looking and sleeping.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Partitions that may have records, first come first served.
    ready: VecDeque<u64>,
    /// A waker was called.
    woken: bool,
    /// The group has something to say.
    group: bool,
}

impl Signal {
    /// The group has something to say.
    pub fn nudge(&self) {
        self.state.lock().group = true;
        self.changed.notify_one();
    }

    /// Takes the partitions that may have records.
    pub fn take_ready(&self, into: &mut VecDeque<u64>) {
        into.append(&mut self.state.lock().ready);
    }

    /// Whether a waker was called since the last time.
    pub fn take_woken(&self) -> bool {
        std::mem::take(&mut self.state.lock().woken)
    }

    /// Waits until something was said, at most until then.
    pub fn wait(&self, until: Instant) {
        let mut state = self.state.lock();
        while state.ready.is_empty() && !state.woken && !state.group {
            if self.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.group = false;
    }
}

impl Waker for Signal {
    fn wake(&self) {
        self.state.lock().woken = true;
        self.changed.notify_one();
    }
}

/// One partition's line to one consumer.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    signal: Arc<Signal>,
    slot: u64,
    queued: Arc<AtomicBool>,
}

impl Reader {
    /// A line that says `slot` to the signal.
    pub fn new(signal: Arc<Signal>, slot: u64) -> Self {
        Self { signal, slot, queued: Arc::default() }
    }

    /// There may be records. Cheap while the consumer has not yet looked.
    pub fn tell(&self) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.signal.state.lock().ready.push_back(self.slot);
            self.signal.changed.notify_one();
        }
    }

    /// The consumer is about to look: what comes from now on is told again.
    pub fn looking(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// Whether both are the same line.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.queued, &other.queued)
    }
}
