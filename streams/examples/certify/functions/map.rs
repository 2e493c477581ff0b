//! Functions of one record: mappers, predicates, splitters, joiners.

use std::sync::Arc;

use super::{Bad, Spec, Typed, throw_if};
use crate::value::{Type, Value, chars, decimal, part};

pub type Mapper = dyn Fn(&Value, &Value) -> Value + Send + Sync;
pub type Predicate = dyn Fn(&Value, &Value) -> bool + Send + Sync;
pub type Splitter = dyn Fn(&Value) -> Vec<Value> + Send + Sync;
/// Of key, left and right value.
pub type Joiner = dyn Fn(&Value, &Value, &Value) -> Value + Send + Sync;

/// A mapper of (key, value).
pub fn mapper(spec: &str, key: Type, value: Type) -> Result<Typed<Mapper>, Bad> {
    let spec = Spec::new(spec);
    let of = |out, apply: Arc<Mapper>| Ok(Typed { apply, out });
    match spec.name {
        "id" => of(value, Arc::new(|_, v| v.clone())),
        "key" => of(key, Arc::new(|k, _| k.clone())),
        "const" => {
            let constant = Value::Str(spec.text()?);
            of(Type::Str, Arc::new(move |_, _| constant.clone()))
        }
        "null" => of(Type::Str, Arc::new(|_, _| Value::Null)),
        "upper" => of(Type::Str, Arc::new(|_, v| present(v, |v| Value::str(v.text().to_uppercase())))),
        "suffix" => {
            let suffix = spec.text()?;
            of(Type::Str, Arc::new(move |_, v| present(v, |v| Value::str(format!("{}{suffix}", v.text())))))
        }
        "prefix" => {
            let prefix = spec.text()?;
            of(Type::Str, Arc::new(move |_, v| present(v, |v| Value::str(format!("{prefix}{}", v.text())))))
        }
        "to_str" => of(Type::Str, Arc::new(|_, v| present(v, |v| Value::str(v.text())))),
        "show" => of(Type::Str, Arc::new(|_, v| Value::str(v.text()))),
        "show_kv" => of(Type::Str, Arc::new(|k, v| Value::str(format!("{}:{}", k.text(), v.text())))),
        "len" => of(Type::I64, Arc::new(|_, v| present(v, |v| Value::I64(v.text().len() as i64)))),
        "num" => of(Type::I64, Arc::new(|_, v| present(v, |v| Value::I64(v.number())))),
        "parse_i64" => of(Type::I64, Arc::new(|_, v| present(v, |v| Value::I64(decimal(&v.text()).unwrap_or(0))))),
        "key_str" => of(Type::Str, Arc::new(|k, _| present(k, |k| Value::str(k.text())))),
        "inner_key" => of(
            if key.is_windowed() { Type::Str } else { key },
            Arc::new(|k, _| match k {
                Value::Windowed(w) => w.key.clone(),
                k => k.clone(),
            }),
        ),
        "null_if" => {
            let match_ = spec.text()?;
            of(value, Arc::new(move |_, v| if v.text() == *match_ { Value::Null } else { v.clone() }))
        }
        "throw_if" => {
            let match_ = spec.text()?;
            of(value, Arc::new(move |_, v| throw_if(&match_, v).clone()))
        }
        "part" => {
            let n = spec.number()?;
            of(Type::Str, Arc::new(move |_, v| present(v, |v| part(&v.text(), n))))
        }
        "key_part" => {
            let n = spec.number()?;
            of(Type::Str, Arc::new(move |k, _| present(k, |k| part(&k.text(), n))))
        }
        "first_char" => of(Type::Str, Arc::new(|_, v| present(v, first_char))),
        "key_first_char" => of(Type::Str, Arc::new(|k, _| present(k, first_char))),
        "neg" => {
            spec.require(value, Type::I64)?;
            of(Type::I64, Arc::new(|_, v| present(v, |v| Value::I64(v.number().wrapping_neg()))))
        }
        "add" => {
            spec.require(value, Type::I64)?;
            let n: i64 = spec.number()?;
            of(Type::I64, Arc::new(move |_, v| present(v, |v| Value::I64(v.number().wrapping_add(n)))))
        }
        "mod" => {
            let n: i64 = spec.number()?;
            of(Type::I64, Arc::new(move |_, v| present(v, |v| Value::I64(v.number().wrapping_rem_euclid(n)))))
        }
        "topic_mod" => {
            let argument = spec.text()?;
            let (at, last) = argument.char_indices().next_back().ok_or_else(|| spec.bad("needs an argument"))?;
            let n = last.to_digit(10).filter(|&n| n > 0).ok_or_else(|| spec.bad("ends in a digit that is not 0"))? as usize;
            let base = argument[..at].to_string();
            of(Type::Str, Arc::new(move |_, v| Value::str(format!("{base}{}", v.text().len() % n))))
        }
        _ => Err(spec.bad("there is no such mapper")),
    }
}

fn present(value: &Value, apply: impl FnOnce(&Value) -> Value) -> Value {
    match value {
        Value::Null => Value::Null,
        value => apply(value),
    }
}

fn first_char(value: &Value) -> Value {
    chars(&value.text()).next().unwrap_or(Value::Null)
}

