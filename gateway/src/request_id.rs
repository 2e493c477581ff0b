//! Request ids, and the keys of records made of them.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

/// Hands out ids of 20 characters: seconds, bytes that differ from process to process, and a counter. They sort by time.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: u64,
    counter: AtomicU64,
}

impl RequestIds {
    pub fn new() -> Self {
        Self { process: RandomState::new().hash_one(std::process::id()), counter: AtomicU64::new(0) }
    }

    pub fn fresh(&self) -> String {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        // 100 bits: 32 of time, 40 of the process, 28 of the counter.
        let bits =
            u128::from(seconds & 0xffff_ffff) << 68 | u128::from(self.process & 0xff_ffff_ffff) << 28 | u128::from(count & 0xfff_ffff);
        (0..20).rev().map(|digit| char::from(ALPHABET[(bits >> (digit * 5) & 31) as usize])).collect()
    }
}

/// `<partition>.<resource>.<request id>`: the engine finds the partition in it, and the gateway the request that waits.
pub(crate) fn key(partition: i32, resource: &str, request_id: &str) -> Bytes {
    format!("{partition}.{resource}.{request_id}").into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_have_twenty_characters_and_differ() {
        let (here, there) = (RequestIds::new(), RequestIds::new());
        let ids: std::collections::HashSet<_> = (0..1_000).flat_map(|_| [here.fresh(), there.fresh()]).collect();
        assert_eq!(ids.len(), 2_000);
        assert!(ids.iter().all(|id| id.len() == 20));
    }

    #[test]
    fn a_key_begins_with_its_partition() {
        assert_eq!(key(3, "p", "r1"), "3.p.r1");
    }
}
