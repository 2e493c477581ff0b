//! What only the embedded broker can be asked: its data directory, its cleaning, its death.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use millstream_broker::{
    embedded::{Faults, Operation},
    *,
};

const SOON: Duration = Duration::from_secs(20);

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn record(key: Option<&str>, value: Option<&str>, timestamp: i64) -> Record {
    let bytes = |text: Option<&str>| text.map(|text| text.to_owned().into());
    Record { key: bytes(key), value: bytes(value), timestamp, ..Record::default() }
}

fn send(broker: &dyn Broker, topic: &str, records: Vec<Record>) {
    let producer = broker.producer(ProducerOptions::default()).unwrap();
    producer.send(ProduceBatch { to: TopicPartition::new(topic, 0), records }, None).unwrap();
}

fn transactional(broker: &dyn Broker, id: &str) -> Arc<dyn Producer> {
    let producer = broker.producer(ProducerOptions { transactional_id: Some(id.into()), ..ProducerOptions::default() }).unwrap();
    producer.init_transactions(SOON).unwrap();
    producer
}

/// All that is there: offset and value.
fn all(broker: &dyn Broker, topic: &str, isolation: Isolation) -> Vec<(i64, String)> {
    let mut consumer = broker.consumer(ConsumerOptions { isolation, ..ConsumerOptions::default() }).unwrap();
    let partition = TopicPartition::new(topic, 0);
    consumer.assign(&[(partition.clone(), Position::Beginning)]).unwrap();
    let end = consumer.end_offsets(std::slice::from_ref(&partition), SOON).unwrap()[&partition];
    let mut found = Vec::new();
    while consumer.position(&partition).unwrap() < end {
        for record in consumer.poll(SOON).unwrap().into_iter().flat_map(|batch| batch.records) {
            found.push((record.offset, String::from_utf8_lossy(record.record.value.as_deref().unwrap_or(b"-")).into_owned()));
        }
    }
    found
}

fn open(directory: &std::path::Path) -> Arc<EmbeddedBroker> {
    EmbeddedBroker::open(EmbeddedOptions::new(directory)).unwrap()
}

#[test]
fn what_was_there_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let partition = TopicPartition::new("topic", 0);
    let committed = Offsets::from([(partition.clone(), CommittedOffset { offset: 2, metadata: "two".into() })]);
    {
        let broker = open(directory.path());
        broker
            .admin()
            .create_topics(&[NewTopic::new("topic", 2).compacted().retention_ms(1 << 40), NewTopic::new("gone", 1)], SOON)
            .unwrap();
        send(&*broker, "topic", (0..4).map(|i| record(Some("k"), Some(&i.to_string()), now())).collect());
        let producer = transactional(&*broker, "id");
        producer.begin_transaction().unwrap();
        producer.send(ProduceBatch { to: partition.clone(), records: vec![record(Some("k"), Some("aborted"), 1)] }, None).unwrap();
        producer.abort_transaction(SOON).unwrap();
        broker.consumer(ConsumerOptions::group("group")).unwrap().commit(&committed, SOON).unwrap();
        broker.admin().delete_records(&[(partition.clone(), 1)], SOON).unwrap();
        broker.admin().delete_topics(&["gone"], SOON).unwrap();
    }
    let broker = open(directory.path());
    let described = TopicDescription { partitions: 2, retention_ms: Some(1 << 40), compact: true };
    assert_eq!(broker.admin().describe_topic("topic", SOON).unwrap(), described);
    assert_eq!(broker.admin().list_topics(SOON).unwrap(), ["topic"]);
    let expected: Vec<_> = (1..4).map(|i| (i, i.to_string())).collect();
    assert_eq!(all(&*broker, "topic", Isolation::ReadCommitted), expected);
    assert_eq!(all(&*broker, "topic", Isolation::ReadUncommitted).len(), 4);
    let mut member = broker.consumer(ConsumerOptions::group("group")).unwrap();
    assert_eq!(member.committed(&[partition], SOON).unwrap(), committed);
    send(&*broker, "topic", vec![record(Some("k"), Some("next"), now())]);
    assert_eq!(all(&*broker, "topic", Isolation::ReadCommitted).last().unwrap(), &(5, "next".to_owned()));
}

