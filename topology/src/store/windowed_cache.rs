//! The record cache of window and session stores.

use std::{cell::RefCell, ops::RangeInclusive, rc::Rc};

use bytes::Bytes;
use hashbrown::HashMap;

use super::{buffer::overwrite, bytes::Sorted};
use crate::{
    context::{RecordContext, TaskContext},
    error::Error,
};

/// Called for every entry that leaves the cache: key, window, new value, old value.
pub(crate) type Listener<T> = Rc<dyn Fn(&mut TaskContext, &[u8], T, Option<&[u8]>, Option<&[u8]>) -> Result<(), Error>>;

/// What lies below the cache.
pub(crate) trait Below<T> {
    fn fetch(&self, key: &[u8], window: T) -> Result<Option<Bytes>, Error>;
    fn write(&self, context: &mut TaskContext, key: &Bytes, window: T, value: Option<&[u8]>) -> Result<(), Error>;
}

/// Entries by key and window, which is its start, or a session's end and start.
///
/// **Law.** Entries are flushed in the order of their last write, all of them at once. They stay afterwards, so that a window that the store
/// below has hidden already is seen as long as there is room; what was used longest ago makes room.
pub(crate) struct WindowedCache<T> {
    entries: RefCell<Entries<T>>,
    limit: usize,
    listener: RefCell<Option<(Listener<T>, bool)>>,
}

impl<T: Ord + Copy> WindowedCache<T> {
    pub fn new(limit: usize) -> Self {
        Self { entries: RefCell::default(), limit, listener: RefCell::default() }
    }

    pub fn set_listener(&self, listener: Listener<T>, send_old: bool) {
        *self.listener.borrow_mut() = Some((listener, send_old));
    }

    /// Forgets the listener.
    pub fn detach(&self) {
        self.listener.take();
    }

    /// What `read` makes of the value of an entry, if there is one; its value may be deleted.
    pub fn get<R>(&self, key: &[u8], window: T, read: impl FnOnce(Option<&[u8]>) -> R) -> Option<R> {
        self.entries.borrow_mut().get(key, window).map(read)
    }

    /// Writes an entry; [`make_room`](Self::make_room) comes next.
    pub fn put(&self, key: &[u8], window: T, value: Option<&[u8]>, context: &RecordContext) {
        self.entries.borrow_mut().put(key, window, value, context);
    }

    /// Deletes an entry; [`make_room`](Self::make_room) comes next. What came and went between two flushes leaves nothing: a session that grows
    /// would else have all that it was before beside it.
    pub fn delete(&self, key: &[u8], window: T, below: &impl Below<T>, context: &RecordContext) -> Result<(), Error> {
        if self.listener.borrow().is_some() && below.fetch(key, window)?.is_none() {
            self.entries.borrow_mut().forget(key, window);
        } else {
            self.put(key, window, None, context);
        }
        Ok(())
    }

