//! The buffer of `suppress`: changes of a table that wait, by time (KIP-328).

use std::{cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc};

use bytes::{Buf, BufMut, Bytes};
use hashbrown::{HashMap, HashSet, hash_map::Entry};

use super::{AnyStore, ChangelogConfig, StoreDef, StoreEnv, StoreMaker, StoreType, changelog::Changelog};
use crate::{
    Data, SerdeRef,
    context::{RecordContext, RecordMetadata, TaskContext},
    error::{Error, ErrorKind},
    record::{Change, Header, Headers, RawRecord},
};

/// A change that waits.
pub(super) struct Buffered {
    /// The row's value before the first change that waits: what the table shows until then.
    pub prior: Option<Bytes>,
    pub old: Option<Bytes>,
    pub new: Option<Bytes>,
    pub record: RecordContext,
}

#[derive(Default)]
struct Core {
    /// The changes by row, each with the time from which it waits.
    changes: HashMap<Bytes, (i64, Buffered)>,
    order: BTreeSet<(i64, Bytes)>,
    dirty: Dirty,
    bytes: usize,
}

/// A change that is on its way out, and the record that wrote it.
pub struct Eviction<K, V> {
    /// The row.
    pub key: K,
    /// The change.
    pub change: Change<V>,
    /// Where it came from; its timestamp and headers.
    pub record: RecordContext,
}

/// Changes of a table that wait, the newest of each row.
///
/// **Law.** A row waits at the time of the first change that waits for it, whatever comes later. Rows leave by time, then by the bytes of
/// their key. It is in memory; at a flush, what changed goes to the changelog in Kafka Streams' format (version 3).
pub struct SuppressBuffer<K, V> {
    name: Arc<str>,
    core: Rc<RefCell<Core>>,
    changelog: Changelog,
    key: SerdeRef<K>,
    value: SerdeRef<V>,
}

impl<K, V> Clone for SuppressBuffer<K, V> {
    fn clone(&self) -> Self {
        let (name, core, changelog) = (self.name.clone(), self.core.clone(), self.changelog.clone());
        Self { name, core, changelog, key: self.key.clone(), value: self.value.clone() }
    }
}

impl<K: Data, V: Data> SuppressBuffer<K, V> {
    /// The definition of such a buffer.
    pub fn def(name: impl Into<Arc<str>>, key: SerdeRef<K>, value: SerdeRef<V>) -> StoreDef {
        let make: StoreMaker = Arc::new(move |env: &StoreEnv<'_>| {
            let (name, changelog) = (env.name.clone(), Changelog::of(env));
            Ok(Rc::new(Self { name, core: Rc::default(), changelog, key: key.clone(), value: value.clone() }))
        });
        StoreDef { store_type: StoreType::InMemory, changelog: ChangelogConfig::default(), ..StoreDef::new(name, make) }
    }

    /// Has a change wait from `time` on, or longer if the row waits already.
    pub fn put(&self, context: &TaskContext, time: i64, key: &K, change: &Change<V>) -> Result<(), Error> {
        let key = self.key.serialize(key)?;
        let bytes = |value: &Option<V>| value.as_ref().map(|value| self.value.serialize(value)).transpose();
        let (old, new) = (bytes(&change.old)?, bytes(&change.new)?);
        let mut core = self.core.borrow_mut();
        let prior = match core.get(&key) {
            Some(waiting) => waiting.prior.clone(),
            None => old.clone(),
        };
        core.put(time, key.clone(), Buffered { prior, old, new, record: context.record.clone() });
        if self.changelog.is_on() {
            core.dirty.add(key);
        }
        Ok(())
    }

    /// What a row was before the changes that wait for it, if any do.
    pub fn prior_value(&self, key: &K) -> Result<Option<Option<V>>, Error> {
        let key = self.key.serialize(key)?;
        let prior = self.core.borrow().get(&key).map(|waiting| waiting.prior.clone());
        prior.map(|prior| Ok(prior.map(|prior| self.value.deserialize(&prior)).transpose()?)).transpose()
    }

    /// The time of what leaves first; `None` if nothing waits.
    pub fn first_time(&self) -> Option<i64> {
        self.core.borrow().order.first().map(|(time, _)| *time)
    }

    /// What leaves first. It stays until [`remove_first`](Self::remove_first).
    pub fn first(&self) -> Result<Option<Eviction<K, V>>, Error> {
        let core = self.core.borrow();
        let Some((key, waiting)) = core.order.first().and_then(|(_, key)| Some((key, core.get(key)?))) else { return Ok(None) };
        let value = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| self.value.deserialize(bytes)).transpose();
        let change = Change::new(value(&waiting.new)?, value(&waiting.old)?);
        Ok(Some(Eviction { key: self.key.deserialize(key)?, change, record: waiting.record.clone() }))
    }

    /// Forgets what leaves first.
    pub fn remove_first(&self) {
        let mut core = self.core.borrow_mut();
        let Some((_, key)) = core.order.first().cloned() else { return };
        core.remove(&key);
        if self.changelog.is_on() {
            core.dirty.add(key);
        }
    }

    /// How many rows wait.
    pub fn len(&self) -> usize {
        self.core.borrow().order.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How large they are in memory, as Kafka Streams counts it.
    pub fn bytes(&self) -> usize {
        self.core.borrow().bytes
    }
}

