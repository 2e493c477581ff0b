//! The contract, clause by clause, of both brokers. A clause is a function over a broker; `contract!` makes two tests of each.

#[path = "support/kafka.rs"]
mod kafka;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use millstream_broker::*;

const SOON: Duration = Duration::from_secs(20);
const NOW: Duration = Duration::from_millis(300);

macro_rules! contract {
    ($($clause:ident),* $(,)?) => {
        mod embedded {
            $(#[test] fn $clause() { super::$clause(&super::Here::embedded()); })*
        }
        mod on_kafka {
            $(#[test] fn $clause() { super::$clause(&super::Here::kafka()); })*
        }
    };
}

contract! {
    a_topic_is_created_described_listed_and_deleted,
    creating_a_topic_again_is_no_error_unless_its_partitions_differ,
    a_topic_that_is_not_there_is_an_error_that_names_it,
    bad_topic_names_and_numbers_of_partitions_are_refused,
    a_deleted_topic_that_is_created_again_is_empty,
    records_of_a_partition_keep_their_order_and_get_offsets_without_gaps,
    partitions_are_independent,
    acknowledgements_say_the_offset_of_the_first_record,
    nulls_are_not_empty_values,
    timestamps_and_headers_arrive_as_they_were_sent,
    large_records_arrive_and_too_large_ones_are_refused,
    a_send_to_a_topic_that_is_not_there_fails_and_says_so,
    compacted_topics_refuse_records_without_a_key,
    a_poll_gives_no_more_records_than_asked_for,
    assignment_begins_where_it_is_told_to,
    an_end_is_the_end_at_the_time_of_the_call,
    seeking_goes_back_and_forth,
    paused_partitions_are_not_read_and_keep_their_place,
    a_poll_waits_for_records_and_returns_at_once_when_they_come,
    a_poll_without_records_ends_at_its_deadline,
    a_wake_ends_a_poll_from_another_thread,
    a_wake_before_the_poll_is_not_lost,
    end_offsets_and_positions_agree_when_caught_up,
    deleted_records_are_not_read_any_more,
    committed_offsets_are_kept_with_their_metadata,
    a_group_begins_at_its_committed_offsets,
    a_group_without_offsets_begins_where_the_reset_says,
    members_share_partitions_by_range_and_equal_numbers_go_together,
    a_member_that_leaves_gives_its_partitions_to_the_others,
    what_is_committed_while_partitions_are_revoked_is_where_the_next_owner_begins,
    a_member_of_an_older_generation_cannot_commit,
    a_committed_transaction_is_seen_as_a_whole_and_not_before,
    an_aborted_transaction_is_never_seen_by_those_who_read_committed,
    records_behind_an_open_transaction_wait_for_its_end,
    offsets_of_a_transaction_are_committed_with_it_or_not_at_all,
    the_position_moves_over_what_is_not_to_be_seen,
    a_newer_producer_of_the_same_transactional_id_fences_the_older,
    a_newer_producer_aborts_what_the_older_left_open,
    a_member_of_an_older_generation_cannot_add_offsets_to_a_transaction,
    calls_that_do_not_fit_the_state_are_errors_and_break_nothing,
    many_threads_share_a_producer,
}

/// A broker, and names that no other test uses.
struct Here {
    broker: Arc<dyn Broker>,
    prefix: String,
}

impl Here {
    fn new(broker: Arc<dyn Broker>) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self { broker, prefix: format!("t{}", LAST.fetch_add(1, Ordering::Relaxed)) }
    }

    fn embedded() -> Self {
        Self::new(EmbeddedBroker::temporary().unwrap())
    }

    fn kafka() -> Self {
        static BROKER: OnceLock<Arc<dyn Broker>> = OnceLock::new();
        Self::new(BROKER.get_or_init(|| KafkaBroker::connect(kafka::bootstrap(), KafkaOptions::default()).unwrap()).clone())
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn topic(&self, name: &str, partitions: i32) -> String {
        let name = self.name(name);
        self.admin().create_topics(&[NewTopic::new(&name, partitions)], SOON).unwrap();
        name
    }

    fn admin(&self) -> Arc<dyn Admin> {
        self.broker.admin()
    }

    fn producer(&self) -> Arc<dyn Producer> {
        self.broker.producer(ProducerOptions::default()).unwrap()
    }

    fn transactional(&self, id: &str) -> Arc<dyn Producer> {
        let options = ProducerOptions { transactional_id: Some(self.name(id)), ..ProducerOptions::default() };
        let producer = self.broker.producer(options).unwrap();
        producer.init_transactions(SOON).unwrap();
        producer
    }

    fn consumer(&self, options: ConsumerOptions) -> Box<dyn Consumer> {
        self.broker.consumer(options).unwrap()
    }

    fn from_beginning(&self, topic: &str, isolation: Isolation) -> Box<dyn Consumer> {
        let mut consumer = self.consumer(ConsumerOptions { isolation, ..ConsumerOptions::default() });
        consumer.assign(&[(TopicPartition::new(topic, 0), Position::Beginning)]).unwrap();
        consumer
    }

    fn group(&self, name: &str) -> ConsumerOptions {
        ConsumerOptions { session_timeout: Duration::from_secs(6), ..ConsumerOptions::group(self.name(name)) }
    }
}

fn record(value: impl ToString) -> Record {
    Record { value: Some(value.to_string().into()), timestamp: 1, ..Record::default() }
}

fn send(producer: &dyn Producer, topic: &str, partition: i32, values: impl IntoIterator<Item = impl ToString>) {
    let records = values.into_iter().map(record).collect();
    producer.send(ProduceBatch { to: TopicPartition::new(topic, partition), records }, None).unwrap();
    producer.flush(SOON).unwrap();
}

fn text(record: &StoredRecord) -> String {
    String::from_utf8(record.record.value.clone().unwrap().to_vec()).unwrap()
}

/// Polls until there are so many records.
fn read(consumer: &mut dyn Consumer, count: usize) -> Vec<(TopicPartition, StoredRecord)> {
    let until = Instant::now() + SOON;
    let mut records = Vec::new();
    while records.len() < count {
        assert!(Instant::now() < until, "{} of {count} records came: {records:?}", records.len());
        for batch in consumer.poll(NOW).unwrap() {
            assert!(batch.records.last().is_none_or(|last| last.offset < batch.next_offset));
            records.extend(batch.records.into_iter().map(|record| (batch.from.clone(), record)));
        }
    }
    assert_eq!(records.len(), count, "{records:?}");
    records
}

fn texts(consumer: &mut dyn Consumer, count: usize) -> Vec<String> {
    read(consumer, count).iter().map(|(_, record)| text(record)).collect()
}

/// Polls for a while and expects nothing.
fn read_nothing(consumer: &mut dyn Consumer) {
    let until = Instant::now() + NOW;
    while Instant::now() < until {
        for batch in consumer.poll(NOW).unwrap() {
            assert!(batch.records.is_empty(), "{batch:?}");
        }
    }
}

fn offsets(of: &[(&TopicPartition, i64)]) -> Offsets {
    of.iter().map(|(partition, offset)| ((*partition).clone(), CommittedOffset { offset: *offset, metadata: String::new() })).collect()
}

// Topics.

fn a_topic_is_created_described_listed_and_deleted(here: &Here) {
    let (admin, plain, old) = (here.admin(), here.name("plain"), here.name("old"));
    let (compact, both) = (here.name("compact"), here.name("both"));
    let topics = [
        NewTopic::new(&plain, 3),
        NewTopic::new(&old, 1).retention_ms(3_600_000),
        NewTopic::new(&compact, 2).compacted(),
        NewTopic::new(&both, 1).compacted().retention_ms(7_200_000),
    ];
    admin.create_topics(&topics, SOON).unwrap();
    for NewTopic { name, partitions, retention_ms, compact } in &topics {
        let expected = TopicDescription { partitions: *partitions, retention_ms: *retention_ms, compact: *compact };
        assert_eq!(admin.describe_topic(name, SOON).unwrap(), expected, "{name}");
    }
    let listed = || admin.list_topics(SOON).unwrap().into_iter().filter(|name| name.starts_with(&format!("{}-", here.prefix)));
    assert_eq!(listed().collect::<Vec<_>>(), [&both, &compact, &old, &plain].map(Clone::clone));
    admin.delete_topics(&[&plain, &old, &here.name("never")], SOON).unwrap();
    assert_eq!(listed().collect::<Vec<_>>(), [both, compact]);
    assert_eq!(admin.describe_topic(&plain, SOON), Err(Error::UnknownTopic(plain)));
}

fn creating_a_topic_again_is_no_error_unless_its_partitions_differ(here: &Here) {
    let name = here.topic("topic", 2);
    here.topic("topic", 2);
    let other = here.admin().create_topics(&[NewTopic::new(&name, 3)], SOON);
    assert_eq!(other, Err(Error::TopicExists { topic: name, partitions: 2 }));
}

fn a_topic_that_is_not_there_is_an_error_that_names_it(here: &Here) {
    let (name, there) = (here.name("nowhere"), here.topic("there", 2));
    let mut consumer = here.consumer(here.group("group"));
    let unknown = Err(Error::UnknownTopic(name.clone()));
    assert_eq!(consumer.assign(&[(TopicPartition::new(&*name, 0), Position::Beginning)]), unknown);
    assert_eq!(consumer.subscribe(&[&name], Rebalances::ignored()), unknown);
    assert_eq!(here.admin().describe_topic(&name, SOON).map(|_| ()), unknown);
    let beyond = consumer.assign(&[(TopicPartition::new(&*there, 2), Position::Beginning)]);
    assert_eq!(beyond, Err(Error::UnknownPartition { topic: there, partition: 2 }));
}

fn bad_topic_names_and_numbers_of_partitions_are_refused(here: &Here) {
    let refused = |topic: NewTopic| here.admin().create_topics(&[topic], SOON).unwrap_err().to_string();
    assert!(refused(NewTopic::new("no spaces", 1)).contains("is no topic name"));
    assert!(refused(NewTopic::new(here.name("zero"), 0)).contains("ask for at least 1"));
}

fn a_deleted_topic_that_is_created_again_is_empty(here: &Here) {
    let name = here.topic("topic", 1);
    send(&*here.producer(), &name, 0, ["old"]);
    here.admin().delete_topics(&[&name], SOON).unwrap();
    here.topic("topic", 1);
    send(&*here.producer(), &name, 0, ["new"]);
    let found = read(&mut *here.from_beginning(&name, Isolation::ReadCommitted), 1);
    assert_eq!((found[0].1.offset, text(&found[0].1)), (0, "new".to_owned()));
}

// Records.

fn records_of_a_partition_keep_their_order_and_get_offsets_without_gaps(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    for batch in 0..50 {
        let records = (batch * 100..(batch + 1) * 100).map(record).collect();
        producer.send(ProduceBatch { to: TopicPartition::new(&*topic, 0), records }, None).unwrap();
    }
    producer.flush(SOON).unwrap();
    let found = read(&mut *here.from_beginning(&topic, Isolation::ReadCommitted), 5000);
    for (i, (_, record)) in found.iter().enumerate() {
        assert_eq!((record.offset, text(record)), (i as i64, i.to_string()));
    }
}

fn partitions_are_independent(here: &Here) {
    let (topic, producer) = (here.topic("topic", 3), here.producer());
    for partition in 0..3 {
        send(&*producer, &topic, partition, (0..10).map(|i| format!("{partition}-{i}")));
    }
    let mut consumer = here.consumer(ConsumerOptions::default());
    let all: Vec<_> = (0..3).map(|p| (TopicPartition::new(&*topic, p), Position::Beginning)).collect();
    consumer.assign(&all).unwrap();
    let mut next = HashMap::new();
    for (from, record) in read(&mut *consumer, 30) {
        let next: &mut i64 = next.entry(from.partition).or_default();
        assert_eq!((record.offset, text(&record)), (*next, format!("{}-{next}", from.partition)));
        *next += 1;
    }
}

fn acknowledgements_say_the_offset_of_the_first_record(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let (told, answers) = mpsc::channel();
    for count in [3, 1, 500] {
        let told = told.clone();
        let acknowledge: Acknowledge = Box::new(move |result| told.send(result).unwrap());
        let records = (0..count).map(record).collect();
        producer.send(ProduceBatch { to: TopicPartition::new(&*topic, 0), records }, Some(acknowledge)).unwrap();
    }
    let answers: Vec<_> = (0..3).map(|_| answers.recv_timeout(SOON).unwrap()).collect();
    assert_eq!(answers, [Ok(0), Ok(3), Ok(4)]);
}

fn nulls_are_not_empty_values(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let forms = [None, Some("".into()), Some("x".into())];
    let records: Vec<_> = forms
        .iter()
        .flat_map(|key| forms.iter().map(|value| Record { key: key.clone(), value: value.clone(), timestamp: 5, ..Record::default() }))
        .collect();
    producer.send(ProduceBatch { to: TopicPartition::new(&*topic, 0), records: records.clone() }, None).unwrap();
    producer.flush(SOON).unwrap();
    let found = read(&mut *here.from_beginning(&topic, Isolation::ReadCommitted), 9);
    assert_eq!(found.into_iter().map(|(_, record)| record.record).collect::<Vec<_>>(), records);
}

fn timestamps_and_headers_arrive_as_they_were_sent(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let headers = || [Header::new("b", "2"), Header::new("a", "1"), Header { name: "null".into(), value: None }, Header::new("b", "")];
    let records: Vec<_> = [1_700_000_000_123, 1, 1_600_000_000_000]
        .into_iter()
        .map(|timestamp| Record { timestamp, value: Some("v".into()), headers: headers().into_iter().collect(), key: None })
        .collect();
    producer.send(ProduceBatch { to: TopicPartition::new(&*topic, 0), records: records.clone() }, None).unwrap();
    producer.flush(SOON).unwrap();
    let found = read(&mut *here.from_beginning(&topic, Isolation::ReadCommitted), 3);
    assert_eq!(found.into_iter().map(|(_, record)| record.record).collect::<Vec<_>>(), records);
    assert_eq!(records[0].headers.last("b").map(|value| &value[..]), Some(&b""[..]));
    assert_eq!(records[0].headers.last("null"), None);
}

fn large_records_arrive_and_too_large_ones_are_refused(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let large = |size: usize| Record { value: Some(vec![7; size].into()), timestamp: 1, ..Record::default() };
    let to = TopicPartition::new(&*topic, 0);
    producer.send(ProduceBatch { to: to.clone(), records: vec![large(5 << 20)] }, None).unwrap();
    producer.flush(SOON).unwrap();
    let limit = 64 << 20;
    let refused = producer.send(ProduceBatch { to, records: vec![record("fine"), large(limit + 1)] }, None);
    assert_eq!(refused, Err(Error::TooLarge { size: limit + 1, limit }));
    let mut consumer = here.from_beginning(&topic, Isolation::ReadCommitted);
    assert_eq!(read(&mut *consumer, 1)[0].1.record.value.as_ref().unwrap().len(), 5 << 20);
    read_nothing(&mut *consumer);
}

fn a_send_to_a_topic_that_is_not_there_fails_and_says_so(here: &Here) {
    let (name, producer) = (here.name("nowhere"), here.producer());
    let (told, answer) = mpsc::channel();
    let acknowledge: Acknowledge = Box::new(move |result| told.send(result).unwrap());
    let sent = producer.send(ProduceBatch { to: TopicPartition::new(&*name, 0), records: vec![record(1)] }, Some(acknowledge));
    let result = sent.and_then(|()| answer.recv_timeout(Duration::from_secs(40)).unwrap().map(|_| ()));
    assert_eq!(result, Err(Error::UnknownTopic(name)));
}

fn compacted_topics_refuse_records_without_a_key(here: &Here) {
    let (name, producer) = (here.name("compact"), here.producer());
    here.admin().create_topics(&[NewTopic::new(&name, 1).compacted()], SOON).unwrap();
    let (told, answer) = mpsc::channel();
    let acknowledge: Acknowledge = Box::new(move |result| told.send(result).unwrap());
    let sent = producer.send(ProduceBatch { to: TopicPartition::new(&*name, 0), records: vec![record(1)] }, Some(acknowledge));
    let result = sent.and_then(|()| answer.recv_timeout(SOON).unwrap().map(|_| ()));
    assert!(result.unwrap_err().to_string().contains("compacted"));
}

// Reading.

fn a_poll_gives_no_more_records_than_asked_for(here: &Here) {
    let topic = here.topic("topic", 2);
    for partition in 0..2 {
        send(&*here.producer(), &topic, partition, 0..500);
    }
    let mut consumer = here.consumer(ConsumerOptions { max_poll_records: 64, ..ConsumerOptions::default() });
    let all: Vec<_> = (0..2).map(|p| (TopicPartition::new(&*topic, p), Position::Beginning)).collect();
    consumer.assign(&all).unwrap();
    let (mut next, until) = ([0; 2], Instant::now() + SOON);
    while next != [500, 500] {
        assert!(Instant::now() < until, "{next:?}");
        let batches = consumer.poll(NOW).unwrap();
        assert!(batches.iter().map(|batch| batch.records.len()).sum::<usize>() <= 64);
        for batch in batches {
            for record in &batch.records {
                assert_eq!(record.offset, next[batch.from.partition as usize]);
                next[batch.from.partition as usize] += 1;
            }
            assert_eq!(consumer.position(&batch.from).unwrap(), batch.next_offset);
        }
    }
}

fn assignment_begins_where_it_is_told_to(here: &Here) {
    let topic = here.topic("topic", 3);
    for partition in 0..3 {
        send(&*here.producer(), &topic, partition, 0..10);
    }
    let mut consumer = here.consumer(ConsumerOptions::default());
    let of = |partition| TopicPartition::new(&*topic, partition);
    consumer.assign(&[(of(0), Position::Beginning), (of(1), Position::Offset(7)), (of(2), Position::End)]).unwrap();
    assert_eq!([0, 1, 2].map(|p| consumer.position(&of(p)).unwrap()), [0, 7, 10]);
    let mut counts = [0; 3];
    read(&mut *consumer, 13).iter().for_each(|(from, _)| counts[from.partition as usize] += 1);
    assert_eq!(counts, [10, 3, 0]);
    // The next assignment replaces this one.
    consumer.assign(&[(of(1), Position::Offset(9))]).unwrap();
    assert_eq!(texts(&mut *consumer, 1), ["9"]);
    assert!(matches!(consumer.position(&of(0)), Err(Error::State(_))));
    consumer.assign(&[]).unwrap();
    read_nothing(&mut *consumer);
}

fn an_end_is_the_end_at_the_time_of_the_call(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    send(&*producer, &topic, 0, ["before"]);
    let mut consumer = here.consumer(ConsumerOptions::default());
    consumer.assign(&[(TopicPartition::new(&*topic, 0), Position::End)]).unwrap();
    send(&*producer, &topic, 0, ["after"]);
    assert_eq!(texts(&mut *consumer, 1), ["after"]);
}

fn seeking_goes_back_and_forth(here: &Here) {
    let topic = here.topic("topic", 1);
    send(&*here.producer(), &topic, 0, 0..100);
    let partition = TopicPartition::new(&*topic, 0);
    let mut consumer = here.from_beginning(&topic, Isolation::ReadCommitted);
    assert_eq!(read(&mut *consumer, 100)[99].1.offset, 99);
    consumer.seek(&partition, Position::Offset(40)).unwrap();
    assert_eq!(consumer.position(&partition).unwrap(), 40);
    assert_eq!(texts(&mut *consumer, 60)[0], "40");
    consumer.seek(&partition, Position::Beginning).unwrap();
    assert_eq!(texts(&mut *consumer, 100)[0], "0");
    consumer.seek(&partition, Position::Beginning).unwrap();
    consumer.seek(&partition, Position::End).unwrap();
    read_nothing(&mut *consumer);
    let elsewhere = TopicPartition::new("elsewhere", 0);
    assert!(matches!(consumer.seek(&elsewhere, Position::End), Err(Error::State(_))));
}

fn paused_partitions_are_not_read_and_keep_their_place(here: &Here) {
    let (topic, producer) = (here.topic("topic", 2), here.producer());
    let of = |partition| TopicPartition::new(&*topic, partition);
    let mut consumer = here.consumer(ConsumerOptions { max_poll_records: 4, ..ConsumerOptions::default() });
    consumer.assign(&[(of(0), Position::Beginning), (of(1), Position::Beginning)]).unwrap();
    consumer.pause(&[of(1)]).unwrap();
    for partition in 0..2 {
        send(&*producer, &topic, partition, 0..10);
    }
    assert!(read(&mut *consumer, 10).iter().all(|(from, _)| from.partition == 0));
    read_nothing(&mut *consumer);
    assert_eq!(consumer.position(&of(1)).unwrap(), 0);
    consumer.resume(&[of(1)]).unwrap();
    let some: usize = loop {
        let count = consumer.poll(NOW).unwrap().iter().map(|batch| batch.records.len()).sum();
        if count > 0 {
            break count;
        }
    };
    consumer.pause(&[of(1)]).unwrap();
    read_nothing(&mut *consumer);
    consumer.resume(&[of(1)]).unwrap();
    assert_eq!(texts(&mut *consumer, 10 - some)[0], some.to_string());
}

fn a_poll_waits_for_records_and_returns_at_once_when_they_come(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let mut consumer = here.from_beginning(&topic, Isolation::ReadCommitted);
    send(&*producer, &topic, 0, ["first"]);
    read(&mut *consumer, 1);
    let sender = thread::spawn(move || {
        thread::sleep(Duration::from_millis(500));
        let began = Instant::now();
        send(&*producer, &topic, 0, ["second"]);
        began
    });
    let records = loop {
        let records: Vec<_> = consumer.poll(SOON).unwrap().into_iter().flat_map(|batch| batch.records).collect();
        if !records.is_empty() {
            break records;
        }
    };
    let came = Instant::now();
    let took = came.duration_since(sender.join().unwrap());
    assert_eq!(text(&records[0]), "second");
    assert!(took < Duration::from_millis(400), "{took:?}");
}

fn a_poll_without_records_ends_at_its_deadline(here: &Here) {
    let topic = here.topic("topic", 1);
    let mut consumer = here.from_beginning(&topic, Isolation::ReadUncommitted);
    for deadline in [0, 50, 300].map(Duration::from_millis) {
        let began = Instant::now();
        assert_eq!(consumer.poll(deadline).unwrap(), []);
        let took = began.elapsed();
        assert!(deadline <= took + Duration::from_millis(1) && took < deadline + Duration::from_millis(400), "{deadline:?} took {took:?}");
    }
}

fn a_wake_ends_a_poll_from_another_thread(here: &Here) {
    let topic = here.topic("topic", 1);
    let mut consumer = here.from_beginning(&topic, Isolation::ReadCommitted);
    read_nothing(&mut *consumer);
    let waker = consumer.waker();
    let woken = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        waker.wake();
        began
    });
    assert_eq!(consumer.poll(SOON).unwrap(), []);
    let ended = Instant::now();
    assert!(ended.duration_since(woken.join().unwrap()) < Duration::from_millis(200));
}

