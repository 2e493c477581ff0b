//! `millstream pipeline inspect`: what one request has left in each topic, in order, with times.

use bytes::Bytes;
use millstream_engine::Topics;
use millstream_gateway::codec;
use millstream_proto::{
    inference::{ModelInferRequest, ModelInferResponse},
    inspect::{InspectRequest, InspectedRecord},
};
use prost::Message as _;

use super::said;
use crate::{
    args::{Format, InspectArgs},
    client, inspector, output,
};

pub async fn inspect(args: InspectArgs) -> anyhow::Result<()> {
    let mut records = match &args.broker.bootstrap_servers {
        Some(servers) => {
            let (servers, args) = (servers.clone(), (args.broker.clone(), args.name.clone(), args.request_id.clone()));
            let read = move || {
                let broker = millstream_broker::connect(Some(&servers), &args.0.data_dir)?;
                inspector::read(&*broker, &Topics::new(&args.0.topic_prefix, &args.0.namespace), &args.1, args.2.as_ref())
            };
            tokio::task::spawn_blocking(read).await??
        }
        None => {
            let request = InspectRequest { pipeline: args.name.clone(), key: args.request_id.clone().unwrap_or_default() };
            client::inspector(&args.inspect_host).await?.inspect(request).await.map_err(said)?.into_inner().records
        }
    };
    anyhow::ensure!(
        !records.is_empty(),
        "no request of pipeline {} is in its topics{}",
        args.name,
        args.request_id.as_ref().map(|id| format!(" under {id}")).unwrap_or_default()
    );
    records.sort_by_key(|record| (record.timestamp, rank(&record.topic)));
    let first = records[0].timestamp;
    match args.output.format {
        Format::Table => {
            let row = |record: &InspectedRecord| {
                vec![
                    format!("+{} ms", record.timestamp - first),
                    record.topic.clone(),
                    format!("{}:{}", record.partition, record.offset),
                    value(record),
                ]
            };
            println!("request {}", records[0].key);
            output::table(&["time", "topic", "at", "value"], &records.iter().map(row).collect::<Vec<_>>());
        }
        Format::Json => {
            for record in &records {
                let json = serde_json::json!({
                    "key": record.key, "topic": record.topic, "partition": record.partition, "offset": record.offset,
                    "timestamp": record.timestamp, "headers": record.headers,
                    "value": serde_json::from_str(&value(record)).unwrap_or_else(|_| serde_json::Value::String(value(record))),
                });
                println!("{json}");
            }
        }
    }
    Ok(())
}

/// Among records of one millisecond: the pipeline's inputs first, its outputs last.
fn rank(topic: &str) -> u8 {
    match (topic.contains(".pipeline."), topic.ends_with(".inputs")) {
        (true, true) => 0,
        (true, false) => 3,
        (false, true) => 1,
        (false, false) => 2,
    }
}

/// The value as JSON of the Open Inference Protocol, or as it is.
fn value(record: &InspectedRecord) -> String {
    let bytes = Bytes::copy_from_slice(&record.value);
    let json = match record.topic.ends_with(".inputs") {
        true => ModelInferRequest::decode(bytes.clone()).ok().and_then(|request| codec::request_to_json(&request).ok()),
        false if record.headers.contains_key("seldon-pipeline-errors") => None,
        false => ModelInferResponse::decode(bytes.clone()).ok().and_then(|response| codec::response_to_json(&response).ok()),
    };
    String::from_utf8_lossy(&json.unwrap_or_else(|| bytes.to_vec())).into_owned()
}
