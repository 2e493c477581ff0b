//! Random scripts.

use proptest::{collection::vec, prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};

/// A script: its first line, and operations.
pub type Script = (String, Vec<String>);

/// Keys that sort in surprising ways.
fn key() -> BoxedStrategy<&'static str> {
    prop_oneof![
        4 => select(vec!["x61", "x62", "x63"]),
        1 => select(vec!["x", "x00", "x0000", "x6100", "x610000000001", "x6161", "x61ff", "x7f", "xfe", "xff", "xffff"]),
    ]
    .boxed()
}

fn bound() -> BoxedStrategy<&'static str> {
    prop_oneof![3 => key(), 1 => Just("*")].boxed()
}

fn value() -> BoxedStrategy<String> {
    prop_oneof![5 => any::<u8>().prop_map(|byte| format!("x{byte:02x}")), 1 => Just("x".to_owned()), 2 => Just("-".to_owned())].boxed()
}

fn order() -> BoxedStrategy<&'static str> {
    select(vec!["up", "down"]).boxed()
}

/// A time near where the script is; `~` marks it until [`script`] knows where that is.
fn time() -> BoxedStrategy<String> {
    prop_oneof![20 => -40..40i64, 4 => -150..150i64, 1 => 200..1_000i64].prop_map(|offset| format!("~{offset}")).boxed()
}

/// Times to ask for.
fn ask() -> BoxedStrategy<String> {
    prop_oneof![
        16 => time(),
        1 => (-20..0i64).prop_map(|time| time.to_string()),
        1 => select(vec![0, 1 << 40, i64::MAX]).prop_map(|time| time.to_string()),
    ]
    .boxed()
}

/// A range of times.
fn span() -> BoxedStrategy<String> {
    let near = (-80..40i64, 0..120i64).prop_map(|(from, length)| format!("~{from} ~{}", from + length));
    prop_oneof![6 => near, 1 => Just(format!("0 {}", i64::MAX))].boxed()
}

/// Two times.
fn times() -> BoxedStrategy<String> {
    prop_oneof![6 => span(), 1 => (ask(), ask()).prop_map(|(from, to)| format!("{from} {to}"))].boxed()
}

fn head(kind: &'static str, duplicates: bool) -> BoxedStrategy<String> {
    let retention = select(vec![0, 5, 10, 30, 60, 100, 500]);
    let interval = select(vec![1, 7, 10, 25, 60, 400]);
    let lru = kind == "lru";
    (retention, interval, any::<bool>())
        .prop_map(move |(retention, interval, twice)| {
            let retention = if lru { retention / 10 } else { retention };
            format!("store {kind} {retention} {interval} {}", if duplicates && twice { "duplicates" } else { "unique" })
        })
        .boxed()
}