impl<K: Data, V: Data> AnyStore for SuppressBuffer<K, V> {
    fn name(&self) -> &Arc<str> {
        &self.name
    }
    fn is_global(&self) -> bool {
        false
    }
    fn handle(&self) -> &dyn std::any::Any {
        self
    }

    fn flush(&self, context: &mut TaskContext) -> Result<(), Error> {
        /// Kafka Streams leaves it to the producer when these records are written.
        const NO_TIMESTAMP: i64 = -1;
        let mut core = self.core.borrow_mut();
        for key in core.dirty.take() {
            let (value, headers) = match core.changes.get(&key) {
                Some((time, waiting)) => {
                    (Some(waiting.to_bytes(*time)), vec![Header { name: "v".into(), value: Some(Bytes::from_static(&[3])) }])
                }
                None => (None, vec![]),
            };
            self.changelog.log(context, key, value, NO_TIMESTAMP, headers.into());
        }
        Ok(())
    }

    fn restore(&self, record: RawRecord) -> Result<(), Error> {
        let Some(key) = record.key else { return Ok(()) };
        let mut core = self.core.borrow_mut();
        let Some(mut value) = record.value else {
            core.remove(&key);
            return Ok(());
        };
        let version = record.headers.last("v");
        let read = version.as_deref().filter(|version| **version == [3]).and_then(|_| Buffered::from_bytes(&mut value));
        let (time, waiting) = read.ok_or_else(|| {
            let text = format!("{}: a changelog record that is not of version 3: reset the application's internal topics", self.name);
            Error::new(ErrorKind::Serialization, text)
        })?;
        core.put(time, key, waiting);
        Ok(())
    }
}

impl Core {
    fn get(&self, key: &Bytes) -> Option<&Buffered> {
        self.changes.get(key).map(|(_, waiting)| waiting)
    }

    fn put(&mut self, time: i64, key: Bytes, waiting: Buffered) {
        self.bytes += size(&key, &waiting);
        match self.changes.entry(key) {
            Entry::Occupied(mut before) => {
                self.bytes -= size(before.key(), &before.get().1);
                before.get_mut().1 = waiting;
            }
            Entry::Vacant(place) => {
                self.order.insert((time, place.key().clone()));
                place.insert((time, waiting));
            }
        }
    }

    fn remove(&mut self, key: &Bytes) {
        let Some((time, before)) = self.changes.remove(key) else { return };
        self.order.remove(&(time, key.clone()));
        self.bytes -= size(key, &before);
    }
}

fn size(key: &Bytes, Buffered { prior, old, new, record }: &Buffered) -> usize {
    let of = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
    // Kafka counts texts by their UTF-16 units.
    let text = |text: &str| if text.is_ascii() { text.len() } else { text.encode_utf16().count() };
    let headers: usize = record.headers.to_vec().iter().map(|header| text(&header.name) + of(&header.value)).sum();
    let metadata = 8 + 8 + record.metadata.topic.as_deref().map_or(0, text) + 4;
    8 + key.len() + of(prior) + if prior == old { 0 } else { of(old) } + of(new) + metadata + headers
}

const NULL: i32 = -1;
const SAME_AS_PRIOR: i32 = -2;

