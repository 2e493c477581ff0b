//! What the switch `compatibility` decides: each of its rows in both modes.
#![allow(clippy::unwrap_used)]

use millstream::{
    Compatibility, Consumed, EmitStrategy, ErrorKind, JoinWindows, Joined, KStream, KTable, Materialized, SessionWindows, SlidingWindows,
    StoreType, StreamsBuilder, StrictBufferConfig, Suppressed, TaskConfig, TestDriverConfig, TimeWindows, TopologyConfig,
    TopologyTestDriver, Windowed,
};

/// What a program writes to `out` in each mode, as texts.
struct Modes {
    kafka: Vec<String>,
    sound: Vec<String>,
}

/// A topic, a key and a value, and a time.
type Input = (&'static str, Option<&'static str>, &'static str, i64);

fn driver(draw: &impl Fn(&StreamsBuilder), store_type: StoreType, compatibility: Compatibility) -> TopologyTestDriver {
    let builder = StreamsBuilder::with_config(TopologyConfig { store_type, ..TopologyConfig::default() });
    draw(&builder);
    let config = TestDriverConfig::default();
    let task = TaskConfig { compatibility, ..config.task };
    TopologyTestDriver::new(&builder.build().unwrap(), TestDriverConfig { task, ..config }).unwrap()
}

fn pipe(driver: &TopologyTestDriver, inputs: &[Input]) -> Result<(), millstream::Error> {
    inputs.iter().try_for_each(|(topic, key, value, time)| {
        let topic = driver.input_topic::<Option<String>, String>(topic);
        topic.pipe(key.map(String::from), value.to_string(), *time)
    })
}

fn out(driver: &TopologyTestDriver) -> Vec<String> {
    driver
        .output_topic::<Option<String>, Option<String>>("out")
        .read_key_values()
        .unwrap()
        .into_iter()
        .filter_map(|(_, value)| value)
        .collect()
}

fn both_on(store_type: StoreType, inputs: &[Input], draw: impl Fn(&StreamsBuilder)) -> Modes {
    let run = |mode| {
        let driver = driver(&draw, store_type, mode);
        pipe(&driver, inputs).unwrap();
        out(&driver)
    };
    Modes { kafka: run(Compatibility::Kafka), sound: run(Compatibility::Sound) }
}

fn both(inputs: &[Input], draw: impl Fn(&StreamsBuilder)) -> Modes {
    both_on(StoreType::InMemory, inputs, draw)
}

fn input(builder: &StreamsBuilder, topic: &str) -> KStream<String, String> {
    builder.stream(topic)
}

/// Writes each row of a windowed table as `key@start=value`.
fn write<V: std::fmt::Display + millstream::Data<Present = V>>(table: KTable<Windowed<String>, V>) {
    let text = |key: &Windowed<String>, value: &Option<V>| {
        let value = value.as_ref().map_or("null".to_string(), V::to_string);
        (key.key.clone(), format!("{}@{}={value}", key.key, key.window.start))
    };
    table.to_stream().map(text).to("out");
}

const A: Option<&str> = Some("a");

#[test]
fn a_jump_in_time_loses_no_window_that_closes() {
    let jump = [("in", A, "x", 100), ("in", A, "x", 100), ("in", A, "x", 200)];
    for store_type in [StoreType::InMemory, StoreType::RocksDb] {
        let Modes { kafka, sound } = both_on(store_type, &jump, |builder| {
            let windows = TimeWindows::of_size_and_grace(10, 5);
            write(input(builder, "in").group_by_key().windowed_by(windows).emit_strategy(EmitStrategy::OnWindowClose).count());
        });
        assert_eq!((kafka.len(), sound), (0, vec!["a@100=2".to_string()]), "tumbling, {store_type:?}");

        let Modes { kafka, sound } = both_on(store_type, &jump, |builder| {
            let windows = SlidingWindows::of_time_difference_and_grace(10, 5);
            write(input(builder, "in").group_by_key().windowed_by(windows).emit_strategy(EmitStrategy::OnWindowClose).count());
        });
        assert_eq!((kafka.len(), sound), (0, vec!["a@90=2".to_string()]), "sliding, {store_type:?}");
    }
    let Modes { kafka, sound } = both(&jump, |builder| {
        let windows = SessionWindows::of_inactivity_gap_and_grace(10, 5);
        write(input(builder, "in").group_by_key().windowed_by(windows).emit_strategy(EmitStrategy::OnWindowClose).count());
    });
    assert_eq!((kafka.len(), sound), (0, vec!["a@100=2".to_string()]), "sessions");
}

#[test]
fn the_emit_interval_hides_no_window() {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(10);
    write(input(&builder, "in").group_by_key().windowed_by(windows).emit_strategy(EmitStrategy::OnWindowClose).count());
    let config = TestDriverConfig::default();
    let task = TaskConfig { emit_interval_ms: 1_000, ..config.task };
    let driver = TopologyTestDriver::new(&builder.build().unwrap(), TestDriverConfig { task, ..config }).unwrap();
    pipe(&driver, &[0, 10, 20, 30].map(|time| ("in", A, "x", time))).unwrap();
    assert_eq!(out(&driver), ["a@0=1", "a@10=1", "a@20=1"], "the clock stands still");
}

#[test]
fn a_window_in_memory_closes_without_grace() {
    let Modes { kafka, sound } = both(&[("in", A, "x", 0), ("in", A, "x", 10), ("in", A, "x", 20)], |builder| {
        let windows = TimeWindows::of_size_with_no_grace(10);
        write(input(builder, "in").group_by_key().windowed_by(windows).emit_strategy(EmitStrategy::OnWindowClose).count());
    });
    assert_eq!((kafka.len(), sound), (0, vec!["a@0=1".to_string(), "a@10=1".to_string()]));
}

#[test]
fn a_record_at_the_edge_of_retention_is_joined() {
    let inputs = [("right", A, "0", 0), ("right", A, "15", 15), ("left", A, "10", 10)];
    for store_type in [StoreType::InMemory, StoreType::RocksDb] {
        let Modes { kafka, sound } = both_on(store_type, &inputs, |builder| {
            let windows = JoinWindows::of_time_difference_and_grace(10, 5).after(0);
            input(builder, "left").join(&input(builder, "right"), |left, right| format!("{left}+{right}"), windows).to("out");
        });
        assert_eq!((kafka.len(), sound), (0, vec!["10+0".to_string()]), "{store_type:?}");
    }
}

#[test]
fn a_session_at_the_edge_of_retention_goes_on() {
    for store_type in [StoreType::InMemory, StoreType::RocksDb] {
        let Modes { kafka, sound } = both_on(store_type, &[("in", A, "x", 0), ("in", A, "x", 15), ("in", A, "x", 5)], |builder| {
            let windows = SessionWindows::of_inactivity_gap_and_grace(5, 10);
            write(input(builder, "in").group_by_key().windowed_by(windows).count());
        });
        assert_eq!(kafka, ["a@0=1", "a@15=1", "a@5=1"], "{store_type:?}");
        assert_eq!(sound, ["a@0=1", "a@15=1", "a@0=null", "a@0=2"], "{store_type:?}");
    }
}

#[test]
fn a_record_without_a_key_does_not_stop_a_left_join_with_grace() {
    let draw = |builder: &StreamsBuilder| {
        let rows = builder.table_with::<String, String>("table", Consumed::new(), Materialized::store("rows").versioned(100));
        let join = |value: &String, row: Option<&String>| format!("{value}+{}", row.map_or("nothing", |row| row));
        let joined = Joined::new().grace_period_ms(5);
        builder.stream::<Option<String>, String>("in").left_join_table_with(&rows, join, joined).to("out");
    };
    let inputs = [("in", None, "x", 0)];
    let kafka = driver(&draw, StoreType::InMemory, Compatibility::Kafka);
    assert_eq!(pipe(&kafka, &inputs).unwrap_err().kind(), ErrorKind::Null);
    let sound = driver(&draw, StoreType::InMemory, Compatibility::Sound);
    pipe(&sound, &inputs).unwrap();
    assert_eq!(out(&sound), ["x+nothing"]);
}

#[test]
fn a_session_of_one_instant_is_counted_once() {
    let Modes { kafka, sound } = both(&[("in", A, "x", 7), ("in", A, "x", 7), ("in", A, "x", 7)], |builder| {
        let windows = SessionWindows::of_inactivity_gap_with_no_grace(5);
        let sessions = input(builder, "in").group_by_key().windowed_by(windows).count();
        let by_key = sessions.group_by(|session, count| (session.key.clone(), *count)).count();
        by_key.to_stream().map_values(|count| count.map(|count| count.to_string())).to("out");
    });
    assert_eq!((kafka.last().unwrap().as_str(), sound.last().unwrap().as_str()), ("3", "1"));
}

#[test]
fn nobody_subtracts_what_nobody_has_added() {
    let Modes { kafka, sound } = both(&[("in", A, "1", 0), ("in", Some("b"), "2", 0)], |builder| {
        let number = |text: &String| text.parse::<i64>().unwrap();
        let rows = input(builder, "in").group_by_key().aggregate(|| 100, move |_, value, sum: i64| sum + number(value));
        let sums = rows.group_by(|_, value| ("all".to_string(), *value));
        let sum = sums.aggregate(|| 0, |_, value, sum: i64| sum + value, |_, value, sum: i64| sum - value);
        sum.to_stream().map_values(|sum| sum.map(|sum| sum.to_string())).to("out");
    });
    assert_eq!((kafka.last().unwrap().as_str(), sound.last().unwrap().as_str()), ("103", "203"));
}

#[test]
fn a_late_record_is_not_given_out_alone_while_its_partner_may_come() {
    let inputs = [("left", Some("z"), "0", 30), ("left", A, "1", 5), ("right", A, "2", 6)];
    let Modes { kafka, sound } = both(&inputs, |builder| {
        let windows = JoinWindows::of_time_difference_and_grace(10, 20);
        let join = |left: &String, right: Option<&String>| format!("{left}+{}", right.map_or("nothing", |right| right));
        input(builder, "left").left_join(&input(builder, "right"), join, windows).to("out");
    });
    assert_eq!(kafka, ["1+nothing", "1+2"]);
    assert_eq!(sound, ["1+2"]);
}

#[test]
fn a_final_result_is_not_followed_by_another() {
    let inputs =
        [("a", 20), ("b", 35), ("a", 20), ("a", 25), ("b", 36), ("a", 21), ("b", 90)].map(|(key, time)| ("in", Some(key), "x", time));
    let Modes { kafka, sound } = both(&inputs, |builder| {
        let windows = SlidingWindows::of_time_difference_and_grace(10, 5);
        let counts = input(builder, "in").group_by_key().windowed_by(windows).count();
        write(counts.suppress(Suppressed::until_window_closes(StrictBufferConfig::unbounded())));
    });
    let of = |results: &[String]| results.iter().filter(|text| text.starts_with("a@21=")).cloned().collect::<Vec<_>>();
    assert_eq!((of(&kafka), of(&sound)), (vec!["a@21=1".into(), "a@21=2".into()], vec!["a@21=2".to_string()]));
}
