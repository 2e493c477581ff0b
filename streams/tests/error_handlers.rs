//! Handlers in code: what they are told, what they decide, and what goes to dead letters.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use millstream::{
    Error, ErrorKind, Failure, Header, Headers, Named, OnError, Processor, ProcessorContext, PunctuationType, RawRecord, Record, Response,
    Schedule, StreamsBuilder, TestDriverConfig, TopologyTestDriver,
};

fn started(builder: &StreamsBuilder, change: impl FnOnce(&mut TestDriverConfig)) -> TopologyTestDriver {
    let mut config = TestDriverConfig::default();
    change(&mut config);
    TopologyTestDriver::new(&builder.build().unwrap(), config).unwrap()
}

/// `in` → `square` (fails at 13) → `out`.
fn squares() -> StreamsBuilder {
    let builder = StreamsBuilder::new();
    let square = |_: &String, n: &i64| if *n == 13 { panic!("unlucky") } else { n * n };
    builder.stream::<String, i64>("in").map_values_named(Named::new("square"), square).to("out");
    builder
}

fn raw(key: &'static str, value: &'static [u8]) -> RawRecord {
    let headers = Headers::from(vec![Header { name: "h".into(), value: Some("1".into()) }]);
    RawRecord { key: Some(key.into()), value: Some(bytes::Bytes::from_static(value)), timestamp: 5, headers }
}

fn headers(record: &RawRecord) -> Vec<(String, String)> {
    let text = |value: Option<bytes::Bytes>| value.map_or("null".into(), |value| String::from_utf8(value.to_vec()).unwrap());
    record.headers.to_vec().into_iter().map(|header| (header.name.to_string(), text(header.value))).collect()
}

const THIRTEEN: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 13];

#[test]
fn a_processing_handler_is_told_the_node_the_error_and_the_source_record() {
    let seen = Arc::new(Mutex::new(vec![]));
    let note = seen.clone();
    let handler = move |failure: &Failure<'_>| {
        note.lock().unwrap().push((
            failure.node.to_string(),
            failure.error.kind(),
            failure.metadata.topic.as_deref().map(String::from),
            failure.metadata.offset,
            failure.timestamp,
            failure.source_key.cloned(),
            failure.source_value.cloned(),
            failure.headers.last("h"),
        ));
        Response::resume()
    };
    let driver = started(&squares(), |config| {
        config.task.on_processing_error = OnError::ask(handler);
        config.task.dead_letter_topic = Some("dead".into());
    });
    driver.pipe_raw("in", raw("a", &[0, 0, 0, 0, 0, 0, 0, 2])).unwrap();
    driver.pipe_raw("in", raw("b", THIRTEEN)).unwrap();
    let expected = ("square".to_string(), ErrorKind::User, Some("in".to_string()), 1, 5);
    let [(node, kind, topic, offset, timestamp, key, value, header)] = &seen.lock().unwrap()[..] else { panic!("one failure") };
    assert_eq!((node.clone(), *kind, topic.clone(), *offset, *timestamp), expected);
    assert_eq!((key.as_deref(), value.as_deref(), header.as_deref()), (Some(&b"b"[..]), Some(THIRTEEN), Some(&b"1"[..])));
    assert_eq!(driver.output_topic::<String, i64>("out").read_key_values().unwrap(), [("a".to_string(), 4)]);
    assert_eq!(driver.dropped_records(), 1);
    assert!(driver.drain().is_empty(), "a handler of one's own writes the dead letters that it says, and no others");
}

