//! The brokers: how many records a second, how long from one to the other, and at what cost.
//!
//! `cargo bench -p millstream-benches --bench broker`. With `MILLSTREAM_BENCH_KAFKA=start` a Kafka is started (`=host:port`: that one is
//! used), and consume → produce through the contract is measured on it.

#[path = "../../broker/tests/support/kafka.rs"]
mod kafka;

use std::{
    env, fs,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream_broker::*;

const BATCH: usize = 1_000;
const SOON: Duration = Duration::from_secs(60);

/// Batches of 100-byte records: a key of 10 bytes and a value of 90.
fn batch(topic: &str, partition: i32) -> ProduceBatch {
    let record = |i| Record { key: Some(format!("{i:010}").into()), value: Some(vec![7; 90].into()), timestamp: 1, ..Record::default() };
    ProduceBatch { to: TopicPartition::new(topic, partition), records: (0..BATCH).map(record).collect() }
}

fn durable() -> (tempfile::TempDir, Arc<EmbeddedBroker>) {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let broker = EmbeddedBroker::open(EmbeddedOptions::new(directory.path())).expect("it opens");
    broker.admin().create_topics(&[NewTopic::new("topic", 1)], SOON).expect("it is created");
    (directory, broker)
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("embedded");
    group.throughput(Throughput::Elements(BATCH as u64));
    let (_directory, broker) = durable();
    let producer = broker.producer(ProducerOptions::default()).expect("a producer");
    let batch = batch("topic", 0);
    group.bench_function("append, batches of 1,000 × 100 bytes", |b| {
        b.iter(|| producer.send(batch.clone(), None).expect("it is appended"))
    });
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("embedded");
    group.throughput(Throughput::Elements(BATCH as u64));
    let (_directory, broker) = durable();
    let producer = broker.producer(ProducerOptions::default()).expect("a producer");
    for _ in 0..1_000 {
        producer.send(batch("topic", 0), None).expect("it is appended");
    }
    let partition = TopicPartition::new("topic", 0);
    let mut consumer = broker.consumer(ConsumerOptions::default()).expect("a consumer");
    let mut read_from = |name: &str, start: i64| {
        consumer.assign(&[(partition.clone(), Position::Offset(start))]).expect("it is assigned");
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut left = BATCH;
                while left > 0 {
                    let batches = consumer.poll(SOON).expect("it is read");
                    left = left.saturating_sub(batches.iter().map(|batch| batch.records.len()).sum());
                    if consumer.position(&partition).expect("it is assigned") >= 1_000_000 {
                        consumer.seek(&partition, Position::Offset(start)).expect("it is assigned");
                    }
                }
            });
        });
    };
    read_from("read from the disk, batches of 1,000 × 100 bytes", 0);
    read_from("read from memory, batches of 1,000 × 100 bytes", 990_000);
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// From before the send until the consumer, on another thread, has the record.
fn latency(broker: &Arc<dyn Broker>, name: &str, rounds: usize, pause: Duration) {
    let topic = format!("latency-{}", SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos()));
    broker.admin().create_topics(&[NewTopic::new(&topic, 1)], SOON).expect("it is created");
    let producer = broker.producer(ProducerOptions::default()).expect("a producer");
    let mut consumer = broker.consumer(ConsumerOptions::default()).expect("a consumer");
    consumer.assign(&[(TopicPartition::new(&*topic, 0), Position::Beginning)]).expect("it is assigned");
    let epoch = Instant::now();
    let reader = thread::spawn(move || {
        let mut took = Vec::with_capacity(rounds);
        while took.len() < rounds {
            for record in consumer.poll(SOON).expect("it is read").into_iter().flat_map(|batch| batch.records) {
                let sent = record.record.value.as_deref().and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes);
                took.push(epoch.elapsed() - Duration::from_nanos(sent));
            }
        }
        took
    });
    for _ in 0..rounds {
        thread::sleep(pause);
        let value = (epoch.elapsed().as_nanos() as u64).to_le_bytes().to_vec();
        let record = Record { value: Some(value.into()), timestamp: 1, ..Record::default() };
        producer.send(ProduceBatch { to: TopicPartition::new(&*topic, 0), records: vec![record] }, None).expect("it is sent");
    }
    let mut took = reader.join().expect("the reader ends");
    took.drain(..rounds / 2); // everything is warm now
    took.sort_unstable();
    println!("{name}: produce → consume p50 {:?}, p99 {:?}", percentile(&took, 50), percentile(&took, 99));
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Reads records of one topic and writes them to another, as a stateless task does.
fn consume_produce(broker: &Arc<dyn Broker>, name: &str, batches: usize) {
    let suffix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    let (input, output) = (format!("in-{suffix}"), format!("out-{suffix}"));
    broker.admin().create_topics(&[NewTopic::new(&input, 1), NewTopic::new(&output, 1)], SOON).expect("they are created");
    let producer = broker.producer(ProducerOptions { linger: Duration::from_millis(5), ..ProducerOptions::default() }).expect("a producer");
    for _ in 0..batches {
        producer.send(batch(&input, 0), None).expect("it is sent");
    }
    producer.flush(SOON).expect("it is sent");
    let mut consumer = broker.consumer(ConsumerOptions { max_poll_records: 5_000, ..ConsumerOptions::default() }).expect("a consumer");
    consumer.assign(&[(TopicPartition::new(&*input, 0), Position::Beginning)]).expect("it is assigned");
    let to = TopicPartition::new(&*output, 0);
    let (began, cpu_before, total) = (Instant::now(), cpu(), batches * BATCH);
    let mut done = 0;
    while done < total {
        for batch in consumer.poll(SOON).expect("it is read") {
            let records: Vec<_> = batch.records.into_iter().map(|stored| stored.record).collect();
            done += records.len();
            if !records.is_empty() {
                producer.send(ProduceBatch { to: to.clone(), records }, None).expect("it is sent");
            }
        }
    }
    producer.flush(SOON).expect("it is sent");
    let (took, used) = (began.elapsed(), cpu() - cpu_before);
    let millions = total as f64 / 1e6;
    println!(
        "{name}: consume → produce {:.0} records/s, {:.2} CPU-seconds per million",
        total as f64 / took.as_secs_f64(),
        used.as_secs_f64() / millions
    );
}

fn whole_brokers(_: &mut Criterion) {
    let (_directory, broker) = durable();
    let broker: Arc<dyn Broker> = broker;
    latency(&broker, "embedded, 1,000/s", 5_000, Duration::from_millis(1));
    latency(&broker, "embedded, 100/s", 500, Duration::from_millis(10));
    consume_produce(&broker, "embedded", 2_000);
    let Ok(address) = env::var("MILLSTREAM_BENCH_KAFKA") else { return };
    let address = if address == "start" { kafka::bootstrap().to_owned() } else { address };
    let broker: Arc<dyn Broker> = KafkaBroker::connect(&address, KafkaOptions::default()).expect("it connects");
    latency(&broker, "kafka, 100/s", 2_000, Duration::from_millis(10));
    consume_produce(&broker, "kafka, warm-up", 1_000);
    consume_produce(&broker, "kafka", 3_000);
}

criterion_group! {
    name = broker;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(5));
    targets = append, read, whole_brokers
}
criterion_main!(broker);
