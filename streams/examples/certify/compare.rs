//! Compares what a run did with what Kafka Streams did, field by field.

use serde_json::{Map, Value as Json};

/// The fields of an answer, in the order in which a run makes them.
const FIELDS: [&str; 8] = ["build_error", "start_error", "describe", "branches", "steps", "stores", "dropped", "close_error"];

/// The first place where one field differs.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// `stores.left[3]`, say.
    pub place: String,
    /// The step, if it is in the steps.
    pub step: Option<usize>,
    pub expected: Option<Json>,
    pub got: Option<Json>,
}

/// The differences, at most one a field.
#[derive(Default)]
pub struct Verdict {
    pub failures: Vec<Difference>,
    /// In fields on which Kafka's own two kinds of store disagree.
    pub advice: Vec<Difference>,
}

pub fn compare(expected: &Map<String, Json>, got: &Map<String, Json>) -> Verdict {
    let depends =
        |field| expected.get("store_dependent").and_then(Json::as_array).is_some_and(|fields| fields.contains(&Json::from(field)));
    let mut verdict = Verdict::default();
    for field in FIELDS {
        if let Some(difference) = first(field.to_string(), expected.get(field), got.get(field)) {
            if depends(field) { &mut verdict.advice } else { &mut verdict.failures }.push(difference);
        }
    }
    verdict
}

/// Goes down to the first unequal part, but leaves records and rows whole.
fn first(place: String, expected: Option<&Json>, got: Option<&Json>) -> Option<Difference> {
    match (expected, got) {
        _ if expected == got => None,
        // A store of a kind that is not shown may be shown all the same while it is empty.
        (Some(Json::Array(rows)), None) | (None, Some(Json::Array(rows))) if rows.is_empty() && place.starts_with("stores.") => None,
        (Some(Json::Object(a)), Some(Json::Object(b))) => {
            let mut names: Vec<_> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            names.into_iter().find_map(|name| first(format!("{place}.{name}"), a.get(name), b.get(name)))
        }
        (Some(Json::Array(a)), Some(Json::Array(b))) if place == "steps" => {
            let at = (0..a.len().max(b.len())).find(|&i| a.get(i) != b.get(i))?;
            let difference = first(format!("steps[{at}]"), a.get(at), b.get(at))?;
            Some(Difference { step: Some(at), ..difference })
        }
        _ => Some(Difference { place, step: None, expected: expected.cloned(), got: got.cloned() }),
    }
}

impl Difference {
    /// Both sides, line by line, with a mark at the first line that differs.
    pub fn explain(&self) -> String {
        let (expected, got) = (lines(&self.expected), lines(&self.got));
        let same = expected.iter().zip(&got).take_while(|(a, b)| a == b).count();
        let show = |lines: &[String]| -> String {
            let mark = |i| if i == same { '>' } else { ' ' };
            lines.iter().enumerate().map(|(i, line)| format!("  {} {line}\n", mark(i))).collect()
        };
        format!("first difference at {}\nexpected\n{}got\n{}", self.place, show(&expected), show(&got))
    }
}

fn lines(side: &Option<Json>) -> Vec<String> {
    match side {
        None => vec!["(absent)".into()],
        Some(Json::String(text)) => text.lines().map(String::from).collect(),
        Some(Json::Array(items)) if items.is_empty() => vec!["(empty)".into()],
        Some(Json::Array(items)) => items.iter().map(Json::to_string).collect(),
        Some(other) => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(expected: Json, got: Json) -> Verdict {
        compare(expected.as_object().unwrap(), got.as_object().unwrap())
    }

    #[test]
    fn the_order_of_topics_is_free_and_that_of_records_is_not() {
        let expected = json!({"steps":[{"out":{"A":[1, 2],"B":[3]}}]});
        assert!(verdict(expected.clone(), json!({"steps":[{"out":{"B":[3],"A":[1, 2]}}]})).failures.is_empty());
        let failures = verdict(expected, json!({"steps":[{"out":{"B":[3],"A":[2, 1]}}]})).failures;
        assert_eq!(failures[0].place, "steps[0].out.A");
        assert_eq!(failures[0].step, Some(0));
    }

    #[test]
    fn a_missing_step_is_a_difference() {
        let failures = verdict(json!({"steps":[{}, {"error":"user_error"}]}), json!({"steps":[{}]})).failures;
        assert_eq!((failures[0].place.as_str(), &failures[0].got), ("steps[1]", &None));
    }

    #[test]
    fn a_store_dependent_field_is_advice() {
        let verdict = verdict(json!({"dropped":1,"store_dependent":["dropped"]}), json!({"dropped":2}));
        assert!(verdict.failures.is_empty());
        assert_eq!(verdict.advice[0].place, "dropped");
    }
}
