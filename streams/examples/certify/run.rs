//! Drives one scenario and writes down what happened, in the form of the golden answers.

use std::{any::Any, cell::RefCell};

use serde_json::{Map, Value as Json};

use crate::{
    functions::{Bad, UserError},
    scenario::{Scenario, StoreKind},
    topology,
};

/// Why a scenario has no answer.
pub enum Stop {
    /// It asks for something that is not there.
    Unsupported(String),
    /// It does not keep to the format.
    Bad(String),
}

impl From<Bad> for Stop {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad.0)
    }
}

pub fn run(scenario: &Scenario, store: StoreKind) -> Result<Map<String, Json>, Stop> {
    topology::build(scenario, store)?;
    Err(Stop::Unsupported("the test driver".into()))
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics off the terminal: those of user functions are part of a scenario, others become a failure of theirs.
pub fn hush_user_errors() {
    std::panic::set_hook(Box::new(|panic| {
        if !panic.payload().is::<UserError>() {
            let place = panic.location().map(|l| format!(" at {l}")).unwrap_or_default();
            LAST_PANIC.with_borrow_mut(|last| *last = place);
        }
    }));
}

/// What a caught panic says, and where it was.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
    LAST_PANIC.with_borrow(|place| format!("{text}{place}"))
}
