//! The versions of a key that were replaced in the time of one segment.

use bytes::{Buf, BufMut, Bytes};

use super::super::StoreError;

/// A value, or that there was none, from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub from: i64,
    pub value: Option<Bytes>,
}

/// Versions, the latest first, each valid until the one before it begins, and the first until `next`.
///
/// **Law.** There is at least one version. If it begins where it ends, it only remembers the time of a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub next: i64,
    pub versions: Vec<Version>,
}

impl History {
    pub fn of(value: Option<Bytes>, from: i64, to: i64) -> Self {
        Self { next: to, versions: vec![Version { from, value }] }
    }

    /// When the oldest version begins.
    pub fn first(&self) -> i64 {
        self.versions.last().map_or(self.next, |version| version.from)
    }

    fn is_deletion(&self) -> bool {
        self.next == self.first()
    }

    /// The version that was valid then, its index and its end; not before the first version.
    pub fn at(&self, time: i64) -> (usize, &Version, i64) {
        let index = self.versions.iter().position(|version| version.from <= time).unwrap_or(self.versions.len() - 1);
        (index, &self.versions[index], if index == 0 { self.next } else { self.versions[index - 1].from })
    }

    /// All versions with their ends, the latest first.
    pub fn versions(&self) -> impl Iterator<Item = (&Version, i64)> {
        let ends = std::iter::once(self.next).chain(self.versions.iter().map(|version| version.from));
        self.versions.iter().zip(ends)
    }

    /// Adds a version at the end; a gap is a time without value.
    pub fn append(&mut self, value: Option<Bytes>, from: i64, to: i64) {
        if self.is_deletion() {
            self.versions.clear();
        }
        if self.next != from {
            self.versions.insert(0, Version { from: self.next, value: None });
        }
        self.versions.insert(0, Version { from, value });
        self.next = to;
    }

    /// Adds a version before all others.
    pub fn prepend(&mut self, value: Option<Bytes>, from: i64) {
        if self.is_deletion() {
            self.versions.clear();
        }
        self.versions.push(Version { from, value });
    }

    pub fn to_bytes(&self) -> Bytes {
        let values = self.versions.iter().map(|version| version.value.as_ref().map_or(0, Bytes::len));
        let mut bytes = Vec::with_capacity(8 + self.versions.len() * 12 + values.sum::<usize>());
        bytes.put_i64(self.next);
        for Version { from, value } in &self.versions {
            bytes.put_i64(*from);
            bytes.put_i32(value.as_ref().map_or(-1, |value| value.len() as i32));
            bytes.put_slice(value.as_deref().unwrap_or_default());
        }
        bytes.into()
    }

    pub fn from_bytes(bytes: &Bytes) -> Result<Self, StoreError> {
        let corrupt = |_| StoreError::Corrupt(bytes.len(), "a history of versions");
        let mut rest = bytes.clone();
        let next = rest.try_get_i64().map_err(corrupt)?;
        let mut versions = Vec::new();
        while rest.has_remaining() || versions.is_empty() {
            let from = rest.try_get_i64().map_err(corrupt)?;
            let length = rest.try_get_i32().map_err(corrupt)?;
            let value = match usize::try_from(length) {
                Ok(length) if length > rest.len() => return Err(StoreError::Corrupt(bytes.len(), "a history of versions")),
                Ok(length) => Some(rest.split_to(length)),
                Err(_) => None,
            };
            versions.push(Version { from, value });
        }
        Ok(Self { next, versions })
    }
}
