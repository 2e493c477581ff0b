//! Connections to the scheduler and to the inference endpoint.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use millstream_gateway::codec;
use millstream_proto::{
    inference::grpc_inference_service_client::GrpcInferenceServiceClient, seldon::scheduler::scheduler_client::SchedulerClient,
};
use tonic::transport::{Channel, Endpoint};

use crate::args::{InferHost, Mode};

const CONNECT: Duration = Duration::from_secs(5);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(120);

async fn channel(host: &str, what: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{host}")).with_context(|| format!("{what} {host:?} is no host:port"))?;
    let connected = endpoint.connect_timeout(CONNECT).timeout(ANSWER).connect().await;
    connected.with_context(|| format!("no {what} answers at {host}: start one, or say where it is"))
}

/// The scheduler.
pub async fn scheduler(host: &str) -> anyhow::Result<SchedulerClient<Channel>> {
    Ok(SchedulerClient::new(channel(host, "scheduler").await?))
}

/// The inspector of `millstream up`.
pub async fn inspector(host: &str) -> anyhow::Result<millstream_proto::inspect::inspector_client::InspectorClient<Channel>> {
    Ok(millstream_proto::inspect::inspector_client::InspectorClient::new(channel(host, "inspector").await?)
        .max_decoding_message_size(usize::MAX))
}

/// An answer: its JSON, and its headers.
pub struct Answer {
    pub json: String,
    pub headers: Vec<(String, String)>,
}

/// Asks a model (`target` is its name) or a pipeline (`name.pipeline`).
pub async fn infer(host: &InferHost, name: &str, target: &str, path: &str, request: &str) -> anyhow::Result<Answer> {
    match host.inference_mode {
        Mode::Rest => rest(host, target, &format!("/v2/{path}/{name}/infer"), request).await,
        Mode::Grpc => grpc(host, name, target, request).await,
    }
}

fn headers(host: &InferHost) -> impl Iterator<Item = anyhow::Result<(&str, &str)>> {
    host.headers.iter().map(|header| header.split_once('=').with_context(|| format!("--header {header}: write key=value")))
}

async fn rest(host: &InferHost, target: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request = http::Request::post(format!("http://{}{path}", host.inference_host))
        .header("content-type", "application/json")
        .header("seldon-model", target);
    for header in headers(host) {
        let (key, value) = header?;
        request = request.header(key, value);
    }
    let request = request.body(Full::<Bytes>::from(body.to_string())).context("a header or the host cannot be sent")?;
    let answer = tokio::time::timeout(ANSWER, client.request(request)).await.context("no answer in time")?;
    let answer = answer.with_context(|| format!("nothing answers at {}", host.inference_host))?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    let json = String::from_utf8_lossy(&body).into_owned();
    anyhow::ensure!(parts.status.is_success(), "{}: {}", parts.status, reason(&json));
    let headers = parts.headers.iter().map(|(key, value)| (key.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Ok(Answer { json, headers: headers.collect() })
}

/// The field `error` of a body, or all of it.
fn reason(body: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(body).ok();
    parsed.as_ref().and_then(|json| json["error"].as_str()).unwrap_or(body).to_string()
}

async fn grpc(host: &InferHost, name: &str, target: &str, body: &str) -> anyhow::Result<Answer> {
    let mut client = GrpcInferenceServiceClient::new(channel(&host.inference_host, "inference endpoint").await?);
    let decoded = codec::request_from_json(&Bytes::copy_from_slice(body.as_bytes()), None)?;
    let mut request = tonic::Request::new(decoded.request);
    request.get_mut().model_name = name.to_string();
    request.metadata_mut().insert("seldon-model", target.parse().context("the name cannot be sent as a header")?);
    for header in headers(host) {
        let (key, value) = header?;
        let key: tonic::metadata::MetadataKey<_> = key.to_string().parse().with_context(|| format!("header {key} cannot be sent"))?;
        request.metadata_mut().insert(key, value.parse().context("a header's value cannot be sent")?);
    }
    let answer = client.model_infer(request).await.map_err(|status| anyhow::anyhow!("{:?}: {}", status.code(), status.message()))?;
    let headers = answer.metadata().clone().into_headers();
    let headers = headers.iter().map(|(key, value)| (key.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let headers = headers.collect();
    let json = codec::response_to_json(answer.get_ref())?;
    Ok(Answer { json: String::from_utf8(json)?, headers })
}
