//! Keys and rows on their way into a store.

use std::cell::RefCell;

use crate::{Serde, error::Error};

/// Where the bytes are of what is looked up or written: one place for all of a store's, so that neither allocates.
#[derive(Default)]
pub(super) struct Buffer(RefCell<Vec<u8>>);

impl Buffer {
    /// Has `write` write, and hands what it wrote to `then`.
    pub fn with<R>(
        &self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
        then: impl FnOnce(&[u8]) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut bytes = self.0.take();
        bytes.clear();
        let outcome = write(&mut bytes).and_then(|()| then(&bytes));
        self.0.replace(bytes);
        outcome
    }

    /// The same with a row, or none.
    pub fn with_row<R>(
        &self,
        row: Option<impl FnOnce(&mut Vec<u8>) -> Result<(), Error>>,
        then: impl FnOnce(Option<&[u8]>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        match row {
            Some(row) => self.with(row, |row| then(Some(row))),
            None => then(None),
        }
    }

    /// The same with a key.
    pub fn with_key<K, R>(&self, serde: &dyn Serde<K>, key: &K, then: impl FnOnce(&[u8]) -> Result<R, Error>) -> Result<R, Error> {
        self.with(|bytes| Ok(serde.serialize_into(key, bytes)?), then)
    }
}

/// Writes a value over another, in the same place.
pub(super) fn overwrite(old: &mut Option<Vec<u8>>, new: Option<&[u8]>) {
    match (old, new) {
        (Some(old), Some(new)) => {
            old.clear();
            old.extend_from_slice(new);
        }
        (old, new) => *old = new.map(<[u8]>::to_vec),
    }
}
