//! `millstream pipeline inspect`: what one request has left in each topic, in order, with times.

use std::collections::HashMap;

use anyhow::Context;
use bytes::Bytes;
use millstream_engine::Topics;
use millstream_gateway::codec;
use millstream_proto::{
    inference::{ModelInferRequest, ModelInferResponse},
    inspect::{InspectRequest, InspectedRecord},
    seldon::scheduler::Pipeline,
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
    let pipeline = definition(&args).await?;
    let depths = depths(&pipeline);
    records.sort_by_cached_key(|record| (record.timestamp, rank(&record.topic, &depths), record.topic.clone()));
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

async fn definition(args: &InspectArgs) -> anyhow::Result<Pipeline> {
    let statuses = super::pipeline::statuses(&args.scheduler.scheduler_host, Some(&args.name)).await?;
    let pipeline = statuses.into_iter().next().and_then(|status| status.versions.into_iter().next_back()?.pipeline);
    pipeline.with_context(|| format!("the scheduler does not say what pipeline {} is: load it again", args.name))
}

/// How many steps a request takes at most until it reaches each step.
fn depths(pipeline: &Pipeline) -> HashMap<&str, usize> {
    let mut depths = HashMap::new();
    // Each round is right about one more level; there are at most as many levels as steps.
    for _ in &pipeline.steps {
        for step in &pipeline.steps {
            let sources = step.inputs.iter().filter_map(|input| depths.get(input.split('.').next()?));
            let depth = sources.max().map_or(1, |deepest: &usize| deepest + 1);
            depths.insert(step.name.as_str(), depth);
        }
    }
    depths
}

/// The order among records of one millisecond: from the pipeline's inputs through its steps to its outputs.
fn rank(topic: &str, depths: &HashMap<&str, usize>) -> usize {
    let mut parts = topic.rsplit('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("inputs"), _, Some("pipeline")) => 0,
        (Some("outputs"), _, Some("pipeline")) => usize::MAX,
        (Some(side), Some(step), Some("model")) => {
            depths.get(step).map_or(usize::MAX - 1, |depth| 2 * depth + usize::from(side == "outputs"))
        }
        _ => usize::MAX - 1,
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

#[cfg(test)]
mod tests {
    use millstream_engine::pipeline::{PipelineBuilder, Step};

    use super::*;

    #[test]
    fn records_of_one_millisecond_are_in_the_order_of_the_steps() {
        let chain = PipelineBuilder::new("p").step(Step::new("c").input("a.outputs").input("b.outputs")).step(Step::new("b").input("a"));
        let pipeline = chain.step(Step::new("a")).output("c").build();
        let depths = depths(&pipeline);
        let order = ["pipeline.p.inputs", "model.a.inputs", "model.a.outputs", "model.b.inputs", "model.b.outputs", "model.c.inputs"];
        let order = [&order[..], &["model.c.outputs", "errors.errors", "pipeline.p.outputs"]].concat();
        let ranks: Vec<_> = order.iter().map(|topic| rank(&format!("seldon.default.{topic}"), &depths)).collect();
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    }
}
