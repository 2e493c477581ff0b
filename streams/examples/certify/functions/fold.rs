//! Functions that fold values into an aggregate: reducers, aggregators, mergers.

use std::{cmp::Ordering, sync::Arc};

use super::{Bad, Spec, or_zero, throw_if};
use crate::value::{Type, Value};

/// Of the old and the new value.
pub type Reducer = dyn Fn(&Value, &Value) -> Value + Send + Sync;
/// Of key, value and aggregate.
pub type Aggregator = dyn Fn(&Value, &Value, &Value) -> Value + Send + Sync;
/// Of key and two aggregates.
pub type Merger = dyn Fn(&Value, &Value, &Value) -> Value + Send + Sync;

/// A reducer of values of that type.
pub fn reducer(spec: &str, type_: Type) -> Result<Arc<Reducer>, Bad> {
    let spec = Spec::new(spec);
    match spec.name {
        "append" | "sub_append" | "append_null_if" => spec.require(type_, Type::Str)?,
        "sum" | "sub" => spec.require(type_, Type::I64)?,
        _ => {}
    }
    let append = |old: &Value, v: &Value| Value::str(format!("{},{}", old.text(), v.text()));
    Ok(match spec.name {
        "append" => Arc::new(append),
        "sub_append" => Arc::new(|old, v| Value::str(format!("{}-{}", old.text(), v.text()))),
        "append_null_if" => {
            let match_ = spec.text()?;
            Arc::new(move |old, v| if v.text() == *match_ { Value::Null } else { append(old, v) })
        }
        "sum" => Arc::new(|old, v| Value::I64(or_zero(old).wrapping_add(v.number()))),
        "sub" => Arc::new(|old, v| Value::I64(or_zero(old).wrapping_sub(v.number()))),
        "min" => Arc::new(|old, v| if compare(old, v).is_le() { old.clone() } else { v.clone() }),
        "max" => Arc::new(|old, v| if compare(old, v).is_ge() { old.clone() } else { v.clone() }),
        "first" => Arc::new(|old, _| old.clone()),
        "last" => Arc::new(|_, v| v.clone()),
        _ => return Err(spec.bad("there is no such reducer")),
    })
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::I64(a), Value::I64(b)) => a.cmp(b),
        _ => a.text().as_bytes().cmp(b.text().as_bytes()),
    }
}

/// An aggregator whose aggregate has that type.
pub fn aggregator(spec: &str, type_: Type) -> Result<Arc<Aggregator>, Bad> {
    let spec = Spec::new(spec);
    match spec.name {
        "append" | "sub_append" | "append_key" | "append_null_if" => spec.require(type_, Type::Str)?,
        "throw_if" => {}
        _ => spec.require(type_, Type::I64)?,
    }
    let append = |v: &Value, a: &Value| Value::str(format!("{}+{}", or_empty(a), v.text()));
    let sum = |v: &Value, a: &Value| Value::I64(or_zero(a).wrapping_add(v.number()));
    let sub = |v: &Value, a: &Value| Value::I64(or_zero(a).wrapping_sub(v.number()));
    let unless_zero = |sum| if sum == Value::I64(0) { Value::Null } else { sum };
    Ok(match spec.name {
        "append" => Arc::new(move |_, v, a| append(v, a)),
        "sub_append" => Arc::new(|_, v, a| Value::str(format!("{}-{}", or_empty(a), v.text()))),
        "append_key" => Arc::new(|k, v, a| Value::str(format!("{}+{}:{}", or_empty(a), k.text(), v.text()))),
        "append_null_if" => {
            let match_ = spec.text()?;
            Arc::new(move |_, v, a| if v.text() == *match_ { Value::Null } else { append(v, a) })
        }
        "sum" => Arc::new(move |_, v, a| sum(v, a)),
        "sub" => Arc::new(move |_, v, a| sub(v, a)),
        "sum_null_if_zero" => Arc::new(move |_, v, a| unless_zero(sum(v, a))),
        "sub_null_if_zero" => Arc::new(move |_, v, a| unless_zero(sub(v, a))),
        "count" => Arc::new(|_, _, a| Value::I64(or_zero(a).wrapping_add(1))),
        "uncount" => Arc::new(|_, _, a| Value::I64(or_zero(a).wrapping_sub(1))),
        "min" => Arc::new(|_, v, a| if *a == Value::Null { Value::I64(v.number()) } else { Value::I64(or_zero(a).min(v.number())) }),
        "max" => Arc::new(|_, v, a| if *a == Value::Null { Value::I64(v.number()) } else { Value::I64(or_zero(a).max(v.number())) }),
        "throw_if" => {
            let match_ = spec.text()?;
            let is_text = type_.fits(Type::Str);
            Arc::new(move |_, v, a| if is_text { append(throw_if(&match_, v), a) } else { sum(throw_if(&match_, v), a) })
        }
        _ => return Err(spec.bad("there is no such aggregator")),
    })
}

fn or_empty(aggregate: &Value) -> std::borrow::Cow<'_, str> {
    match aggregate {
        Value::Null => "".into(),
        aggregate => aggregate.text(),
    }
}

/// A merger of two sessions' aggregates of that type.
pub fn merger(spec: &str, type_: Type) -> Result<Arc<Merger>, Bad> {
    let spec = Spec::new(spec);
    match spec.name {
        "append" => {
            spec.require(type_, Type::Str)?;
            Ok(Arc::new(|_, a, b| Value::str(format!("{}&{}", a.text(), b.text()))))
        }
        "sum" => {
            spec.require(type_, Type::I64)?;
            Ok(Arc::new(|_, a, b| Value::I64(or_zero(a).wrapping_add(or_zero(b)))))
        }
        _ => Err(spec.bad("there is no such merger")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_value_wins_a_tie() {
        let max = reducer("max", Type::Str).unwrap();
        assert_eq!(max(&Value::str("1"), &Value::I64(1)), Value::str("1"));
        assert_eq!(max(&Value::str("9"), &Value::str("10")), Value::str("9"));
        assert_eq!(reducer("max", Type::I64).unwrap()(&Value::I64(9), &Value::I64(10)), Value::I64(10));
    }

    #[test]
    fn a_missing_aggregate_is_empty_or_zero() {
        let none = Value::Null;
        assert_eq!(aggregator("append", Type::Str).unwrap()(&none, &none, &none), Value::str("+null"));
        assert_eq!(aggregator("min", Type::I64).unwrap()(&none, &Value::I64(4), &none), Value::I64(4));
        assert_eq!(aggregator("sub_null_if_zero", Type::I64).unwrap()(&none, &none, &none), Value::Null);
        assert_eq!(merger("append", Type::Str).unwrap()(&none, &none, &Value::str("b")), Value::str("null&b"));
        assert_eq!(reducer("append", Type::Str).unwrap()(&none, &none), Value::str("null,null"));
    }

    #[test]
    fn a_function_of_the_wrong_type_is_refused() {
        assert!(aggregator("sum", Type::Str).is_err());
        assert!(aggregator("append", Type::I64).is_err());
        assert!(reducer("sum", Type::Str).is_err());
    }
}
