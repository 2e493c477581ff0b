//! Counts the words of a text, on the embedded broker or on Apache Kafka.
//!
//! ```sh
//! cargo run --release -p millstream --example word_count -- text.txt                                 # embedded
//! cargo run --release -p millstream --example word_count -- text.txt --bootstrap-servers HOST:PORT   # Apache Kafka
//! ```
//!
//! Reads the file (or standard input), prints `count word`, sorted by word, as `sort | uniq -c` does.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Parser;
use millstream::{KafkaStreams, StreamsBuilder, StreamsConfig};
use millstream_broker::{Broker, ConsumerOptions, NewTopic, Position, ProduceBatch, ProducerOptions, Record, TopicPartition};

/// Counts the words of a text.
#[derive(Parser)]
struct Options {
    /// The text; standard input if there is none.
    file: Option<std::path::PathBuf>,
    /// Apache Kafka's addresses; without them the embedded broker is used.
    #[arg(long)]
    bootstrap_servers: Option<String>,
    /// Into how many partitions lines and counts are divided.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// How many threads count.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

const DEADLINE: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut text = String::new();
    match &options.file {
        Some(file) => text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => drop(std::io::stdin().read_to_string(&mut text)?),
    }
    let directory = tempfile::tempdir()?;
    let broker = millstream_broker::connect(options.bootstrap_servers.as_deref(), &directory.path().join("broker"))?;

    // A run of its own on a shared Kafka: topics and group are named by the process and the time.
    let run = format!("word-count-{}-{}", std::process::id(), std::time::UNIX_EPOCH.elapsed()?.as_millis());
    let (lines, counts) = (format!("{run}-lines"), format!("{run}-counts"));
    let topics = [NewTopic::new(&lines, options.partitions), NewTopic::new(&counts, options.partitions).compacted()];
    broker.admin().create_topics(&topics, DEADLINE)?;

    let builder = StreamsBuilder::new();
    builder
        .stream::<Option<String>, String>(&lines)
        .flat_map_values(|line| line.split_whitespace().map(String::from).collect::<Vec<_>>())
        .group_by(|_, word| word.clone())
        .count()
        .to_stream()
        .to(&counts);
    let config = StreamsConfig {
        commit_interval: Duration::from_millis(100),
        num_stream_threads: options.threads,
        state_dir: directory.path().join("state"),
        ..StreamsConfig::new(&run)
    };
    let streams = KafkaStreams::new(builder.build()?, config, broker.clone())?;
    streams.start()?;

    produce(&*broker, &lines, options.partitions, &text)?;
    let words = text.split_whitespace().count() as i64;
    let result = read_counts(&*broker, &counts, options.partitions, words, &streams)?;
    for (word, count) in result {
        println!("{count:7} {word}");
    }
    streams.close()?;
    Ok(())
}

fn produce(broker: &dyn Broker, topic: &str, partitions: i32, text: &str) -> anyhow::Result<()> {
    let producer = broker.producer(ProducerOptions::default())?;
    let topic: Arc<str> = topic.into();
    let lines: Vec<&str> = text.lines().collect();
    for (i, lines) in lines.chunks(1_000).enumerate() {
        let record = |line: &&str| Record { value: Some(bytes::Bytes::copy_from_slice(line.as_bytes())), ..Record::default() };
        let to = TopicPartition::new(topic.clone(), i as i32 % partitions);
        producer.send(ProduceBatch { to, records: lines.iter().map(record).collect() }, None)?;
    }
    Ok(producer.flush(DEADLINE)?)
}

/// Reads the table of counts until it adds up to the number of words.
fn read_counts(
    broker: &dyn Broker,
    topic: &str,
    partitions: i32,
    words: i64,
    streams: &KafkaStreams,
) -> anyhow::Result<BTreeMap<String, i64>> {
    let mut consumer = broker.consumer(ConsumerOptions::default())?;
    let all: Vec<_> = (0..partitions).map(|partition| (TopicPartition::new(topic, partition), Position::Beginning)).collect();
    consumer.assign(&all)?;
    let (mut counts, until) = (BTreeMap::new(), Instant::now() + DEADLINE);
    while counts.values().sum::<i64>() < words {
        if let Some(error) = streams.error() {
            return Err(error.into());
        }
        anyhow::ensure!(Instant::now() < until, "counted {} of {words} words in {DEADLINE:?}", counts.values().sum::<i64>());
        for record in consumer.poll(Duration::from_millis(100))?.into_iter().flat_map(|batch| batch.records) {
            let (Some(key), Some(value)) = (record.record.key, record.record.value) else { continue };
            let count = i64::from_be_bytes(value.as_ref().try_into().context("a count has 8 bytes")?);
            counts.insert(String::from_utf8(key.to_vec())?, count);
        }
    }
    Ok(counts)
}
