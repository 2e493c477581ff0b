//! How a batch of records is written down: once, by the producer; the same bytes lie in RocksDB and in memory, and records are slices of them.
//!
//! ```text
//! batch  = format u8 | count u32 | last offset delta u32 | producer u64 | first timestamp i64 | newest timestamp i64 | record*
//! record = offset delta | timestamp delta (zigzag) | key | value | header count | (name length | name | value)*
//! ```
//! Numbers of the batch's head are little-endian, those of records variable-length; keys and values are `0` for null, else length + 1 and
//! the bytes. The base offset is the batch's key in RocksDB, so that encoding needs no lock.

use bytes::Bytes;

use crate::{Header, Headers, Record, StoredRecord, names::Names};

/// The producer of a batch outside transactions.
pub(crate) const NO_PRODUCER: u64 = 0;

const FORMAT: u8 = 1;
const HEAD: usize = 33;

/// A stored batch. **Law.** Its bytes never change; cloning shares them.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// The offset of the first record.
    pub base: i64,
    /// The offset of the last record that was produced with it, also if compaction took that one out.
    pub last: i64,
    /// How many records are in it.
    pub count: usize,
    /// The transactional producer, or [`NO_PRODUCER`].
    pub producer: u64,
    /// The newest timestamp.
    pub newest: i64,
    /// The encoded batch.
    pub data: Bytes,
}

impl Batch {
    /// Reads the head of an encoded batch; `None` if these are not the bytes of a batch.
    pub fn parse(base: i64, data: Bytes) -> Option<Self> {
        if data.len() < HEAD || data[0] != FORMAT {
            return None;
        }
        let count = u32::from_le_bytes(data[1..5].try_into().ok()?) as usize;
        let last = Self::last_of(base, &data)?;
        let producer = u64::from_le_bytes(data[9..17].try_into().ok()?);
        let newest = i64::from_le_bytes(data[25..33].try_into().ok()?);
        Some(Self { base, last, count, producer, newest, data })
    }

    /// The last offset of an encoded batch.
    pub fn last_of(base: i64, data: &[u8]) -> Option<i64> {
        Some(base + i64::from(u32::from_le_bytes(data.get(5..9)?.try_into().ok()?)))
    }

    /// Its records, in order.
    pub fn cursor(self) -> Cursor {
        let first_timestamp = i64::from_le_bytes(self.data[17..25].try_into().expect("a parsed batch has a head"));
        Cursor { left: self.count, at: HEAD, first_timestamp, batch: self }
    }
}

/// Encodes records whose offsets are `deltas` after the base offset; `last` is the delta of the batch's end.
pub(crate) fn encode<'a>(records: impl Iterator<Item = (u32, &'a Record)> + Clone, last: u32, producer: u64) -> Vec<u8> {
    let (mut count, mut size, mut first, mut newest) = (0u32, HEAD, 0, i64::MIN);
    for (_, record) in records.clone() {
        if count == 0 {
            first = record.timestamp;
        }
        count += 1;
        newest = newest.max(record.timestamp);
        size += record.size() + 16;
    }
    let mut out = Vec::with_capacity(size);
    out.push(FORMAT);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&last.to_le_bytes());
    out.extend_from_slice(&producer.to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&newest.to_le_bytes());
    for (delta, record) in records {
        put_number(&mut out, u64::from(delta));
        let timestamp = record.timestamp.wrapping_sub(first);
        put_number(&mut out, ((timestamp << 1) ^ (timestamp >> 63)) as u64);
        put_bytes(&mut out, record.key.as_deref());
        put_bytes(&mut out, record.value.as_deref());
        put_number(&mut out, record.headers.len() as u64);
        for header in record.headers.iter() {
            put_number(&mut out, header.name.len() as u64);
            out.extend_from_slice(header.name.as_bytes());
            put_bytes(&mut out, header.value.as_deref());
        }
    }
    out
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            put_number(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

/// A place within a batch.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub batch: Batch,
    left: usize,
    at: usize,
    first_timestamp: i64,
}

impl Cursor {
    /// Whether there is no further record.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// The next record; `None` after the last, and where the bytes make no sense (RocksDB's checksums keep that from happening).
    pub fn next(&mut self, names: &mut Names) -> Option<StoredRecord> {
        self.left = self.left.checked_sub(1)?;
        let offset = self.batch.base + self.number()? as i64;
        let zigzag = self.number()?;
        let timestamp = self.first_timestamp.wrapping_add((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        let key = self.bytes()?;
        let value = self.bytes()?;
        let headers = match self.number()? {
            0 => Headers::empty(),
            count => (0..count).map(|_| self.header(names)).collect::<Option<Headers>>()?,
        };
        Some(StoredRecord { offset, record: Record { key, value, timestamp, headers } })
    }

    fn header(&mut self, names: &mut Names) -> Option<Header> {
        let length = self.number()? as usize;
        let name = names.intern(self.batch.data.get(self.at..self.at.checked_add(length)?)?)?;
        self.at += length;
        Some(Header { name, value: self.bytes()? })
    }

    fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = *self.batch.data.get(self.at)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }

    fn bytes(&mut self) -> Option<Option<Bytes>> {
        let Some(length) = self.number()?.checked_sub(1) else { return Some(None) };
        let end = self.at.checked_add(length as usize).filter(|&end| end <= self.batch.data.len())?;
        let bytes = self.batch.data.slice(self.at..end);
        self.at = end;
        Some(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(records: Vec<Record>) {
        let deltas = 0u32..;
        let data = encode(deltas.zip(&records), records.len() as u32 - 1, 7);
        let batch = Batch::parse(40, data.into()).unwrap();
        assert_eq!((batch.base, batch.last, batch.count, batch.producer), (40, 39 + records.len() as i64, records.len(), 7));
        let mut cursor = batch.cursor();
        let mut names = Names::default();
        for (i, record) in records.into_iter().enumerate() {
            assert_eq!(cursor.next(&mut names), Some(StoredRecord { offset: 40 + i as i64, record }));
        }
        assert_eq!(cursor.next(&mut names), None);
    }

    #[test]
    fn nulls_empties_headers_and_extreme_timestamps_survive() {
        let headers: Headers =
            [Header::new("a", "1"), Header { name: "b".into(), value: None }, Header::new("a", "")].into_iter().collect();
        round_trip(vec![
            Record { key: None, value: None, timestamp: i64::MAX, headers: Headers::empty() },
            Record { key: Some("".into()), value: Some("".into()), timestamp: i64::MIN, headers: headers.clone() },
            Record { key: Some(vec![7; 300].into()), value: Some(vec![8; 70_000].into()), timestamp: 0, headers },
        ]);
    }

    #[test]
    fn bytes_that_are_no_batch_are_refused_and_never_panic() {
        let data = encode((0u32..).zip(&[Record { value: Some("hello".into()), ..Record::default() }]), 0, 0);
        for cut in 0..data.len() {
            if let Some(batch) = Batch::parse(0, Bytes::copy_from_slice(&data[..cut])) {
                assert_eq!(batch.cursor().next(&mut Names::default()), None, "cut at {cut}");
            }
        }
        assert!(Batch::parse(0, vec![9; 64].into()).is_none());
    }
}
