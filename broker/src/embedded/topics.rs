//! Topics, and the administrator.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};

use super::{
    core::{Core, Running},
    keys,
    log::Log,
    storage::Storage,
};
use crate::{Admin, Error, NewTopic, TopicDescription, TopicPartition};

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub name: Arc<str>,
    pub compact: bool,
    pub retention_ms: Option<i64>,
    pub logs: Vec<Arc<Log>>,
}

/// How a topic is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    partitions: i32,
    retention_ms: Option<i64>,
    compact: bool,
    /// Its partitions' logs have this number and the following ones.
    first_log: u32,
}

impl Topic {
    /// A partition's log.
    pub fn log(&self, partition: &TopicPartition) -> Result<&Arc<Log>, Error> {
        let unknown = || Error::UnknownPartition { topic: self.name.to_string(), partition: partition.partition };
        usize::try_from(partition.partition).ok().and_then(|number| self.logs.get(number)).ok_or_else(unknown)
    }
}

/// All topics.
#[derive(Debug)]
pub(crate) struct Topics {
    by_name: RwLock<HashMap<Arc<str>, Arc<Topic>>>,
    /// Held while topics come or go; the number of the next log.
    next_log: Mutex<u32>,
    /// How many bytes of newest batches all logs may keep in memory, and each of them.
    tail_bytes: usize,
    tail_limit: Arc<AtomicUsize>,
}

impl Topics {
    /// The topics that are stored.
    pub fn load(storage: &Arc<Storage>, tail_bytes: usize) -> Result<Self, Error> {
        let damaged = |what: &str| storage.error(format!("holds a damaged {what}: restore it from a copy"));
        let mut starts = HashMap::new();
        for (log, start) in storage.rows(keys::START)? {
            starts.insert(log, i64::from_be_bytes(start.try_into().map_err(|_| damaged("start offset"))?));
        }
        let next_log = match storage.rows(keys::NEXT_LOG)?.pop() {
            Some((_, next)) => u32::from_be_bytes(next.try_into().map_err(|_| damaged("log number"))?),
            None => 0,
        };
        let tail_limit = Arc::default();
        let mut by_name = HashMap::new();
        for (name, row) in storage.rows(keys::TOPIC)? {
            let name = String::from_utf8(name).map_err(|_| damaged("topic"))?;
            let row = serde_json::from_slice(&row).map_err(|_| damaged("topic"))?;
            let topic = open_topic(&name, &row, storage, &tail_limit, |log| starts.get(&log.to_be_bytes()[..]).copied().unwrap_or(0))?;
            by_name.insert(topic.name.clone(), Arc::new(topic));
        }
        let topics = Self { by_name: RwLock::new(by_name), next_log: Mutex::new(next_log), tail_bytes, tail_limit };
        topics.share_memory();
        Ok(topics)
    }

    /// A topic, or [`Error::UnknownTopic`].
    pub fn get(&self, name: &str) -> Result<Arc<Topic>, Error> {
        self.by_name.read().get(name).cloned().ok_or_else(|| Error::UnknownTopic(name.to_owned()))
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.by_name.read().values().cloned().collect()
    }

    fn share_memory(&self) {
        let logs = self.by_name.read().values().map(|topic| topic.logs.len()).sum::<usize>().max(1);
        self.tail_limit.store((self.tail_bytes / logs).clamp(16 << 10, 4 << 20), Ordering::Relaxed);
    }
}

fn open_topic(
    name: &str,
    row: &Row,
    storage: &Arc<Storage>,
    tail_limit: &Arc<AtomicUsize>,
    start: impl Fn(u32) -> i64,
) -> Result<Topic, Error> {
    let name: Arc<str> = name.into();
    let open = |partition: i32| {
        let id = row.first_log + partition as u32;
        Log::open(id, TopicPartition::new(name.clone(), partition), storage.clone(), tail_limit.clone(), start(id)).map(Arc::new)
    };
    let logs = (0..row.partitions).map(open).collect::<Result<_, _>>()?;
    Ok(Topic { compact: row.compact, retention_ms: row.retention_ms, logs, name })
}

