//! Stores in memory against naive models that keep everything and look at all of it.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestCaseResult};

use super::{
    generate::{Script, script},
    script::Store,
};

/// A naive store: the same operations; `None` for one that it does not know.
trait Model {
    fn answer(&mut self, op: &[&str]) -> Option<String>;
}

fn agree((head, operations): Script, mut model: impl Model) -> TestCaseResult {
    let mut store = Store::open(&head, None).expect("memory opens");
    for operation in operations {
        let answer = store.answer(&operation).expect("memory answers");
        if let Some(expected) = model.answer(&operation.split(' ').collect::<Vec<_>>()) {
            prop_assert_eq!(answer, expected, "{}: {}", head, operation);
        }
    }
    Ok(())
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn retention(head: &str) -> i64 {
    number(head.split(' ').nth(2).expect("a retention"))
}

fn number(text: &str) -> i64 {
    text.parse().expect("a number")
}

fn ordered(mut rows: Vec<String>, order: &str) -> Option<String> {
    if order == "down" {
        rows.reverse();
    }
    Some(rows.join(" "))
}

/// Hexadecimal digits sort as the bytes do.
fn between(key: &str, from: &str, to: &str) -> bool {
    (from == "*" || key >= from) && (to == "*" || key <= to)
}

/// Rows in the order in which they were used, the last at the end; at most so many.
struct Rows(Vec<(String, String)>, usize);

impl Rows {
    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(row, _)| row == key)?;
        Some(self.0.remove(at).1)
    }

    fn put(&mut self, key: &str, value: &str) {
        self.take(key);
        if value != "-" {
            self.0.push((key.into(), value.into()));
        }
        if self.0.len() > self.1 {
            self.0.remove(0);
        }
    }

    fn get(&mut self, key: &str) -> String {
        let value = self.take(key);
        value.inspect(|value| self.put(key, value)).unwrap_or("-".into())
    }
}

impl Model for Rows {
    fn answer(&mut self, op: &[&str]) -> Option<String> {
        let scan = |rows: &Self, from, to, order| {
            let sorted: BTreeMap<_, _> = rows.0.iter().filter(|(key, _)| between(key, from, to)).cloned().collect();
            ordered(sorted.iter().map(|(key, value)| format!("{key}={value}")).collect(), order)
        };
        match *op {
            ["put", key, value] => self.put(key, value),
            ["get", key] => return Some(self.get(key)),
            ["delete", key] => return Some(self.take(key).unwrap_or("-".into())),
            ["absent", key, value] => {
                let before = self.get(key);
                if before == "-" {
                    self.put(key, value);
                }
                return Some(before);
            }
            ["range", from, to, order] => return scan(self, from, to, order),
            ["all", order] => return scan(self, "*", "*", order),
            ["count"] => return Some(self.0.len().to_string()),
            _ => return None,
        }
        Some(String::new())
    }
}

/// Windows: start, key, number, value.
struct Windows {
    rows: Vec<(i64, String, usize, String)>,
    retention: i64,
    duplicates: bool,
    observed: i64,
    puts: usize,
}

impl Windows {
    fn new(head: &str) -> Self {
        Self { rows: vec![], retention: retention(head), duplicates: head.ends_with("duplicates"), observed: -1, puts: 0 }
    }

    fn scan(&self, keys: (&str, &str), from: i64, to: i64, order: &str) -> Option<String> {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|(start, key, ..)| {
                (from..=to).contains(start) && *start > self.observed - self.retention && between(key, keys.0, keys.1)
            })
            .collect();
        // A key and its number sort as one.
        rows.sort_by_key(|(start, key, number, _)| (*start, if self.duplicates { format!("{key}{number:08x}") } else { key.clone() }));
        ordered(rows.iter().map(|(start, key, _, value)| format!("{key}@{start}={value}")).collect(), order)
    }
}

impl Model for Windows {
    fn answer(&mut self, op: &[&str]) -> Option<String> {
        match *op {
            ["put", key, value, start] => {
                let start = number(start);
                self.observed = self.observed.max(start);
                if start <= self.observed - self.retention {
                    return Some("dropped".into());
                }
                if !self.duplicates {
                    self.rows.retain(|row| (row.0, &*row.1) != (start, key));
                }
                if value != "-" {
                    self.puts += 1;
                    self.rows.push((start, key.into(), self.puts, value.into()));
                }
                Some(String::new())
            }
            ["fetch", key, start] if !self.duplicates => {
                let rows = self.scan((key, key), number(start), number(start), "up")?;
                Some(rows.split_once('=').map_or("-".into(), |(_, value)| value.into()))
            }
            ["key", key, from, to, order] => self.scan((key, key), number(from), number(to), order),
            // With duplicates, Kafka Streams loses some keys of a range: see `KeyRange`.
            ["keys", a, b, from, to, order] if !self.duplicates => self.scan((a, b), number(from), number(to), order),
            ["times", from, to, order] => self.scan(("*", "*"), number(from), number(to), order),
            ["all", order] => self.scan(("*", "*"), i64::MIN, i64::MAX, order),
            _ => None,
        }
    }
}

/// What both kinds of window store answer: the windows of one key.
struct SameWindows(Store, bool);

impl Model for SameWindows {
    fn answer(&mut self, op: &[&str]) -> Option<String> {
        let answer = self.0.answer(&op.join(" ")).expect("memory answers");
        (op[0] == "key" || (op[0] == "fetch" && !self.1)).then_some(answer)
    }
}

/// Sessions: end, key, start, value.
struct Sessions {
    rows: Vec<(i64, String, i64, String)>,
    retention: i64,
    observed: i64,
}

