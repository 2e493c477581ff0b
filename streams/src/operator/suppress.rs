//! **Law.** An update waits until stream time has moved on by the wait since the first update that waits for its row; then the newest one
//! goes on, as the record that it came with (KIP-328). A full buffer lets what has waited longest go early, or fails.

use std::sync::Arc;

use millstream_topology::{
    Change, Children, Data, Error, ErrorKind, Node, Record, TaskContext, ValueAndTimestamp,
    store::{Eviction, SuppressBuffer},
};

use crate::{ktable::Getter, options::BufferConfig};

pub(crate) struct Suppress<K, V> {
    pub name: Arc<str>,
    pub buffer: SuppressBuffer<K, V>,
    pub children: Children<K, Change<V>>,
    pub bounds: BufferConfig,
    pub wait_ms: i64,
    /// The time from which on a row waits: its window's end. Such results are final, so that deletions are none.
    pub time_of: Option<fn(&K) -> i64>,
    pub stream_time: i64,
}

impl<K: Data, V: Data> Suppress<K, V> {
    fn emit_first(&self, context: &mut TaskContext) -> Result<(), Error> {
        let Some(Eviction { key, change, record }) = self.buffer.first()? else { return Ok(()) };
        if change.new.is_some() || self.time_of.is_none() {
            let (timestamp, headers) = (record.timestamp, record.headers.clone());
            let current = std::mem::replace(&mut context.record, record);
            let outcome = self.children.forward(context, Record { key, value: change, timestamp, headers });
            context.record = current;
            outcome?;
        }
        self.buffer.remove_first();
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.buffer.len() as u64 > self.bounds.max_records || self.buffer.bytes() as u64 > self.bounds.max_bytes
    }
}

impl<K: Data, V: Data> Node<K, Change<V>> for Suppress<K, V> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, Change<V>>) -> Result<(), Error> {
        self.stream_time = self.stream_time.max(record.timestamp);
        let time = self.time_of.map_or(record.timestamp, |time_of| time_of(&record.key));
        self.buffer.put(context, time, &record.key, &record.value)?;
        let expiry = self.stream_time.wrapping_sub(self.wait_ms);
        while self.buffer.first_time().is_some_and(|time| time <= expiry) {
            self.emit_first(context)?;
        }
        if self.is_full() && !self.bounds.emit_early {
            let (records, bytes) = (self.buffer.len(), self.buffer.bytes());
            let text =
                format!("{}: the buffer is full with {records} rows of {bytes} bytes: give it more room, or let it emit early", self.name);
            return Err(Error::new(ErrorKind::Streams, text));
        }
        while self.is_full() && !self.buffer.is_empty() {
            self.emit_first(context)?;
        }
        Ok(())
    }
}

/// Rows of a suppressed table: what was there before the updates that wait.
pub(crate) struct SuppressedRows<K, V> {
    pub buffer: SuppressBuffer<K, V>,
    pub parent: Box<dyn Getter<K, V>>,
}

impl<K: Data, V: Data> Getter<K, V> for SuppressedRows<K, V> {
    fn get(&mut self, context: &mut TaskContext, key: &K) -> Result<Option<ValueAndTimestamp<V>>, Error> {
        match self.buffer.prior_value(key)? {
            // When it was written is not known any more.
            Some(prior) => Ok(prior.map(|value| ValueAndTimestamp { value, timestamp: -1 })),
            None => self.parent.get(context, key),
        }
    }
}
