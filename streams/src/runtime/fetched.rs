//! Batches of a broker as a worker takes them.

use millstream_broker::{FetchedBatch, StoredRecord};
use millstream_topology::{Header, Headers, RawRecord, dataflow::Batch};

/// A fetched batch on its way to a task.
pub struct Fetched(pub FetchedBatch);

impl Batch for Fetched {
    fn partition(&self) -> i32 {
        self.0.from.partition
    }

    fn next_offset(&self) -> i64 {
        self.0.next_offset
    }

    fn unpack(self: Box<Self>, each: &mut dyn FnMut(i64, RawRecord)) {
        unpack(self.0.records, each);
    }
}

/// Hands out records with their offsets.
pub(super) fn unpack(records: Vec<StoredRecord>, each: &mut dyn FnMut(i64, RawRecord)) {
    for StoredRecord { offset, record } in records {
        let headers: Headers = match record.headers.is_empty() {
            true => Headers::empty(),
            false => record.headers.iter().map(|h| Header { name: h.name.clone(), value: h.value.clone() }).collect::<Vec<_>>().into(),
        };
        each(offset, RawRecord { key: record.key, value: record.value, timestamp: record.timestamp, headers });
    }
}