fn a_wake_before_the_poll_is_not_lost(here: &Here) {
    let topic = here.topic("topic", 1);
    let mut consumer = here.from_beginning(&topic, Isolation::ReadCommitted);
    read_nothing(&mut *consumer);
    consumer.waker().wake();
    let began = Instant::now();
    assert_eq!(consumer.poll(SOON).unwrap(), []);
    assert!(began.elapsed() < Duration::from_secs(1));
    // It was used up.
    let began = Instant::now();
    consumer.poll(NOW).unwrap();
    assert!(began.elapsed() >= NOW - Duration::from_millis(1));
}

fn end_offsets_and_positions_agree_when_caught_up(here: &Here) {
    let topic = here.topic("topic", 2);
    send(&*here.producer(), &topic, 0, 0..10);
    let of = |partition| TopicPartition::new(&*topic, partition);
    let mut consumer = here.consumer(ConsumerOptions::default());
    consumer.assign(&[(of(0), Position::Beginning), (of(1), Position::Beginning)]).unwrap();
    let ends = consumer.end_offsets(&[of(0), of(1)], SOON).unwrap();
    assert_eq!(ends, HashMap::from([(of(0), 10), (of(1), 0)]));
    read(&mut *consumer, 10);
    assert_eq!(consumer.position(&of(0)).unwrap(), 10);
}

