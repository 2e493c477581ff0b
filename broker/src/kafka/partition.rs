//! A consumer's place in one partition.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rdkafka::{
    Message,
    consumer::base_consumer::PartitionQueue,
    error::KafkaError,
    message::{BorrowedMessage, Headers as _},
    types::RDKafkaErrorCode as Code,
};

use super::context::Context;
use crate::{FetchedBatch, Header, Headers, Record, StoredRecord, TopicPartition, names::Names, signal::Reader};

/// A partition that is read. **Law.** `position` is the offset of the next record that is given out, or, when the log is known to hold
/// nothing visible before an offset, that offset.
pub(crate) struct Partition {
    pub name: TopicPartition,
    pub position: i64,
    pub paused: bool,
    pub reader: Reader,
    pub end: End,
    queue: PartitionQueue<Context>,
}

/// What is known of the end. librdkafka says that the end was reached, but not at which offset; so the position only moves over markers
/// and aborted records if the end was asked for first and reached afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// The last thing that was heard is that the end is reached.
    pub reached: bool,
    /// The end that somebody asked for.
    pub known: Option<i64>,
    /// Reading began again after `known`: the next end that is reached is at `known` at least.
    pub confirming: bool,
}

/// What a read gave.
pub(crate) enum Read {
    /// Records, or a moved position; and whether there may be more.
    Batch(FetchedBatch, bool),
    /// Nothing yet.
    Nothing,
    /// The end is reached, but an old end or the known one is not sure: read again from the position.
    ConfirmEnd,
    /// The partition has an error.
    Failed(Code),
}

/// Where a record lies in the buffer of its batch.
struct Row {
    offset: i64,
    timestamp: i64,
    key: Option<usize>,
    value: Option<usize>,
    headers: Headers,
}

impl Partition {
    pub fn new(name: TopicPartition, position: i64, reader: Reader, mut queue: PartitionQueue<Context>) -> Self {
        let told = reader.clone();
        queue.set_nonempty_callback(move || told.tell());
        // What came before the callback was there is not announced.
        reader.tell();
        Self { name, position, paused: false, reader, end: End::default(), queue }
    }

    /// Reads what there is, within what is left of a poll's records and bytes. Payloads are copied once, into one buffer per batch.
    pub fn read(&mut self, records: &mut usize, bytes: &mut usize, names: &mut Names) -> Read {
        self.reader.looking();
        if self.paused {
            return Read::Nothing;
        }
        let before = self.position;
        let mut rows = Vec::new();
        let mut buffer = Vec::new();
        let mut more = true;
        while *records > 0 && *bytes > 0 {
            match self.queue.poll(Duration::ZERO) {
                None => {
                    more = false;
                    break;
                }
                Some(Ok(message)) => {
                    let offset = message.offset();
                    if offset < self.position {
                        continue;
                    }
                    let size = buffer.len();
                    rows.push(row(&message, &mut buffer, names));
                    *bytes = bytes.saturating_sub(buffer.len() - size);
                    *records -= 1;
                    self.position = offset + 1;
                    self.end.reached = false;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    self.end.reached = true;
                    let Some(known) = self.end.known.filter(|known| *known > self.position) else { continue };
                    if self.end.confirming {
                        self.position = known;
                    } else if rows.is_empty() {
                        return Read::ConfirmEnd;
                    } else {
                        // First give out what was read; the next look finds the end still to be confirmed.
                        break;
                    }
                }
                Some(Err(error)) if rows.is_empty() => return Read::Failed(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
                Some(Err(error)) => {
                    tracing::warn!(topic = &*self.name.topic, partition = self.name.partition, %error, "partition failed");
                    break;
                }
            }
        }
        if self.position == before {
            return if self.unsure_of_end() { Read::ConfirmEnd } else { Read::Nothing };
        }
        let more = more || self.unsure_of_end();
        Read::Batch(FetchedBatch { from: self.name.clone(), records: build(rows, buffer.into()), next_offset: self.position }, more)
    }

    /// Whether the end was reached, but before it was known where it is.
    pub fn unsure_of_end(&self) -> bool {
        self.end.reached && !self.end.confirming && self.end.known.is_some_and(|known| known > self.position)
    }
}

fn row(message: &BorrowedMessage<'_>, buffer: &mut Vec<u8>, names: &mut Names) -> Row {
    let mut put = |bytes: Option<&[u8]>| {
        bytes.map(|bytes| {
            buffer.extend_from_slice(bytes);
            bytes.len()
        })
    };
    let headers = message.headers().map_or(Headers::empty(), |headers| {
        let header = |h: rdkafka::message::Header<'_, &[u8]>| Header {
            name: names.intern(h.key.as_bytes()).unwrap_or_else(|| Arc::from(h.key)),
            value: h.value.map(Bytes::copy_from_slice),
        };
        headers.iter().map(header).collect()
    });
    let timestamp = message.timestamp().to_millis().unwrap_or(-1);
    Row { offset: message.offset(), timestamp, key: put(message.key()), value: put(message.payload()), headers }
}

fn build(rows: Vec<Row>, buffer: Bytes) -> Vec<StoredRecord> {
    let mut at = 0;
    let mut take = |length: Option<usize>| {
        length.map(|length| {
            at += length;
            buffer.slice(at - length..at)
        })
    };
    let stored = |row: Row| {
        let (key, value) = (take(row.key), take(row.value));
        StoredRecord { offset: row.offset, record: Record { key, value, timestamp: row.timestamp, headers: row.headers } }
    };
    rows.into_iter().map(stored).collect()
}