    /// Lets go of what was used longest ago until the rest is within the limit.
    pub fn make_room(&self, below: &impl Below<T>, context: &mut TaskContext) -> Result<(), Error> {
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
    pub fn flush(&self, below: &impl Below<T>, context: &mut TaskContext) -> Result<(), Error> {
        self.flush_with(below, context, None)
    }

    fn flush_with(&self, below: &impl Below<T>, context: &mut TaskContext, evicted: Option<Dirty<T>>) -> Result<(), Error> {
        let mut dirty: Vec<Dirty<T>> = evicted.into_iter().collect();
        self.entries.borrow_mut().take_dirty(&mut dirty);
        let listener = self.listener.borrow().clone();
        let send_old = listener.as_ref().is_some_and(|(_, send_old)| *send_old);
        for ((key, window), value, written_by) in &dirty {
            let old = if listener.is_some() && (value.is_none() || send_old) { below.fetch(key, *window)? } else { None };
            if listener.is_some() && value.is_none() && old.is_none() {
                continue;
            }
            let current = std::mem::replace(&mut context.record, written_by.clone());
            let mut outcome = below.write(context, key, *window, value.as_deref());
            if let (Ok(()), Some((listener, _))) = (&outcome, &listener) {
                outcome = listener(context, key, *window, value.as_deref(), old.as_deref().filter(|_| send_old));
            }
            context.record = current;
            outcome?;
        }
        let mut entries = self.entries.borrow_mut();
        dirty.iter().filter(|(_, value, _)| value.is_none()).for_each(|(place, ..)| entries.remove_clean(place));
        Ok(())
    }

    /// The entries of a key in these windows, in their order.
    pub fn of_key(&self, key: &[u8], windows: RangeInclusive<T>) -> Vec<(T, Option<Bytes>)> {
        let entries = self.entries.borrow();
        let Some(of_key) = entries.places.get(key) else { return vec![] };
        of_key.range(windows).map(|(window, &slot)| (*window, entries.slots[slot].value())).collect()
    }

    /// All entries that are wanted, in no order.
    pub fn all(&self, keep: impl Fn(&Bytes, T) -> bool) -> Vec<(Place<T>, Option<Bytes>)> {
        let entries = self.entries.borrow();
        let slots = entries.places.values().flat_map(Sorted::values).map(|&slot| &entries.slots[slot]);
        let wanted = slots.filter(|entry| keep(&entry.place.0, entry.place.1));
        wanted.map(|entry| (entry.place.clone(), entry.value())).collect()
    }
}

/// Whether the key lies between both, included; `None` is no bound.
pub(crate) fn between(key: &[u8], from: Option<&[u8]>, to: Option<&[u8]>) -> bool {
    from.is_none_or(|from| key >= from) && to.is_none_or(|to| key <= to)
}

/// The rows of a store, which are in order, with those of its cache in their places.
pub(crate) fn merged<P, T: Ord>(
    rows: Vec<(P, Bytes)>,
    cached: impl Iterator<Item = (P, Option<Bytes>)>,
    reverse: bool,
    position: impl Fn(&P) -> T,
) -> Vec<(P, Bytes)> {
    let mut cached: Vec<_> = cached.map(|(place, value)| (position(&place), place, value)).collect();
    if cached.is_empty() {
        return rows;
    }
    let ordered = |one: &T, other: &T| if reverse { other.cmp(one) } else { one.cmp(other) };
    cached.sort_unstable_by(|one, other| ordered(&one.0, &other.0));
    let mut cached = cached.into_iter().peekable();
    let mut merged = Vec::with_capacity(rows.len() + cached.len());
    for (place, value) in rows {
        let at = position(&place);
        let mut is_shadowed = false;
        while let Some((cached_at, place, value)) = cached.next_if(|(cached_at, ..)| ordered(cached_at, &at).is_le()) {
            is_shadowed |= cached_at == at;
            merged.extend(value.map(|value| (place, value)));
        }
        if !is_shadowed {
            merged.push((place, value));
        }
    }
    merged.extend(cached.filter_map(|(_, place, value)| Some((place, value?))));
    merged
}

type Place<T> = (Bytes, T);
type Dirty<T> = (Place<T>, Option<Vec<u8>>, RecordContext);

struct Entry<T> {
    place: Place<T>,
    value: Option<Vec<u8>>,
    /// What wrote it, until it is flushed.
    dirty: Option<RecordContext>,
    bytes: usize,
    links: [Link; 2],
}

impl<T> Entry<T> {
    fn value(&self) -> Option<Bytes> {
        self.value.as_deref().map(Bytes::copy_from_slice)
    }
}

#[derive(Clone, Copy)]
struct Link {
    before: usize,
    after: usize,
}

const NONE: usize = usize::MAX;
const UNLINKED: Link = Link { before: NONE, after: NONE };
/// The list of all entries, by their last use.
const USED: usize = 0;
/// The list of dirty entries, by their last write.
const WRITTEN: usize = 1;

struct Entries<T> {
    places: HashMap<Bytes, Sorted<T, usize>>,
    slots: Vec<Entry<T>>,
    free: Vec<usize>,
    /// The first and last of each list.
    ends: [Link; 2],
    bytes: usize,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { places: HashMap::new(), slots: vec![], free: vec![], ends: [UNLINKED; 2], bytes: 0 }
    }
}

impl<T: Ord + Copy> Entries<T> {
    fn slot(&self, key: &[u8], window: T) -> Option<usize> {
        self.places.get(key)?.get(&window).copied()
    }

    fn get(&mut self, key: &[u8], window: T) -> Option<Option<&[u8]>> {
        let slot = self.slot(key, window)?;
        self.unlink(USED, slot);
        self.append(USED, slot);
        Some(self.slots[slot].value.as_deref())
    }

    fn put(&mut self, key: &[u8], window: T, value: Option<&[u8]>, context: &RecordContext) {
        /// About what Kafka Streams counts beside the bytes of key and value: the window, and its own bookkeeping.
        const OVERHEAD: usize = 100;
        let bytes = key.len() + value.map_or(0, <[u8]>::len) + OVERHEAD;
        self.bytes += bytes;
        let slot = match self.slot(key, window) {
            Some(slot) => {
                self.unlink(USED, slot);
                if self.slots[slot].dirty.is_some() {
                    self.unlink(WRITTEN, slot);
                }
                let entry = &mut self.slots[slot];
                self.bytes -= entry.bytes;
                overwrite(&mut entry.value, value);
                (entry.dirty, entry.bytes) = (Some(context.clone()), bytes);
                slot
            }
            None => {
                let (place, value, dirty) = ((self.key(key), window), value.map(<[u8]>::to_vec), Some(context.clone()));
                self.insert(Entry { place, value, dirty, bytes, links: [UNLINKED; 2] })
            }
        };
        self.append(USED, slot);
        self.append(WRITTEN, slot);
    }

