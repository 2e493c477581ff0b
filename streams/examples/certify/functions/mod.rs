//! The closed vocabulary of user functions. A function is written `name` or `name:argument`.

mod fold;
mod map;

use std::sync::Arc;

pub use fold::{aggregator, merger, reducer};
pub use map::{Joiner, Mapper, Predicate, Splitter, joiner, mapper, predicate, splitter};

use crate::value::{Type, Value};

/// A scenario that does not keep to the format; the text says where.
#[derive(Debug)]
pub struct Bad(pub String);

/// A function and the type of its result.
pub struct Typed<F: ?Sized> {
    pub apply: Arc<F>,
    pub out: Type,
}

/// What a function throws: an error of the user's code.
pub struct UserError;

/// Panics if the value's text is `match_`.
fn throw_if<'a>(match_: &str, value: &'a Value) -> &'a Value {
    if value.text() == match_ {
        throw();
    }
    value
}

/// Fails as user code fails.
pub fn throw() -> ! {
    std::panic::panic_any(UserError)
}

/// A spec's name and, after the first colon, its argument.
pub struct Spec<'a> {
    text: &'a str,
    pub name: &'a str,
    argument: Option<&'a str>,
}

impl<'a> Spec<'a> {
    pub fn new(text: &'a str) -> Self {
        let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument)));
        Self { text, name, argument }
    }

    pub fn text(&self) -> Result<Arc<str>, Bad> {
        self.argument.map(Arc::from).ok_or_else(|| self.bad("needs an argument"))
    }

    pub fn number<N: std::str::FromStr>(&self) -> Result<N, Bad> {
        self.text()?.parse().map_err(|_| self.bad("needs a number as argument"))
    }

    pub fn bad(&self, what: &str) -> Bad {
        Bad(format!("function {}: {what}", self.text))
    }

    fn require(&self, type_: Type, required: Type) -> Result<(), Bad> {
        type_.fits(required).then_some(()).ok_or_else(|| self.bad(&format!("its type is {required:?}, not {type_:?}")))
    }
}

fn or_zero(value: &Value) -> i64 {
    match value {
        Value::I64(number) => *number,
        _ => 0,
    }
}
