//! Header names repeat from record to record.

use std::sync::Arc;

/// Header names that were seen lately: they repeat from record to record, so they are shared and not allocated each time.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<Arc<str>>);

impl Names {
    const MOST: usize = 32;

    /// The shared form of a name.
    pub fn intern(&mut self, name: &[u8]) -> Option<Arc<str>> {
        if let Some(known) = self.0.iter().find(|known| known.as_bytes() == name) {
            return Some(known.clone());
        }
        let name: Arc<str> = std::str::from_utf8(name).ok()?.into();
        if self.0.len() == Self::MOST {
            self.0.clear();
        }
        self.0.push(name.clone());
        Some(name)
    }
}
