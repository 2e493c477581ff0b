//! The buffer of a stream-table join with a grace period: records of the stream that wait, by time (KIP-923).

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use super::{AnyStore, StoreDef, StoreEnv, StoreMaker, StoreType, changelog::Changelog, suppress_buffer::Buffered};
use crate::{
    Data, SerdeRef,
    context::{RecordContext, TaskContext},
    error::{Error, ErrorKind},
    record::{Headers, RawRecord},
};

/// Kafka Streams leaves it to the producer when changelog records of this buffer are written.
const NO_TIMESTAMP: i64 = -1;

struct Core {
    /// By place: a zero byte (Kafka Streams' mark of keys that begin with their time), time, key and number.
    waiting: BTreeMap<Bytes, Buffered>,
    stream_time: i64,
    number: u32,
}

impl Core {
    fn add(&mut self, place: Bytes, record: Buffered) {
        self.stream_time = self.stream_time.max(time_of(&place));
        self.waiting.insert(place, record);
    }
}

/// A record whose waiting is over.
pub struct Waiting<K, V> {
    /// Its key.
    pub key: K,
    /// Its value.
    pub value: V,
    /// Where it came from; its timestamp and headers.
    pub record: RecordContext,
}

/// Records of a stream that wait until they are `grace_ms` older than the newest that has waited.
///
/// **Law.** Records leave by time, then by the bytes of their key, then as they came. It is in memory; every record that comes or leaves
/// goes to the changelog at once, in Kafka Streams' format.
pub struct JoinBuffer<K, V> {
    name: Arc<str>,
    core: Rc<RefCell<Core>>,
    changelog: Changelog,
    key: SerdeRef<K>,
    value: SerdeRef<V>,
    grace_ms: i64,
}

impl<K, V> Clone for JoinBuffer<K, V> {
    fn clone(&self) -> Self {
        let (name, core, changelog) = (self.name.clone(), self.core.clone(), self.changelog.clone());
        Self { name, core, changelog, key: self.key.clone(), value: self.value.clone(), grace_ms: self.grace_ms }
    }
}

impl<K: Data, V: Data> JoinBuffer<K, V> {
    /// The definition of such a buffer.
    pub fn def(name: impl Into<Arc<str>>, key: SerdeRef<K>, value: SerdeRef<V>, grace_ms: i64) -> StoreDef {
        let make: StoreMaker = Arc::new(move |env: &StoreEnv<'_>| {
            let core = Rc::new(RefCell::new(Core { waiting: BTreeMap::new(), stream_time: -1, number: 0 }));
            let (name, changelog) = (env.name.clone(), Changelog::of(env));
            Ok(Rc::new(Self { name, core, changelog, key: key.clone(), value: value.clone(), grace_ms }))
        });
        StoreDef { store_type: StoreType::InMemory, ..StoreDef::new(name, make) }
    }

    /// Has the record in process wait. `false`: it has come too late for that.
    pub fn put(&self, context: &mut TaskContext, key: &K, value: &V) -> Result<bool, Error> {
        let timestamp = context.record.timestamp;
        let mut core = self.core.borrow_mut();
        if core.stream_time.saturating_sub(self.grace_ms) > timestamp {
            return Ok(false);
        }
        core.number = (core.number + 1) & 0x7fff_ffff;
        let key = self.key.serialize(key)?;
        let mut place = BytesMut::with_capacity(13 + key.len());
        place.put_u8(0);
        place.put_i64(timestamp);
        place.put_slice(&key);
        place.put_u32(core.number);
        let place = place.freeze();
        let record = RecordContext { raw: None, headers: context.record.headers.copied(), ..context.record.clone() };
        let record = Buffered { prior: None, old: None, new: Some(self.value.serialize(value)?), record };
        if self.changelog.is_on() {
            self.changelog.log(context, place.clone(), Some(record.to_bytes(0)), NO_TIMESTAMP, Headers::empty());
        }
        core.add(place, record);
        Ok(true)
    }

    /// The first record, if its waiting is over. It stays until [`remove_first`](Self::remove_first).
    pub fn first_due(&self) -> Result<Option<Waiting<K, V>>, Error> {
        let core = self.core.borrow();
        let Some((place, waiting)) = core.waiting.first_key_value() else { return Ok(None) };
        let due = time_of(place) <= core.stream_time.saturating_sub(self.grace_ms);
        let Some(value) = waiting.new.as_ref().filter(|_| due) else { return Ok(None) };
        let key = self.key.deserialize(&place.slice(9..place.len() - 4))?;
        Ok(Some(Waiting { key, value: self.value.deserialize(value)?, record: waiting.record.clone() }))
    }

    /// Forgets the first record.
    pub fn remove_first(&self, context: &mut TaskContext) {
        if let Some((place, _)) = self.core.borrow_mut().waiting.pop_first() {
            self.changelog.log(context, place, None, NO_TIMESTAMP, Headers::empty());
        }
    }
}

fn time_of(place: &Bytes) -> i64 {
    place.get(1..9).and_then(|time| time.try_into().ok()).map_or(-1, i64::from_be_bytes)
}

impl<K: Data, V: Data> AnyStore for JoinBuffer<K, V> {
    fn name(&self) -> &Arc<str> {
        &self.name
    }
    fn is_global(&self) -> bool {
        false
    }
    fn handle(&self) -> &dyn std::any::Any {
        self
    }
    fn flush(&self, _: &mut TaskContext) -> Result<(), Error> {
        Ok(())
    }

    fn restore(&self, record: RawRecord) -> Result<(), Error> {
        let unreadable = || {
            let text = format!("{}: a changelog record of another format: reset the application's internal topics", self.name);
            Error::new(ErrorKind::Serialization, text)
        };
        let place = record.key.filter(|place| place.len() >= 13).ok_or_else(unreadable)?;
        let mut core = self.core.borrow_mut();
        let Some(mut value) = record.value else {
            core.waiting.remove(&place);
            return Ok(());
        };
        let (_, waiting) = Buffered::from_bytes(&mut value).ok_or_else(unreadable)?;
        let number = place.last_chunk().map_or(0, |number| u32::from_be_bytes(*number));
        core.number = core.number.max(number);
        core.add(place, waiting);
        Ok(())
    }
}
