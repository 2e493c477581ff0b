//! **Law.** Two records of one key join if the other is in this one's window, whichever comes first; a result's time is the later one.
//! A record of an outer side that has found no partner is given out alone once its window and grace are before the stream time of both
//! sides, strictly: by the next record of either side (KIP-633). One without a key is given out alone at once (KIP-962).

use std::{cell::RefCell, rc::Rc, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use millstream_topology::{
    Assembly, Children, Compatibility, Data, Error, ErrorKind, Node, Record, SerdeRef, TaskContext, store::KeyValueStore,
};

use super::JoinRows;
use crate::{
    JoinWindows,
    builder::need,
    kstream::{Joiner, Outer},
};

/// Puts a side into its window, after the join has seen the record.
pub(crate) struct JoinWindow<K: Data, V: Data> {
    pub store: JoinRows<K::Present, V::Present>,
    pub children: Children<K, V>,
}

impl<K: Data, V: Data> Node<K, V> for JoinWindow<K, V> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record.clone();
        self.children.forward(context, record)?;
        match key.present() {
            Some(key) => self.store.put(context, Record { key, value: value.present(), timestamp, headers }),
            None => Ok(()),
        }
    }
}

/// What both sides of a join know.
pub(crate) struct Sides<K, V1, V2> {
    pub name: Arc<str>,
    pub windows: JoinWindows,
    pub stores_outer: Option<Arc<str>>,
    pub key: Option<SerdeRef<K>>,
    pub left: Option<SerdeRef<V1>>,
    pub right: Option<SerdeRef<V2>>,
}

/// What both sides of a join share in one task: time.
struct Tracker {
    stream_time: i64,
    /// Not above the time of any record that waits alone.
    min_time: i64,
    next_emit: i64,
}

impl Default for Tracker {
    fn default() -> Self {
        Self { stream_time: -1, min_time: i64::MAX, next_emit: 0 }
    }
}

/// Records that wait alone: both sides' in one store, by time, side and key, each with the list of its values.
struct Waiting<K, V1, V2> {
    store: KeyValueStore<Bytes, Bytes>,
    key: SerdeRef<K>,
    left: SerdeRef<V1>,
    right: SerdeRef<V2>,
}

const LEFT: u8 = 1;
const RIGHT: u8 = 0;

/// A side of a join: looks up partners of `V` among the other side's records, and joins as left and right.
pub(crate) struct JoinSide<K: Data, V1: Data, V2: Data, R> {
    side: u8,
    outer: bool,
    before: i64,
    after: i64,
    windows: JoinWindows,
    lefts: Option<JoinRows<K::Present, V1>>,
    rights: Option<JoinRows<K::Present, V2>>,
    waiting: Option<Waiting<K::Present, V1, V2>>,
    tracker: Rc<RefCell<Tracker>>,
    joiner: Joiner<K, V1, V2, R>,
    children: Children<K, R>,
}

impl<K: Data, V1: Data<Present = V1>, V2: Data<Present = V2>, R: Data> JoinSide<K, V1, V2, R> {
    /// The side of the left stream's records.
    pub fn left(
        sides: &Sides<K::Present, V1, V2>,
        joiner: &Joiner<K, V1, V2, R>,
        store: &str,
        outer: Outer,
        assembly: &Assembly<'_>,
    ) -> Result<LeftSide<K, V1, V2, R>, Error> {
        let rights = Some(JoinRows::open(store, assembly)?);
        Ok(LeftSide(Self::new(sides, joiner, LEFT, outer != Outer::Neither, None, rights, assembly)?))
    }

    /// The side of the right stream's records.
    pub fn right(
        sides: &Sides<K::Present, V1, V2>,
        joiner: &Joiner<K, V1, V2, R>,
        store: &str,
        outer: Outer,
        assembly: &Assembly<'_>,
    ) -> Result<RightSide<K, V1, V2, R>, Error> {
        let lefts = Some(JoinRows::open(store, assembly)?);
        Ok(RightSide(Self::new(sides, joiner, RIGHT, outer == Outer::Both, lefts, None, assembly)?))
    }

