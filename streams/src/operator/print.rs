//! **Law.** Every record becomes one line, written at once; none passes on.

use std::{io::Write, sync::Arc};

use millstream_topology::{Data, Error, ErrorKind, Node, Record, TaskContext};
use parking_lot::Mutex;

/// What all tasks print to; `None` is standard output, which captures what tests print.
pub(crate) type Printer = Option<Mutex<Box<dyn Write + Send>>>;

pub(crate) struct Print<K, V> {
    pub to: Arc<Printer>,
    pub label: Arc<str>,
    pub mapper: Arc<dyn Fn(&K, &V) -> String + Send + Sync>,
}

impl<K: Data, V: Data> Node<K, V> for Print<K, V> {
    fn process(&mut self, _: &mut TaskContext, record: Record<K, V>) -> Result<(), Error> {
        let line = format!("[{}]: {}", self.label, (self.mapper)(&record.key, &record.value));
        let Some(writer) = &*self.to else {
            println!("{line}");
            return Ok(());
        };
        let mut writer = writer.lock();
        writer
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| writer.flush())
            .map_err(|error| Error::new(ErrorKind::Streams, format!("a record cannot be printed: {error}: make room, or print elsewhere")))
    }
}