impl Buffered {
    pub fn to_bytes(&self, time: i64) -> Bytes {
        let mut bytes = Vec::with_capacity(128);
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.put_i32(text.len() as i32);
            bytes.put_slice(text.as_bytes());
        };
        let value = |bytes: &mut Vec<u8>, value: &Option<Bytes>| match value {
            Some(value) => {
                bytes.put_i32(value.len() as i32);
                bytes.put_slice(value);
            }
            None => bytes.put_i32(NULL),
        };
        bytes.put_i64(self.record.timestamp);
        bytes.put_i64(self.record.metadata.offset);
        text(&mut bytes, self.record.metadata.topic.as_deref().unwrap_or_default());
        bytes.put_i32(self.record.metadata.partition);
        let headers = self.record.headers.to_vec();
        bytes.put_i32(headers.len() as i32);
        for header in &headers {
            text(&mut bytes, &header.name);
            value(&mut bytes, &header.value);
        }
        value(&mut bytes, &self.prior);
        match &self.old {
            Some(_) if self.old == self.prior => bytes.put_i32(SAME_AS_PRIOR),
            old => value(&mut bytes, old),
        }
        value(&mut bytes, &self.new);
        bytes.put_i64(time);
        bytes.into()
    }

    pub fn from_bytes(bytes: &mut Bytes) -> Option<(i64, Self)> {
        fn array(bytes: &mut Bytes, length: i32) -> Option<Option<Bytes>> {
            match usize::try_from(length) {
                Ok(length) => (bytes.len() >= length).then(|| Some(bytes.split_to(length))),
                Err(_) => Some(None),
            }
        }
        fn value(bytes: &mut Bytes) -> Option<Option<Bytes>> {
            let length = bytes.try_get_i32().ok()?;
            array(bytes, length)
        }
        let (timestamp, offset) = (bytes.try_get_i64().ok()?, bytes.try_get_i64().ok()?);
        let topic = value(bytes)?.filter(|topic| !topic.is_empty()).map(|topic| String::from_utf8_lossy(&topic).into());
        let partition = bytes.try_get_i32().ok()?;
        let mut headers = vec![];
        for _ in 0..bytes.try_get_i32().ok()? {
            let name = String::from_utf8_lossy(&value(bytes)??).into();
            headers.push(Header { name, value: value(bytes)? });
        }
        let prior = value(bytes)?;
        let old = match bytes.try_get_i32().ok()? {
            SAME_AS_PRIOR => prior.clone(),
            length => array(bytes, length)?,
        };
        let new = value(bytes)?;
        let metadata = RecordMetadata { topic, partition, offset };
        let record = RecordContext { metadata, timestamp, headers: Headers::from(headers), raw: None };
        Some((bytes.try_get_i64().ok()?, Self { prior, old, new, record }))
    }
}

/// Keys to be logged, in the order of a Java hash set: so Kafka Streams writes them.
struct Dirty {
    keys: Vec<Bytes>,
    known: HashSet<Bytes>,
    buckets: usize,
}

impl Default for Dirty {
    fn default() -> Self {
        Self { keys: vec![], known: HashSet::new(), buckets: 16 }
    }
}

impl Dirty {
    fn add(&mut self, key: Bytes) {
        if self.known.insert(key.clone()) {
            self.keys.push(key);
        }
        if self.keys.len() > self.buckets / 4 * 3 {
            self.buckets *= 2;
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.known.clear();
        let mut keys = std::mem::take(&mut self.keys);
        keys.sort_by_key(|key| {
            let hash = key.iter().fold(1u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(*byte as i8 as u32));
            (hash ^ (hash >> 16)) as usize & (self.buckets - 1)
        });
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_is_restored() {
        let metadata = RecordMetadata { topic: Some("IN".into()), partition: 0, offset: 3 };
        let headers = Headers::from(vec![Header { name: "h".into(), value: None }]);
        let record = RecordContext { metadata, timestamp: 7, headers, raw: None };
        for (prior, old, new) in [(None, None, Some("n")), (Some("p"), Some("p"), None), (Some("p"), Some("o"), Some("n"))] {
            let bytes = |value: Option<&'static str>| value.map(|value| Bytes::from_static(value.as_bytes()));
            let waiting = Buffered { prior: bytes(prior), old: bytes(old), new: bytes(new), record: record.clone() };
            let (time, again) = Buffered::from_bytes(&mut waiting.to_bytes(9)).unwrap();
            assert_eq!((time, &again.prior, &again.old, &again.new), (9, &waiting.prior, &waiting.old, &waiting.new));
            assert_eq!((again.record.timestamp, &again.record.metadata, &again.record.headers), (7, &record.metadata, &record.headers));
        }
        assert!(Buffered::from_bytes(&mut Bytes::from_static(b"short")).is_none());
    }
}
