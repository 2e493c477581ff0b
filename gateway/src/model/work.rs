//! One request of a model: to the server, and its answer to the output topic.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use millstream_broker::{Error as BrokerError, Header, Headers, ProduceBatch, Producer, Record, StoredRecord, TopicPartition};
use millstream_proto::inference::{ModelInferRequest, ModelInferResponse};
use prost::Message;
use tokio::{sync::oneshot, time::Instant};
use tonic::{Response, Status, metadata::MetadataMap};

use super::{ModelGatewayOptions, progress::Progress, queue::Queue};
use crate::{
    InferenceServer,
    codec::{self, payload},
    headers,
    inference::failed_in_transport,
};

/// A record to be answered, and where that is noted.
#[derive(Debug)]
pub(crate) struct Work {
    pub record: StoredRecord,
    pub partition: i32,
    pub progress: Arc<Progress>,
}

/// What all models share.
pub(crate) struct Shared {
    pub options: ModelGatewayOptions,
    pub server: Arc<dyn InferenceServer>,
    pub producer: Arc<dyn Producer>,
    pub errors: Arc<str>,
}

/// A model that is served.
pub(crate) struct Model {
    pub name: Arc<str>,
    pub version: AtomicU32,
    pub outputs: Arc<str>,
    pub queue: Queue<Work>,
    /// Its topic is not read because its queue is long.
    pub paused: AtomicBool,
    pub shared: Arc<Shared>,
}

impl Model {
    /// Runs work, and then what has become ready meanwhile. `relieved` is called after each.
    pub async fn run(self: Arc<Self>, first: (Option<Bytes>, Work), relieved: impl Fn(&Self)) {
        let mut next = Some(first);
        while let Some((key, work)) = next {
            let offset = work.record.offset;
            match AssertUnwindSafe(self.answer(&work)).catch_unwind().await {
                Ok(()) => {}
                Err(_) => {
                    tracing::error!(model = &*self.name, offset, "the inference server panicked");
                    self.write_error(&work, "the inference server panicked").await;
                }
            }
            work.progress.done(offset);
            next = self.queue.finish(key.as_ref());
            relieved(&self);
        }
    }

    /// Law: it returns when the answer, or what went wrong, is acknowledged by the broker.
    async fn answer(&self, work: &Work) {
        let record = &work.record.record;
        let infer_type = record.headers.last(payload::INFER_TYPE).map(Bytes::as_ref);
        let payload = match record.value.as_ref().map(|value| payload::request(infer_type, value)) {
            Some(Ok(payload)) => payload,
            Some(Err(error)) => return self.write_error(work, &error.to_string()).await,
            None => return self.write_error(work, "the record has no value").await,
        };
        let (metadata, response, _) = match self.call(payload.request, &record.headers).await {
            Ok(response) => response.into_parts(),
            Err(status) => {
                let text = format!("rpc error: code = {:?} desc = {}", status.code(), status.message());
                return self.write_error(work, &text).await;
            }
        };
        let value = match payload.json {
            false => response.encode_to_vec(),
            true => match codec::response_to_json(&response) {
                Ok(json) => json,
                Err(error) => return self.write_error(work, &error.to_string()).await,
            },
        };
        let answer = Record {
            key: record.key.clone(),
            value: Some(value.into()),
            timestamp: now(),
            headers: self.answer_headers(&record.headers, &metadata.into_headers(), &response),
        };
        let to = TopicPartition { topic: self.outputs.clone(), partition: work.partition };
        if let Err(error) = self.write(to, answer).await {
            self.write_error(work, &format!("the answer could not be written: {error}")).await;
        }
    }