fn deleted_records_are_not_read_any_more(here: &Here) {
    let topic = here.topic("topic", 1);
    let partition = TopicPartition::new(&*topic, 0);
    send(&*here.producer(), &topic, 0, 0..10);
    here.admin().delete_records(&[(partition.clone(), 6)], SOON).unwrap();
    let mut consumer = here.from_beginning(&topic, Isolation::ReadCommitted);
    assert_eq!(consumer.position(&partition).unwrap(), 6);
    assert_eq!(texts(&mut *consumer, 4), ["6", "7", "8", "9"]);
    // Who was further back goes on with the first that is left.
    consumer.seek(&partition, Position::Offset(2)).unwrap();
    assert_eq!(texts(&mut *consumer, 4), ["6", "7", "8", "9"]);
    here.admin().delete_records(&[(partition.clone(), 3)], SOON).unwrap();
    assert!(here.admin().delete_records(&[(partition.clone(), 11)], SOON).is_err());
    here.admin().delete_records(&[(partition.clone(), 10)], SOON).unwrap();
    send(&*here.producer(), &topic, 0, ["10"]);
    assert_eq!(texts(&mut *here.from_beginning(&topic, Isolation::ReadCommitted), 1), ["10"]);
}

// Groups.

/// What a group told a member.
#[derive(Clone, Default)]
struct Rebalances(Arc<Mutex<RebalanceLog>>);

