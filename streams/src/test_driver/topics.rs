//! Typed ends of a test driver's topics.

use std::sync::Arc;

use millstream_topology::{Data, Error, ErrorKind, Headers, RawRecord, Serde};

use super::TopologyTestDriver;

/// A record as tests write and read it.
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

/// Where a test puts records in.
pub struct TestInputTopic<K: Data, V: Data> {
    pub(super) driver: TopologyTestDriver,
    pub(super) topic: Arc<str>,
    pub(super) key: Arc<dyn Serde<K::Present>>,
    pub(super) value: Arc<dyn Serde<V::Present>>,
}

impl<K: Data, V: Data> TestInputTopic<K, V> {
    /// Pipes a record without headers, and runs everything that follows from it.
    pub fn pipe(&self, key: K, value: V, timestamp: i64) -> Result<(), Error> {
        self.pipe_record(TestRecord { key, value, timestamp, headers: Headers::empty() })
    }

    /// Pipes a record, and runs everything that follows from it.
    pub fn pipe_record(&self, record: TestRecord<K, V>) -> Result<(), Error> {
        let key = record.key.present().map(|key| self.key.serialize(key)).transpose()?;
        let value = record.value.present().map(|value| self.value.serialize(value)).transpose()?;
        self.driver.pipe_raw(&self.topic, RawRecord { key, value, timestamp: record.timestamp, headers: record.headers })
    }
}

/// Where a test takes records out.
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

    /// All records that are left.
    pub fn read_records(&self) -> Result<Vec<TestRecord<K, V>>, Error> {
        std::iter::from_fn(|| self.read_record().transpose()).collect()
    }

    /// Keys and values of all records that are left.
    pub fn read_key_values(&self) -> Result<Vec<(K, V)>, Error> {
        Ok(self.read_records()?.into_iter().map(|record| (record.key, record.value)).collect())
    }
}
