//! Retention and compaction.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    batch,
    core::Core,
    log::{Fetched, Log},
};
use crate::{Error, Isolation, StoredRecord, names::Names};

/// How many keys one pass of compaction keeps in memory.
const PASS_KEYS: usize = 1_000_000;
/// A partition is compacted when it got as many new records as it kept, and at least this many.
const WORTH_IT: u64 = 1_000;
/// How long a tombstone is kept, so that every reader has time to see it.
const TOMBSTONES: Duration = Duration::from_secs(24 * 60 * 60);
/// How much is read at a time.
const READ_BYTES: usize = 4 << 20;

/// Deletes what is too old, compacts, and gives the space back. `all` compacts also where it is not worth it yet.
pub(crate) fn clean(core: &Core, all: bool) -> Result<(), Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
    for topic in core.topics.all() {
        for log in &topic.logs {
            let cleaned = (|| {
                if let Some(retention) = topic.retention_ms {
                    expire(log, now.saturating_sub(retention))?;
                }
                if topic.compact {
                    compact(log, now - TOMBSTONES.as_millis() as i64, all)?;
                }
                log.trim()
            })();
            match cleaned {
                // It was deleted meanwhile.
                Err(Error::UnknownTopic(_)) => break,
                other => other?,
            }
        }
    }
    Ok(())
}

/// Moves the start past batches whose newest record is before `horizon`.
fn expire(log: &Log, horizon: i64) -> Result<(), Error> {
    loop {
        let (start, end) = log.range(Isolation::ReadCommitted)?;
        let Fetched::Batches(batches) = log.fetch(start, Isolation::ReadCommitted, usize::MAX, READ_BYTES)? else { return Ok(()) };
        let old = batches.iter().take_while(|(batch, _)| batch.newest < horizon && batch.last < end);
        let Some((last, _)) = old.last() else { return Ok(()) };
        log.advance_start(last.last + 1)?;
    }
}

/// Keeps the newest record of each key. The last batch stays as it is: it says where the log ends.
fn compact(log: &Log, tombstones_before: i64, all: bool) -> Result<(), Error> {
    let (start, _) = log.range(Isolation::ReadCommitted)?;
    let (from, kept) = log.compacted();
    let Some(limit) = log.compactable()?.filter(|limit| *limit > from) else { return Ok(()) };
    if !all && ((limit - from) as u64) < kept.max(WORTH_IT) {
        return Ok(());
    }
    let mut newest: HashMap<Box<[u8]>, i64> = HashMap::new();
    let mut reached = from.max(start);
    each_batch(log, reached, limit, |_, last, shown, records| {
        if newest.len() >= PASS_KEYS {
            return Ok(false);
        }
        if shown {
            newest.extend(records.iter().filter_map(|r| Some((Box::from(&**r.record.key.as_ref()?), r.offset))));
        }
        reached = last + 1;
        Ok(true)
    })?;
    let mut left = 0;
    each_batch(log, start, reached, |base, last, shown, mut records| {
        let before = records.len();
        records.retain(|StoredRecord { offset, record }| {
            let replaced = record.key.as_ref().and_then(|key| newest.get(&**key)).is_some_and(|newest| newest > offset);
            shown && !replaced && !(record.value.is_none() && record.timestamp < tombstones_before)
        });
        left += records.len() as u64;
        if records.len() < before {
            let deltas = records.iter().map(|stored| ((stored.offset - base) as u32, &stored.record));
            log.replace(base, (!records.is_empty()).then(|| batch::encode(deltas, (last - base) as u32, batch::NO_PRODUCER)))?;
        }
        Ok(true)
    })?;
    log.set_compacted(reached, left);
    Ok(())
}

/// Reads batches with bases in a range, until `with` says that it is enough: base, last offset, whether it is not aborted, records.
fn each_batch(
    log: &Log,
    mut from: i64,
    to: i64,
    mut with: impl FnMut(i64, i64, bool, Vec<StoredRecord>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut names = Names::default();
    while from < to {
        let batches = match log.fetch_stored(from, to, READ_BYTES)? {
            batches if batches.is_empty() => return Ok(()),
            batches => batches,
        };
        for (batch, shown) in batches {
            let (base, last) = (batch.base, batch.last);
            let mut cursor = batch.cursor();
            let records = std::iter::from_fn(|| cursor.next(&mut names)).collect();
            if !with(base, last, shown, records)? {
                return Ok(());
            }
            from = last + 1;
        }
    }
    Ok(())
}