#[derive(Default)]
struct RebalanceLog {
    held: Vec<TopicPartition>,
    assigned: usize,
    /// Commits these when partitions are revoked.
    to_commit: Offsets,
    committed: Vec<Result<(), Error>>,
}

impl Rebalances {
    fn ignored() -> Box<dyn RebalanceListener> {
        Box::new(Self::default())
    }

    fn held(&self) -> Vec<TopicPartition> {
        self.0.lock().unwrap().held.clone()
    }
}

impl RebalanceListener for Rebalances {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        let mut log = self.0.lock().unwrap();
        log.held.extend_from_slice(partitions);
        log.held.sort();
        log.assigned += 1;
    }

    fn revoked(&mut self, partitions: &[TopicPartition], commit: &mut dyn FnMut(&Offsets) -> Result<(), Error>) {
        let mut log = self.0.lock().unwrap();
        assert!(!partitions.is_empty());
        log.held.retain(|held| !partitions.contains(held));
        if !log.to_commit.is_empty() {
            let result = commit(&log.to_commit);
            log.committed.push(result);
        }
    }
}

/// Polls members until all of this is true.
fn poll_until(members: &mut [&mut Box<dyn Consumer>], mut what: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < until, "the group does not get there");
        for member in &mut *members {
            member.poll(Duration::from_millis(20)).unwrap();
        }
    }
}

