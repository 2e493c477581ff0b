//! What an application does when something fails, and the states that it passes through.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use millstream::{
    FailedRecord, KafkaStreams, ProductionExceptionHandler, ProductionExceptionHandlerResponse, State, StreamThreadExceptionResponse,
    StreamsBuilder, StreamsConfig, StreamsError, Topology,
};
use millstream_broker::{EmbeddedBroker, Error as BrokerError};
use support::*;

/// Passes records on; panics at those that say so, the first `times` times.
fn panics(times: usize) -> Topology {
    let builder = StreamsBuilder::new();
    let left = AtomicUsize::new(times);
    let pass = move |_: &String, value: &String| {
        let panics = value == "panic" && left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        assert!(!panics, "asked to panic");
    };
    builder.stream::<String, String>("in").peek(pass).to("out");
    builder.build().unwrap()
}

fn watched(topology: Topology, config: StreamsConfig, broker: &Arc<EmbeddedBroker>) -> (KafkaStreams, Arc<Mutex<Vec<(State, State)>>>) {
    let streams = KafkaStreams::new(topology, config, broker.clone()).unwrap();
    let states: Arc<Mutex<Vec<(State, State)>>> = Arc::default();
    let seen = states.clone();
    streams.set_state_listener(move |new, old| seen.lock().unwrap().push((old, new)));
    (streams, states)
}

#[test]
fn an_application_passes_through_the_states_of_kafka_streams() {
    let (broker, directory) = (broker(), tempfile::tempdir().unwrap());
    create(&*broker, &["in", "out"], 2);
    let (streams, states) = watched(panics(0), config("app", &directory), &broker);
    assert_eq!(streams.state(), State::Created);
    streams.start().unwrap();
    streams.wait_until_running(SOON).unwrap();
    assert!(matches!(streams.start(), Err(StreamsError::State(_))), "a second start");
    streams.close().unwrap();
    streams.close().unwrap();
    let mut states = states.lock().unwrap().clone();
    assert_eq!(states.first(), Some(&(State::Created, State::Rebalancing)));
    assert_eq!(states.split_off(states.len() - 2), [(State::Running, State::PendingShutdown), (State::PendingShutdown, State::NotRunning)]);
    assert!(matches!(streams.wait_until_running(Duration::ZERO), Err(StreamsError::State(_))));
}

#[test]
fn one_that_was_never_started_can_be_closed() {
    let (broker, directory) = (broker(), tempfile::tempdir().unwrap());
    create(&*broker, &["in", "out"], 2);
    let (streams, states) = watched(panics(0), config("app", &directory), &broker);
    streams.close().unwrap();
    assert_eq!(*states.lock().unwrap(), [(State::Created, State::PendingShutdown), (State::PendingShutdown, State::NotRunning)]);
}

#[test]
fn a_thread_that_fails_stops_the_application_unless_the_handler_says_otherwise() {
    let (broker, directory) = (broker(), tempfile::tempdir().unwrap());
    create(&*broker, &["in", "out"], 1);
    let (streams, states) = watched(panics(1), config("app", &directory), &broker);
    streams.start().unwrap();
    produce(&*broker, "in", 0, &[row("a", "panic", 0)]);
    assert_eq!(streams.wait_until_ended(SOON).unwrap(), State::Error);
    assert!(streams.close().unwrap_err().to_string().contains("asked to panic"));
    let states = states.lock().unwrap().clone();
    assert_eq!(states[states.len() - 2..], [(State::Running, State::PendingError), (State::PendingError, State::Error)]);
}

#[test]
fn a_replaced_thread_goes_on_at_what_is_committed() {
    let (broker, directory) = (broker(), tempfile::tempdir().unwrap());
    create(&*broker, &["in", "out"], 1);
    let streams = KafkaStreams::new(panics(3), config("app", &directory).exactly_once(), broker.clone()).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    streams.set_uncaught_exception_handler(Arc::new(move |error| {
        assert!(error.to_string().contains("asked to panic"), "{error}");
        counted.fetch_add(1, SeqCst);
        StreamThreadExceptionResponse::ReplaceThread
    }));
    streams.start().unwrap();
    produce(&*broker, "in", 0, &[row("a", "1", 0), row("b", "panic", 1), row("c", "2", 2)]);
    wait_consumed(&*broker, "app", &["in"]);
    let passed: Vec<_> = read_texts(&*broker, "out").into_iter().map(|(key, _)| key).collect();
    assert_eq!((passed, asked.load(SeqCst)), (vec!["a".into(), "b".into(), "c".into()], 3));
    streams.close().unwrap();
}