    async fn call(&self, mut request: ModelInferRequest, record: &Headers) -> Result<Response<ModelInferResponse>, Status> {
        self.name.as_ref().clone_into(&mut request.model_name);
        request.model_version.clear();
        let metadata = self.call_headers(record);
        let (options, timeout) = (&self.shared.options, self.shared.options.call_timeout());
        let until = Instant::now() + timeout;
        let mut pause = options.retry_pause();
        for retry in 0.. {
            let mut call = tonic::Request::new(request.clone());
            *call.metadata_mut() = MetadataMap::from_headers(metadata.clone());
            let status = match tokio::time::timeout_at(until, self.shared.server.infer(call)).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(status)) => status,
                Err(_) => break,
            };
            if !failed_in_transport(&status) || retry == options.max_retries || Instant::now() + pause >= until {
                return Err(status);
            }
            tracing::debug!(model = &*self.name, reason = status.message(), "the inference server cannot be reached; trying again");
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(Status::deadline_exceeded(format!("no answer from the inference server within {} ms", timeout.as_millis())))
    }

    /// `x-*` of the record but the route, and the name of what is called.
    fn call_headers(&self, record: &Headers) -> HeaderMap {
        let mut out = HeaderMap::with_capacity(record.len() + 2);
        for header in record.iter().filter(|h| h.name.starts_with("x-") && &*h.name != headers::ROUTE) {
            let Some(value) = &header.value else { continue };
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(header.name.as_bytes()), HeaderValue::from_maybe_shared(value.clone())) {
                out.append(name, value);
            }
        }
        // Which version answers is the server's choice: while one replaces another only it knows.
        if let Ok(value) = HeaderValue::from_str(&self.name) {
            out.insert(headers::MODEL, value);
        }
        out
    }

    /// The record's headers, the answer's `x-*`, and the route, which the answer may say itself.
    fn answer_headers(&self, record: &Headers, answer: &HeaderMap, response: &ModelInferResponse) -> Headers {
        let mut out: Vec<Header> = Vec::with_capacity(record.len() + 2);
        out.extend(record.iter().cloned());
        for (name, value) in answer.iter().filter(|(name, _)| name.as_str().starts_with("x-")) {
            headers::add(&mut out, name.as_str(), value.as_bytes());
        }
        if !answer.contains_key(headers::ROUTE) {
            let version = self.version.load(Ordering::Relaxed).to_string();
            let version = if response.model_version.is_empty() { &version } else { &response.model_version };
            headers::add(&mut out, headers::ROUTE, format!(":{}_{version}:", self.name).as_bytes());
        }
        out.into_iter().collect()
    }

    async fn write_error(&self, work: &Work, text: &str) {
        let record = &work.record.record;
        let mut headers: Vec<Header> = record.headers.to_vec();
        headers.push(Header::new(headers::ERRORS, self.name.to_string()));
        let error = Record {
            key: record.key.clone(),
            value: Some(Bytes::copy_from_slice(text.as_bytes())),
            timestamp: now(),
            headers: headers.into_iter().collect(),
        };
        let to = TopicPartition { topic: self.shared.errors.clone(), partition: work.partition };
        if let Err(error) = self.write(to, error).await {
            tracing::error!(model = &*self.name, offset = work.record.offset, %error, "an error could not be written to the errors topic");
        }
    }

    /// Writes until it is acknowledged; gives up only on what no further try can change.
    async fn write(&self, to: TopicPartition, record: Record) -> Result<(), BrokerError> {
        let mut pause = Duration::from_millis(50);
        loop {
            let (done, fate) = oneshot::channel();
            let acknowledge = Box::new(move |fate: Result<i64, BrokerError>| {
                let _gone = done.send(fate);
            });
            let batch = ProduceBatch { to: to.clone(), records: vec![record.clone()] };
            let error = match self.shared.producer.send(batch, Some(acknowledge)) {
                Ok(()) => match fate.await {
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(error)) => error,
                    Err(_) => BrokerError::State("the producer forgot a record".into()),
                },
                Err(error) => error,
            };
            if error.is_fatal()
                || matches!(error, BrokerError::TooLarge { .. } | BrokerError::UnknownTopic(_) | BrokerError::UnknownPartition { .. })
            {
                return Err(error);
            }
            tracing::warn!(model = &*self.name, topic = &*to.topic, %error, "cannot write; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
