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

    /// The same with a key.
    pub fn with_key<K, R>(&self, serde: &dyn Serde<K>, key: &K, then: impl FnOnce(&[u8]) -> Result<R, Error>) -> Result<R, Error> {
        self.with(|bytes| Ok(serde.serialize_into(key, bytes)?), then)
    }
}
