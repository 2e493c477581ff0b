//! Keys on their way into a store.

use std::cell::RefCell;

use crate::{Serde, error::Error};

/// Where the bytes of a key are that is looked up: one place for all of a store's, so that a look-up allocates nothing.
#[derive(Default)]
pub(super) struct KeyBuffer(RefCell<Vec<u8>>);

impl KeyBuffer {
    pub fn with<K, R>(&self, serde: &dyn Serde<K>, key: &K, look_up: impl FnOnce(&[u8]) -> Result<R, Error>) -> Result<R, Error> {
        let mut bytes = self.0.borrow_mut();
        bytes.clear();
        serde.serialize_into(key, &mut bytes)?;
        look_up(&bytes)
    }
}