    fn new(
        sides: &Sides<K::Present, V1, V2>,
        joiner: &Joiner<K, V1, V2, R>,
        side: u8,
        outer: bool,
        lefts: Option<JoinRows<K::Present, V1>>,
        rights: Option<JoinRows<K::Present, V2>>,
        assembly: &Assembly<'_>,
    ) -> Result<Self, Error> {
        let waiting = sides.stores_outer.as_ref().map(|store| -> Result<_, Error> {
            Ok(Waiting {
                store: assembly.store(store)?,
                key: need(sides.key.clone(), &sides.name, "key")?,
                left: need(sides.left.clone(), &sides.name, "value")?,
                right: need(sides.right.clone(), &sides.name, "value")?,
            })
        });
        let windows = sides.windows;
        let (before, after) = if side == LEFT { (windows.before_ms, windows.after_ms) } else { (windows.after_ms, windows.before_ms) };
        Ok(Self {
            side,
            outer,
            before,
            after,
            windows,
            lefts,
            rights,
            waiting: waiting.transpose()?,
            tracker: assembly.shared(&sides.name),
            joiner: joiner.clone(),
            children: assembly.children()?,
        })
    }

    fn join(&mut self, context: &mut TaskContext, record: Record<K, ()>, left: Option<V1>, right: Option<V2>) -> Result<(), Error> {
        let time = record.timestamp;
        {
            let mut tracker = self.tracker.borrow_mut();
            tracker.stream_time = tracker.stream_time.max(time);
        }
        let has_value = if self.side == LEFT { left.is_some() } else { right.is_some() };
        let Some(key) = record.key.present().cloned().filter(|_| has_value) else {
            if self.outer && has_value {
                return self.give_out(context, record, left.as_ref(), right.as_ref());
            }
            context.drop_record();
            return Ok(());
        };
        if time == self.tracker.borrow().stream_time {
            self.give_up_waiting(context, &record)?;
        }
        let (from, to) = ((time - self.before).max(0), (time + self.after).max(0));
        let mut found = false;
        if let Some(rights) = &self.rights {
            rights.visit(&key, (from, to), |at, right| {
                found = true;
                self.pair(context, &record, &key, at, left.as_ref(), Some(&right))
            })?;
        } else if let Some(lefts) = &self.lefts {
            lefts.visit(&key, (from, to), |at, left| {
                found = true;
                self.pair(context, &record, &key, at, Some(&left), right.as_ref())
            })?;
        }
        if found || !self.outer {
            return Ok(());
        }
        let open_until = match context.config.compatibility {
            Compatibility::Kafka => to,
            Compatibility::Sound => time.saturating_add(self.after).saturating_add(self.windows.grace_ms),
        };
        match &self.waiting {
            Some(waiting) if open_until >= self.tracker.borrow().stream_time => {
                let mut tracker = self.tracker.borrow_mut();
                tracker.min_time = tracker.min_time.min(time);
                waiting.add(context, self.side, time, &key, left.as_ref(), right.as_ref())
            }
            _ => self.give_out(context, record, left.as_ref(), right.as_ref()),
        }
    }

    /// Gives out a pair; its other half no longer waits alone.
    fn pair(
        &self,
        context: &mut TaskContext,
        record: &Record<K, ()>,
        key: &K::Present,
        at: i64,
        left: Option<&V1>,
        right: Option<&V2>,
    ) -> Result<(), Error> {
        if let Some(waiting) = &self.waiting {
            waiting.remove(context, 1 - self.side, at, key)?;
        }
        let timestamp = record.timestamp.max(at);
        self.give_out(context, record.clone().with_timestamp(timestamp), left, right)
    }

    fn give_out(&self, context: &mut TaskContext, record: Record<K, ()>, left: Option<&V1>, right: Option<&V2>) -> Result<(), Error> {
        let result = (self.joiner)(&record.key, left, right);
        self.children.forward(context, record.with_value(result))
    }

    /// Gives out the records that have waited alone past their window and grace, with the headers of the record that shows it.
    fn give_up_waiting(&self, context: &mut TaskContext, record: &Record<K, ()>) -> Result<(), Error> {
        let Some(waiting) = &self.waiting else { return Ok(()) };
        let (stream_time, grace) = {
            let mut tracker = self.tracker.borrow_mut();
            let first = tracker.min_time.saturating_add(self.after).saturating_add(self.windows.grace_ms);
            if first >= tracker.stream_time || context.wall_clock() < tracker.next_emit {
                return Ok(());
            }
            tracker.next_emit = context.wall_clock() + context.config.emit_interval_ms;
            tracker.min_time = i64::MAX;
            (tracker.stream_time, self.windows.grace_ms)
        };
        let (mut left_open, mut right_open) = (false, false);
        for row in waiting.store.all()? {
            let (place, values) = row?;
            let (time, side, key) = waiting.place(&place)?;
            let values = list(&values);
            self.tracker.borrow_mut().min_time = time;
            if left_open && right_open {
                break;
            }
            let (look, open) =
                if side == LEFT { (self.windows.after_ms, &mut left_open) } else { (self.windows.before_ms, &mut right_open) };
            if time + look + grace >= stream_time {
                *open = true;
                // Kafka Streams looks at a list value by value: at a second one it stops here, and not at the next place.
                if left_open && right_open && values.len() > 1 {
                    break;
                }
                continue;
            }
            for value in values {
                let (left, right) = waiting.value(&value)?;
                let Some(key) = K::from_present(Some(key.clone())) else { continue };
                let alone = record.clone().with_key(key).with_timestamp(time);
                self.give_out(context, alone, left.as_ref(), right.as_ref())?;
            }
            waiting.store.put(context, &place, None)?;
        }
        Ok(())
    }
}