#[test]
fn records_that_left_memory_are_read_from_the_disk() {
    let broker = EmbeddedBroker::temporary_with(|options| options.memory_bytes = 0).unwrap();
    broker.admin().create_topics(&[NewTopic::new("topic", 1)], SOON).unwrap();
    let text = "x".repeat(1000);
    for batch in 0..200 {
        let records = (0..10).map(|i| record(None, Some(&format!("{}{text}", batch * 10 + i)), 1)).collect();
        send(&*broker, "topic", records);
    }
    let found = all(&*broker, "topic", Isolation::ReadCommitted);
    assert_eq!(found.len(), 2000);
    assert!(found.iter().enumerate().all(|(i, (offset, value))| *offset == i as i64 && *value == format!("{i}{text}")));
}

#[test]
fn a_directory_of_another_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    std::fs::write(directory.path().join("VERSION"), "millstream broker 77\n").unwrap();
    let error = EmbeddedBroker::open(EmbeddedOptions::new(directory.path())).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, Error::Storage { .. }) && text.contains("millstream broker 77") && text.contains("another directory"),
        "{text}"
    );
    assert_eq!(std::fs::read_to_string(directory.path().join("VERSION")).unwrap(), "millstream broker 77\n");

    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join("thesis.txt"), "precious").unwrap();
    let text = EmbeddedBroker::open(EmbeddedOptions::new(foreign.path())).unwrap_err().to_string();
    assert!(text.contains("is not empty"), "{text}");

    let file = foreign.path().join("thesis.txt");
    let text = EmbeddedBroker::open(EmbeddedOptions::new(&file)).unwrap_err().to_string();
    assert!(text.contains("thesis.txt") && text.contains("cannot be created"), "{text}");
}

#[test]
fn a_directory_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open(directory.path());
    let error = EmbeddedBroker::open(EmbeddedOptions::new(directory.path())).unwrap_err();
    assert!(error.to_string().contains("is in use by another broker: stop it"), "{error}");
    // It is free again when the last that uses it is gone, which may be a producer.
    let producer = broker.producer(ProducerOptions::default()).unwrap();
    drop(broker);
    assert!(EmbeddedBroker::open(EmbeddedOptions::new(directory.path())).is_err());
    drop(producer);
    open(directory.path());
}

#[test]
fn old_records_go_when_their_time_is_over() {
    let broker = EmbeddedBroker::temporary().unwrap();
    broker.admin().create_topics(&[NewTopic::new("topic", 1).retention_ms(60_000)], SOON).unwrap();
    let producer = transactional(&*broker, "id");
    producer.begin_transaction().unwrap();
    for (value, age) in [("a", 100_000), ("b", 90_000), ("c", 1), ("d", 100_000)] {
        send(&*broker, "topic", vec![record(None, Some(value), now() - age)]);
    }
    broker.clean().unwrap();
    assert_eq!(all(&*broker, "topic", Isolation::ReadCommitted), [(2, "c".into()), (3, "d".into())]);
    // All of them old: the end stays where it is.
    broker.admin().create_topics(&[NewTopic::new("other", 1).retention_ms(60_000)], SOON).unwrap();
    send(&*broker, "other", vec![record(None, Some("a"), 1), record(None, Some("b"), 1)]);
    broker.clean().unwrap();
    assert_eq!(all(&*broker, "other", Isolation::ReadCommitted), []);
    send(&*broker, "other", vec![record(None, Some("c"), now())]);
    assert_eq!(all(&*broker, "other", Isolation::ReadCommitted), [(2, "c".into())]);
}

