//! The keys of what is stored. Numbers are big-endian, so that RocksDB's order is theirs.

use crate::TopicPartition;

/// The column family of batches: log, base offset → batch.
pub(crate) const LOG: &str = "log";
/// The column family of everything else; a key's first byte says what it is.
pub(crate) const META: &str = "meta";

/// Topic name → topic.
pub(crate) const TOPIC: u8 = b't';
/// → the number of the next log.
pub(crate) const NEXT_LOG: u8 = b'n';
/// Log → where it starts and ends at least.
pub(crate) const START: u8 = b's';
/// Group, topic, partition → committed offset and metadata.
pub(crate) const OFFSET: u8 = b'o';
/// Transactional id → producer and epoch.
pub(crate) const PRODUCER: u8 = b'p';
/// Producer, log → first offset of its open transaction.
pub(crate) const OPEN: u8 = b'x';
/// Log, producer, first offset → last offset of an aborted transaction.
pub(crate) const ABORTED: u8 = b'a';

/// A batch's key.
pub(crate) fn batch(log: u32, base: i64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&log.to_be_bytes());
    key[4..].copy_from_slice(&base.to_be_bytes());
    key
}

/// The base offset of a batch's key.
pub(crate) fn base(key: &[u8]) -> i64 {
    key.last_chunk().map_or(0, |base| i64::from_be_bytes(*base))
}

/// A key of a kind and its parts.
pub(crate) fn meta(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// The key of an aborted transaction.
pub(crate) fn aborted(log: u32, producer: u64, first: i64) -> Vec<u8> {
    meta(ABORTED, &[&log.to_be_bytes(), &producer.to_be_bytes(), &first.to_be_bytes()])
}

/// The key of an open transaction.
pub(crate) fn open(producer: u64, log: u32) -> Vec<u8> {
    meta(OPEN, &[&producer.to_be_bytes(), &log.to_be_bytes()])
}

/// A committed offset's key. Names are preceded by their length, for they may hold any character.
pub(crate) fn offset(group: &str, partition: &TopicPartition) -> Vec<u8> {
    let length = |name: &str| (name.len() as u32).to_be_bytes();
    let topic = &partition.topic;
    let number = partition.partition.to_be_bytes();
    meta(OFFSET, &[&length(group), group.as_bytes(), &length(topic), topic.as_bytes(), &number])
}

/// Reads what [`offset`] wrote, without the kind's byte.
pub(crate) fn parse_offset(key: &[u8]) -> Option<(String, TopicPartition)> {
    fn name(key: &[u8]) -> Option<(&str, &[u8])> {
        let (length, rest) = key.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        Some((std::str::from_utf8(name).ok()?, rest))
    }
    let (group, rest) = name(key)?;
    let (topic, rest) = name(rest)?;
    Some((group.to_owned(), TopicPartition::new(topic, i32::from_be_bytes(rest.try_into().ok()?))))
}
