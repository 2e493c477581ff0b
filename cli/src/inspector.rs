//! What a request has left in the topics of its pipeline.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use millstream_broker::{Broker, ConsumerOptions, Position, TopicPartition};
use millstream_engine::Topics;
use millstream_proto::inspect::{
    InspectRequest, InspectResponse, InspectedRecord,
    inspector_server::{Inspector, InspectorServer},
};
use tonic::{Request, Response, Status};

const DEADLINE: Duration = Duration::from_secs(20);
/// How far back a partition is read.
const LOOK_BACK: i64 = 20_000;

/// Answers for a broker that only this process can read.
struct Service {
    broker: Arc<dyn Broker>,
    topics: Topics,
}

#[tonic::async_trait]
impl Inspector for Service {
    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectResponse>, Status> {
        let InspectRequest { pipeline, key } = request.into_inner();
        let (broker, topics) = (self.broker.clone(), self.topics.clone());
        let read = tokio::task::spawn_blocking(move || read(&*broker, &topics, &pipeline, (!key.is_empty()).then_some(&key))).await;
        let records = read
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::failed_precondition(format!("{error:#}")))?;
        Ok(Response::new(InspectResponse { records }))
    }
}

/// Serves the inspector until the answer is dropped.
pub async fn serve(listen: SocketAddr, broker: Arc<dyn Broker>, prefix: &str, namespace: &str) -> anyhow::Result<tokio::task::JoinSet<()>> {
    let listener = tokio::net::TcpListener::bind(listen).await.context("the port is in use or not allowed: choose another one")?;
    let service = InspectorServer::new(Service { broker, topics: Topics::new(prefix, namespace) }).max_encoding_message_size(usize::MAX);
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        if let Err(error) = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await {
            tracing::warn!(%error, "the inspector stopped");
        }
    });
    Ok(serving)
}

/// The records of one request that are among the last [`LOOK_BACK`] of their partitions; without a key those of the newest request.
pub fn read(broker: &dyn Broker, topics: &Topics, pipeline: &str, key: Option<&String>) -> anyhow::Result<Vec<InspectedRecord>> {
    let admin = broker.admin();
    let own = [topics.pipeline(pipeline, "inputs"), topics.pipeline(pipeline, "outputs"), topics.errors()];
    let count =
        admin.describe_topic(&own[0], DEADLINE).with_context(|| format!("pipeline {pipeline} has no topics: load it first"))?.partitions;
    // A key begins with its partition.
    let of_key = key.and_then(|key| key.split('.').next()?.parse().ok()).filter(|partition| (0..count).contains(partition));
    let partitions = of_key.map_or(0..count, |partition| partition..partition + 1);
    let models = topics.model("", "").trim_end_matches('.').to_string();
    let all = admin.list_topics(DEADLINE)?;
    let topics: Vec<Arc<str>> = own.into_iter().chain(all.into_iter().filter(|topic| topic.starts_with(&models)).map(Arc::from)).collect();
    let everything: Vec<TopicPartition> =
        topics.iter().flat_map(|topic| partitions.clone().map(move |partition| TopicPartition::new(topic.clone(), partition))).collect();
    let options = ConsumerOptions { max_poll_records: 10_000, ..ConsumerOptions::default() };
    let mut consumer = broker.consumer(options)?;
    let ends = consumer.end_offsets(&everything, DEADLINE)?;
    let start = |partition: &TopicPartition| match ends.get(partition).map_or(0, |end| end - LOOK_BACK) {
        start @ 1.. => Position::Offset(start),
        _ => Position::Beginning,
    };
    consumer.assign(&everything.iter().map(|partition| (partition.clone(), start(partition))).collect::<Vec<_>>())?;
    let (mut records, until) = (vec![], Instant::now() + DEADLINE);
    loop {
        let mut behind = false;
        for partition in &everything {
            behind |= consumer.position(partition)? < ends.get(partition).copied().unwrap_or(0);
        }
        if !behind {
            break;
        }
        anyhow::ensure!(Instant::now() < until, "the topics were not read in {DEADLINE:?}: ask again");
        for batch in consumer.poll(Duration::from_millis(100))? {
            let (topic, partition) = (batch.from.topic.to_string(), batch.from.partition);
            for stored in batch.records {
                let headers: HashMap<String, String> = stored
                    .record
                    .headers
                    .iter()
                    .map(|header| {
                        (header.name.to_string(), String::from_utf8_lossy(header.value.as_deref().unwrap_or_default()).into_owned())
                    })
                    .collect();
                let record_key = String::from_utf8_lossy(stored.record.key.as_deref().unwrap_or_default()).into_owned();
                if headers.get("pipeline").is_some_and(|of| of == pipeline) && key.is_none_or(|key| *key == record_key) {
                    records.push(InspectedRecord {
                        topic: topic.clone(),
                        partition,
                        offset: stored.offset,
                        key: record_key,
                        timestamp: stored.record.timestamp,
                        value: stored.record.value.unwrap_or_default(),
                        headers,
                    });
                }
            }
        }
    }
    if key.is_none()
        && let Some(newest) = records.iter().filter(|r| r.topic.ends_with(".inputs")).max_by_key(|r| r.timestamp).map(|r| r.key.clone())
    {
        records.retain(|record| record.key == newest);
    }
    Ok(records)
}
