//! Sources: from bytes to typed records, one queue per topic-partition of a task.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use crate::{
    Data, Serde, SerdeRef,
    context::{RecordContext, RecordMetadata, TaskContext},
    error::{Error, ErrorKind},
    handler::decide,
    node::{Children, SourceMaker},
    record::{RawRecord, Record},
};

/// Where a record's event time comes from.
///
/// ```
/// use millstream_topology::{Error, Record, TimestampExtractor};
///
/// /// The time is in the value.
/// struct Own;
/// impl TimestampExtractor<String, i64> for Own {
///     fn extract(&self, record: &Record<String, i64>, _partition_time: i64) -> Result<i64, Error> {
///         Ok(record.value)
///     }
/// }
/// ```
pub trait TimestampExtractor<K, V>: Send + Sync {
    /// The timestamp; a negative one drops the record. `partition_time` is the highest so far in the partition, −1 at first.
    fn extract(&self, record: &Record<K, V>, partition_time: i64) -> Result<i64, Error>;
}

/// What an extractor does about a record whose own timestamp is negative.
///
/// ```
/// use millstream_topology::{InvalidTimestamp, Record, TimestampExtractor};
///
/// let record = Record::new((), (), -1);
/// assert!(InvalidTimestamp::Fail.extract(&record, 5).is_err());
/// assert_eq!(InvalidTimestamp::PartitionTime.extract(&record, 5).ok(), Some(5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvalidTimestamp {
    /// The task fails (`FailOnInvalidTimestamp`).
    #[default]
    Fail,
    /// The record is dropped and counted (`LogAndSkipOnInvalidTimestamp`).
    Skip,
    /// It gets the partition's time (`UsePartitionTimeOnInvalidTimestamp`).
    PartitionTime,
}

impl<K, V> TimestampExtractor<K, V> for InvalidTimestamp {
    fn extract(&self, record: &Record<K, V>, partition_time: i64) -> Result<i64, Error> {
        match self {
            _ if record.timestamp >= 0 => Ok(record.timestamp),
            Self::Fail => {
                let text = format!("record has timestamp {}: choose another timestamp extractor if that is to be", record.timestamp);
                Err(Error::new(ErrorKind::Streams, text))
            }
            Self::Skip => Ok(record.timestamp),
            Self::PartitionTime if partition_time < 0 => {
                Err(Error::new(ErrorKind::Streams, "record has no timestamp and its partition no time yet".to_string()))
            }
            Self::PartitionTime => Ok(partition_time),
        }
    }
}

/// What a source needs to read its topics.
///
/// ```
/// use millstream_topology::{DefaultSerde, InvalidTimestamp, OffsetReset, SourceDef, Topology};
///
/// let extractor = std::sync::Arc::new(InvalidTimestamp::Fail);
/// let source = SourceDef::<String, i64> { key: String::default_serde(), value: i64::default_serde(), extractor };
/// let mut topology = Topology::new();
/// topology.add_source("source", &["orders".into()], Some(OffsetReset::Earliest), source.into_maker())?;
/// # Ok::<(), millstream_topology::Error>(())
/// ```
pub struct SourceDef<K: Data, V: Data> {
    /// Reads keys.
    pub key: SerdeRef<K::Present>,
    /// Reads values.
    pub value: SerdeRef<V::Present>,
    /// Gives records their event time.
    pub extractor: Arc<dyn TimestampExtractor<K, V>>,
}

impl<K: Data, V: Data> SourceDef<K, V> {
    /// What makes the source's queues for a task.
    pub fn into_maker(self) -> SourceMaker {
        let source = Arc::new(self);
        Arc::new(move |assembly| {
            let (children, source, name) = (assembly.children::<K, V>()?, source.clone(), assembly.name().clone());
            Ok(Box::new(move |topic| {
                let (children, source, name) = (children.clone(), source.clone(), name.clone());
                Box::new(Queue { topic, name, source, children, waiting: VecDeque::new(), head: None, partition_time: -1 })
            }))
        })
    }
}

/// The records of one topic-partition that wait for their turn.
pub trait SourceQueue {
    /// The topic.
    fn topic(&self) -> &Arc<str>;
    /// Appends a record.
    fn push(&mut self, offset: i64, record: RawRecord);
    /// How many wait.
    fn len(&self) -> usize;
    /// Whether none waits.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The timestamp of the first record, which is read now if it has not been; records that cannot be read are handled here.
    fn head_timestamp(&mut self, context: &mut TaskContext) -> Result<Option<i64>, Error>;
    /// Pushes the first record through the topology. Returns its offset.
    fn process(&mut self, context: &mut TaskContext) -> Result<Option<i64>, Error>;
    /// The highest timestamp so far; −1 before the first record.
    fn partition_time(&self) -> i64;
    /// Continues with a partition time from before a restart.
    fn set_partition_time(&mut self, time: i64);
    /// The offset of the first record that waits: what a commit says.
    fn head_offset(&self) -> Option<i64>;
}

