//! The partitioned-log contract. Every method that waits takes a deadline and blocks its thread: callers that live in an async
//! runtime give each consumer a thread of its own, which is what Kafka's clients do as well.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{Error, FetchedBatch, ProduceBatch, TopicPartition, kafka::MemberHandle};

/// Where a consumer starts, or seeks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The first record that is still there.
    Beginning,
    /// After the last record.
    End,
    /// An offset.
    Offset(i64),
}

/// What a group without a committed offset starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetReset {
    /// The first record that is still there.
    #[default]
    Earliest,
    /// After the last record.
    Latest,
    /// An error: [`Error::NoOffset`].
    None,
}

/// Which records of transactions a consumer sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// All of them, at once; also those of transactions that abort later.
    ReadUncommitted,
    /// Only committed ones, and nothing behind an open transaction.
    #[default]
    ReadCommitted,
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions, at least 1.
    pub partitions: i32,
    /// How old records become, in milliseconds; `None` keeps them for ever.
    pub retention_ms: Option<i64>,
    /// Keep only the newest record of each key. With `retention_ms`: both (`compact,delete`).
    pub compact: bool,
}

impl NewTopic {
    /// A topic that keeps everything.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, retention_ms: None, compact: false }
    }

    /// Keeps only the newest record of each key.
    pub fn compacted(self) -> Self {
        Self { compact: true, ..self }
    }

    /// Deletes records older than this.
    pub fn retention_ms(self, ms: i64) -> Self {
        Self { retention_ms: Some(ms), ..self }
    }
}

/// What a topic is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// How many partitions it has.
    pub partitions: i32,
    /// As in [`NewTopic`].
    pub retention_ms: Option<i64>,
    /// As in [`NewTopic`].
    pub compact: bool,
}

/// How a producer works.
#[derive(Clone, Debug, Default)]
pub struct ProducerOptions {
    /// A transactional id makes the producer transactional: see [`Producer::init_transactions`].
    pub transactional_id: Option<String>,
    /// How long to wait for more records before a request is sent. Default: zero.
    pub linger: Duration,
    /// After how long the broker aborts a transaction whose producer has gone, on Kafka; the embedded broker has an option of its own.
    /// Default: a minute.
    pub transaction_timeout: Option<Duration>,
}

/// How a consumer works.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// The group whose offsets are committed and, with [`Consumer::subscribe`], whose members share the partitions.
    pub group_id: Option<String>,
    /// Default: read committed.
    pub isolation: Isolation,
    /// Default: earliest.
    pub offset_reset: OffsetReset,
    /// The most records that one [`Consumer::poll`] returns. Default: 1,000.
    pub max_poll_records: usize,
    /// How long the group waits for a silent member. Default: 10 s.
    pub session_timeout: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            group_id: None,
            isolation: Isolation::default(),
            offset_reset: OffsetReset::default(),
            max_poll_records: 1_000,
            session_timeout: Duration::from_secs(10),
        }
    }
}

impl ConsumerOptions {
    /// A member of a group.
    pub fn group(id: impl Into<String>) -> Self {
        Self { group_id: Some(id.into()), ..Self::default() }
    }
}

/// An offset to commit: the next one to read, and a few bytes of the application's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// The application's metadata.
    pub metadata: String,
}

/// The offsets of a commit.
pub type Offsets = HashMap<TopicPartition, CommittedOffset>;

/// Which member of which generation of a group commits: what fences a member that lost its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// The group.
    pub group_id: String,
    /// The generation that the member belongs to; −1 for a consumer that assigned its partitions itself.
    pub generation: i32,
    /// The member's id.
    pub member_id: String,
    /// How Kafka's client says the same; opaque.
    pub(crate) kafka: Option<MemberHandle>,
}

/// A broker: hands out producers, consumers and an administrator.
pub trait Broker: Send + Sync + std::fmt::Debug {
    /// The administrator.
    fn admin(&self) -> Arc<dyn Admin>;
    /// A producer.
    fn producer(&self, options: ProducerOptions) -> Result<Arc<dyn Producer>, Error>;
    /// A consumer.
    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>, Error>;
}

/// Topics.
pub trait Admin: Send + Sync {
    /// Creates topics; one that is there already with as many partitions is left as it is, with another number: [`Error::TopicExists`].
    fn create_topics(&self, topics: &[NewTopic], deadline: Duration) -> Result<(), Error>;
    /// Deletes topics and their records; one that is not there is no error.
    fn delete_topics(&self, topics: &[&str], deadline: Duration) -> Result<(), Error>;
    /// What a topic is like, or [`Error::UnknownTopic`].
    fn describe_topic(&self, topic: &str, deadline: Duration) -> Result<TopicDescription, Error>;
    /// All topics that are not the broker's own, sorted.
    fn list_topics(&self, deadline: Duration) -> Result<Vec<String>, Error>;
    /// Deletes the records of a partition before an offset: what has been consumed from a repartition topic.
    fn delete_records(&self, before: &[(TopicPartition, i64)], deadline: Duration) -> Result<(), Error>;
}