#[test]
fn all_instances_stop_if_the_handler_of_one_says_so_and_can_be_started_again() {
    let (broker, one, other) = (broker(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    create(&*broker, &["in", "out"], 2);
    let first = start_and_wait(panics(0), config("app", &one), &broker);
    let second = KafkaStreams::new(panics(1), config("app", &other), broker.clone()).unwrap();
    second.set_uncaught_exception_handler(Arc::new(|_| StreamThreadExceptionResponse::ShutdownApplication));
    second.start().unwrap();
    second.wait_until_running(SOON).unwrap();
    // Whichever partition the second has, it gets one.
    (0..2).for_each(|partition| produce(&*broker, "in", partition, &[row("a", "panic", 0)]));
    assert_eq!(second.wait_until_ended(SOON).unwrap(), State::Error);
    assert_eq!(first.wait_until_ended(SOON).unwrap(), State::Error);
    assert!(matches!(first.error(), Some(StreamsError::ShutdownRequested)));
    drop((first, second));
    let again = start_and_wait(panics(0), config("app", &one), &broker);
    wait_consumed(&*broker, "app", &["in"]);
    again.close().unwrap();
}

/// Drops what is too large, and says what it was.
struct DropTooLarge(Arc<Mutex<Vec<String>>>);

impl ProductionExceptionHandler for DropTooLarge {
    fn handle(&self, failed: &FailedRecord<'_>, error: &BrokerError) -> ProductionExceptionHandlerResponse {
        assert!(matches!(error, BrokerError::TooLarge { .. }), "{error}");
        let key = String::from_utf8_lossy(failed.record.key.as_ref().unwrap());
        self.0.lock().unwrap().push(format!("{} {} {key}", failed.topic, failed.partition));
        ProductionExceptionHandlerResponse::Continue
    }
}

#[test]
fn a_record_that_cannot_be_written_fails_the_thread_unless_the_handler_drops_it() {
    let broker = EmbeddedBroker::temporary_with(|options| options.max_message_bytes = 1_000).unwrap();
    create(&*broker, &["in", "out", "dead"], 1);
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").map_values(|value| value.repeat(10)).to("out");
    let rows = [row("a", "x", 0), row("b", "x".repeat(101), 1), row("c", "x", 2)];
    produce(&*broker, "in", 0, &rows);

    let directory = tempfile::tempdir().unwrap();
    let streams = start(builder.build().unwrap(), config("fails", &directory), &broker);
    assert_eq!(streams.wait_until_ended(SOON).unwrap(), State::Error);
    assert!(matches!(streams.error(), Some(StreamsError::Production { topic, .. }) if topic == "out"));
    let before = read_texts(&*broker, "out").len();

    let dropped: Arc<Mutex<Vec<String>>> = Arc::default();
    let config = StreamsConfig {
        production_exception_handler: Arc::new(DropTooLarge(dropped.clone())),
        dead_letter_topic: Some("dead".into()),
        ..config("drops", &directory)
    };
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").map_values(|value| value.repeat(10)).to("out");
    let streams = start(builder.build().unwrap(), config, &broker);
    wait_consumed(&*broker, "drops", &["in"]);
    streams.close().unwrap();
    let keys: Vec<_> = read_texts(&*broker, "out").split_off(before).into_iter().map(|(key, _)| key).collect();
    assert_eq!((keys, dropped.lock().unwrap().clone()), (vec!["a".into(), "c".into()], vec!["out 0 b".to_string()]));
    let dead = read(&*broker, "dead").swap_remove(0);
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].headers.last("__streams.errors.topic").map(|topic| &topic[..]), Some(&b"out"[..]));
}

#[test]
fn joined_topics_that_differ_in_partitions_are_refused_at_once() {
    let (broker, directory) = (broker(), tempfile::tempdir().unwrap());
    create(&*broker, &["in"], 2);
    create(&*broker, &["table"], 3);
    let builder = StreamsBuilder::new();
    let table = builder.table::<String, String>("table");
    builder.stream::<String, String>("in").join_table(&table, |a: &String, b: &String| format!("{a}{b}")).to("out");
    let error = KafkaStreams::new(builder.build().unwrap(), config("app", &directory), broker).err().unwrap();
    assert!(error.to_string().contains("repartition one of them"), "{error}");
}

#[test]
fn a_source_topic_that_is_not_there_is_named() {
    let (broker, directory) = (broker(), tempfile::tempdir().unwrap());
    let error = KafkaStreams::new(panics(0), config("app", &directory), broker).err().unwrap();
    assert!(matches!(&error, StreamsError::MissingSourceTopic(topic) if topic == "in"), "{error}");
}
