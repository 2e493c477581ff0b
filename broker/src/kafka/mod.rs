//! Apache Kafka, through librdkafka.
//!
//! | file | what |
//! | --- | --- |
//! | `admin` | topics |
//! | `producer` | writing |
//! | `consumer`, `partition`, `offsets` | reading |
//! | `membership`, `context` | what the group wants of a consumer |
//! | `errors` | what librdkafka's errors mean in the contract |
//!
//! Two limits of librdkafka show through: a record's timestamp of 0 becomes the time of sending, and the generation of a group is counted
//! by each member for itself (what fences it is the real one).

mod admin;
mod consumer;
mod context;
mod errors;
mod membership;
mod offsets;
mod partition;
mod producer;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rdkafka::{ClientConfig, admin::AdminClient, consumer::ConsumerGroupMetadata, types::RDKafkaErrorCode};

use crate::{Admin, Broker, Consumer, ConsumerOptions, Error, Producer, ProducerOptions, TopicPartition};
use admin::KafkaAdmin;
use consumer::KafkaConsumer;
use context::Context;
use errors::{at, from_kafka};
use producer::KafkaProducer;

/// How Kafka's clients work.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// How long to wait for the first answer.
    pub connect_timeout: Duration,
    /// How many copies new topics have; −1: as many as the cluster says.
    pub replication: i32,
    /// The largest record that is sent; new topics take as much.
    pub max_message_bytes: usize,
    /// Settings of librdkafka for every client (`security.protocol`, `sasl.username` …); they win over what is set here.
    pub settings: BTreeMap<String, String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), replication: -1, max_message_bytes: 64 << 20, settings: BTreeMap::new() }
    }
}

/// A Kafka cluster.
#[derive(Debug)]
pub struct KafkaBroker(Arc<Cluster>);

/// What all clients of a cluster share.
pub(crate) struct Cluster {
    bootstrap_servers: String,
    options: KafkaOptions,
    admin: AdminClient<Context>,
    /// Topics that were there, and how many partitions they had: so that not every call asks.
    known: Mutex<HashMap<Arc<str>, i32>>,
    last_client: AtomicU64,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("bootstrap_servers", &self.bootstrap_servers).finish_non_exhaustive()
    }
}

/// What every client is told.
const COMMON: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.timeout.ms", "10000"),
    ("log.connection.close", "false"),
    // How long a topic may be unknown before records for it are given up; new topics are waited for when they are made.
    ("topic.metadata.propagation.max.ms", "3000"),
];

impl KafkaBroker {
    /// Connects, and fails if nobody answers in [`KafkaOptions::connect_timeout`].
    pub fn connect(bootstrap_servers: &str, options: KafkaOptions) -> Result<Arc<Self>, Error> {
        let unreachable = || Error::Unreachable(bootstrap_servers.to_owned());
        let config = config(bootstrap_servers, &options, &[]);
        let admin: AdminClient<Context> = config.create_with_context(Context::default()).map_err(|e| from_kafka(&e, ""))?;
        admin.inner().fetch_metadata(None, options.connect_timeout).map_err(|_| unreachable())?;
        let bootstrap_servers = bootstrap_servers.to_owned();
        let cluster = Cluster { bootstrap_servers, options, admin, known: Mutex::default(), last_client: AtomicU64::new(0) };
        Ok(Arc::new(Self(Arc::new(cluster))))
    }
}

impl Broker for KafkaBroker {
    fn admin(&self) -> Arc<dyn Admin> {
        Arc::new(KafkaAdmin(self.0.clone()))
    }

    fn producer(&self, options: ProducerOptions) -> Result<Arc<dyn Producer>, Error> {
        Ok(Arc::new(KafkaProducer::new(&self.0, &options)?))
    }

    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>, Error> {
        Ok(Box::new(KafkaConsumer::new(self.0.clone(), options)?))
    }
}

fn config(bootstrap_servers: &str, options: &KafkaOptions, more: &[(&str, String)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap_servers);
    config.set("message.max.bytes", options.max_message_bytes.to_string());
    for (key, value) in COMMON {
        config.set(*key, *value);
    }
    for (key, value) in more {
        config.set(*key, value);
    }
    for (key, value) in &options.settings {
        config.set(key, value);
    }
    config
}

impl Cluster {
    /// A client's configuration.
    fn config(&self, more: &[(&str, String)]) -> ClientConfig {
        config(&self.bootstrap_servers, &self.options, more)
    }

    /// A number that no other client of this process and cluster has.
    fn next_client(&self) -> u64 {
        self.last_client.fetch_add(1, Ordering::Relaxed)
    }

    /// How many partitions a topic has, or [`Error::UnknownTopic`].
    fn partitions(&self, topic: &str, deadline: Duration) -> Result<i32, Error> {
        if let Some(known) = self.known.lock().get(topic) {
            return Ok(*known);
        }
        let metadata = self.admin.inner().fetch_metadata(Some(topic), deadline).map_err(|e| at(from_kafka(&e, topic), "metadata"))?;
        let unknown = || Error::UnknownTopic(topic.to_owned());
        let found = metadata.topics().first().ok_or_else(unknown)?;
        if let Some(code) = found.error().map(RDKafkaErrorCode::from) {
            return Err(errors::from_code(code, topic));
        }
        let partitions = found.partitions().len() as i32;
        if partitions == 0 {
            return Err(unknown());
        }
        self.known.lock().insert(topic.into(), partitions);
        Ok(partitions)
    }

    /// Whether a topic has this partition. Asks again before it says no: the topic may have been made anew.
    fn check(&self, name: &TopicPartition, deadline: Duration) -> Result<(), Error> {
        for _ in 0..2 {
            if (0..self.partitions(&name.topic, deadline)?).contains(&name.partition) {
                return Ok(());
            }
            self.forget(&name.topic);
        }
        Err(Error::UnknownPartition { topic: name.topic.to_string(), partition: name.partition })
    }

    /// It may be gone.
    fn forget(&self, topic: &str) {
        self.known.lock().remove(topic);
    }
}

/// A member of a group, as librdkafka says it.
#[derive(Clone)]
pub(crate) struct MemberHandle(Arc<ConsumerGroupMetadata>);

impl fmt::Debug for MemberHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemberHandle")
    }
}

/// Opaque: what can be compared are the fields beside it.
impl PartialEq for MemberHandle {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for MemberHandle {}
