//! The requests of one model, on their way to the server.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;

/// Law: at most `limit` run at a time; those of one key run one after the other, in order; others may overtake.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    limit: usize,
    state: Mutex<State<W>>,
}

#[derive(Debug)]
struct State<W> {
    running: usize,
    ready: VecDeque<(Option<Bytes>, W)>,
    /// Keys that run or are ready, and what waits behind them.
    keys: HashMap<Bytes, VecDeque<W>>,
    queued: usize,
}

impl<W> Queue<W> {
    pub fn new(limit: usize) -> Self {
        let state = State { running: 0, ready: VecDeque::new(), keys: HashMap::new(), queued: 0 };
        Self { limit: limit.max(1), state: Mutex::new(state) }
    }

    /// Takes work. What it returns runs now: the caller starts it, and calls [`Queue::finish`] with its key afterwards.
    pub fn push(&self, key: Option<Bytes>, work: W) -> Option<(Option<Bytes>, W)> {
        let mut state = self.state.lock();
        if let Some(key) = &key {
            if let Some(behind) = state.keys.get_mut(key) {
                behind.push_back(work);
                state.queued += 1;
                return None;
            }
            state.keys.insert(key.clone(), VecDeque::new());
        }
        if state.running < self.limit {
            state.running += 1;
            return Some((key, work));
        }
        state.ready.push_back((key, work));
        state.queued += 1;
        None
    }

    /// Work of this key is done. What it returns runs now, in its place.
    pub fn finish(&self, key: Option<&Bytes>) -> Option<(Option<Bytes>, W)> {
        let mut state = self.state.lock();
        if let Some(key) = key {
            match state.keys.get_mut(key).and_then(VecDeque::pop_front) {
                Some(work) => state.ready.push_back((Some(key.clone()), work)),
                None => {
                    state.keys.remove(key);
                }
            }
        }
        let next = state.ready.pop_front();
        match next {
            Some(_) => state.queued -= 1,
            None => state.running -= 1,
        }
        next
    }

    /// How many wait.
    pub fn queued(&self) -> usize {
        self.state.lock().queued
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_order_and_others_overtake_it() {
        let queue = Queue::new(2);
        let key = |k: &'static str| Some(Bytes::from(k));
        assert_eq!(queue.push(key("a"), 1), Some((key("a"), 1)));
        assert_eq!(queue.push(key("a"), 2), None);
        assert_eq!(queue.push(key("b"), 3), Some((key("b"), 3)));
        assert_eq!(queue.push(None, 4), None, "two run already");
        assert_eq!(queue.queued(), 2);
        assert_eq!(queue.finish(key("b").as_ref()), Some((None, 4)));
        assert_eq!(queue.finish(None), None);
        assert_eq!(queue.finish(key("a").as_ref()), Some((key("a"), 2)));
        assert_eq!(queue.finish(key("a").as_ref()), None);
        let state = queue.state.lock();
        assert_eq!((state.queued, state.running, state.keys.len()), (0, 0, 0));
    }
}