/// A predicate of (key, value).
pub fn predicate(spec: &str) -> Result<Arc<Predicate>, Bad> {
    let spec = Spec::new(spec);
    Ok(match spec.name {
        "true" => Arc::new(|_, _| true),
        "false" => Arc::new(|_, _| false),
        "value_null" => Arc::new(|_, v| *v == Value::Null),
        "value_prefix" => {
            let prefix = spec.text()?;
            Arc::new(move |_, v| *v != Value::Null && v.text().starts_with(&*prefix))
        }
        "key_prefix" => {
            let prefix = spec.text()?;
            Arc::new(move |k, _| *k != Value::Null && k.text().starts_with(&*prefix))
        }
        "value_eq" => {
            let match_ = spec.text()?;
            Arc::new(move |_, v| v.text() == *match_)
        }
        "key_eq" => {
            let match_ = spec.text()?;
            Arc::new(move |k, _| k.text() == *match_)
        }
        "value_even" => Arc::new(|_, v| *v != Value::Null && v.number() % 2 == 0),
        "value_gt" => {
            let bound: i64 = spec.number()?;
            Arc::new(move |_, v| *v != Value::Null && v.number() > bound)
        }
        "throw_if" => {
            let match_ = spec.text()?;
            Arc::new(move |_, v| {
                throw_if(&match_, v);
                true
            })
        }
        _ => return Err(spec.bad("there is no such predicate")),
    })
}

/// Splits a value into texts.
pub fn splitter(spec: &str) -> Result<Arc<Splitter>, Bad> {
    let spec = Spec::new(spec);
    let present = |pieces: fn(&str) -> Vec<Value>| -> Arc<Splitter> {
        Arc::new(move |v| match v {
            Value::Null => vec![],
            v => pieces(&v.text()),
        })
    };
    Ok(match spec.name {
        "split_ws" => present(|text| text.split(' ').filter(|piece| !piece.is_empty()).map(Value::str).collect()),
        "chars" => present(|text| chars(text).collect()),
        "none" => present(|_| vec![]),
        "copies" => {
            let n: usize = spec.number()?;
            Arc::new(move |v| match v {
                Value::Null => vec![],
                v => (1..=n).map(|i| Value::str(format!("{}#{i}", v.text()))).collect(),
            })
        }
        _ => return Err(spec.bad("there is no such splitter")),
    })
}

/// A joiner of (key, left, right).
pub fn joiner(spec: &str, left: Type, right: Type) -> Result<Typed<Joiner>, Bad> {
    let spec = Spec::new(spec);
    let of = |out, apply: Arc<Joiner>| Ok(Typed { apply, out });
    let concat = |l: &Value, r: &Value| Value::str(format!("{}+{}", l.text(), r.text()));
    match spec.name {
        "concat" => of(Type::Str, Arc::new(move |_, l, r| concat(l, r))),
        "concat_key" => of(Type::Str, Arc::new(|k, l, r| Value::str(format!("{}={}+{}", k.text(), l.text(), r.text())))),
        "sum" => of(Type::I64, Arc::new(|_, l, r| Value::I64(l.number().wrapping_add(r.number())))),
        "left" => of(left, Arc::new(|_, l, _| l.clone())),
        "right" => of(right, Arc::new(|_, _, r| r.clone())),
        "null_if_left" => {
            let match_ = spec.text()?;
            of(Type::Str, Arc::new(move |_, l, r| if l.text() == *match_ { Value::Null } else { concat(l, r) }))
        }
        _ => Err(spec.bad("there is no such joiner")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(spec: &str, value: Value) -> Value {
        let type_ = if matches!(value, Value::I64(_)) { Type::I64 } else { Type::Str };
        (mapper(spec, Type::Str, type_).unwrap().apply)(&Value::str("k|2"), &value)
    }

    #[test]
    fn mappers_keep_null_and_know_unicode() {
        assert_eq!(map("upper", Value::str("ß")), Value::str("SS"));
        assert_eq!(map("first_char", Value::str("")), Value::Null);
        assert_eq!(map("part:1", Value::str("a|")), Value::str(""));
        assert_eq!(map("part:2", Value::str("a|")), Value::Null);
        assert_eq!(map("key_part:1", Value::Null), Value::str("2"));
        assert_eq!(map("const:a:b", Value::Null), Value::str("a:b"));
        assert_eq!(map("null_if:null", Value::Null), Value::Null);
        assert_eq!(map("topic_mod:D3", Value::str("abcd")), Value::str("D1"));
    }

    #[test]
    fn numbers_wrap_and_remainders_are_not_negative() {
        assert_eq!(map("neg", Value::I64(i64::MIN)), Value::I64(i64::MIN));
        assert_eq!(map("mod:3", Value::I64(-1)), Value::I64(2));
        assert_eq!(map("parse_i64", Value::I64(i64::MAX)), Value::I64(0));
    }

    #[test]
    fn a_split_drops_empty_pieces() {
        assert_eq!(splitter("split_ws").unwrap()(&Value::str(" a  b ")), [Value::str("a"), Value::str("b")]);
        assert_eq!(splitter("copies:2").unwrap()(&Value::str("a")), [Value::str("a#1"), Value::str("a#2")]);
    }

    #[test]
    fn inner_key_takes_the_window_off() {
        let typed = mapper("inner_key", Type::SessionWindowed, Type::Str).unwrap();
        assert_eq!((typed.apply)(&Value::windowed(Value::str("a"), 1, 2), &Value::Null), Value::str("a"));
        assert_eq!(typed.out, Type::Str);
    }
}