struct Queue<K: Data, V: Data> {
    topic: Arc<str>,
    name: Arc<str>,
    source: Arc<SourceDef<K, V>>,
    children: Children<K, V>,
    waiting: VecDeque<(i64, RawRecord)>,
    head: Option<Head<K, V>>,
    partition_time: i64,
}

struct Head<K, V> {
    offset: i64,
    record: Record<K, V>,
    raw: Option<Rc<(Option<bytes::Bytes>, Option<bytes::Bytes>)>>,
}

fn read<T: Data>(serde: &dyn Serde<T::Present>, bytes: Option<&bytes::Bytes>, what: &str) -> Result<T, Error> {
    let present = bytes.map(|bytes| serde.deserialize(bytes)).transpose()?;
    T::from_present(present).ok_or_else(|| {
        let text = format!("{what} is null, but its type {} has no null: read it as Option", std::any::type_name::<T>());
        Error::new(ErrorKind::Serialization, text)
    })
}

impl<K: Data, V: Data> Queue<K, V> {
    fn read(&self, raw: &RawRecord) -> Result<Record<K, V>, Error> {
        let read_all = || {
            let key = read::<K>(&*self.source.key, raw.key.as_ref(), "key")?;
            let value = read::<V>(&*self.source.value, raw.value.as_ref(), "value")?;
            Ok(Record { key, value, timestamp: raw.timestamp, headers: raw.headers.clone() })
        };
        catch_unwind(AssertUnwindSafe(read_all))
            .unwrap_or_else(|panic| Err(Error::new(ErrorKind::Serialization, Error::from_panic(panic).to_string())))
            .map_err(|error: Error| error.at(&self.name))
    }

    /// Reads waiting records until one of them is the head.
    fn fill_head(&mut self, context: &mut TaskContext) -> Result<(), Error> {
        while self.head.is_none() {
            let Some((offset, raw)) = self.waiting.pop_front() else { return Ok(()) };
            let mut record = match self.read(&raw) {
                Ok(record) => record,
                Err(error) => {
                    self.unreadable(context, offset, raw, error)?;
                    continue;
                }
            };
            let extract = || self.source.extractor.extract(&record, self.partition_time);
            let timestamp = catch_unwind(AssertUnwindSafe(extract))
                .unwrap_or_else(|panic| Err(Error::new(ErrorKind::Streams, Error::from_panic(panic).to_string())))
                .map_err(|error| error.at(&self.name).handled())?;
            if timestamp < 0 {
                tracing::warn!(topic = &*self.topic, offset, timestamp, "record with a negative timestamp dropped");
                context.drop_record();
                continue;
            }
            record.timestamp = timestamp;
            let raw = context.config.keeps_raw().then(|| Rc::new((raw.key, raw.value)));
            self.head = Some(Head { offset, record, raw });
        }
        Ok(())
    }

    #[cold]
    fn unreadable(&self, context: &mut TaskContext, offset: i64, raw: RawRecord, error: Error) -> Result<(), Error> {
        let metadata = self.metadata(context, offset);
        let record = RecordContext { metadata, timestamp: raw.timestamp, headers: raw.headers, raw: Some(Rc::new((raw.key, raw.value))) };
        let previous = std::mem::replace(&mut context.record, record);
        let outcome = decide(&context.config.on_deserialization_error.clone(), context, &self.name, error);
        context.record = previous;
        outcome
    }

    fn metadata(&self, context: &TaskContext, offset: i64) -> RecordMetadata {
        RecordMetadata { topic: Some(self.topic.clone()), partition: context.task.partition, offset }
    }
}

impl<K: Data, V: Data> SourceQueue for Queue<K, V> {
    fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    fn push(&mut self, offset: i64, record: RawRecord) {
        self.waiting.push_back((offset, record));
    }

    fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.head.is_some())
    }

    fn head_timestamp(&mut self, context: &mut TaskContext) -> Result<Option<i64>, Error> {
        self.fill_head(context)?;
        Ok(self.head.as_ref().map(|head| head.record.timestamp))
    }

    fn process(&mut self, context: &mut TaskContext) -> Result<Option<i64>, Error> {
        self.fill_head(context)?;
        let Some(Head { offset, record, raw }) = self.head.take() else { return Ok(None) };
        let metadata = self.metadata(context, offset);
        self.partition_time = self.partition_time.max(record.timestamp);
        context.stream_time = context.stream_time.max(record.timestamp);
        context.record = RecordContext { metadata, timestamp: record.timestamp, headers: record.headers.clone(), raw };
        self.children.forward(context, record)?;
        Ok(Some(offset))
    }

    fn partition_time(&self) -> i64 {
        self.partition_time
    }

    fn set_partition_time(&mut self, time: i64) {
        self.partition_time = time;
    }

    fn head_offset(&self) -> Option<i64> {
        self.head.as_ref().map(|head| head.offset).or_else(|| self.waiting.front().map(|(offset, _)| *offset))
    }
}
