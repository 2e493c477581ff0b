//! A client of a Confluent schema registry.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use apache_avro::Schema;
use base64::{Engine, prelude::BASE64_STANDARD};
use parking_lot::Mutex;
use serde::Deserialize;
use ureq::{Agent, Body, http::Response};

/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 16 * 1024 * 1024;
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// A schema registry did not give what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// It could not be asked, or gave no answer in time.
    #[error("schema registry {url}: {reason}: is it there, and is it the right address?")]
    Unreachable {
        /// Its address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// It refused.
    #[error("schema registry {url}: {message} (error {code}): register the schema, or correct subject and schema")]
    Refused {
        /// What it was asked.
        url: String,
        /// Its error code: 40401 for an unknown subject, 40403 for an unknown schema, 409 for an incompatible one.
        code: i64,
        /// Its words.
        message: String,
    },
    /// Its schema cannot be used.
    #[error("schema {id} of the registry: {reason}: register one in Avro without references")]
    Schema {
        /// The schema's number.
        id: i32,
        /// Why not.
        reason: String,
    },
}

/// A client of a Confluent schema registry. Clones share its caches.
///
/// **Law.** Every request has a deadline, and what a registry has said once it is not asked again while it is in the cache: numbers and
/// schemas of a registry never change.
///
/// ```
/// use std::time::Duration;
/// use millstream::avro::SchemaRegistry;
///
/// let registry = SchemaRegistry::new("https://registry.example.com/").basic_auth("me", "secret").deadline(Duration::from_secs(5));
/// ```
#[derive(Clone)]
pub struct SchemaRegistry {
    url: Arc<str>,
    authorization: Option<Arc<str>>,
    agent: Agent,
    schemas: Arc<Mutex<Cache<i32, Arc<Schema>>>>,
    ids: Arc<Mutex<Cache<(String, String), i32>>>,
}

impl SchemaRegistry {
    /// A client of the registry at that address, with a deadline of 10 seconds and room for 1,000 schemas.
    pub fn new(url: impl AsRef<str>) -> Self {
        let url = url.as_ref().trim_end_matches('/').into();
        Self { url, authorization: None, agent: agent(Duration::from_secs(10)), schemas: Cache::new(1_000), ids: Cache::new(1_000) }
    }

    /// Says who asks (`basic.auth.user.info`).
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        Self { authorization: Some(format!("Basic {credentials}").into()), ..self }
    }

    /// How long a request may take, from connecting to the end of the answer.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { agent: agent(deadline), ..self }
    }

    /// How many schemas are kept at most (`max.schemas.per.subject`, here for all subjects); the oldest goes first.
    pub fn capacity(self, schemas: usize) -> Self {
        Self { schemas: Cache::new(schemas), ids: Cache::new(schemas), ..self }
    }

    /// The number of a schema under a subject, which registers it if it is not there.
    pub fn register(&self, subject: &str, schema: &str) -> Result<i32, RegistryError> {
        self.id_at(&format!("/subjects/{}/versions", escaped(subject)), subject, schema)
    }

    /// The number of a schema that is registered under a subject.
    pub fn lookup(&self, subject: &str, schema: &str) -> Result<i32, RegistryError> {
        self.id_at(&format!("/subjects/{}", escaped(subject)), subject, schema)
    }

    /// The schema of a number.
    pub fn schema(&self, id: i32) -> Result<Arc<Schema>, RegistryError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Found {
            schema: String,
            #[serde(default)]
            schema_type: Option<String>,
        }
        if let Some(schema) = self.schemas.lock().get(&id) {
            return Ok(schema);
        }
        let url = format!("{}/schemas/ids/{id}", self.url);
        let found: Found = self.ask(&url, |url| self.authorized(self.agent.get(url)).call())?;
        let bad = |reason: String| RegistryError::Schema { id, reason };
        if let Some(other) = found.schema_type.filter(|kind| kind != "AVRO") {
            return Err(bad(format!("it is {other}")));
        }
        let schema = Arc::new(Schema::parse_str(&found.schema).map_err(|error| bad(error.to_string()))?);
        self.schemas.lock().put(id, schema.clone());
        Ok(schema)
    }

    fn id_at(&self, path: &str, subject: &str, schema: &str) -> Result<i32, RegistryError> {
        #[derive(Deserialize)]
        struct Registered {
            id: i32,
        }
        let key = (subject.to_string(), schema.to_string());
        if let Some(id) = self.ids.lock().get(&key) {
            return Ok(id);
        }
        let body = serde_json::json!({ "schema": schema }).to_string();
        let request = |url: &str| self.authorized(self.agent.post(url)).header("content-type", CONTENT_TYPE).send(&body);
        let Registered { id } = self.ask(&format!("{}{path}", self.url), request)?;
        self.ids.lock().put(key, id);
        Ok(id)
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        let request = request.header("accept", CONTENT_TYPE);
        match &self.authorization {
            Some(authorization) => request.header("authorization", &**authorization),
            None => request,
        }
    }

    fn ask<T: serde::de::DeserializeOwned>(
        &self,
        url: &str,
        request: impl FnOnce(&str) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<T, RegistryError> {
        #[derive(Deserialize)]
        struct Refusal {
            error_code: i64,
            message: String,
        }
        let unreachable = |reason: String| RegistryError::Unreachable { url: url.to_string(), reason };
        let mut answer = request(url).map_err(|error| unreachable(error.to_string()))?;
        let status = answer.status();
        let text =
            answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string().map_err(|error| unreachable(error.to_string()))?;
        if status.is_success() {
            return serde_json::from_str(&text).map_err(|error| unreachable(format!("an answer that is none: {error}")));
        }
        let Refusal { error_code: code, message } =
            serde_json::from_str(&text).unwrap_or_else(|_| Refusal { error_code: status.as_u16().into(), message: status.to_string() });
        Err(RegistryError::Refused { url: url.to_string(), code, message })
    }
}

fn agent(deadline: Duration) -> Agent {
    Agent::config_builder().timeout_global(Some(deadline)).http_status_as_error(false).build().new_agent()
}

/// A subject as a part of a path.
fn escaped(subject: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    subject.bytes().map(byte).collect()
}

/// What was asked last, up to a bound.
struct Cache<K, V> {
    capacity: usize,
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    fn new(capacity: usize) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { capacity: capacity.max(1), entries: HashMap::new(), order: VecDeque::new() }))
    }

    fn get(&self, key: &K) -> Option<V> {
        self.entries.get(key).cloned()
    }

    fn put(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.entries.len() > self.capacity {
            let Some(oldest) = self.order.pop_front() else { return };
            self.entries.remove(&oldest);
        }
    }
}