fn committed_offsets_are_kept_with_their_metadata(here: &Here) {
    let topic = here.topic("topic", 2);
    let of = |partition| TopicPartition::new(&*topic, partition);
    let mut consumer = here.consumer(here.group("group"));
    assert_eq!(consumer.committed(&[of(0), of(1)], SOON).unwrap(), Offsets::new());
    let first = Offsets::from([(of(0), CommittedOffset { offset: 5, metadata: "how far: ½".into() })]);
    consumer.commit(&first, SOON).unwrap();
    assert_eq!(consumer.committed(&[of(0), of(1)], SOON).unwrap(), first);
    let second = Offsets::from([(of(0), CommittedOffset { offset: 3, metadata: String::new() })]);
    consumer.commit(&second, SOON).unwrap();
    let mut other = here.consumer(here.group("group"));
    assert_eq!(other.committed(&[of(0)], SOON).unwrap(), second);
    assert_eq!(here.consumer(here.group("other")).committed(&[of(0)], SOON).unwrap(), Offsets::new());
}

fn a_group_begins_at_its_committed_offsets(here: &Here) {
    let topic = here.topic("topic", 1);
    send(&*here.producer(), &topic, 0, 0..10);
    let partition = TopicPartition::new(&*topic, 0);
    here.consumer(here.group("group")).commit(&offsets(&[(&partition, 7)]), SOON).unwrap();
    let mut consumer = here.consumer(here.group("group"));
    consumer.subscribe(&[&topic], Rebalances::ignored()).unwrap();
    assert_eq!(texts(&mut *consumer, 3), ["7", "8", "9"]);
}

fn a_group_without_offsets_begins_where_the_reset_says(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    send(&*producer, &topic, 0, ["old"]);
    let with = |offset_reset, group| here.consumer(ConsumerOptions { offset_reset, ..here.group(group) });
    let mut earliest = with(OffsetReset::Earliest, "earliest");
    earliest.subscribe(&[&topic], Rebalances::ignored()).unwrap();
    assert_eq!(texts(&mut *earliest, 1), ["old"]);

    let mut latest = with(OffsetReset::Latest, "latest");
    let rebalances = Rebalances::default();
    latest.subscribe(&[&topic], Box::new(rebalances.clone())).unwrap();
    poll_until(&mut [&mut latest], || rebalances.held().len() == 1);
    send(&*producer, &topic, 0, ["new"]);
    assert_eq!(texts(&mut *latest, 1), ["new"]);

    let mut none = with(OffsetReset::None, "none");
    none.subscribe(&[&topic], Rebalances::ignored()).unwrap();
    let until = Instant::now() + SOON;
    let error = loop {
        assert!(Instant::now() < until);
        if let Err(error) = none.poll(NOW) {
            break error;
        }
    };
    assert_eq!(error, Error::NoOffset(format!("{topic} 0")));
}

