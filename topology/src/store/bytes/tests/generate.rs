//! Random scripts.

use proptest::{collection::vec, prelude::*, sample::select};

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

/// Times of records: mostly close together, sometimes far ahead.
fn time() -> BoxedStrategy<i64> {
    prop_oneof![8 => 0..60i64, 6 => 0..200i64, 1 => 200..1_000i64, 1 => select(vec![70_000i64, 300_000, 1 << 40])].boxed()
}

/// Times to ask for.
fn ask() -> BoxedStrategy<i64> {
    prop_oneof![10 => time(), 1 => -20..0i64, 1 => Just(i64::MAX)].boxed()
}

/// A time, and one that is not before it.
fn span() -> BoxedStrategy<(i64, i64)> {
    prop_oneof![
        3 => (ask(), 0..80i64).prop_map(|(from, length)| (from, from.saturating_add(length))),
        1 => (ask(), ask()),
        1 => Just((0, i64::MAX)),
    ]
    .boxed()
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
            2 => (key(), span(), order()).prop_map(|(k, (f, t), o)| format!("key {k} {f} {t} {o}")),
            2 => (bound(), bound(), span(), order()).prop_map(|(a, b, (f, t), o)| format!("keys {a} {b} {f} {t} {o}")),
            1 => (span(), order()).prop_map(|((f, t), o)| format!("times {f} {t} {o}")),
            1 => order().prop_map(|o| format!("all {o}")),
        ]
        .boxed(),
        Some("session") => {
            let ends = kind != "session-disk";
            prop_oneof![
                8 => (key(), time(), 0..30i64, value()).prop_map(|(k, s, l, v)| format!("put {k} {s} {} {v}", s + l)),
                1 => (key(), time(), 0..30i64).prop_map(|(k, s, l)| format!("remove {k} {s} {}", s + l)),
                1 => (key(), time(), 0..30i64).prop_map(|(k, s, l)| format!("fetch {k} {s} {}", s + l)),
                2 => (key(), ask(), time(), order()).prop_map(|(k, f, t, o)| format!("key {k} {f} {t} {o}")),
                2 => (bound(), bound(), ask(), time(), order()).prop_map(|(a, b, f, t, o)| format!("keys {a} {b} {f} {t} {o}")),
                1 => order().prop_map(|o| format!("keys * * 0 {} {o}", i64::MAX)),
                2 => (ask(), 0..90i64).prop_map(move |(f, l)| match ends {
                    true => format!("ends {f} {}", f.saturating_add(l)),
                    false => format!("key x61 {f} {l} up"),
                }),
            ]
            .boxed()
        }
        Some("versioned") => prop_oneof![
            8 => (key(), value(), time()).prop_map(|(k, v, t)| format!("put {k} {v} {t}")),
            1 => (key(), time()).prop_map(|(k, t)| format!("delete {k} {t}")),
            1 => key().prop_map(|k| format!("get {k}")),
            3 => (key(), ask()).prop_map(|(k, t)| format!("at {k} {t}")),
            2 => (key(), span(), order()).prop_map(|(k, (f, t), o)| format!("range {k} {f} {t} {o}")),
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

/// Scripts for a store of one kind.
pub fn script(kind: &'static str) -> impl Strategy<Value = Script> {
    (head(kind, kind.starts_with("window")), vec(operation(kind), 1..40))
}

#[test]
fn scratch_generate() {
    use std::fmt::Write; use proptest::strategy::ValueTree;
    let Ok(path) = std::env::var("SCRIPTS_OUT") else { return };
    let each: usize = std::env::var("SCRIPTS_EACH").unwrap().parse().unwrap();
    let mut runner = proptest::test_runner::TestRunner::default();
    let mut text = String::new();
    for kind in ["key-value-memory", "key-value-disk", "lru", "window-memory", "window-disk", "window-time", "window-time-indexed", "session-memory", "session-disk", "session-time-indexed", "versioned"] {
        for _ in 0..each {
            let (head, ops) = script(kind).new_tree(&mut runner).unwrap().current();
            writeln!(text, "{head}").unwrap();
            for op in ops { writeln!(text, "{op} |").unwrap(); }
        }
    }
    std::fs::write(path, text).unwrap();
}