#[test]
fn compaction_keeps_the_newest_record_of_each_key_at_its_offset() {
    let directory = tempfile::tempdir().unwrap();
    let options = || EmbeddedOptions { memory_bytes: 0, ..EmbeddedOptions::new(directory.path()) };
    let large = "y".repeat(20_000); // more than memory keeps, so that what is read was compacted
    {
        let broker = EmbeddedBroker::open(options()).unwrap();
        broker.admin().create_topics(&[NewTopic::new("topic", 1).compacted()], SOON).unwrap();
        for round in 0..3 {
            let of = |key: &str| record(Some(key), Some(&format!("{key}{round}")), now());
            send(&*broker, "topic", vec![of("a"), of("b"), of(["c", "d", "e"][round])]);
        }
        let producer = transactional(&*broker, "id");
        producer.begin_transaction().unwrap();
        let records = vec![record(Some("b"), Some("aborted"), now())];
        producer.send(ProduceBatch { to: TopicPartition::new("topic", 0), records }, None).unwrap();
        producer.abort_transaction(SOON).unwrap();
        send(&*broker, "topic", vec![record(Some("d"), None, now()), record(Some("c"), None, 1)]);
        send(&*broker, "topic", vec![record(Some("last"), Some(&large), now())]);
        broker.clean().unwrap();
        broker.clean().unwrap();
    }
    let broker = EmbeddedBroker::open(options()).unwrap();
    let expected = [(6, "a2"), (7, "b2"), (8, "e2"), (10, "-"), (12, &large)].map(|(offset, value)| (offset, value.to_owned()));
    assert_eq!(all(&*broker, "topic", Isolation::ReadCommitted), expected);
    assert_eq!(all(&*broker, "topic", Isolation::ReadUncommitted), expected);
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_aborted() {
    let broker = EmbeddedBroker::temporary_with(|options| options.transaction_timeout = Duration::from_millis(100)).unwrap();
    broker.admin().create_topics(&[NewTopic::new("topic", 1)], SOON).unwrap();
    let producer = transactional(&*broker, "id");
    producer.begin_transaction().unwrap();
    producer.send(ProduceBatch { to: TopicPartition::new("topic", 0), records: vec![record(None, Some("a"), 1)] }, None).unwrap();
    let until = Instant::now() + SOON;
    while all(&*broker, "topic", Isolation::ReadCommitted).is_empty() && Instant::now() < until {
        send(&*broker, "topic", vec![record(None, Some("b"), 1)]);
        thread::sleep(Duration::from_millis(50));
    }
    assert!(all(&*broker, "topic", Isolation::ReadCommitted).iter().all(|(_, value)| value == "b"));
    assert!(matches!(producer.commit_transaction(SOON), Err(Error::Fenced(_))));
}

struct Count(Arc<AtomicBool>);

impl RebalanceListener for Count {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        self.0.store(!partitions.is_empty(), Ordering::SeqCst);
    }

    fn revoked(&mut self, _: &[TopicPartition], commit: &mut dyn FnMut(&Offsets) -> Result<(), Error>) {
        assert!(matches!(commit(&Offsets::new()), Err(Error::Fenced(_))), "a member that was silent for too long lost its partitions");
        self.0.store(false, Ordering::SeqCst);
    }
}

