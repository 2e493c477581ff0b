//! Keys in windows, and their bytes.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Data, DefaultSerde, Serde, SerdeError, SerdeRef, error::Error};

/// A span of event time, in milliseconds.
///
/// **Law.** Whether the end belongs to it is the window definition's to say: not in a tumbling, hopping or unlimited window, but in a
/// sliding window and in a session.
///
/// ```
/// # use millstream_topology::*;
/// let window = Window { start: 0, end: 60_000 };
/// assert!(window < Window { start: 60_000, end: 120_000 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// Where it starts.
    pub start: i64,
    /// Where it ends.
    pub end: i64,
}

/// A key in a window.
///
/// ```
/// use millstream_topology::Windowed;
/// assert_eq!(Windowed::new("a", 0, 10).to_string(), "[a@0/10]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Windowed<K> {
    /// The key without its window.
    pub key: K,
    /// The window.
    pub window: Window,
}

impl<K> Windowed<K> {
    /// A key in the window from `start` to `end`.
    pub fn new(key: K, start: i64, end: i64) -> Self {
        Self { key, window: Window { start, end } }
    }
}

impl<K: std::fmt::Display> std::fmt::Display for Windowed<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}@{}/{}]", self.key, self.window.start, self.window.end)
    }
}

crate::data!(impl[K: Data<Present = K>] Windowed<K>);

/// A time window's key: the key, and the window's start in 8 bytes. Reading needs the window's size, which is not written.
///
/// ```
/// # use millstream_topology::*;
/// let serde = TimeWindowedSerde::new(String::default_serde(), 10);
/// let bytes = serde.serialize(&Windowed::new("a".to_string(), 0, 10))?;
/// assert_eq!(bytes.as_ref(), b"a\0\0\0\0\0\0\0\0");
/// # Ok::<(), SerdeError>(())
/// ```
pub struct TimeWindowedSerde<K> {
    inner: SerdeRef<K>,
    size_ms: i64,
}

impl<K> TimeWindowedSerde<K> {
    /// For windows of that size in milliseconds; of a sliding window the time difference.
    pub fn new(inner: SerdeRef<K>, size_ms: i64) -> Self {
        Self { inner, size_ms }
    }
}

impl<K> Serde<Windowed<K>> for TimeWindowedSerde<K> {
    fn serialize(&self, key: &Windowed<K>) -> Result<Bytes, SerdeError> {
        Ok(with_times(&self.inner.serialize(&key.key)?, &[key.window.start]))
    }
    fn serialize_into(&self, key: &Windowed<K>, bytes: &mut Vec<u8>) -> Result<(), SerdeError> {
        self.inner.serialize_into(&key.key, bytes)?;
        bytes.put_i64(key.window.start);
        Ok(())
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<Windowed<K>, SerdeError> {
        let (key, [start]) = split_times(bytes)?;
        Ok(Windowed { key: self.inner.deserialize(&bytes.slice_ref(key))?, window: window_of_size(start, self.size_ms) })
    }
    fn partition_key(&self, key: &Windowed<K>) -> Result<Option<Bytes>, SerdeError> {
        self.inner.serialize(&key.key).map(Some)
    }
}

/// A session's key: the key, the session's end and its start in 8 bytes each.
///
/// ```
/// # use millstream_topology::*;
/// let serde = SessionWindowedSerde::new(String::default_serde());
/// let session = Windowed::new("a".to_string(), 3, 7);
/// assert_eq!(serde.deserialize(&serde.serialize(&session)?)?, session);
/// # Ok::<(), SerdeError>(())
/// ```
pub struct SessionWindowedSerde<K> {
    inner: SerdeRef<K>,
}

impl<K> SessionWindowedSerde<K> {
    /// For sessions of such keys.
    pub fn new(inner: SerdeRef<K>) -> Self {
        Self { inner }
    }
}

impl<K> Serde<Windowed<K>> for SessionWindowedSerde<K> {
    fn serialize(&self, key: &Windowed<K>) -> Result<Bytes, SerdeError> {
        Ok(with_times(&self.inner.serialize(&key.key)?, &[key.window.end, key.window.start]))
    }
    fn serialize_into(&self, key: &Windowed<K>, bytes: &mut Vec<u8>) -> Result<(), SerdeError> {
        self.inner.serialize_into(&key.key, bytes)?;
        bytes.put_i64(key.window.end);
        bytes.put_i64(key.window.start);
        Ok(())
    }
    fn deserialize(&self, bytes: &Bytes) -> Result<Windowed<K>, SerdeError> {
        let (key, [end, start]) = split_times(bytes)?;
        Ok(Windowed::new(self.inner.deserialize(&bytes.slice_ref(key))?, start, end))
    }
    fn partition_key(&self, key: &Windowed<K>) -> Result<Option<Bytes>, SerdeError> {
        self.inner.serialize(&key.key).map(Some)
    }
}

/// Time windows whose size is not known: what is read ends at the end of time. Name the serde to read sizes, or sessions; what comes out of
/// a windowed table carries the right one.
impl<K: DefaultSerde + Data<Present = K>> DefaultSerde for Windowed<K> {
    fn default_serde() -> SerdeRef<Self> {
        Arc::new(TimeWindowedSerde::new(K::default_serde(), i64::MAX))
    }
}

/// The window of that size; one that would end after the end of time ends there.
pub(crate) fn window_of_size(start: i64, size_ms: i64) -> Window {
    Window { start, end: start.saturating_add(size_ms) }
}

fn with_times(key: &[u8], times: &[i64]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(key.len() + 8 * times.len());
    bytes.put_slice(key);
    times.iter().for_each(|time| bytes.put_i64(*time));
    bytes.freeze()
}

fn split_times<const N: usize>(bytes: &[u8]) -> Result<(&[u8], [i64; N]), SerdeError> {
    let at =
        bytes.len().checked_sub(8 * N).ok_or_else(|| SerdeError(format!("{} bytes are too few for a key in a window", bytes.len())))?;
    let (mut times, mut rest) = ([0; N], &bytes[at..]);
    for time in &mut times {
        if let Some((first, more)) = rest.split_first_chunk() {
            (*time, rest) = (i64::from_be_bytes(*first), more);
        }
    }
    Ok((&bytes[..at], times))
}

impl Window {
    /// A time window; its end comes after its start, and neither is negative.
    pub fn time(start: i64, end: i64) -> Result<Self, Error> {
        match start >= 0 && end > start {
            true => Ok(Self { start, end }),
            false => {
                let text =
                    format!("a window from {start} to {end} ms: it starts at 0 or later and ends after its start, give it another size");
                Err(Error::new(crate::ErrorKind::IllegalArgument, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windowed_keys_have_kafkas_bytes_and_are_partitioned_by_the_key_alone() {
        let key = Windowed::new("k".to_string(), 1, 6);
        let time = TimeWindowedSerde::new(String::default_serde(), 5);
        let bytes = time.serialize(&key).unwrap();
        assert_eq!(bytes.as_ref(), b"k\0\0\0\0\0\0\0\x01");
        assert_eq!(time.deserialize(&bytes).unwrap(), key);
        assert_eq!(time.partition_key(&key).unwrap().unwrap().as_ref(), b"k");
        let session = SessionWindowedSerde::new(String::default_serde());
        let bytes = session.serialize(&key).unwrap();
        assert_eq!(bytes.as_ref(), b"k\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x01");
        assert_eq!(session.deserialize(&bytes).unwrap(), key);
        assert!(session.deserialize(&Bytes::from_static(b"short")).is_err());
    }
}