/// Called once with what became of a send: the offset of its first record, or the error that lost it.
pub type Acknowledge = Box<dyn FnOnce(Result<i64, Error>) + Send>;

/// Writes. Order per partition is the order of the calls.
///
/// **Law.** Acknowledged means durable against the death of the process; and a send that failed is never half done.
pub trait Producer: Send + Sync {
    /// Hands a batch over. Returns when it is queued (it waits while the queue is full, at most the producer's own bound, then
    /// [`Error::QueueFull`]); after an error it is not queued, and `acknowledge` is not called. Else `acknowledge` is called when the
    /// batch's fate is known, on a thread of the broker's or, before `send` returns, on the caller's: it must not block.
    fn send(&self, batch: ProduceBatch, acknowledge: Option<Acknowledge>) -> Result<(), Error>;
    /// Waits until all that was sent is acknowledged; the first error of a send since the last flush is returned.
    fn flush(&self, deadline: Duration) -> Result<(), Error>;
    /// Fences every other producer of the same transactional id, finishes what they left, and makes this one ready.
    fn init_transactions(&self, deadline: Duration) -> Result<(), Error>;
    /// Opens a transaction: all sends until its end belong to it.
    fn begin_transaction(&self) -> Result<(), Error>;
    /// Makes a group's offsets part of the transaction. Fails with [`Error::Fenced`] if the member is of an older generation.
    fn send_offsets(&self, offsets: &Offsets, group: &GroupMetadata, deadline: Duration) -> Result<(), Error>;
    /// Commits: all of it or nothing. After [`Error::is_fatal`] the producer is thrown away.
    fn commit_transaction(&self, deadline: Duration) -> Result<(), Error>;
    /// Aborts: consumers that read committed never see what was sent.
    fn abort_transaction(&self, deadline: Duration) -> Result<(), Error>;
}

/// Called by [`Consumer::poll`] on the thread that polls when the group moves partitions.
pub trait RebalanceListener: Send {
    /// These are ours from now on; the consumer continues from their committed offsets.
    fn assigned(&mut self, partitions: &[TopicPartition]);
    /// These are about to be taken away. What is to be committed is committed before this returns, through `commit`.
    fn revoked(&mut self, partitions: &[TopicPartition], commit: &mut dyn FnMut(&Offsets) -> Result<(), Error>);
}

/// Wakes a consumer that waits in [`Consumer::poll`], from any thread. A wake before the poll makes the next poll return at once.
pub trait Waker: Send + Sync {
    /// Wakes it.
    fn wake(&self);
}

/// Reads. Belongs to one thread.
pub trait Consumer: Send {
    /// Reads these partitions from these positions, and no others. Replaces what was assigned; a partition that stays keeps its
    /// place only if its position says so.
    fn assign(&mut self, partitions: &[(TopicPartition, Position)]) -> Result<(), Error>;
    /// Joins the group and reads what it assigns (range: partitions of equal number of all topics go together).
    fn subscribe(&mut self, topics: &[&str], listener: Box<dyn RebalanceListener>) -> Result<(), Error>;
    /// Leaves the group, or gives up what was assigned.
    fn unsubscribe(&mut self) -> Result<(), Error>;
    /// Waits until there are records, a wake-up, or the deadline, whichever is first; what comes is batched by partition.
    fn poll(&mut self, deadline: Duration) -> Result<Vec<FetchedBatch>, Error>;
    /// Wakes [`Consumer::poll`].
    fn waker(&self) -> Arc<dyn Waker>;
    /// Continues elsewhere.
    fn seek(&mut self, partition: &TopicPartition, position: Position) -> Result<(), Error>;
    /// Stops fetching these; their position stays.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), Error>;
    /// Fetches these again.
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), Error>;
    /// The offset of the next record that `poll` will return.
    fn position(&mut self, partition: &TopicPartition) -> Result<i64, Error>;
    /// The group's committed offsets; a partition without one is absent.
    fn committed(&mut self, partitions: &[TopicPartition], deadline: Duration) -> Result<Offsets, Error>;
    /// Commits offsets, and returns when they are durable.
    fn commit(&mut self, offsets: &Offsets, deadline: Duration) -> Result<(), Error>;
    /// The offsets after the last record that this consumer may see (read committed: the last stable offset).
    fn end_offsets(&mut self, partitions: &[TopicPartition], deadline: Duration) -> Result<HashMap<TopicPartition, i64>, Error>;
    /// What fences commits of this member: for [`Producer::send_offsets`].
    fn group_metadata(&self) -> Result<GroupMetadata, Error>;
}