fn members_share_partitions_by_range_and_equal_numbers_go_together(here: &Here) {
    let (a, b) = (here.topic("a", 5), here.topic("b", 5));
    let (mut one, mut two) = (here.consumer(here.group("group")), here.consumer(here.group("group")));
    let (of_one, of_two) = (Rebalances::default(), Rebalances::default());
    one.subscribe(&[&a, &b], Box::new(of_one.clone())).unwrap();
    poll_until(&mut [&mut one], || of_one.held().len() == 10);
    let generation = one.group_metadata().unwrap();
    two.subscribe(&[&a, &b], Box::new(of_two.clone())).unwrap();
    poll_until(&mut [&mut one, &mut two], || of_one.held().len() + of_two.held().len() == 10 && !of_two.held().is_empty());
    let numbers = |rebalances: &Rebalances, topic: &str| -> Vec<i32> {
        rebalances.held().iter().filter(|partition| &*partition.topic == topic).map(|partition| partition.partition).collect()
    };
    for member in [&of_one, &of_two] {
        assert_eq!(numbers(member, &a), numbers(member, &b));
    }
    let mut shares = [numbers(&of_one, &a), numbers(&of_two, &a)];
    shares.sort();
    assert_eq!(shares, [vec![0, 1, 2], vec![3, 4]]);
    assert!(one.group_metadata().unwrap().generation > generation.generation);
}

fn a_member_that_leaves_gives_its_partitions_to_the_others(here: &Here) {
    let topic = here.topic("topic", 4);
    let (mut one, mut two, mut three) =
        (here.consumer(here.group("group")), here.consumer(here.group("group")), here.consumer(here.group("group")));
    let (of_one, of_two, of_three) = (Rebalances::default(), Rebalances::default(), Rebalances::default());
    one.subscribe(&[&topic], Box::new(of_one.clone())).unwrap();
    two.subscribe(&[&topic], Box::new(of_two.clone())).unwrap();
    three.subscribe(&[&topic], Box::new(of_three.clone())).unwrap();
    let counts = || [&of_one, &of_two, &of_three].map(|member| member.held().len());
    poll_until(&mut [&mut one, &mut two, &mut three], || counts().iter().sum::<usize>() == 4 && counts().iter().all(|n| *n > 0));
    one.unsubscribe().unwrap();
    assert_eq!(of_one.held(), []);
    poll_until(&mut [&mut two, &mut three], || counts()[1..] == [2, 2]);
    drop(three);
    poll_until(&mut [&mut two], || of_two.held().len() == 4);
    send(&*here.producer(), &topic, 3, ["still read"]);
    assert_eq!(texts(&mut *two, 1), ["still read"]);
}

fn what_is_committed_while_partitions_are_revoked_is_where_the_next_owner_begins(here: &Here) {
    let topic = here.topic("topic", 2);
    for partition in 0..2 {
        send(&*here.producer(), &topic, partition, 0..10);
    }
    let of = |partition| TopicPartition::new(&*topic, partition);
    let (mut one, mut two) = (here.consumer(here.group("group")), here.consumer(here.group("group")));
    let (of_one, of_two) = (Rebalances::default(), Rebalances::default());
    one.subscribe(&[&topic], Box::new(of_one.clone())).unwrap();
    read(&mut *one, 20);
    of_one.0.lock().unwrap().to_commit = offsets(&[(&of(0), 8), (&of(1), 8)]);
    two.subscribe(&[&topic], Box::new(of_two.clone())).unwrap();
    let mut found = HashMap::new();
    let until = Instant::now() + Duration::from_secs(30);
    while found.len() < 4 {
        assert!(Instant::now() < until, "{found:?}");
        for member in [&mut one, &mut two] {
            for batch in member.poll(Duration::from_millis(20)).unwrap() {
                found.extend(batch.records.iter().map(|record| ((batch.from.partition, record.offset), text(record))));
            }
        }
    }
    let expected: HashMap<_, _> = [(0, 8), (0, 9), (1, 8), (1, 9)].into_iter().map(|(p, o)| ((p, o), o.to_string())).collect();
    assert_eq!(found, expected);
    assert_eq!(of_one.0.lock().unwrap().committed, [Ok(())]);
}

fn a_member_of_an_older_generation_cannot_commit(here: &Here) {
    let topic = here.topic("topic", 2);
    let partition = TopicPartition::new(&*topic, 0);
    let options = ConsumerOptions { session_timeout: Duration::from_secs(2), ..here.group("group") };
    let mut one = here.consumer(options.clone());
    let of_one = Rebalances::default();
    one.subscribe(&[&topic], Box::new(of_one.clone())).unwrap();
    poll_until(&mut [&mut one], || of_one.held().len() == 2);
    one.commit(&offsets(&[(&partition, 1)]), SOON).unwrap();
    // A consumer outside the group must not commit for it while it has members.
    let outside = here.consumer(options).commit(&offsets(&[(&partition, 3)]), SOON);
    assert!(matches!(outside, Err(Error::Fenced(_))), "{outside:?}");
    one.unsubscribe().unwrap();
    let mut again = here.consumer(here.group("group"));
    assert_eq!(again.committed(&[partition.clone()], SOON).unwrap(), offsets(&[(&partition, 1)]));
}

// Transactions.

fn a_committed_transaction_is_seen_as_a_whole_and_not_before(here: &Here) {
    let (one, two) = (here.topic("one", 1), here.topic("two", 1));
    let producer = here.transactional("producer");
    let mut uncommitted = here.from_beginning(&one, Isolation::ReadUncommitted);
    let mut committed = here.consumer(ConsumerOptions::default());
    let all = [&one, &two].map(|topic| (TopicPartition::new(&**topic, 0), Position::Beginning));
    committed.assign(&all).unwrap();
    producer.begin_transaction().unwrap();
    send(&*producer, &one, 0, ["a", "b"]);
    send(&*producer, &two, 0, ["c"]);
    assert_eq!(texts(&mut *uncommitted, 2), ["a", "b"]);
    read_nothing(&mut *committed);
    producer.commit_transaction(SOON).unwrap();
    let mut found = texts(&mut *committed, 3);
    found.sort();
    assert_eq!(found, ["a", "b", "c"]);
    // And the next one.
    producer.begin_transaction().unwrap();
    send(&*producer, &one, 0, ["d"]);
    producer.commit_transaction(SOON).unwrap();
    assert_eq!(texts(&mut *committed, 1), ["d"]);
}