#[test]
fn a_silent_member_loses_its_partitions_and_may_come_back() {
    let broker = EmbeddedBroker::temporary().unwrap();
    broker.admin().create_topics(&[NewTopic::new("topic", 1)], SOON).unwrap();
    let options = ConsumerOptions { session_timeout: Duration::from_millis(200), ..ConsumerOptions::group("group") };
    let (of_silent, of_other) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut silent = broker.consumer(options.clone()).unwrap();
    silent.subscribe(&["topic"], Box::new(Count(of_silent.clone()))).unwrap();
    silent.poll(Duration::from_millis(10)).unwrap();
    assert!(of_silent.load(Ordering::SeqCst));
    let zombie = silent.group_metadata().unwrap();

    let mut other = broker.consumer(options).unwrap();
    other.subscribe(&["topic"], Box::new(Count(of_other.clone()))).unwrap();
    let began = Instant::now();
    while !of_other.load(Ordering::SeqCst) {
        assert!(began.elapsed() < SOON);
        other.poll(Duration::from_millis(500)).unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    let producer = transactional(&*broker, "id");
    producer.begin_transaction().unwrap();
    assert!(matches!(producer.send_offsets(&Offsets::new(), &zombie, SOON), Err(Error::Fenced(_))));
    drop(other);
    while !of_silent.load(Ordering::SeqCst) || silent.group_metadata().unwrap().generation == zombie.generation {
        assert!(began.elapsed() < SOON);
        silent.poll(Duration::from_millis(10)).unwrap();
    }
}

#[test]
fn a_topic_that_is_deleted_while_it_is_read_is_said_once_and_the_others_are_read_on() {
    let broker = EmbeddedBroker::temporary().unwrap();
    broker.admin().create_topics(&[NewTopic::new("one", 1), NewTopic::new("two", 1)], SOON).unwrap();
    let mut consumer = broker.consumer(ConsumerOptions::default()).unwrap();
    let both = ["one", "two"].map(|topic| (TopicPartition::new(topic, 0), Position::Beginning));
    consumer.assign(&both).unwrap();
    broker.admin().delete_topics(&["one"], SOON).unwrap();
    assert_eq!(consumer.poll(SOON), Err(Error::UnknownTopic("one".into())));
    send(&*broker, "two", vec![record(None, Some("on"), 1)]);
    assert_eq!(consumer.poll(SOON).unwrap()[0].records.len(), 1);
}

#[test]
fn faults_on_purpose_reach_the_caller_and_nothing_is_half_done() {
    let broken = Arc::new(AtomicBool::new(true));
    let faults = {
        let broken = broken.clone();
        Faults::new(move |operation, _| match operation {
            Operation::Append if broken.load(Ordering::SeqCst) => Err(Error::Timeout("append")),
            _ => Ok(()),
        })
    };
    let broker = EmbeddedBroker::temporary_with(|options| options.faults = faults).unwrap();
    broker.admin().create_topics(&[NewTopic::new("topic", 1)], SOON).unwrap();
    let producer = broker.producer(ProducerOptions::default()).unwrap();
    let batch = |value| ProduceBatch { to: TopicPartition::new("topic", 0), records: vec![record(None, Some(value), 1)] };
    assert_eq!(producer.send(batch("lost"), None), Err(Error::Timeout("append")));
    broken.store(false, Ordering::SeqCst);
    producer.send(batch("kept"), None).unwrap();
    assert_eq!(all(&*broker, "topic", Isolation::ReadCommitted), [(0, "kept".into())]);
}

const CHILD: &str = "MILLSTREAM_CRASH_TEST_DIRECTORY";

/// Not a test by itself: the process that is killed. It says every offset that was acknowledged.
#[test]
fn crash_child() {
    let Some(directory) = env::var_os(CHILD) else { return };
    let broker = open(directory.as_ref());
    let topics = ["plain", "transactional", "held"].map(|topic| NewTopic::new(topic, 1));
    broker.admin().create_topics(&topics, SOON).unwrap();
    let holding = transactional(&*broker, "holding");
    holding.begin_transaction().unwrap();
    holding.send(ProduceBatch { to: TopicPartition::new("held", 0), records: vec![record(None, Some("held"), 1)] }, None).unwrap();
    send(&*broker, "held", vec![record(None, Some("behind"), 1)]);
    let plain = broker.producer(ProducerOptions::default()).unwrap();
    let producer = transactional(&*broker, "id");
    let group = broker.consumer(ConsumerOptions::group("group")).unwrap().group_metadata().unwrap();
    let say = |line: String| {
        let mut out = std::io::stderr().lock();
        writeln!(out, "{line}").unwrap();
    };
    for i in 0.. {
        let records: Vec<_> = (0..10).map(|j| record(Some("k"), Some(&(i * 10 + j).to_string()), 1)).collect();
        let acknowledge: Acknowledge = Box::new(move |result| {
            let mut out = std::io::stderr().lock();
            writeln!(out, "plain {}", result.unwrap()).unwrap();
        });
        plain.send(ProduceBatch { to: TopicPartition::new("plain", 0), records: records.clone() }, Some(acknowledge)).unwrap();
        producer.begin_transaction().unwrap();
        for record in records {
            producer.send(ProduceBatch { to: TopicPartition::new("transactional", 0), records: vec![record] }, None).unwrap();
        }
        let offset = CommittedOffset { offset: i + 1, metadata: String::new() };
        producer.send_offsets(&Offsets::from([(TopicPartition::new("plain", 0), offset)]), &group, SOON).unwrap();
        producer.commit_transaction(SOON).unwrap();
        say(format!("committed {}", i + 1));
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged_and_leaves_no_transaction_half_done() {
    for round in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crash_child", "--nocapture"])
            .env(CHILD, &data)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut last: HashMap<String, i64> = HashMap::new();
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            let Some((what, number)) = line.split_once(' ') else { continue };
            let Ok(number) = number.parse() else { continue };
            last.insert(what.into(), number);
            seen += 1;
            if seen == 200 + round * 517 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= 200, "the child ran until it was killed");

        let broker = open(&data);
        let plain = all(&*broker, "plain", Isolation::ReadCommitted);
        assert!(plain.len() as i64 >= last["plain"] + 10, "{} of {last:?}", plain.len());
        assert!(plain.iter().enumerate().all(|(i, (offset, value))| *offset == i as i64 && *value == i.to_string()));
        assert_eq!(all(&*broker, "held", Isolation::ReadCommitted), [(1, "behind".into())], "an open transaction was aborted");
        let transactional = all(&*broker, "transactional", Isolation::ReadCommitted);
        let mut group = broker.consumer(ConsumerOptions::group("group")).unwrap();
        let partition = TopicPartition::new("plain", 0);
        let committed = group.committed(std::slice::from_ref(&partition), SOON).unwrap()[&partition].offset;
        assert!(committed >= last["committed"], "{committed} of {last:?}");
        assert_eq!(transactional.len() as i64, committed * 10, "offsets and records go together");
        assert!(transactional.iter().enumerate().all(|(i, (_, value))| *value == i.to_string()));
    }
}
