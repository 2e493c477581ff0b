//! The REST face of the Open Inference Protocol.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use millstream_proto::inference::{ModelMetadataRequest, ModelReadyRequest, model_metadata_response::TensorMetadata};
use serde_json::json;

use super::core::{Core, Deadline};
use crate::{
    codec::{self, BinaryOutputs},
    failure::Failure,
    headers,
    target::{Named, Target},
};

/// How long the JSON part of a body with binary tensors is, or of the answer.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

type Shared = State<Arc<Core>>;

pub(crate) fn router(core: Arc<Core>) -> Router {
    let mut router = Router::new();
    // The type of the target is in the path; a version in it is accepted and the latest answers.
    for versions in ["", "/versions/{version}"] {
        let path = |kind: &str, end: &str| format!("/v2/{kind}/{{name}}{versions}{end}");
        router = router
            .route(&path("models", "/infer"), post(|s: Shared, p: NamePath, r| infer(s, p, false, r)))
            .route(&path("pipelines", "/infer"), post(|s: Shared, p: NamePath, r| infer(s, p, true, r)))
            .route(&path("models", "/ready"), get(|s: Shared, p: NamePath, h| ready(s, p, false, h)))
            .route(&path("pipelines", "/ready"), get(|s: Shared, p: NamePath, h| ready(s, p, true, h)))
            .route(&path("models", ""), get(|s: Shared, p: NamePath, h| metadata(s, p, false, h)))
            .route(&path("pipelines", ""), get(|s: Shared, p: NamePath, h| metadata(s, p, true, h)));
    }
    router
        .route("/v2", get(|| async { reply(StatusCode::OK, &server_metadata()) }))
        .route("/v2/", get(|| async { reply(StatusCode::OK, &server_metadata()) }))
        .route("/v2/health/live", get(|| async { reply(StatusCode::OK, &json!({ "live": true })) }))
        .route("/v2/health/ready", get(server_ready))
        .route("/ready", get(server_ready))
        .fallback(|r: Request| async move { Failure::not_found(format!("nothing is at {} {}", r.method(), r.uri().path())) })
        .method_not_allowed_fallback(|r: Request| async move {
            Failure {
                http: StatusCode::METHOD_NOT_ALLOWED,
                ..Failure::bad_request(format!("{} does not go with {}", r.method(), r.uri().path()))
            }
        })
        .with_state(core)
}

type NamePath = Path<std::collections::HashMap<String, String>>;

fn target(Path(path): &NamePath, pipeline: bool, headers: &HeaderMap) -> Result<Target, Failure> {
    let name = path.get("name").map(String::as_str).unwrap_or_default();
    Target::of(headers, if pipeline { Named::Pipeline(name) } else { Named::Model(name) })
}

async fn infer(State(core): Shared, path: NamePath, pipeline: bool, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let deadline = Deadline::after(headers::timeout(headers, core.options.request_timeout())?);
    let target = target(&path, pipeline, headers)?;
    let json_length = match headers.get(JSON_LENGTH) {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .ok()
                .and_then(|v| v.trim().parse().ok())
                .ok_or_else(|| Failure::bad_request(format!("{JSON_LENGTH} is {value:?}")))?,
        ),
    };
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|e| *e != "identity") {
        let message = format!("Content-Encoding {encoding:?} is not taken: send the body as it is");
        return Err(Failure { http: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..Failure::bad_request(message) });
    }
    let body = deadline.bound("the client,", "whose body is incomplete,", read(body, headers, core.options.max_body_bytes)).await?;
    let decoded = codec::request_from_json(&body, json_length)?;
    drop(body);
    let answer = core.infer(&target, decoded.request, headers, deadline).await?;
    write(&answer.response, &decoded.binary, answer.headers)
}

async fn read(body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, Failure> {
    let over = || Failure::too_large(format!("the body is over the limit of {limit} bytes"));
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if stated.is_some_and(|length| length > limit as u64) {
        return Err(over());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(over()),
        Err(error) => Err(Failure::bad_request(format!("the body could not be read: {error}"))),
    }
}

fn write(
    response: &millstream_proto::inference::ModelInferResponse,
    binary: &BinaryOutputs,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let encoded = codec::response_to_rest(response, binary)
        .map_err(|e| Failure::internal(format!("the answer has no JSON form: {e}")).with(headers.clone()))?;
    let mut out = Response::new(Body::from(encoded.body));
    *out.headers_mut() = headers;
    let content_type = if encoded.json_length.is_some() { "application/octet-stream" } else { "application/json" };
    out.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = encoded.json_length {
        out.headers_mut().insert(JSON_LENGTH, length.into());
    }
    Ok(out)
}

fn server_metadata() -> serde_json::Value {
    json!({ "name": super::SERVER_NAME, "version": super::SERVER_VERSION, "extensions": ["binary_tensor_data"] })
}

async fn server_ready(State(core): Shared) -> Result<Response, Failure> {
    core.ready()?;
    Ok(reply(StatusCode::OK, &json!({ "ready": true })))
}

async fn ready(State(core): Shared, path: NamePath, pipeline: bool, headers: HeaderMap) -> Result<Response, Failure> {
    let deadline = Deadline::after(headers::timeout(&headers, core.options.request_timeout())?);
    let name = match target(&path, pipeline, &headers)? {
        Target::Pipeline(name) => {
            let state = core.pipeline_state(&name)?;
            if !state.ready {
                let message = format!("pipeline {name} is not ready: {}", state.reason);
                return Err(Failure { http: StatusCode::FAILED_DEPENDENCY, ..Failure::unavailable(message) });
            }
            name
        }
        Target::Model(name) => {
            let request = ModelReadyRequest { name: name.clone(), version: String::new() };
            let ready =
                deadline.bound("model", &name, async { core.models.ready(request).await.map_err(|s| Failure::server(&name, &s)) }).await?;
            if !ready {
                return Err(Failure::unavailable(format!("model {name} is not ready")));
            }
            name
        }
    };
    Ok(reply(StatusCode::OK, &json!({ "name": name, "ready": true })))
}

async fn metadata(State(core): Shared, path: NamePath, pipeline: bool, headers: HeaderMap) -> Result<Response, Failure> {
    let deadline = Deadline::after(headers::timeout(&headers, core.options.request_timeout())?);
    match target(&path, pipeline, &headers)? {
        Target::Pipeline(name) => {
            let version = core.pipeline_state(&name)?.version.to_string();
            Ok(reply(StatusCode::OK, &json!({ "name": name, "versions": [version], "platform": "pipeline", "inputs": [], "outputs": [] })))
        }
        Target::Model(name) => {
            let request = ModelMetadataRequest { name: name.clone(), version: String::new() };
            let m = deadline
                .bound("model", &name, async { core.models.metadata(request).await.map_err(|s| Failure::server(&name, &s)) })
                .await?;
            let tensors = |list: &[TensorMetadata]| -> Vec<_> {
                list.iter().map(|t| json!({ "name": t.name, "datatype": t.datatype, "shape": t.shape })).collect()
            };
            let body = json!({ "name": m.name, "versions": m.versions, "platform": m.platform, "inputs": tensors(&m.inputs), "outputs": tensors(&m.outputs) });
            Ok(reply(StatusCode::OK, &body))
        }
    }
}

fn reply(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = reply(self.http, &json!({ "error": self.message }));
        if let Some(headers) = self.headers {
            // `extend` keeps what is named already only once; answers have no content type of their own.
            response.headers_mut().extend(*headers);
        }
        response
    }
}
