//! Word count on both brokers gives what `sort | uniq -c` gives.
#![allow(clippy::unwrap_used)]

#[path = "../../broker/tests/support/kafka.rs"]
mod kafka;
mod support;

use std::{collections::BTreeMap, process::Command, sync::Arc, time::Duration};

use millstream::{KafkaStreams, StreamsBuilder, StreamsConfig};
use millstream_broker::{Broker, ConsumerOptions, EmbeddedBroker, KafkaBroker, KafkaOptions, Position, TopicPartition};
use support::*;

const LINES: usize = 100_000;
const PARTITIONS: i32 = 3;

fn lines() -> Vec<String> {
    let mut random = Random(7);
    let mut word = || {
        let (a, b) = (random.below(60), random.below(60));
        format!("w{}", a * b % 997)
    };
    (0..LINES).map(|_| [word(), word(), word(), word(), word()].join(" ")).collect()
}

fn by_sort_and_uniq(lines: &[String]) -> BTreeMap<String, i64> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lines");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "tr -s ' ' '\\n' < \"$1\" | LC_ALL=C sort | uniq -c", "sh"]).arg(&file);
    let output = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    let parse = |line: &str| {
        let (count, word) = line.trim().split_once(' ').unwrap();
        (word.to_owned(), count.parse().unwrap())
    };
    output.lines().map(parse).collect()
}

fn counts_words(broker: Arc<dyn Broker>, threads: usize, exactly_once: bool) {
    let lines = lines();
    let words: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
    create(&*broker, &["lines", "counts"], PARTITIONS);
    let builder = StreamsBuilder::new();
    let split = builder
        .stream::<Option<String>, String>("lines")
        .flat_map_values(|line| line.split_whitespace().map(String::from).collect::<Vec<_>>());
    split.group_by(|_, word| word.clone()).count().to_stream().to("counts");
    let directory = tempfile::tempdir().unwrap();
    let config = StreamsConfig {
        num_stream_threads: threads,
        state_dir: directory.path().to_owned(),
        commit_interval: Duration::from_millis(100),
        ..StreamsConfig::new("word-count")
    };
    let config = if exactly_once { config.exactly_once() } else { config };
    let streams = KafkaStreams::new(builder.build().unwrap(), config, broker.clone()).unwrap();
    streams.start().unwrap();
    for (i, lines) in lines.chunks(LINES / 10).enumerate() {
        let rows: Vec<Row> = lines.iter().map(|line| (None, Some(line.clone()), 0)).collect();
        produce(&*broker, "lines", i as i32 % PARTITIONS, &rows);
    }
    // First the words are on their way, then they are counted.
    wait_consumed(&*broker, "word-count", &["lines"]);
    wait_until("all words are counted", || counted(&*broker) >= words.len() as i64);
    streams.close().unwrap();
    assert_eq!(counts(&*broker, "counts"), by_sort_and_uniq(&lines));
}

/// How many records of the repartition topic are committed as read. (Offsets also count the ends of transactions.)
fn counted(broker: &dyn Broker) -> i64 {
    let topic = "word-count-KSTREAM-AGGREGATE-STATE-STORE-0000000003-repartition";
    let committed = committed(broker, "word-count", topic);
    let mut consumer = broker.consumer(ConsumerOptions { max_poll_records: 100_000, ..ConsumerOptions::default() }).unwrap();
    let partitions: Vec<_> = (0..PARTITIONS).map(|partition| (TopicPartition::new(topic, partition), Position::Beginning)).collect();
    consumer.assign(&partitions).unwrap();
    let mut count = 0;
    while partitions.iter().any(|(p, _)| consumer.position(p).unwrap() < committed[p.partition as usize].offset) {
        for batch in consumer.poll(Duration::from_millis(100)).unwrap() {
            count += batch.records.iter().filter(|record| record.offset < committed[batch.from.partition as usize].offset).count() as i64;
        }
    }
    count
}

#[test]
fn words_are_counted_on_the_embedded_broker() {
    counts_words(broker(), 1, false);
}

#[test]
fn words_are_counted_by_several_threads_exactly_once() {
    let broker: Arc<EmbeddedBroker> = broker();
    counts_words(broker, 2, true);
}

#[test]
fn words_are_counted_on_apache_kafka() {
    let kafka = kafka::Kafka::start();
    counts_words(KafkaBroker::connect(&kafka.address, KafkaOptions::default()).unwrap(), 1, false);
}

#[test]
fn words_are_counted_on_apache_kafka_exactly_once() {
    let kafka = kafka::Kafka::start();
    counts_words(KafkaBroker::connect(&kafka.address, KafkaOptions::default()).unwrap(), 2, true);
}