fn an_aborted_transaction_is_never_seen_by_those_who_read_committed(here: &Here) {
    let topic = here.topic("topic", 1);
    let (producer, plain) = (here.transactional("producer"), here.producer());
    for round in 0..3 {
        send(&*plain, &topic, 0, [format!("plain {round}")]);
        producer.begin_transaction().unwrap();
        send(&*producer, &topic, 0, [format!("aborted {round}")]);
        send(&*plain, &topic, 0, [format!("between {round}")]);
        send(&*producer, &topic, 0, [format!("aborted too {round}")]);
        producer.abort_transaction(SOON).unwrap();
        producer.begin_transaction().unwrap();
        send(&*producer, &topic, 0, [format!("committed {round}")]);
        producer.commit_transaction(SOON).unwrap();
    }
    let expected = (0..3).flat_map(|round| ["plain", "between", "committed"].map(|what| format!("{what} {round}")));
    let mut consumer = here.from_beginning(&topic, Isolation::ReadCommitted);
    assert_eq!(texts(&mut *consumer, 9), expected.collect::<Vec<_>>());
    read_nothing(&mut *consumer);
    let all = texts(&mut *here.from_beginning(&topic, Isolation::ReadUncommitted), 15);
    assert!(all.contains(&"aborted too 2".to_owned()));
}

fn records_behind_an_open_transaction_wait_for_its_end(here: &Here) {
    let topic = here.topic("topic", 1);
    let partition = TopicPartition::new(&*topic, 0);
    let producer = here.transactional("producer");
    send(&*here.producer(), &topic, 0, ["before"]);
    producer.begin_transaction().unwrap();
    send(&*producer, &topic, 0, ["inside"]);
    send(&*here.producer(), &topic, 0, ["behind"]);
    let mut consumer = here.from_beginning(&topic, Isolation::ReadCommitted);
    assert_eq!(texts(&mut *consumer, 1), ["before"]);
    read_nothing(&mut *consumer);
    assert_eq!(consumer.end_offsets(&[partition.clone()], SOON).unwrap()[&partition], 1);
    let mut uncommitted = here.from_beginning(&topic, Isolation::ReadUncommitted);
    assert_eq!(uncommitted.end_offsets(&[partition.clone()], SOON).unwrap()[&partition], 3);
    producer.commit_transaction(SOON).unwrap();
    assert_eq!(texts(&mut *consumer, 2), ["inside", "behind"]);
}

fn offsets_of_a_transaction_are_committed_with_it_or_not_at_all(here: &Here) {
    let (input, output) = (here.topic("input", 1), here.topic("output", 1));
    let partition = TopicPartition::new(&*input, 0);
    send(&*here.producer(), &input, 0, 0..10);
    let mut consumer = here.consumer(here.group("group"));
    let rebalances = Rebalances::default();
    consumer.subscribe(&[&input], Box::new(rebalances.clone())).unwrap();
    read(&mut *consumer, 10);
    let producer = here.transactional("producer");
    for (offset, commits) in [(4, false), (6, true), (9, false)] {
        producer.begin_transaction().unwrap();
        send(&*producer, &output, 0, [offset]);
        let metadata = format!("at {offset}");
        let all = Offsets::from([(partition.clone(), CommittedOffset { offset, metadata })]);
        producer.send_offsets(&all, &consumer.group_metadata().unwrap(), SOON).unwrap();
        if commits { producer.commit_transaction(SOON).unwrap() } else { producer.abort_transaction(SOON).unwrap() }
    }
    let expected = Offsets::from([(partition.clone(), CommittedOffset { offset: 6, metadata: "at 6".into() })]);
    assert_eq!(consumer.committed(&[partition], SOON).unwrap(), expected);
    assert_eq!(texts(&mut *here.from_beginning(&output, Isolation::ReadCommitted), 1), ["6"]);
}

fn the_position_moves_over_what_is_not_to_be_seen(here: &Here) {
    let topic = here.topic("topic", 1);
    let partition = TopicPartition::new(&*topic, 0);
    let producer = here.transactional("producer");
    let mut consumer = here.from_beginning(&topic, Isolation::ReadCommitted);
    for round in 0..3 {
        producer.begin_transaction().unwrap();
        send(&*producer, &topic, 0, ["seen"]);
        producer.commit_transaction(SOON).unwrap();
        producer.begin_transaction().unwrap();
        send(&*producer, &topic, 0, ["hidden"]);
        producer.abort_transaction(SOON).unwrap();
        if round == 1 {
            // Read to the end before anyone asks where it is.
            read_nothing_but(&mut *consumer, "seen");
        }
        let end = consumer.end_offsets(&[partition.clone()], SOON).unwrap()[&partition];
        let until = Instant::now() + SOON;
        while consumer.position(&partition).unwrap() < end {
            assert!(Instant::now() < until, "at {} of {end}", consumer.position(&partition).unwrap());
            for batch in consumer.poll(NOW).unwrap() {
                assert!(batch.records.iter().all(|record| text(record) == "seen"));
                assert_eq!(batch.next_offset, consumer.position(&partition).unwrap());
            }
        }
        assert_eq!(consumer.position(&partition).unwrap(), end);
    }
}

fn read_nothing_but(consumer: &mut dyn Consumer, value: &str) {
    let until = Instant::now() + 3 * NOW;
    while Instant::now() < until {
        consumer.poll(NOW).unwrap().iter().flat_map(|batch| &batch.records).for_each(|record| assert_eq!(text(record), value));
    }
}

