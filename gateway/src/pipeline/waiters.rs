//! The requests that wait for their answers.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use millstream_broker::Record;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::failure::Failure;

/// A pipeline and a partition.
pub(crate) type Lane = (Arc<str>, i32);

type Outcome = Result<Record, Failure>;

/// Law: a key waits at most once at a time, is answered at most once, and is forgotten as soon as nobody waits for it.
#[derive(Debug)]
pub(crate) struct Waiters {
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::fast::RandomState,
    ids: AtomicU64,
}

type Shard = HashMap<Bytes, Waiter, foldhash::fast::RandomState>;

#[derive(Debug)]
struct Waiter {
    id: u64,
    lane: Lane,
    answer: oneshot::Sender<Outcome>,
}

impl Waiters {
    pub fn new() -> Arc<Self> {
        let shards = (0..64).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, hasher: foldhash::fast::RandomState::default(), ids: AtomicU64::new(0) })
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        #[allow(clippy::cast_possible_truncation)] // any bits will do
        let index = self.hasher.hash_one(key) as usize % self.shards.len();
        &self.shards[index]
    }

    /// Begins to wait for a key.
    pub fn register(self: &Arc<Self>, key: Bytes, lane: Lane) -> Result<Waiting, Failure> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (answer, outcome) = oneshot::channel();
        match self.shard(&key).lock().entry(key.clone()) {
            Entry::Occupied(_) => {
                return Err(Failure::conflict(format!(
                    "request {} is still under way: use another x-request-id",
                    String::from_utf8_lossy(&key)
                )));
            }
            Entry::Vacant(vacant) => vacant.insert(Waiter { id, lane, answer }),
        };
        Ok(Waiting { waiters: self.clone(), key, id, outcome })
    }

    /// Answers a key; whether somebody waited for it.
    pub fn complete(&self, key: &[u8], outcome: Outcome) -> bool {
        let waiter = self.shard(key).lock().remove(key);
        waiter.is_some_and(|w| w.answer.send(outcome).is_ok())
    }

    /// Whether somebody waits on a lane.
    pub fn any(&self, lane: &Lane) -> bool {
        self.shards.iter().any(|shard| shard.lock().values().any(|w| w.lane == *lane))
    }

    /// Answers all that wait on these lanes.
    pub fn fail(&self, lanes: impl Fn(&Lane) -> bool, failure: impl Fn() -> Failure) {
        for shard in &self.shards {
            for (_, waiter) in shard.lock().extract_if(|_, w| lanes(&w.lane)) {
                let _gone = waiter.answer.send(Err(failure()));
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// A place in [`Waiters`]; dropping it gives the place up.
#[derive(Debug)]
pub(crate) struct Waiting {
    waiters: Arc<Waiters>,
    key: Bytes,
    id: u64,
    outcome: oneshot::Receiver<Outcome>,
}

impl Waiting {
    /// Waits for the answer.
    pub async fn answer(&mut self) -> Outcome {
        (&mut self.outcome).await.unwrap_or_else(|_| Err(Failure::unavailable("the gateway stops: ask again")))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut shard = self.waiters.shard(&self.key).lock();
        // After the answer the key may wait anew, for somebody else.
        if shard.get(&self.key).is_some_and(|w| w.id == self.id) {
            shard.remove(&self.key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_first_answer_counts_and_a_dropped_wait_frees_its_key() {
        let waiters = Waiters::new();
        let lane: Lane = ("p".into(), 0);
        let mut first = waiters.register("k".into(), lane.clone()).unwrap();
        assert_eq!(waiters.register("k".into(), lane.clone()).unwrap_err().http, 409);
        assert!(waiters.complete(b"k", Ok(Record { timestamp: 1, ..Record::default() })));
        assert!(!waiters.complete(b"k", Ok(Record { timestamp: 2, ..Record::default() })));
        assert_eq!(first.answer().await.unwrap().timestamp, 1);
        let second = waiters.register("k".into(), lane.clone()).unwrap();
        drop(first);
        assert!(waiters.any(&lane), "the second wait is not the first one's");
        drop(second);
        assert_eq!(waiters.len(), 0);
    }

    #[tokio::test]
    async fn all_of_a_lane_fail_and_no_others() {
        let waiters = Waiters::new();
        let mut gone = waiters.register("a".into(), ("p".into(), 0)).unwrap();
        let kept = waiters.register("b".into(), ("p".into(), 1)).unwrap();
        waiters.fail(|lane| lane.1 == 0, || Failure::unavailable("moved"));
        assert_eq!(gone.answer().await.unwrap_err().message, "moved");
        assert_eq!(waiters.len(), 1);
        drop(kept);
    }
}