/// The embedded broker's administrator.
pub(crate) struct EmbeddedAdmin(pub Arc<Running>);

impl EmbeddedAdmin {
    fn create(&self, new: &NewTopic) -> Result<(), Error> {
        let NewTopic { name, partitions, retention_ms, compact } = new;
        let Core { topics, storage, groups, .. } = &**self.0;
        check_name(name)?;
        if *partitions < 1 {
            return Err(Error::Other(format!("topic {name} cannot have {partitions} partitions: ask for at least 1")));
        }
        let mut next_log = topics.next_log.lock();
        if let Ok(there) = topics.get(name) {
            let there = there.logs.len() as i32;
            let other = || Error::TopicExists { topic: name.clone(), partitions: there };
            return if there == *partitions { Ok(()) } else { Err(other()) };
        }
        let row = Row { partitions: *partitions, retention_ms: *retention_ms, compact: *compact, first_log: *next_log };
        let after = *next_log + *partitions as u32;
        let mut write = WriteBatch::new();
        write.put_cf(storage.meta(), keys::meta(keys::NEXT_LOG, &[]), after.to_be_bytes());
        let json = serde_json::to_vec(&row).map_err(|e| Error::Other(e.to_string()))?;
        write.put_cf(storage.meta(), keys::meta(keys::TOPIC, &[name.as_bytes()]), json);
        storage.write(write)?;
        *next_log = after;
        let topic = open_topic(name, &row, storage, &topics.tail_limit, |_| 0)?;
        topics.by_name.write().insert(topic.name.clone(), Arc::new(topic));
        topics.share_memory();
        groups.topic_changed(name, None);
        Ok(())
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        let Core { topics, storage, groups, .. } = &**self.0;
        let _changing = topics.next_log.lock();
        let Ok(topic) = topics.get(name) else { return Ok(()) };
        topics.by_name.write().remove(name);
        let mut write = WriteBatch::new();
        write.delete_cf(storage.meta(), keys::meta(keys::TOPIC, &[name.as_bytes()]));
        for log in &topic.logs {
            log.delete();
            let id = log.id.to_be_bytes();
            write.delete_range_cf(storage.log(), keys::batch(log.id, 0), keys::batch(log.id, i64::MAX));
            write.delete_cf(storage.meta(), keys::meta(keys::START, &[&id]));
            write.delete_range_cf(storage.meta(), keys::aborted(log.id, 0, 0), keys::aborted(log.id, u64::MAX, i64::MAX));
        }
        groups.topic_changed(name, Some((storage, &mut write)));
        topics.share_memory();
        storage.write(write)
    }
}

impl Admin for EmbeddedAdmin {
    fn create_topics(&self, topics: &[NewTopic], _deadline: Duration) -> Result<(), Error> {
        topics.iter().try_for_each(|topic| self.create(topic))
    }

    fn delete_topics(&self, topics: &[&str], _deadline: Duration) -> Result<(), Error> {
        topics.iter().try_for_each(|name| self.delete(name))
    }

    fn describe_topic(&self, topic: &str, _deadline: Duration) -> Result<TopicDescription, Error> {
        let topic = self.0.topics.get(topic)?;
        Ok(TopicDescription { partitions: topic.logs.len() as i32, retention_ms: topic.retention_ms, compact: topic.compact })
    }

    fn list_topics(&self, _deadline: Duration) -> Result<Vec<String>, Error> {
        let mut names: Vec<_> = self.0.topics.all().iter().map(|topic| topic.name.to_string()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn delete_records(&self, before: &[(TopicPartition, i64)], _deadline: Duration) -> Result<(), Error> {
        before.iter().try_for_each(|(partition, offset)| self.0.topics.get(&partition.topic)?.log(partition)?.advance_start(*offset))
    }
}

/// Kafka's rule for names.
fn check_name(name: &str) -> Result<(), Error> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(fine) {
        return Err(Error::Other(format!("{name:?} is no topic name: use 1 to 249 letters, digits, '.', '_' and '-'")));
    }
    Ok(())
}
