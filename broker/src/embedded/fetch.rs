//! A consumer's place in one partition.

use std::sync::Arc;

use super::{
    batch::Cursor,
    log::{Fetched, Log},
};
use crate::{Error, FetchedBatch, Isolation, StoredRecord, names::Names, signal::Reader};

/// **Law.** `position` is the offset of the next record that is given out; a batch that was begun is kept, so that nothing is read twice.
pub(crate) struct Fetch {
    pub log: Arc<Log>,
    pub position: i64,
    reader: Reader,
    begun: Option<Cursor>,
    paused: bool,
}

/// What a read gave.
pub(crate) enum Read {
    /// Records, or a moved position; and whether there may be more.
    Batch(FetchedBatch, bool),
    /// Nothing yet.
    Nothing,
    /// The position is outside the log.
    OutOfRange,
    /// The topic is gone.
    Deleted,
}

impl Fetch {
    pub fn new(log: Arc<Log>, reader: Reader, position: i64) -> Self {
        Self { log, position, reader, begun: None, paused: false }
    }

    /// Continues elsewhere.
    pub fn seek(&mut self, position: i64) {
        self.position = position;
        self.begun = None;
        self.reader.tell();
    }

    /// Stops reading, or begins again.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.reader.tell();
    }

    /// Reads what there is, within what is left of a poll's records and bytes.
    pub fn read(&mut self, isolation: Isolation, records: &mut usize, bytes: &mut usize, names: &mut Names) -> Result<Read, Error> {
        self.reader.looking();
        if self.paused {
            return Ok(Read::Nothing);
        }
        let before = self.position;
        let mut taken = Vec::new();
        let mut more = true;
        while *records > 0 && *bytes > 0 {
            if let Some(mut cursor) = self.begun.take() {
                if self.take(&mut cursor, records, &mut taken, names) {
                    self.begun = Some(cursor);
                }
                continue;
            }
            let batches = match self.log.fetch(self.position, isolation, *records, *bytes) {
                Ok(Fetched::Batches(batches)) => batches,
                // What was taken is given out first: the next read meets the same again.
                _ if !taken.is_empty() => break,
                Ok(Fetched::OutOfRange) => return Ok(Read::OutOfRange),
                Ok(Fetched::Deleted) => return Ok(Read::Deleted),
                Err(error) => return Err(error),
            };
            if batches.is_empty() {
                more = false;
                break;
            }
            taken.reserve(batches.iter().map(|(batch, _)| batch.count).sum::<usize>().min(*records));
            for (batch, shown) in batches {
                *bytes = bytes.saturating_sub(batch.data.len());
                if !shown {
                    self.position = batch.last + 1;
                    continue;
                }
                let mut cursor = batch.cursor();
                // Batches were fetched until there were enough records: only the last one can be cut.
                if self.take(&mut cursor, records, &mut taken, names) {
                    self.begun = Some(cursor);
                }
            }
        }
        if self.position == before {
            return Ok(Read::Nothing);
        }
        Ok(Read::Batch(FetchedBatch { from: self.log.name.clone(), records: taken, next_offset: self.position }, more))
    }

    /// Takes records until the batch or the number ends; whether some of the batch is left.
    fn take(&mut self, cursor: &mut Cursor, records: &mut usize, taken: &mut Vec<StoredRecord>, names: &mut Names) -> bool {
        while *records > 0 {
            let Some(record) = cursor.next(names) else {
                self.position = cursor.batch.last + 1;
                return false;
            };
            if record.offset >= self.position {
                self.position = record.offset + 1;
                *records -= 1;
                taken.push(record);
            }
        }
        // The batch's end may be behind its last record.
        if cursor.is_done() {
            self.position = cursor.batch.last + 1;
        }
        !cursor.is_done()
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.log.remove_reader(&self.reader);
    }
}
