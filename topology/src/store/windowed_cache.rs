//! The record cache of window and session stores.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use bytes::Bytes;

use crate::{
    context::{RecordContext, TaskContext},
    error::Error,
};

/// Called for every entry that leaves the cache: place, new value, old value.
pub(crate) type Listener<P> = Rc<dyn Fn(&mut TaskContext, &P, Option<Bytes>, Option<Bytes>) -> Result<(), Error>>;

/// What lies below the cache.
pub(crate) trait Below<P> {
    fn fetch(&self, place: &P) -> Result<Option<Bytes>, Error>;
    fn write(&self, context: &mut TaskContext, place: &P, value: Option<Bytes>) -> Result<(), Error>;
}

struct Entry {
    value: Option<Bytes>,
    /// What wrote it, and when in the order of writes, until it is flushed.
    dirty: Option<(u64, RecordContext)>,
    used: u64,
    bytes: usize,
}

struct Entries<P> {
    entries: BTreeMap<P, Entry>,
    dirty: BTreeMap<u64, P>,
    used: BTreeMap<u64, P>,
    next_turn: u64,
    bytes: usize,
}

impl<P> Default for Entries<P> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), dirty: BTreeMap::new(), used: BTreeMap::new(), next_turn: 0, bytes: 0 }
    }
}

type Dirty<P> = (P, Option<Bytes>, RecordContext);

/// Entries by place: a key in a window.
///
/// **Law.** Entries are flushed in the order of their last write, all of them at once. They stay afterwards, so that a window that the store
/// below has hidden already is seen as long as there is room; what was used longest ago makes room.
pub(crate) struct WindowedCache<P> {
    entries: RefCell<Entries<P>>,
    limit: usize,
    listener: RefCell<Option<(Listener<P>, bool)>>,
}

impl<P: Ord + Clone> WindowedCache<P> {
    pub fn new(limit: usize) -> Self {
        Self { entries: RefCell::default(), limit, listener: RefCell::default() }
    }

    pub fn set_listener(&self, listener: Listener<P>, send_old: bool) {
        *self.listener.borrow_mut() = Some((listener, send_old));
    }

    /// The value of an entry, if there is one; its value may be deleted.
    pub fn get(&self, place: &P) -> Option<Option<Bytes>> {
        self.entries.borrow_mut().get(place)
    }

    /// Writes an entry of a key with that many bytes.
    pub fn put(&self, below: &impl Below<P>, context: &mut TaskContext, place: P, key_bytes: usize, value: Option<Bytes>) -> Result<(), Error> {
        self.entries.borrow_mut().put(place, key_bytes, value, context.record.clone());
        loop {
            let evicted = {
                let mut entries = self.entries.borrow_mut();
                if entries.bytes <= self.limit { None } else { entries.evict() }
            };
            match evicted {
                None => return Ok(()),
                Some(None) => {}
                Some(Some(dirty)) => self.flush_with(below, context, Some(dirty))?,
            }
        }
    }

    /// Writes all dirty entries below, and tells the listener.
    pub fn flush(&self, below: &impl Below<P>, context: &mut TaskContext) -> Result<(), Error> {
        self.flush_with(below, context, None)
    }

    fn flush_with(&self, below: &impl Below<P>, context: &mut TaskContext, evicted: Option<Dirty<P>>) -> Result<(), Error> {
        let mut dirty: Vec<Dirty<P>> = evicted.into_iter().collect();
        self.entries.borrow_mut().take_dirty(&mut dirty);
        let listener = self.listener.borrow().clone();
        let send_old = listener.as_ref().is_some_and(|(_, send_old)| *send_old);
        for (place, value, written_by) in &dirty {
            let old = if listener.is_some() && (value.is_none() || send_old) { below.fetch(place)? } else { None };
            if listener.is_some() && value.is_none() && old.is_none() {
                continue;
            }
            let current = std::mem::replace(&mut context.record, written_by.clone());
            let mut outcome = below.write(context, place, value.clone());
            if let (Ok(()), Some((listener, _))) = (&outcome, &listener) {
                outcome = listener(context, place, value.clone(), old.filter(|_| send_old));
            }
            context.record = current;
            outcome?;
        }
        let mut entries = self.entries.borrow_mut();
        dirty.iter().filter(|(_, value, _)| value.is_none()).for_each(|(place, ..)| entries.remove_clean(place));
        Ok(())
    }

    /// The entries from one place to another, both included.
    pub fn range(&self, from: P, to: P, keep: impl Fn(&P) -> bool) -> Vec<(P, Option<Bytes>)> {
        if from > to {
            return vec![];
        }
        let entries = self.entries.borrow();
        entries.entries.range(from..=to).filter(|(place, _)| keep(place)).map(|(place, entry)| (place.clone(), entry.value.clone())).collect()
    }

    /// All entries that are wanted.
    pub fn all(&self, keep: impl Fn(&P) -> bool) -> Vec<(P, Option<Bytes>)> {
        let entries = self.entries.borrow();
        entries.entries.iter().filter(|(place, _)| keep(place)).map(|(place, entry)| (place.clone(), entry.value.clone())).collect()
    }
}

impl<P: Ord + Clone> Entries<P> {
    fn turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    fn get(&mut self, place: &P) -> Option<Option<Bytes>> {
        let turn = self.turn();
        let entry = self.entries.get_mut(place)?;
        if let Some(place) = self.used.remove(&entry.used) {
            self.used.insert(turn, place);
        }
        entry.used = turn;
        Some(entry.value.clone())
    }

    fn put(&mut self, place: P, key_bytes: usize, value: Option<Bytes>, context: RecordContext) {
        /// What Kafka Streams counts beside the bytes of an entry.
        const OVERHEAD: usize = 80;
        let turn = self.turn();
        let bytes = key_bytes + value.as_ref().map_or(0, Bytes::len) + OVERHEAD;
        self.bytes += bytes;
        self.dirty.insert(turn, place.clone());
        self.used.insert(turn, place.clone());
        if let Some(before) = self.entries.insert(place, Entry { value, dirty: Some((turn, context)), used: turn, bytes }) {
            self.used.remove(&before.used);
            self.bytes -= before.bytes;
            if let Some((turn, _)) = before.dirty {
                self.dirty.remove(&turn);
            }
        }
    }

    /// Makes room: removes what was used longest ago, and hands it out if it is dirty. `None`: there is nothing.
    fn evict(&mut self) -> Option<Option<Dirty<P>>> {
        let (_, place) = self.used.pop_first()?;
        let entry = self.entries.remove(&place)?;
        self.bytes -= entry.bytes;
        Some(entry.dirty.map(|(turn, context)| {
            self.dirty.remove(&turn);
            (place, entry.value, context)
        }))
    }

    fn take_dirty(&mut self, into: &mut Vec<Dirty<P>>) {
        for place in std::mem::take(&mut self.dirty).into_values() {
            let Some(entry) = self.entries.get_mut(&place) else { continue };
            if let Some((_, context)) = entry.dirty.take() {
                into.push((place, entry.value.clone(), context));
            }
        }
    }

    fn remove_clean(&mut self, place: &P) {
        if self.entries.get(place).is_some_and(|entry| entry.dirty.is_none())
            && let Some(entry) = self.entries.remove(place)
        {
            self.used.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}
