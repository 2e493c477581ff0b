//! `millstream up`: its death, its order of records, and its commands.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::HashSet, path::Path, time::Duration};

use millstream_broker::{Broker, ConsumerOptions, EmbeddedBroker, EmbeddedOptions, Position, TopicPartition};
use support::{
    Up,
    load::{CHAIN, Clients, JOIN, all_answered},
};

const PARTITIONS: i32 = 4;

fn load_all(up: &Up) {
    for model in ["add10", "add20", "mul10"] {
        up.run(&["model", "load", "-f", &format!("models/{model}.yaml"), "--wait"]).ok();
    }
    up.run(&["pipeline", "load", "-f", "demo/pipelines.yaml", "--wait"]).ok();
}

/// The keys of a topic of a broker that nobody else uses now.
fn keys(broker: &EmbeddedBroker, topic: &str) -> HashSet<String> {
    let mut consumer = broker.consumer(ConsumerOptions::default()).unwrap();
    let partitions: Vec<_> = (0..PARTITIONS).map(|partition| TopicPartition::new(topic, partition)).collect();
    let ends = consumer.end_offsets(&partitions, Duration::from_secs(10)).unwrap();
    consumer.assign(&partitions.iter().map(|partition| (partition.clone(), Position::Beginning)).collect::<Vec<_>>()).unwrap();
    let mut keys = HashSet::new();
    while partitions.iter().any(|partition| consumer.position(partition).unwrap() < ends[partition]) {
        for stored in consumer.poll(Duration::from_secs(10)).unwrap().into_iter().flat_map(|batch| batch.records) {
            keys.insert(String::from_utf8(stored.record.key.unwrap().into()).unwrap());
        }
    }
    keys
}

fn broker(folder: &Path) -> std::sync::Arc<EmbeddedBroker> {
    EmbeddedBroker::open(EmbeddedOptions::new(folder.join("data/broker"))).unwrap()
}

/// Ten thousand requests make sixty thousand records; the process dies in the middle of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_with_the_process_and_what_was_loaded_answers_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &["--partitions", "4"]);
    load_all(&up);
    let load = Clients::new(&[&up.inference], 4).steadily(&[JOIN, CHAIN], 64);
    load.sent(5_000).await;
    up.process.kill();
    let asked = load.stop().await;
    let answered: Vec<_> = asked.iter().filter_map(|asked| Some((asked.pipeline, asked.outcome.as_ref().ok()?))).collect();
    println!("{} answers before the death", answered.len());
    assert!(answered.len() > 4_000);
    let broker = broker(folder.path());
    for (pipeline, side) in [("join", "inputs"), ("join", "outputs"), ("chain", "inputs"), ("chain", "outputs")] {
        let there = keys(&broker, &format!("seldon.default.pipeline.{pipeline}.{side}"));
        let lost: Vec<_> = answered.iter().filter(|(of, key)| *of == pipeline && !there.contains(*key)).collect();
        assert!(lost.is_empty(), "{pipeline}.{side} has lost {lost:?}");
    }
    drop(broker);

    let up = Up::start(folder.path(), &["--partitions", "4"]);
    for pipeline in ["join", "chain"] {
        up.run(&["pipeline", "status", pipeline, "-w", "PipelineReady"]).ok();
    }
    let clients = Clients::new(&[&up.inference], 1);
    all_answered(&clients.at_once(JOIN, 200).await);
    all_answered(&clients.at_once(CHAIN, 200).await);
}

#[test]
fn inspect_shows_what_a_request_left_in_the_order_of_the_steps() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    load_all(&up);
    let request = r#"{"inputs": [{"name": "INPUT", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}"#;
    for mode in ["rest", "grpc", "rest"] {
        up.run(&["pipeline", "infer", "chain", request, "--inference-mode", mode, "--header", "x-request-id=mine"]).ok();
    }
    let topics = |args: &[&str]| -> Vec<String> {
        let inspect = ["pipeline", "inspect", "chain", "-o", "json", "--inspect-host", &up.inspector];
        let out = up.run(&[&inspect, args].concat()).ok();
        let topic = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["topic"].as_str().unwrap().to_string();
        out.lines().map(topic).collect()
    };
    let steps = ["pipeline.chain.inputs", "model.add10.inputs", "model.add10.outputs", "model.mul10.inputs", "model.mul10.outputs"];
    let expected: Vec<_> =
        [&steps[..], &["pipeline.chain.outputs"]].concat().iter().map(|topic| format!("seldon.default.{topic}")).collect();
    up.run(&["pipeline", "infer", "chain", request]).ok();
    assert_eq!(topics(&[]), expected);
    // Three requests had the same id.
    assert_eq!(topics(&["--request-id", "0.chain.mine"]).len(), 3 * expected.len());
}
