//! Headers: from a client to a record, from a record to the client, and what they ask for.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use millstream_broker::{Header, Headers};

use crate::failure::Failure;

pub(crate) const MODEL: &str = "seldon-model";
pub(crate) const INTERNAL_MODEL: &str = "seldon-internal-model";
pub(crate) const ROUTE: &str = "x-seldon-route";
pub(crate) const REQUEST_ID: &str = "x-request-id";
pub(crate) const TIMEOUT: &str = "x-request-timeout-ms";
pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";
pub(crate) const PIPELINE: &str = "pipeline";
pub(crate) const ERRORS: &str = "seldon-pipeline-errors";
const TRACING: [&str; 2] = ["traceparent", "baggage"];

/// No request waits longer than this, whatever it asks for.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What travels from a client to a record: `x-*` but the route that it took before, and tracing.
pub(crate) fn travelling(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    headers.iter().filter(|(name, _)| {
        let name = name.as_str();
        (name.starts_with("x-") && name != ROUTE && name != REQUEST_ID) || TRACING.contains(&name)
    })
}

/// The headers of a record of a pipeline's inputs.
pub(crate) fn of_record(headers: &HeaderMap, request_id: &str, pipeline: &str) -> Headers {
    let mut out: Vec<Header> = Vec::with_capacity(8);
    out.push(Header::new(REQUEST_ID, request_id.to_owned()));
    for (name, value) in travelling(headers) {
        add(&mut out, name.as_str(), value.as_bytes());
    }
    out.push(Header::new(PIPELINE, pipeline.to_owned()));
    out.into_iter().collect()
}

/// Adds a header unless the same is there already.
pub(crate) fn add(headers: &mut Vec<Header>, name: &str, value: &[u8]) {
    if !headers.iter().any(|h| &*h.name == name && h.value.as_deref() == Some(value)) {
        headers.push(Header::new(name, Bytes::copy_from_slice(value)));
    }
}

/// The headers of the answer: the record's `x-*`, the key of the request, and the route through the pipeline.
pub(crate) fn of_answer(record: &Headers, key: &Bytes, pipeline: &str) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(record.len() + 2);
    for header in record.iter().filter(|h| h.name.starts_with("x-") && &*h.name != REQUEST_ID) {
        let Some(value) = &header.value else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(header.name.as_bytes()), HeaderValue::from_maybe_shared(value.clone())) {
            out.append(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_maybe_shared(key.clone()) {
        out.insert(REQUEST_ID, value);
    }
    if let Ok(value) = HeaderValue::from_str(&format!(":{pipeline}.pipeline:")) {
        out.append(ROUTE, value);
    }
    out
}

/// The last value of a header, as text.
pub(crate) fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(name).iter().next_back().and_then(|v| v.to_str().ok()).map(str::trim).filter(|v| !v.is_empty())
}

/// The client's own request id, if it is fit to be part of a key.
pub(crate) fn request_id(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    match last(headers, REQUEST_ID) {
        Some(id) if id.len() > 256 => Err(Failure::bad_request(format!("{REQUEST_ID} has {} characters: at most 256 are taken", id.len()))),
        id => Ok(id),
    }
}

/// How long the client is willing to wait.
pub(crate) fn timeout(headers: &HeaderMap, default: Duration) -> Result<Duration, Failure> {
    let own = last(headers, TIMEOUT).map(|text| match text.parse() {
        Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(Failure::bad_request(format!("{TIMEOUT} is {text:?}: give a positive number of milliseconds"))),
    });
    let grpc = last(headers, GRPC_TIMEOUT)
        .map(|text| grpc_timeout(text).ok_or_else(|| Failure::bad_request(format!("{GRPC_TIMEOUT} is {text:?}"))));
    Ok(match (own.transpose()?, grpc.transpose()?) {
        (Some(own), Some(grpc)) => own.min(grpc),
        (own, grpc) => own.or(grpc).unwrap_or(default),
    }
    .min(LONGEST))
}

/// At most 8 digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = (digits.len() <= 8 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())??;
    Some(match unit {
        "H" => Duration::from_secs(value * 3_600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn x_headers_travel_once_and_the_old_route_stays_behind() {
        let client = map(&[
            ("x-a", "1"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-seldon-route", ":old:"),
            ("accept", "no"),
            ("traceparent", "t"),
            ("x-request-id", "r1"),
        ]);
        let record = of_record(&client, "r1", "p");
        let pairs: Vec<_> = record.iter().map(|h| (&*h.name, std::str::from_utf8(h.value.as_ref().unwrap()).unwrap())).collect();
        assert_eq!(pairs, [("x-request-id", "r1"), ("x-a", "1"), ("x-a", "2"), ("traceparent", "t"), ("pipeline", "p")]);
        let answer = of_answer(&record, &"0.p.r1".into(), "p");
        assert_eq!(answer[REQUEST_ID], "0.p.r1");
        assert_eq!(answer[ROUTE], ":p.pipeline:");
        assert_eq!(answer.get_all("x-a").iter().count(), 2);
        assert!(answer.get("traceparent").is_none());
    }

    #[test]
    fn the_shortest_timeout_counts() {
        let default = Duration::from_secs(60);
        for (pairs, expected) in [
            (&[][..], 60_000),
            (&[("x-request-timeout-ms", "250")][..], 250),
            (&[("grpc-timeout", "2S")][..], 2_000),
            (&[("grpc-timeout", "100m"), ("x-request-timeout-ms", "250")][..], 100),
            (&[("grpc-timeout", "99999999H")][..], 3_600_000),
        ] {
            assert_eq!(timeout(&map(pairs), default).unwrap(), Duration::from_millis(expected), "{pairs:?}");
        }
        for bad in [("grpc-timeout", "soon"), ("grpc-timeout", "123456789S"), ("x-request-timeout-ms", "0"), ("x-request-timeout-ms", "-1")]
        {
            assert!(timeout(&map(&[bad]), default).is_err(), "{bad:?}");
        }
    }
}