#[test]
fn a_dead_letter_is_the_source_record_with_its_headers_and_what_went_wrong() {
    let driver = started(&squares(), |config| {
        config.task.on_processing_error = OnError::ask(|failure| Response::resume().dead_letter(failure.dead_letter("dead-processing")));
        config.task.on_deserialization_error = OnError::ask(|failure| Response::resume().dead_letter(failure.dead_letter("dead-reading")));
    });
    driver.pipe_raw("in", raw("a", THIRTEEN)).unwrap();
    driver.pipe_raw("in", raw("b", b"soon")).unwrap();
    let outputs = driver.drain();
    let [processing] = &outputs["dead-processing"][..] else { panic!("{outputs:?}") };
    let [reading] = &outputs["dead-reading"][..] else { panic!("{outputs:?}") };
    assert_eq!((processing.value.as_deref(), processing.timestamp), (Some(THIRTEEN), 5));
    assert_eq!((reading.key.as_deref(), reading.value.as_deref()), (Some(&b"b"[..]), Some(&b"soon"[..])));
    let names = |record: &RawRecord| headers(record).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let expected = ["h", "exception", "message", "stacktrace", "topic", "partition", "offset"];
    let expected = expected.map(|name| if name == "h" { name.to_string() } else { format!("__streams.errors.{name}") });
    assert_eq!((names(processing), names(reading)), (expected.to_vec(), expected.to_vec()));
    let of =
        |record: &RawRecord, name: &str| headers(record).into_iter().find(|(n, _)| *n == format!("__streams.errors.{name}")).unwrap().1;
    assert_eq!(of(processing, "message"), "square: user code panicked: unlucky");
    assert_eq!(of(reading, "message"), "KSTREAM-SOURCE-0000000000: i64: 4 bytes where 8 are expected");
    assert_eq!([of(reading, "topic"), of(reading, "partition"), of(reading, "offset")], ["in", "0", "1"]);
}

#[test]
fn a_handler_that_says_fail_fails_the_task_after_its_dead_letters() {
    let driver = started(&squares(), |config| {
        config.task.on_processing_error = OnError::ask(|failure| Response::fail().dead_letter(failure.dead_letter("dead")));
    });
    let error = driver.pipe_raw("in", raw("a", THIRTEEN)).unwrap_err();
    assert_eq!((error.kind(), error.node()), (ErrorKind::User, Some("square")));
    driver.advance_wall_clock_ms(1).unwrap();
    assert_eq!(driver.drain()["dead"].len(), 1);
}

#[test]
fn a_handler_that_panics_fails_the_task_and_says_both() {
    for reading in [false, true] {
        let broken = || OnError::ask(|_| panic!("broken handler"));
        let driver = started(&squares(), |config| match reading {
            true => config.task.on_deserialization_error = broken(),
            false => config.task.on_processing_error = broken(),
        });
        let error = driver.pipe_raw("in", raw("a", if reading { b"soon" } else { THIRTEEN })).unwrap_err().to_string();
        assert!(error.contains("broken handler"), "{error}");
        assert!(error.contains(if reading { "4 bytes where 8" } else { "unlucky" }), "{error}");
    }
}

/// Fails whenever it is time.
struct Alarm;
impl Processor<String, i64, String, i64> for Alarm {
    fn init(&mut self, context: &mut ProcessorContext<'_, String, i64>) -> Result<(), Error> {
        context.schedule(10, PunctuationType::WallClockTime).map(drop)
    }
    fn process(&mut self, context: &mut ProcessorContext<'_, String, i64>, record: Record<String, i64>) -> Result<(), Error> {
        context.forward(record)
    }
    fn punctuate(&mut self, _: &mut ProcessorContext<'_, String, i64>, _: &Schedule, _: i64) -> Result<(), Error> {
        Err(Error::new(ErrorKind::User, "it rang"))
    }
}

#[test]
fn what_fails_in_a_punctuator_goes_to_the_processing_handler() {
    for resume in [true, false] {
        let builder = StreamsBuilder::new();
        builder.stream::<String, i64>("in").process_named(Named::new("alarm"), || Alarm, &[]).to("out");
        let driver = started(&builder, |config| {
            config.task.on_processing_error = if resume { OnError::Continue } else { OnError::Fail };
            config.task.dead_letter_topic = Some("dead".into());
        });
        let outcome = driver.advance_wall_clock_ms(10);
        match resume {
            true => outcome.unwrap(),
            false => assert_eq!(outcome.unwrap_err().node(), Some("alarm")),
        }
        driver.input_topic::<String, i64>("in").pipe("a".into(), 1, 0).unwrap();
        let outputs = driver.drain();
        let [letter] = &outputs["dead"][..] else { panic!("{outputs:?}") };
        assert_eq!((&letter.key, &letter.value), (&None, &None));
        assert!(headers(letter).contains(&("__streams.errors.topic".into(), "null".into())));
        assert_eq!(outputs["out"].len(), 1, "the task goes on with what follows");
    }
}
