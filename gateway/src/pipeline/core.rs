//! One request: to its target, and the answer back. What REST and gRPC share.

use std::{
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::HeaderMap;
use millstream_broker::{Error as BrokerError, ProduceBatch, Producer, Record, TopicPartition};
use millstream_proto::inference::{ModelInferRequest, ModelInferResponse};
use prost::Message;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tonic::metadata::MetadataMap;

use super::{catalogue::Catalogue, lanes::Owned, options::PipelineGatewayOptions, waiters::Waiters};
use crate::{InferenceServer, codec::payload, failure::Failure, headers, request_id, request_id::RequestIds, target::Target};

/// What all requests share.
pub(crate) struct Core {
    pub options: PipelineGatewayOptions,
    pub producer: Arc<dyn Producer>,
    pub waiters: Arc<Waiters>,
    pub owned: watch::Receiver<Arc<Owned>>,
    pub catalogue: Arc<Catalogue>,
    pub models: Arc<dyn InferenceServer>,
    pub permits: Semaphore,
    pub ids: RequestIds,
    /// Spreads requests without an id of their own over the partitions.
    pub turn: AtomicUsize,
    pub hasher: foldhash::fast::FixedState,
}

/// A result, and the headers that go with it.
pub(crate) struct Answer {
    pub response: ModelInferResponse,
    pub headers: HeaderMap,
}

impl Core {
    /// Law: it returns by the deadline; and when it is dropped, nothing of the request is left but the record that was written.
    pub async fn infer(
        &self,
        target: &Target,
        request: ModelInferRequest,
        client: &HeaderMap,
        deadline: Deadline,
    ) -> Result<Answer, Failure> {
        let Ok(_permit) = self.permits.try_acquire() else {
            let limit = self.options.max_in_flight;
            return Err(Failure::too_many(format!("{limit} requests are under way, more are not taken: ask again later")));
        };
        match target {
            Target::Pipeline(name) => deadline.bound("pipeline", name, self.pipeline(name, request, client)).await,
            Target::Model(name) => deadline.bound("model", name, self.model(name, request, client)).await,
        }
    }

    async fn pipeline(&self, name: &str, request: ModelInferRequest, client: &HeaderMap) -> Result<Answer, Failure> {
        let own_id = headers::request_id(client)?;
        let fresh_id = own_id.is_none().then(|| self.ids.fresh());
        let id = own_id.or(fresh_id.as_deref()).unwrap_or_default();
        let (mut waiting, to, key) = self.register(name, id, own_id.is_some()).await?;
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        let value = Bytes::from(request.encode_to_vec());
        let record = Record { key: Some(key.clone()), value: Some(value), timestamp, headers: headers::of_record(client, id, name) };
        let (waiters, lost) = (self.waiters.clone(), key.clone());
        let acknowledge = Box::new(move |fate: Result<i64, BrokerError>| {
            if let Err(error) = fate {
                waiters.complete(&lost, Err(unwritten(&error)));
            }
        });
        self.producer.send(ProduceBatch { to, records: vec![record] }, Some(acknowledge)).map_err(|e| unwritten(&e))?;
        let record = waiting.answer().await?;
        let headers = headers::of_answer(&record.headers, &key, name);
        let value = record.value.unwrap_or_default();
        if let Some(step) = record.headers.last(headers::ERRORS) {
            return Err(Failure::step(&String::from_utf8_lossy(step), &String::from_utf8_lossy(&value)).with(headers));
        }
        let mut response = match payload::response(&value) {
            Ok(response) => response,
            Err(error) => return Err(Failure::internal(format!("pipeline {name} answered {error}")).with(headers)),
        };
        if response.id.is_empty() {
            response.id = request.id;
        }
        Ok(Answer { response, headers })
    }

    /// A place among those who wait, on a lane that is owned now; waits for one for a while.
    async fn register(&self, name: &str, id: &str, own_id: bool) -> Result<(super::waiters::Waiting, TopicPartition, Bytes), Failure> {
        let mut owned = self.owned.clone();
        let until = Instant::now() + self.options.lane_wait();
        loop {
            let now = owned.borrow_and_update().clone();
            if let Some((pipeline, route)) = now.pipelines.get_key_value(name) {
                // The same id goes to the same partition, so that a second request with it is noticed.
                #[allow(clippy::cast_possible_truncation)] // any bits will do
                let turn = if own_id { self.hasher.hash_one(id) as usize } else { self.turn.fetch_add(1, Ordering::Relaxed) };
                let partition = route.partitions[turn % route.partitions.len()];
                let key = request_id::key(partition, name, id);
                let waiting = self.waiters.register(key.clone(), (pipeline.clone(), partition))?;
                // The lane may have moved in between; then the wait would be for nobody's answer.
                if owned.borrow().pipelines.get(name).is_some_and(|route| route.partitions.contains(&partition)) {
                    return Ok((waiting, TopicPartition { topic: route.inputs.clone(), partition }, key));
                }
                continue;
            }
            let known = self.catalogue.get(name).is_some();
            if now.assigned && !known {
                return Err(Failure::not_found(format!("there is no pipeline {name}: load it first")));
            }
            if !matches!(tokio::time::timeout_at(until, owned.changed()).await, Ok(Ok(()))) {
                return Err(Failure::unavailable(match (now.assigned, known) {
                    (false, _) => "the scheduler has not been reached yet: ask again later".to_owned(),
                    _ => format!("no partition of pipeline {name} is assigned to this gateway: ask again, or another gateway"),
                }));
            }
        }
    }

    async fn model(&self, name: &str, mut request: ModelInferRequest, client: &HeaderMap) -> Result<Answer, Failure> {
        name.clone_into(&mut request.model_name);
        let id = request.id.clone();
        let mut call = tonic::Request::new(request);
        *call.metadata_mut() = MetadataMap::from_headers(self.call_headers(name, client)?);
        let (metadata, mut response, _) = self.models.infer(call).await.map_err(|status| Failure::server(name, &status))?.into_parts();
        let mut headers: HeaderMap = metadata.into_headers().into_iter().fold((HeaderMap::new(), None), keep_x).0;
        if let Some(id) = client.get(headers::REQUEST_ID) {
            headers.entry(headers::REQUEST_ID).or_insert_with(|| id.clone());
        }
        let version = if response.model_version.is_empty() { "1" } else { &response.model_version };
        if let (false, Ok(route)) = (headers.contains_key(headers::ROUTE), format!(":{name}_{version}:").parse()) {
            headers.insert(headers::ROUTE, route);
        }
        if response.id.is_empty() {
            response.id = id;
        }
        Ok(Answer { response, headers })
    }

    fn call_headers(&self, model: &str, client: &HeaderMap) -> Result<HeaderMap, Failure> {
        let mut out = HeaderMap::new();
        for (name, value) in headers::travelling(client) {
            out.append(name, value.clone());
        }
        let id = headers::request_id(client)?.map_or_else(|| self.ids.fresh(), str::to_owned);
        for (name, value) in [(headers::REQUEST_ID, id.as_str()), (headers::MODEL, model)] {
            out.insert(name, value.parse().map_err(|_| Failure::bad_request(format!("{name} {value:?} cannot be a header")))?);
        }
        // A concrete version that a proxy before us chose stays chosen.
        if let Some(internal) = client.get_all(headers::INTERNAL_MODEL).iter().next_back() {
            out.insert(headers::INTERNAL_MODEL, internal.clone());
        }
        Ok(out)
    }
}

/// Keeps the `x-*` of an iteration over a header map, which names only the first of equal headers.
fn keep_x(
    (mut kept, last): (HeaderMap, Option<http::HeaderName>),
    (name, value): (Option<http::HeaderName>, http::HeaderValue),
) -> (HeaderMap, Option<http::HeaderName>) {
    let name = name.or(last);
    if let Some(name) = name.as_ref().filter(|n| n.as_str().starts_with("x-")) {
        kept.append(name, value);
    }
    (kept, name)
}

fn unwritten(error: &BrokerError) -> Failure {
    match error {
        BrokerError::TooLarge { .. } => Failure::too_large(format!("the request does not fit into a record: {error}")),
        BrokerError::QueueFull => Failure::too_many("the broker does not keep up: ask again later"),
        _ => Failure::unavailable(format!("the request could not be written: {error}")),
    }
}

/// Until when somebody waits.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    pub at: Instant,
    pub after: Duration,
}

impl Deadline {
    pub fn after(after: Duration) -> Self {
        Self { at: Instant::now() + after, after }
    }

    /// Gives up at the deadline.
    pub async fn bound<T>(self, kind: &str, name: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        match tokio::time::timeout_at(self.at, work).await {
            Ok(result) => result,
            Err(_) => Err(Failure::deadline(format!("no answer from {kind} {name} within {} ms", self.after.as_millis()))),
        }
    }
}