fn operation(kind: &str) -> BoxedStrategy<String> {
    match kind.split('-').next() {
        Some("window") => prop_oneof![
            8 => (key(), value(), time()).prop_map(|(k, v, t)| format!("put {k} {v} {t}")),
            2 => (key(), ask()).prop_map(|(k, t)| format!("fetch {k} {t}")),
            2 => (key(), times(), order()).prop_map(|(k, s, o)| format!("key {k} {s} {o}")),
            2 => (bound(), bound(), times(), order()).prop_map(|(a, b, s, o)| format!("keys {a} {b} {s} {o}")),
            1 => (times(), order()).prop_map(|(s, o)| format!("times {s} {o}")),
            1 => order().prop_map(|o| format!("all {o}")),
        ]
        .boxed(),
        Some("session") => {
            let ends = kind != "session-disk";
            let session = || (key(), -40..40i64, 0..30i64).prop_map(|(key, start, length)| format!("{key} ~{start} ~{}", start + length));
            prop_oneof![
                8 => (session(), value()).prop_map(|(s, v)| format!("put {s} {v}")),
                1 => session().prop_map(|s| format!("remove {s}")),
                1 => session().prop_map(|s| format!("fetch {s}")),
                2 => (key(), ask(), time(), order()).prop_map(|(k, f, t, o)| format!("key {k} {f} {t} {o}")),
                2 => (bound(), bound(), ask(), time(), order()).prop_map(|(a, b, f, t, o)| format!("keys {a} {b} {f} {t} {o}")),
                1 => order().prop_map(|o| format!("keys * * 0 {} {o}", i64::MAX)),
                2 => (-150..40i64, 0..150i64).prop_map(move |(f, l)| match ends {
                    true => format!("ends ~{f} ~{}", f + l),
                    false => format!("key x61 ~{f} ~{} up", f + l),
                }),
            ]
            .boxed()
        }
        Some("versioned") => prop_oneof![
            8 => (key(), value(), time()).prop_map(|(k, v, t)| format!("put {k} {v} {t}")),
            1 => (key(), time()).prop_map(|(k, t)| format!("delete {k} {t}")),
            1 => key().prop_map(|k| format!("get {k}")),
            3 => (key(), ask()).prop_map(|(k, t)| format!("at {k} {t}")),
            2 => (key(), span(), order()).prop_map(|(k, s, o)| format!("range {k} {s} {o}")),
        ]
        .boxed(),
        _ => {
            let disk = kind == "key-value-disk";
            prop_oneof![
                8 => (key(), value()).prop_map(|(k, v)| format!("put {k} {v}")),
                1 => (key(), value()).prop_map(|(k, v)| format!("absent {k} {v}")),
                1 => key().prop_map(|k| format!("delete {k}")),
                2 => key().prop_map(|k| format!("get {k}")),
                2 => (bound(), bound(), order()).prop_map(|(a, b, o)| format!("range {a} {b} {o}")),
                1 => order().prop_map(|o| format!("all {o}")),
                1 => select(vec!["x61", "x62", "x00", "x6161", "x61ff"]).prop_map(|k| format!("prefix {k}")),
                1 => key().prop_map(move |k| if disk { format!("get {k}") } else { "count".into() }),
            ]
            .boxed()
        }
    }
}

/// Scripts for a store of one kind. Time moves a step with each operation, and rarely jumps.
pub fn script(kind: &'static str) -> impl Strategy<Value = Script> {
    let step = prop_oneof![select(vec![0, 1, 3, 8]), Just(25)];
    let jump = prop_oneof![6 => Just(0), 1 => select(vec![700i64, 70_000, 1 << 40])];
    (head(kind, kind.starts_with("window")), vec(operation(kind), 1..60), step, jump).prop_map(|(head, operations, step, jump)| {
        let middle = operations.len() / 2;
        let placed = operations.into_iter().enumerate().map(|(index, operation)| {
            let now = 30 + step * index as i64 + if index < middle { 0 } else { jump };
            let word = |word: &str| match word.strip_prefix('~') {
                Some(offset) => (now + offset.parse::<i64>().expect("an offset")).max(0).to_string(),
                None => word.to_owned(),
            };
            operation.split(' ').map(word).collect::<Vec<_>>().join(" ")
        });
        (head, placed.collect())
    })
}

/// The kinds of store that a script may begin with.
const KINDS: [&str; 11] = [
    "key-value-memory",
    "key-value-disk",
    "lru",
    "window-memory",
    "window-disk",
    "window-time",
    "window-time-indexed",
    "session-memory",
    "session-disk",
    "session-time-indexed",
    "versioned",
];

#[test]
#[ignore = "writes scripts for `StoreAnswers.java` to the file that SCRIPTS names"]
fn scripts_for_kafka_streams() {
    let mut runner = TestRunner::default();
    let mut text = String::new();
    for kind in KINDS.into_iter().flat_map(|kind| [kind; 250]) {
        let (head, operations) = script(kind).new_tree(&mut runner).expect("a script").current();
        text += &format!("{head}\n{} |\n", operations.join(" |\n"));
    }
    std::fs::write(std::env::var("SCRIPTS").expect("SCRIPTS names a file"), text).expect("the file can be written");
}