    /// The key as its other entries have it.
    fn key(&self, key: &[u8]) -> Bytes {
        self.places.get_key_value(key).map_or_else(|| Bytes::copy_from_slice(key), |(key, _)| key.clone())
    }

    fn insert(&mut self, entry: Entry<T>) -> usize {
        let (key, window) = entry.place.clone();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = entry;
                slot
            }
            None => {
                self.slots.push(entry);
                self.slots.len() - 1
            }
        };
        self.places.entry(key).or_default().insert(window, slot);
        slot
    }

    /// Makes room: removes what was used longest ago, and hands it out if it is dirty. `None`: there is nothing.
    fn evict(&mut self) -> Option<Option<Dirty<T>>> {
        let slot = self.ends[USED].before;
        if slot == NONE { None } else { Some(self.remove(slot)) }
    }

    fn remove(&mut self, slot: usize) -> Option<Dirty<T>> {
        self.unlink(USED, slot);
        if self.slots[slot].dirty.is_some() {
            self.unlink(WRITTEN, slot);
        }
        let entry = &mut self.slots[slot];
        self.bytes -= entry.bytes;
        let (value, dirty) = (entry.value.take(), entry.dirty.take());
        let (key, window) = &entry.place;
        if let Some(of_key) = self.places.get_mut(key) {
            of_key.remove(window);
            if of_key.is_empty() {
                self.places.remove(key);
            }
        }
        self.free.push(slot);
        dirty.map(|context| (self.slots[slot].place.clone(), value, context))
    }

    fn forget(&mut self, key: &[u8], window: T) {
        if let Some(slot) = self.slot(key, window) {
            self.remove(slot);
        }
    }

    fn take_dirty(&mut self, into: &mut Vec<Dirty<T>>) {
        while self.ends[WRITTEN].before != NONE {
            let slot = self.ends[WRITTEN].before;
            self.unlink(WRITTEN, slot);
            let entry = &mut self.slots[slot];
            into.extend(entry.dirty.take().map(|context| (entry.place.clone(), entry.value.clone(), context)));
        }
    }

    fn remove_clean(&mut self, (key, window): &Place<T>) {
        if let Some(slot) = self.slot(key, *window)
            && self.slots[slot].dirty.is_none()
        {
            self.remove(slot);
        }
    }

    /// The two ends of a list are its `before` (first) and `after` (last).
    fn append(&mut self, list: usize, slot: usize) {
        let last = std::mem::replace(&mut self.ends[list].after, slot);
        self.slots[slot].links[list] = Link { before: last, after: NONE };
        match last {
            NONE => self.ends[list].before = slot,
            last => self.slots[last].links[list].after = slot,
        }
    }

    fn unlink(&mut self, list: usize, slot: usize) {
        let Link { before, after } = std::mem::replace(&mut self.slots[slot].links[list], UNLINKED);
        match before {
            NONE => self.ends[list].before = after,
            before => self.slots[before].links[list].after = after,
        }
        match after {
            NONE => self.ends[list].after = before,
            after => self.slots[after].links[list].before = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has this entry, and nothing else.
    struct Flushed(&'static [u8], i64);

    impl Below<i64> for Flushed {
        fn fetch(&self, key: &[u8], window: i64) -> Result<Option<Bytes>, Error> {
            Ok((key == self.0 && window == self.1).then(|| Bytes::from_static(b"v")))
        }
        fn write(&self, _: &mut TaskContext, _: &Bytes, _: i64, _: Option<&[u8]>) -> Result<(), Error> {
            Ok(())
        }
    }

    #[test]
    fn what_came_and_went_between_two_flushes_leaves_nothing_and_what_was_flushed_is_known_to_be_deleted() {
        let (cache, below, context) = (WindowedCache::new(usize::MAX), Flushed(b"k", 0), RecordContext::none(0));
        cache.set_listener(Rc::new(|_, _, _, _, _| Ok(())), false);
        for window in 0..100 {
            cache.put(b"k", window, Some(b"v"), &context);
            cache.delete(b"k", window, &below, &context).unwrap();
        }
        assert_eq!(cache.of_key(b"k", 0..=i64::MAX), [(0, None)]);
        assert_eq!(cache.get(b"k", 0, |value| value.is_none()), Some(true));
    }
}
