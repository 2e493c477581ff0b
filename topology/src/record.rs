//! Records inside a task.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use bytes::Bytes;

/// One header. A value may be null.
///
/// ```
/// # use millstream_topology::*;
/// let header = Header { name: "trace".into(), value: Some("7".into()) };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The header's name; names may repeat.
    pub name: Arc<str>,
    /// The header's value.
    pub value: Option<Bytes>,
}

/// The headers of a record, in order.
///
/// **Law.** As in Kafka Streams, headers travel by reference: siblings that were forwarded the same record see what one of them adds
/// in place. [`Headers::copied`] parts from the others.
///
/// ```
/// # use millstream_topology::*;
/// let mut headers = Headers::empty();
/// headers.add("trace", Some("7".into()));
/// let (mut same, copy) = (headers.clone(), headers.copied());
/// same.add("trace", None);
/// assert_eq!((headers.to_vec().len(), copy.to_vec().len()), (2, 1));
/// assert_eq!(copy.last("trace").as_deref(), Some(&b"7"[..]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Headers(Option<Rc<RefCell<Vec<Header>>>>);

impl Headers {
    /// No headers.
    #[inline]
    pub const fn empty() -> Self {
        Self(None)
    }

    /// Adds a header in place, for everybody who shares these.
    pub fn add(&mut self, name: impl Into<Arc<str>>, value: Option<Bytes>) {
        self.shared().borrow_mut().push(Header { name: name.into(), value });
    }

    /// A copy that shares nothing. Who makes a new record of one copies its headers; who passes a record on does not.
    #[inline]
    pub fn copied(&self) -> Self {
        match &self.0 {
            Some(headers) if !headers.borrow().is_empty() => Self(Some(Rc::new(RefCell::new(headers.borrow().clone())))),
            _ => Self(None),
        }
    }

    /// The headers, in order.
    pub fn to_vec(&self) -> Vec<Header> {
        self.0.as_ref().map_or_else(Vec::new, |headers| headers.borrow().clone())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|headers| headers.borrow().is_empty())
    }

    /// The value of the last header of that name; `None` also if it is null.
    pub fn last(&self, name: &str) -> Option<Bytes> {
        self.0.as_ref()?.borrow().iter().rev().find(|h| &*h.name == name)?.value.clone()
    }

    /// Makes clones of these share what is added later, also if there is nothing yet.
    #[inline]
    pub(crate) fn shared(&mut self) -> &Rc<RefCell<Vec<Header>>> {
        self.0.get_or_insert_default()
    }
}

impl From<Vec<Header>> for Headers {
    fn from(headers: Vec<Header>) -> Self {
        Self((!headers.is_empty()).then(|| Rc::new(RefCell::new(headers))))
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.to_vec() == other.to_vec()
    }
}

/// A record between two nodes.
///
/// ```
/// # use millstream_topology::*;
/// let order = Record::new("a".to_string(), 50i64, 1_000);
/// let text = order.with_value("fifty");
/// assert_eq!((text.key.as_str(), text.value, text.timestamp), ("a", "fifty", 1_000));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Record<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// Milliseconds since the epoch, not negative.
    pub timestamp: i64,
    /// The headers.
    pub headers: Headers,
}

impl<K, V> Record<K, V> {
    /// A record without headers.
    pub fn new(key: K, value: V, timestamp: i64) -> Self {
        Self { key, value, timestamp, headers: Headers::empty() }
    }

    /// A copy with another key.
    #[inline]
    pub fn with_key<L>(self, key: L) -> Record<L, V> {
        Record { key, value: self.value, timestamp: self.timestamp, headers: self.headers.copied() }
    }

    /// A copy with another value.
    #[inline]
    pub fn with_value<W>(self, value: W) -> Record<K, W> {
        Record { key: self.key, value, timestamp: self.timestamp, headers: self.headers.copied() }
    }

    /// A copy at another time.
    #[inline]
    pub fn with_timestamp(self, timestamp: i64) -> Self {
        Self { timestamp, headers: self.headers.copied(), ..self }
    }

    /// The same record with other headers.
    #[inline]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }
}

/// An update of a table's row.
///
/// ```
/// # use millstream_topology::*;
/// let moved = Change::new(Some("Bonn"), Some("Ulm"));
/// assert!(moved.is_latest);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Change<V> {
    /// The row's value from now on; `None` deletes it.
    pub new: Option<V>,
    /// The value before, if somebody downstream asked for it.
    pub old: Option<V>,
    /// Whether it is the newest version of the row; only a versioned table says no.
    pub is_latest: bool,
}

impl<V> Change<V> {
    /// An update to the newest version.
    pub fn new(new: Option<V>, old: Option<V>) -> Self {
        Self { new, old, is_latest: true }
    }
}

crate::data!(impl[V: Clone + 'static] Change<V>);

/// A row's value and when it was written.
///
/// ```
/// # use millstream_topology::*;
/// let row = ValueAndTimestamp { value: 50, timestamp: 1_000 };
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ValueAndTimestamp<V> {
    /// The value.
    pub value: V,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
}

/// A row's value, when it was written, and the headers of the record that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueTimestampHeaders<V> {
    /// The value.
    pub value: V,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The headers.
    pub headers: Headers,
}

/// A record in bytes: what comes from a topic, and what goes to one.
///
/// ```
/// # use millstream_topology::*;
/// let unreadable = RawRecord { value: Some("soon".into()), ..RawRecord::default() };
/// assert_eq!(unreadable.key, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawRecord {
    /// The key, or null.
    pub key: Option<Bytes>,
    /// The value, or null.
    pub value: Option<Bytes>,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The headers.
    pub headers: Headers,
}
