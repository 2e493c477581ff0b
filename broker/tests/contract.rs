//! The contract, clause by clause, of both brokers. A clause is a function over a broker; `contract!` makes two tests of each.
#![allow(clippy::unwrap_used)]

#[path = "contract/groups.rs"]
mod groups;
#[path = "support/kafka.rs"]
mod kafka;
#[path = "contract/reading.rs"]
mod reading;
#[path = "contract/records.rs"]
mod records;
#[path = "contract/topics.rs"]
mod topics;
#[path = "contract/transactions.rs"]
mod transactions;

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

use groups::{Rebalances, poll_until};
use millstream_broker::*;

const SOON: Duration = Duration::from_secs(20);
const NOW: Duration = Duration::from_millis(300);

macro_rules! contract {
    ($($chapter:ident::$clause:ident),* $(,)?) => {
        mod embedded {
            $(#[test] fn $clause() { super::$chapter::$clause(&super::Here::embedded()); })*
        }
        mod on_kafka {
            $(#[test] fn $clause() { super::$chapter::$clause(&super::Here::kafka()); })*
        }
    };
}

contract! {
    topics::a_topic_is_created_described_listed_and_deleted,
    topics::creating_a_topic_again_is_no_error_unless_its_partitions_differ,
    topics::a_topic_that_is_not_there_is_an_error_that_names_it,
    topics::bad_topic_names_and_numbers_of_partitions_are_refused,
    topics::a_deleted_topic_that_is_created_again_is_empty,
    records::records_of_a_partition_keep_their_order_and_get_offsets_without_gaps,
    records::partitions_are_independent,
    records::acknowledgements_say_the_offset_of_the_first_record,
    records::nulls_are_not_empty_values,
    records::timestamps_and_headers_arrive_as_they_were_sent,
    records::large_records_arrive_and_too_large_ones_are_refused,
    records::a_send_to_a_topic_that_is_not_there_fails_and_says_so,
    records::compacted_topics_refuse_records_without_a_key,
    reading::a_poll_gives_no_more_records_than_asked_for,
    reading::assignment_begins_where_it_is_told_to,
    reading::a_consumer_that_begins_at_an_offset_misses_nothing,
    reading::an_end_is_the_end_at_the_time_of_the_call,
    reading::seeking_goes_back_and_forth,
    reading::paused_partitions_are_not_read_and_keep_their_place,
    reading::a_poll_waits_for_records_and_returns_at_once_when_they_come,
    reading::a_poll_without_records_ends_at_its_deadline,
    reading::a_wake_ends_a_poll_from_another_thread,
    reading::a_wake_before_the_poll_is_not_lost,
    reading::end_offsets_and_positions_agree_when_caught_up,
    reading::deleted_records_are_not_read_any_more,
    groups::committed_offsets_are_kept_with_their_metadata,
    groups::a_group_begins_at_its_committed_offsets,
    groups::a_group_without_offsets_begins_where_the_reset_says,
    groups::members_share_partitions_by_range_and_equal_numbers_go_together,
    groups::a_member_that_leaves_gives_its_partitions_to_the_others,
    groups::what_is_committed_while_partitions_are_revoked_is_where_the_next_owner_begins,
    groups::a_member_of_an_older_generation_cannot_commit,
    transactions::a_committed_transaction_is_seen_as_a_whole_and_not_before,
    transactions::an_aborted_transaction_is_never_seen_by_those_who_read_committed,
    transactions::records_behind_an_open_transaction_wait_for_its_end,
    transactions::offsets_of_a_transaction_are_committed_with_it_or_not_at_all,
    transactions::the_position_moves_over_what_is_not_to_be_seen,
    transactions::a_newer_producer_of_the_same_transactional_id_fences_the_older,
    transactions::a_newer_producer_aborts_what_the_older_left_open,
    transactions::a_member_of_an_older_generation_cannot_add_offsets_to_a_transaction,
    transactions::calls_that_do_not_fit_the_state_are_errors_and_break_nothing,
    transactions::many_threads_share_a_producer,
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

    fn beginning_of(&self, topic: &str, isolation: Isolation) -> Box<dyn Consumer> {
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