/// The left stream's records in a join.
pub(crate) struct LeftSide<K: Data, V1: Data, V2: Data, R>(JoinSide<K, V1, V2, R>);

impl<K: Data, V: Data, V2: Data<Present = V2>, R: Data> Node<K, V> for LeftSide<K, V::Present, V2, R> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        self.0.join(context, Record { key, value: (), timestamp, headers }, value.into_present(), None)
    }
}

/// The right stream's records in a join.
pub(crate) struct RightSide<K: Data, V1: Data, V2: Data, R>(JoinSide<K, V1, V2, R>);

impl<K: Data, V1: Data<Present = V1>, V: Data, R: Data> Node<K, V> for RightSide<K, V1, V::Present, R> {
    fn process(&mut self, context: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let Record { key, value, timestamp, headers } = record;
        self.0.join(context, Record { key, value: (), timestamp, headers }, None, value.into_present())
    }
}

impl<K: Data, V1: Data, V2: Data> Waiting<K, V1, V2> {
    /// Time ‖ side ‖ key.
    fn place_of(&self, side: u8, time: i64, key: &K) -> Result<Bytes, Error> {
        let key = self.key.serialize(key)?;
        let mut place = BytesMut::with_capacity(9 + key.len());
        place.put_i64(time);
        place.put_u8(side);
        place.put_slice(&key);
        Ok(place.freeze())
    }

    fn place(&self, place: &Bytes) -> Result<(i64, u8, K), Error> {
        let short = || Error::new(ErrorKind::Serialization, "a waiting record's key is too short");
        let time = place.first_chunk().map(|time| i64::from_be_bytes(*time)).ok_or_else(short)?;
        let side = *place.get(8).ok_or_else(short)?;
        Ok((time, side, self.key.deserialize(&place.slice(9..))?))
    }

    fn add(&self, context: &mut TaskContext, side: u8, time: i64, key: &K, left: Option<&V1>, right: Option<&V2>) -> Result<(), Error> {
        let value = match (left, right) {
            (Some(left), _) => self.left.serialize(left)?,
            (None, Some(right)) => self.right.serialize(right)?,
            (None, None) => return Ok(()),
        };
        let place = self.place_of(side, time, key)?;
        let mut values: Vec<Bytes> = self.store.get(&place)?.as_ref().map(list).unwrap_or_default();
        values.push([&[side][..], &value].concat().into());
        self.store.put(context, &place, Some(&unlist(&values)))
    }

    fn remove(&self, context: &mut TaskContext, side: u8, time: i64, key: &K) -> Result<(), Error> {
        let place = self.place_of(side, time, key)?;
        match self.store.get(&place)? {
            Some(_) => self.store.put(context, &place, None),
            None => Ok(()),
        }
    }

    fn value(&self, value: &Bytes) -> Result<(Option<V1>, Option<V2>), Error> {
        match value.first() {
            Some(&LEFT) => Ok((Some(self.left.deserialize(&value.slice(1..))?), None)),
            Some(_) => Ok((None, Some(self.right.deserialize(&value.slice(1..))?))),
            None => Err(Error::new(ErrorKind::Serialization, "a waiting record's value is empty")),
        }
    }
}

/// A list as Kafka's `ListSerializer` writes it: 1 (elements of any size), how many, each behind its length.
fn unlist(values: &[Bytes]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(1);
    out.put_i32(values.len() as i32);
    for value in values {
        out.put_i32(value.len() as i32);
        out.put_slice(value);
    }
    out.freeze()
}

fn list(bytes: &Bytes) -> Vec<Bytes> {
    let mut values = vec![];
    let mut at = 5;
    while let Some(length) =
        bytes.get(at..at + 4).and_then(|length| length.try_into().ok()).map(|length| i32::from_be_bytes(length) as usize)
    {
        let end = (at + 4 + length).min(bytes.len());
        values.push(bytes.slice(at + 4..end));
        at = end;
    }
    values
}
