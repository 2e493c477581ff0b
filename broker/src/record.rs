//! Records and batches: what crosses the contract. Payloads are shared slices, never copied.

use std::sync::Arc;

use bytes::Bytes;

/// One header of a record. A value may be null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The header's name; names may repeat.
    pub name: Arc<str>,
    /// The header's value.
    pub value: Option<Bytes>,
}

impl Header {
    /// A header with a value.
    pub fn new(name: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }
}

/// The headers of a record, in order. Cloning shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<[Header]>>);

impl Headers {
    /// No headers.
    pub const fn empty() -> Self {
        Self(None)
    }

    /// The value of the *last* header of that name, as in Kafka; `None` also when its value is null.
    pub fn last(&self, name: &str) -> Option<&Bytes> {
        self.iter().rev().find(|h| &*h.name == name).and_then(|h| h.value.as_ref())
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        let headers: Arc<[Header]> = headers.into_iter().collect();
        Self((!headers.is_empty()).then_some(headers))
    }
}

impl std::ops::Deref for Headers {
    type Target = [Header];
    fn deref(&self) -> &[Header] {
        self.0.as_deref().unwrap_or(&[])
    }
}

/// A record as it is stored: a null key and a null value are different from empty ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The key, or null.
    pub key: Option<Bytes>,
    /// The value, or null (a tombstone).
    pub value: Option<Bytes>,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The headers.
    pub headers: Headers,
}

impl Record {
    /// How many bytes its key, value and headers have: what the limit on records is about.
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        length(&self.key) + length(&self.value) + self.headers.iter().map(|h| h.name.len() + length(&h.value) + 4).sum::<usize>()
    }
}

/// A topic's name and one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// A topic-partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// Records on their way to one partition, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct ProduceBatch {
    /// Where to.
    pub to: TopicPartition,
    /// The records.
    pub records: Vec<Record>,
}

/// A record with the offset that the broker gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// The offset in its partition.
    pub offset: i64,
    /// The record.
    pub record: Record,
}

/// Consumed records of one partition, in offset order. Offsets may have gaps (compaction, control and aborted records).
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedBatch {
    /// Where from.
    pub from: TopicPartition,
    /// The records; empty when only the position moved.
    pub records: Vec<StoredRecord>,
    /// The position after this batch: what a commit of all of it must say.
    pub next_offset: i64,
}