impl Sessions {
    fn scan(&self, keys: (&str, &str), ends: (i64, i64), latest_start: i64, order: &str) -> Option<String> {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|(end, key, start, _)| {
                (ends.0..=ends.1).contains(end)
                    && *end > self.observed - self.retention
                    && *start <= latest_start
                    && between(key, keys.0, keys.1)
            })
            .collect();
        rows.sort_by_key(|(end, key, start, _)| (*end, key.clone(), -start));
        ordered(rows.iter().map(|(end, key, start, value)| format!("{key}@{start}/{end}={value}")).collect(), order)
    }
}

impl Model for Sessions {
    fn answer(&mut self, op: &[&str]) -> Option<String> {
        match *op {
            ["put", key, start, end, value] => {
                let (start, end) = (number(start), number(end));
                self.observed = self.observed.max(end);
                if end <= self.observed - self.retention {
                    return Some("dropped".into());
                }
                self.rows.retain(|row| (row.0, &*row.1, row.2) != (end, key, start));
                if value != "-" {
                    self.rows.push((end, key.into(), start, value.into()));
                }
                Some(String::new())
            }
            ["remove", key, start, end] => {
                self.rows.retain(|row| (row.0, &*row.1, row.2) != (number(end), key, number(start)));
                Some(String::new())
            }
            ["fetch", key, start, end] => {
                let found = self.rows.iter().find(|row| (row.0, &*row.1, row.2) == (number(end), key, number(start)));
                let found = found.filter(|row| row.0 > self.observed - self.retention);
                Some(found.map_or("-".into(), |row| row.3.clone()))
            }
            ["key", key, earliest, latest, order] => self.scan((key, key), (number(earliest), i64::MAX), number(latest), order),
            ["keys", a, b, earliest, latest, order] => self.scan((a, b), (number(earliest), i64::MAX), number(latest), order),
            ["ends", from, to] => self.scan(("*", "*"), (number(from), number(to)), i64::MAX, "up"),
            _ => None,
        }
    }
}

/// All versions of all keys, for ever; until the latest version is deleted at its own time, which Kafka Streams forgets.
#[derive(Default)]
struct Versions(BTreeMap<String, BTreeMap<i64, String>>, bool);

impl Versions {
    fn at(&self, key: &str, time: i64) -> Option<String> {
        let found = self.0.get(key).and_then(|versions| versions.range(..=time).next_back()).filter(|(_, value)| *value != "-");
        Some(found.map_or("-".into(), |(time, value)| format!("{value}@{time}")))
    }
}

impl Model for Versions {
    fn answer(&mut self, op: &[&str]) -> Option<String> {
        if let ["put", key, "-", time] | ["delete", key, time] = *op {
            let latest = self.0.get(key).and_then(|versions| versions.last_key_value());
            self.1 |= latest.is_some_and(|(latest, value)| *latest == number(time) && value != "-");
        }
        match *op {
            _ if self.1 => None,
            ["put", key, value, time] => {
                let versions = self.0.entry(key.into()).or_default();
                versions.insert(number(time), value.into());
                Some(versions.range(number(time) + 1..).next().map_or(-1, |(next, _)| *next).to_string())
            }
            ["delete", key, time] => {
                let before = self.at(key, number(time));
                self.0.entry(key.into()).or_default().insert(number(time), "-".into());
                before
            }
            ["get", key] => self.at(key, i64::MAX),
            ["at", key, time] => self.at(key, number(time)),
            ["range", key, from, to, order] if number(to) == i64::MAX => {
                let versions: Vec<_> = self.0.get(key).into_iter().flatten().collect();
                let row = |index: usize| {
                    let (time, value) = versions[index];
                    let end = versions.get(index + 1).map(|(end, _)| **end);
                    let valid = value != "-" && end.is_none_or(|end| end > number(from));
                    valid.then(|| format!("{value}@{time}..{}", end.map_or(String::new(), |end| end.to_string())))
                };
                ordered((0..versions.len()).filter_map(row).collect(), order)
            }
            _ => None,
        }
    }
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn a_key_value_store_in_memory_is_a_sorted_map(script in script("key-value-memory")) {
        agree(script, Rows(vec![], usize::MAX))?;
    }

    #[test]
    fn a_window_store_in_memory_shows_what_is_retained_by_time_then_key(script in script("window-memory")) {
        let model = Windows::new(&script.0);
        agree(script, model)?;
    }

    #[test]
    fn a_session_store_in_memory_shows_what_is_retained_by_end_then_key(script in script("session-memory")) {
        let model = Sessions { rows: vec![], retention: retention(&script.0), observed: -1 };
        agree(script, model)?;
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_bounded_store_forgets_what_was_used_first(script in script("lru")) {
        let most = retention(&script.0) as usize;
        agree(script, Rows(vec![], most))?;
    }

    #[test]
    fn both_kinds_of_window_store_find_the_same_windows_of_a_key(mut script in script("window-disk")) {
        let memory = Store::open(&script.0.replace("disk", "memory"), None).expect("memory opens");
        let duplicates = script.0.ends_with("duplicates");
        // A null among duplicates moves stream time in memory alone.
        script.1.retain(|operation| !duplicates || !operation.contains(" - "));
        agree(script, SameWindows(memory, duplicates))?;
    }

    #[test]
    fn a_versioned_store_that_forgets_nothing_knows_every_version((head, operations) in script("versioned")) {
        let interval = head.split(' ').nth(3).expect("an interval");
        agree((format!("store versioned {} {interval} unique", 1i64 << 50), operations), Versions::default())?;
    }
}
