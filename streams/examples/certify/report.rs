//! What the run says at its end, and the explanation of one scenario.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::Value as Json;

use crate::compare::Difference;

/// The names of the families.
const FAMILIES: [&str; 42] = [
    "random",
    "stateless",
    "split-merge",
    "select-key-group",
    "repartition-sinks",
    "table-source",
    "to-table",
    "table-filter",
    "table-map-transform",
    "aggregate",
    "aggregate-old-value",
    "table-aggregate",
    "table-reduce-count",
    "chained-table-aggregates",
    "cogroup",
    "tumbling",
    "hopping",
    "stream-join-inner",
    "stream-join-left",
    "stream-join-outer",
    "self-join",
    "sliding",
    "session",
    "unlimited",
    "emit-close-time",
    "emit-close-sliding-session",
    "suppress-time-limit",
    "suppress-window-closes",
    "stream-table-join",
    "stream-global-join",
    "table-join",
    "table-join-n-way",
    "fk-join",
    "fk-left-join",
    "fk-chain",
    "versioned-store",
    "versioned-table",
    "stream-table-grace",
    "processor",
    "caching",
    "naming-errors",
    "edges",
];

pub enum Outcome {
    Passed { advice: Vec<Difference> },
    Failed(Vec<Difference>),
    Unsupported(String),
}

/// What became of one scenario.
pub struct Judged {
    pub id: String,
    pub family: usize,
    pub outcome: Outcome,
    /// What this library said of its error, if it met one.
    pub error_text: Option<String>,
}

#[derive(Default)]
struct Family {
    passed: usize,
    failed: Vec<String>,
    unsupported: usize,
    advice: usize,
}

#[derive(Default)]
pub struct Report {
    families: BTreeMap<usize, Family>,
    reasons: BTreeMap<String, usize>,
}

impl Report {
    pub fn add(&mut self, judged: Judged) {
        let family = self.families.entry(judged.family).or_default();
        match judged.outcome {
            Outcome::Passed { advice } => {
                family.passed += 1;
                family.advice += usize::from(!advice.is_empty());
            }
            Outcome::Failed(differences) => {
                let places: Vec<_> = differences.iter().map(|d| d.place.as_str()).collect();
                family.failed.push(format!("{} at {}", judged.id, places.join(", ")));
            }
            Outcome::Unsupported(what) => {
                family.unsupported += 1;
                *self.reasons.entry(what).or_default() += 1;
            }
        }
    }

    /// Whether nothing ran.
    pub fn is_empty(&self) -> bool {
        self.families.is_empty()
    }

    /// Whether nothing failed; what is not supported has failed.
    pub fn is_clean(&self) -> bool {
        !self.differs() && self.families.values().all(|family| family.unsupported == 0)
    }

    /// Whether a scenario that could be run differed.
    pub fn differs(&self) -> bool {
        self.families.values().any(|family| !family.failed.is_empty())
    }

    pub fn show(&self, failures: usize, reasons: bool) -> String {
        let mut text = String::new();
        let mut line = |args: std::fmt::Arguments| {
            let _ = writeln!(text, "{args}");
        };
        for family in self.families.values() {
            family.failed.iter().take(failures).for_each(|failure| line(format_args!("failed: {failure}")));
            if family.failed.len() > failures {
                line(format_args!("        and {} more", family.failed.len() - failures));
            }
        }
        line(format_args!("{:>6}  {:<28}{:>7}{:>8}{:>13}{:>17}", "family", "name", "passed", "failed", "unsupported", "store-dependent"));
        for (number, family) in &self.families {
            let name = FAMILIES.get(*number).unwrap_or(&"?");
            let (passed, failed, unsupported) = (family.passed, family.failed.len(), family.unsupported);
            line(format_args!("{number:>6}  {name:<28}{passed:>7}{failed:>8}{unsupported:>13}{:>17}", family.advice));
        }
        if reasons {
            let mut reasons: Vec<_> = self.reasons.iter().collect();
            reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            reasons.iter().for_each(|(what, count)| line(format_args!("unsupported: {count:>6}  {what}")));
        }
        let sum = |count: fn(&Family) -> usize| self.families.values().map(count).sum::<usize>();
        let unsupported = sum(|f| f.unsupported);
        line(format_args!("{unsupported} unsupported (they count as failed), {} differ in a store-dependent field", sum(|f| f.advice)));
        line(format_args!("{} passed, {} failed", sum(|f| f.passed), sum(|f| f.failed.len()) + unsupported));
        text
    }
}

/// The scenario as a sheet, and where it went another way.
pub fn explain(line: &str, judged: &Judged) -> String {
    let mut text = String::new();
    let scenario: Json = serde_json::from_str(line).unwrap_or_default();
    let (word, differences) = match &judged.outcome {
        Outcome::Passed { advice } => ("passed", advice.as_slice()),
        Outcome::Failed(differences) => ("failed", differences.as_slice()),
        Outcome::Unsupported(_) => ("unsupported", &[][..]),
    };
    let step = differences.first().and_then(|d| d.step);
    let _ = writeln!(text, "{}: {word}\n\ntopology {}", judged.id, scenario["config"]);
    let topics = scenario["topics"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, types)| format!(" {name}:{}/{}", bare(&types[0]), bare(&types[1])));
    let _ = writeln!(text, "  topics{}", topics.collect::<String>());
    for op in scenario["topology"].as_array().into_iter().flatten() {
        let fields =
            op.as_object().into_iter().flatten().filter(|(name, _)| *name != "op").map(|(name, value)| format!(" {name}={}", bare(value)));
        let _ = writeln!(text, "  {}{}", bare(&op["op"]), fields.collect::<String>());
    }
    let steps = scenario["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let shown = step.map_or(steps.len(), |step| steps.len().min(step + 1));
    text += "steps\n";
    for (i, input) in steps[..shown].iter().enumerate() {
        let _ = writeln!(text, "{} {i:>3}  {}", if step == Some(i) { '>' } else { ' ' }, step_text(input));
    }
    match &judged.outcome {
        Outcome::Unsupported(what) => text += &format!("unsupported: {what}\n"),
        _ => differences.iter().take(1).for_each(|difference| text += &difference.explain()),
    }
    if let Some(said) = &judged.error_text {
        let _ = writeln!(text, "the error says: {said}");
    }
    for more in differences.iter().skip(1) {
        let _ = writeln!(text, "also differs: {}", more.place);
    }
    text
}

fn step_text(step: &Json) -> String {
    if let Some(ms) = step.get("wall") {
        return format!("wall {ms}");
    }
    let side = |typed: &str, raw: &str| match (&step[typed], &step[raw]) {
        (Json::Null, Json::Null) => "~".to_string(),
        (Json::Null, raw) => format!("x:{}", bare(raw)),
        (typed, _) => bare(typed),
    };
    let headers = step["h"].as_array().into_iter().flatten().map(|h| format!(" h:{}={}", bare(&h[0]), bare(&h[1])));
    format!("{} {}={}@{}{}", bare(&step["in"]), side("k", "kx"), side("v", "vx"), step["ts"], headers.collect::<String>())
}

fn bare(json: &Json) -> String {
    match json {
        Json::Null => "~".into(),
        Json::String(text) => text.clone(),
        Json::Array(items) if items.iter().all(Json::is_string) => items.iter().map(bare).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