fn a_newer_producer_of_the_same_transactional_id_fences_the_older(here: &Here) {
    let topic = here.topic("topic", 1);
    let older = here.transactional("producer");
    older.begin_transaction().unwrap();
    send(&*older, &topic, 0, ["zombie"]);
    let newer = here.transactional("producer");
    let to = TopicPartition::new(&*topic, 0);
    let sent = older.send(ProduceBatch { to, records: vec![record("too late")] }, None).and_then(|()| older.flush(SOON));
    let committed = older.commit_transaction(SOON);
    let error = sent.and(committed).unwrap_err();
    assert!(matches!(error, Error::Fenced(_)) && error.is_fatal(), "{error:?}");
    newer.begin_transaction().unwrap();
    send(&*newer, &topic, 0, ["alive"]);
    newer.commit_transaction(SOON).unwrap();
    let mut consumer = here.from_beginning(&topic, Isolation::ReadCommitted);
    assert_eq!(texts(&mut *consumer, 1), ["alive"]);
    read_nothing(&mut *consumer);
}

fn a_newer_producer_aborts_what_the_older_left_open(here: &Here) {
    let topic = here.topic("topic", 1);
    let partition = TopicPartition::new(&*topic, 0);
    let older = here.transactional("producer");
    older.begin_transaction().unwrap();
    send(&*older, &topic, 0, ["left open"]);
    let mut group = here.consumer(here.group("group"));
    older.send_offsets(&offsets(&[(&partition, 5)]), &group.group_metadata().unwrap(), SOON).unwrap();
    send(&*here.producer(), &topic, 0, ["behind"]);
    let _newer = here.transactional("producer");
    assert_eq!(texts(&mut *here.from_beginning(&topic, Isolation::ReadCommitted), 1), ["behind"]);
    assert_eq!(group.committed(&[partition], SOON).unwrap(), Offsets::new());
}

fn a_member_of_an_older_generation_cannot_add_offsets_to_a_transaction(here: &Here) {
    let topic = here.topic("topic", 2);
    let partition = TopicPartition::new(&*topic, 0);
    let (mut one, mut two) = (here.consumer(here.group("group")), here.consumer(here.group("group")));
    let (of_one, of_two) = (Rebalances::default(), Rebalances::default());
    one.subscribe(&[&topic], Box::new(of_one.clone())).unwrap();
    poll_until(&mut [&mut one], || of_one.held().len() == 2);
    let older = one.group_metadata().unwrap();
    two.subscribe(&[&topic], Box::new(of_two.clone())).unwrap();
    poll_until(&mut [&mut one, &mut two], || of_one.held().len() == 1 && of_two.held().len() == 1);
    let producer = here.transactional("producer");
    producer.begin_transaction().unwrap();
    let fenced = producer.send_offsets(&offsets(&[(&partition, 2)]), &older, SOON);
    assert!(matches!(fenced, Err(Error::Fenced(_))), "{fenced:?}");
    producer.abort_transaction(SOON).unwrap();
    producer.begin_transaction().unwrap();
    producer.send_offsets(&offsets(&[(&partition, 2)]), &one.group_metadata().unwrap(), SOON).unwrap();
    producer.commit_transaction(SOON).unwrap();
    assert_eq!(one.committed(&[partition.clone()], SOON).unwrap(), offsets(&[(&partition, 2)]));
}

fn calls_that_do_not_fit_the_state_are_errors_and_break_nothing(here: &Here) {
    let topic = here.topic("topic", 1);
    let to = TopicPartition::new(&*topic, 0);
    let is_state = |result: Result<(), Error>| assert!(matches!(result, Err(Error::State(_))), "{result:?}");
    let plain = here.producer();
    is_state(plain.init_transactions(SOON));
    is_state(plain.begin_transaction());
    is_state(plain.commit_transaction(SOON));
    is_state(plain.send(ProduceBatch { to: to.clone(), records: vec![] }, None));
    let producer = here.transactional("producer");
    is_state(producer.send(ProduceBatch { to: to.clone(), records: vec![record(1)] }, None));
    is_state(producer.commit_transaction(SOON));
    producer.begin_transaction().unwrap();
    is_state(producer.begin_transaction());
    send(&*producer, &topic, 0, ["fine"]);
    producer.commit_transaction(SOON).unwrap();

    let mut alone = here.consumer(ConsumerOptions::default());
    is_state(alone.subscribe(&[&topic], Rebalances::ignored()));
    is_state(alone.commit(&offsets(&[(&to, 1)]), SOON));
    is_state(alone.group_metadata().map(|_| ()));
    is_state(alone.pause(std::slice::from_ref(&to)));
    let mut member = here.consumer(here.group("group"));
    member.subscribe(&[&topic], Rebalances::ignored()).unwrap();
    is_state(member.assign(&[(to, Position::Beginning)]));
    assert_eq!(texts(&mut *member, 1), ["fine"]);
}

fn many_threads_share_a_producer(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (producer, to) = (producer.clone(), TopicPartition::new(&*topic, 0));
            thread::spawn(move || {
                for i in 0..100 {
                    let records = vec![record(format!("{thread}-{i}"))];
                    producer.send(ProduceBatch { to: to.clone(), records }, None).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    producer.flush(SOON).unwrap();
    let found = texts(&mut *here.from_beginning(&topic, Isolation::ReadCommitted), 400);
    for thread in 0..4 {
        let own: Vec<_> = found.iter().filter(|value| value.starts_with(&format!("{thread}-"))).cloned().collect();
        assert_eq!(own, (0..100).map(|i| format!("{thread}-{i}")).collect::<Vec<_>>());
    }
}

// And of Kafka's alone: who does not answer.

#[test]
fn a_cluster_that_does_not_answer_is_said_to_be_unreachable_in_time() {
    let began = Instant::now();
    let options = KafkaOptions { connect_timeout: Duration::from_secs(2), ..KafkaOptions::default() };
    let result = KafkaBroker::connect("127.0.0.1:1", options).map(|_| ());
    assert_eq!(result, Err(Error::Unreachable("127.0.0.1:1".into())));
    assert!(began.elapsed() < Duration::from_secs(5));
    let wrong = KafkaOptions { settings: [("no.such.setting".to_owned(), "1".to_owned())].into(), ..KafkaOptions::default() };
    assert!(KafkaBroker::connect("127.0.0.1:1", wrong).unwrap_err().to_string().contains("no.such.setting"));
}
