//! Typed ends of a test driver's topics.

use std::{cell::Cell, collections::HashMap, hash::Hash, rc::Rc, sync::Arc};

use millstream_topology::{Data, Error, ErrorKind, Headers, RawRecord, Serde};

use super::TopologyTestDriver;

/// A record as tests write and read it.
///
/// ```
/// use millstream::{Headers, TestRecord};
///
/// let mut headers = Headers::empty();
/// headers.add("trace", Some("7".into()));
/// let order = TestRecord { headers, ..TestRecord::new("a".to_string(), 50i64, 1_000) };
/// assert_eq!(order.headers.last("trace").as_deref(), Some(&b"7"[..]));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TestRecord<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The headers.
    pub headers: Headers,
}

impl<K, V> TestRecord<K, V> {
    /// A record without headers.
    pub fn new(key: K, value: V, timestamp: i64) -> Self {
        Self { key, value, timestamp, headers: Headers::empty() }
    }
}

/// Where a test puts records in.
///
/// **Law.** A record is processed to the end, with all that follows from it, before the call returns.
///
/// ```
/// use millstream::{StreamsBuilder, TestRecord, TopologyTestDriver};
///
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, i64>("orders").to("copy");
/// let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
///
/// let orders = driver.input_topic::<String, i64>("orders").starting_at(1_000, 10);
/// orders.pipe("a".into(), 1, 5)?;
/// orders.pipe_next("a".into(), 2)?;
/// orders.pipe_next("a".into(), 3)?;
/// orders.advance_time(100);
/// orders.pipe_all([("a".into(), 4), ("a".into(), 5)])?;
/// orders.pipe_record(TestRecord::new("a".into(), 6, 7))?;
/// let copies = driver.output_topic::<String, i64>("copy").read_records()?;
/// assert_eq!(copies.iter().map(|copy| copy.timestamp).collect::<Vec<_>>(), [5, 1_000, 1_010, 1_120, 1_130, 7]);
/// # Ok::<(), millstream::Error>(())
/// ```
pub struct TestInputTopic<K: Data, V: Data> {
    pub(super) driver: TopologyTestDriver,
    pub(super) topic: Arc<str>,
    pub(super) key: Arc<dyn Serde<K::Present>>,
    pub(super) value: Arc<dyn Serde<V::Present>>,
    /// The time of the next record that has none of its own, and what each of them adds to it; shared by clones.
    pub(super) time: Rc<Cell<i64>>,
    pub(super) auto_advance: i64,
}

impl<K: Data, V: Data> TestInputTopic<K, V> {
    /// Gives the records of [`pipe_next`](Self::pipe_next) their times: from `start_ms` on, each `advance_ms` after the one before.
    /// Otherwise all of them have the time 0.
    pub fn starting_at(self, start_ms: i64, advance_ms: i64) -> Self {
        Self { time: Rc::new(Cell::new(start_ms)), auto_advance: advance_ms, ..self }
    }

    /// Moves the time of the next record of [`pipe_next`](Self::pipe_next).
    pub fn advance_time(&self, by_ms: i64) {
        self.time.set(self.time.get() + by_ms);
    }

    /// Pipes a record at the topic's own time, which then moves on.
    pub fn pipe_next(&self, key: K, value: V) -> Result<(), Error> {
        let now = self.time.get();
        self.advance_time(self.auto_advance);
        self.pipe(key, value, now)
    }

    /// Pipes records at the topic's own time, one after the other.
    pub fn pipe_all(&self, records: impl IntoIterator<Item = (K, V)>) -> Result<(), Error> {
        records.into_iter().try_for_each(|(key, value)| self.pipe_next(key, value))
    }

    /// Pipes a record without headers, and runs everything that follows from it.
    pub fn pipe(&self, key: K, value: V, timestamp: i64) -> Result<(), Error> {
        self.pipe_record(TestRecord::new(key, value, timestamp))
    }

    /// Pipes a record, and runs everything that follows from it.
    pub fn pipe_record(&self, record: TestRecord<K, V>) -> Result<(), Error> {
        let key = record.key.present().map(|key| self.key.serialize(key)).transpose()?;
        let value = record.value.present().map(|value| self.value.serialize(value)).transpose()?;
        self.driver.pipe_raw(&self.topic, RawRecord { key, value, timestamp: record.timestamp, headers: record.headers })
    }
}

/// Where a test takes records out.
///
/// **Law.** It is a queue: what is read is gone, for all handles of the topic.
///
/// ```
/// use millstream::{StreamsBuilder, TopologyTestDriver};
///
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, i64>("orders").to("copy");
/// let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
/// driver.input_topic::<String, i64>("orders").pipe_all([("a".into(), 1), ("b".into(), 2), ("a".into(), 3), ("b".into(), 4)])?;
///
/// let copies = driver.output_topic::<String, i64>("copy");
/// assert_eq!(copies.len(), 4);
/// assert_eq!(copies.read_value()?, Some(1));
/// assert_eq!(copies.read_key_value()?, Some(("b".into(), 2)));
/// assert_eq!(copies.read_values()?, [3, 4]);
/// assert!(copies.is_empty() && copies.read_record()?.is_none());
/// # Ok::<(), millstream::Error>(())
/// ```
pub struct TestOutputTopic<K: Data, V: Data> {
    pub(super) driver: TopologyTestDriver,
    pub(super) topic: Arc<str>,
    pub(super) key: Arc<dyn Serde<K::Present>>,
    pub(super) value: Arc<dyn Serde<V::Present>>,
}

impl<K: Data, V: Data> TestOutputTopic<K, V> {
    /// The next record, or `None` if there is none.
    pub fn read_record(&self) -> Result<Option<TestRecord<K, V>>, Error> {
        let Some(record) = self.driver.take_output(&self.topic) else { return Ok(None) };
        let null = |what: &str| Error::new(ErrorKind::Serialization, format!("{what} is null: read it as Option"));
        let key = record.key.map(|key| self.key.deserialize(&key)).transpose()?;
        let value = record.value.map(|value| self.value.deserialize(&value)).transpose()?;
        Ok(Some(TestRecord {
            key: K::from_present(key).ok_or_else(|| null("key"))?,
            value: V::from_present(value).ok_or_else(|| null("value"))?,
            timestamp: record.timestamp,
            headers: record.headers,
        }))
    }

    /// The next record's value.
    pub fn read_value(&self) -> Result<Option<V>, Error> {
        Ok(self.read_record()?.map(|record| record.value))
    }

    /// The next record's key and value.
    pub fn read_key_value(&self) -> Result<Option<(K, V)>, Error> {
        Ok(self.read_record()?.map(|record| (record.key, record.value)))
    }

    /// How many records are left.
    pub fn len(&self) -> usize {
        self.driver.queue_len(&self.topic)
    }

    /// Whether no record is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records that are left.
    pub fn read_records(&self) -> Result<Vec<TestRecord<K, V>>, Error> {
        std::iter::from_fn(|| self.read_record().transpose()).collect()
    }

    /// Keys and values of all records that are left.
    pub fn read_key_values(&self) -> Result<Vec<(K, V)>, Error> {
        Ok(self.read_records()?.into_iter().map(|record| (record.key, record.value)).collect())
    }

    /// The values of all records that are left.
    pub fn read_values(&self) -> Result<Vec<V>, Error> {
        Ok(self.read_records()?.into_iter().map(|record| record.value).collect())
    }

    /// The newest value of each key among the records that are left.
    pub fn read_key_values_to_map(&self) -> Result<HashMap<K, V>, Error>
    where
        K: Eq + Hash,
    {
        Ok(self.read_key_values()?.into_iter().collect())
    }
}
