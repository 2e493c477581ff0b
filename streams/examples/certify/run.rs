//! Drives one scenario and writes down what happened, in the form of the golden answers.

use std::{any::Any, cell::RefCell};

use millstream::{Compatibility, Error, ProcessingGuarantee, TaskConfig, TestDriverConfig, TopologyTestDriver};
use serde_json::{Map, Value as Json, json};

use crate::{
    functions::{Bad, UserError},
    records::{input, outputs, symbol},
    runtime,
    scenario::{self, Guarantee, Scenario, Step, StoreKind},
    stores,
    topology::{self, Built},
};

/// The field of an answer with the text of its error: for the reader, golden answers have none.
pub const ERROR_TEXT: &str = "error_text";

/// Why a scenario has no answer.
pub enum Stop {
    /// It asks for something that is not there.
    Unsupported(String),
    /// It does not keep to the format.
    Bad(String),
    /// The topology cannot be built.
    Build(Error),
}

impl From<Bad> for Stop {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad.0)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Build(error)
    }
}

/// Builds and runs a scenario, with stores of that kind where it does not choose.
pub fn run(scenario: &Scenario, store: StoreKind, on_runtime: bool) -> Result<Map<String, Json>, Stop> {
    let mut answer = Map::new();
    match topology::build(scenario, store) {
        Ok(built) if on_runtime => runtime::drive(scenario, built, &mut answer)?,
        Ok(built) => drive(scenario, &built, &mut answer)?,
        Err(Stop::Build(error)) => {
            answer.insert("build_error".into(), symbol(error.kind()).into());
            answer.insert(ERROR_TEXT.into(), error.to_string().into());
        }
        Err(stop) => return Err(stop),
    }
    Ok(answer)
}

fn drive(scenario: &Scenario, built: &Built, answer: &mut Map<String, Json>) -> Result<(), Stop> {
    answer.insert("describe".into(), built.topology.describe().into());
    if !built.branches.is_empty() {
        answer.insert("branches".into(), built.branches.clone().into());
    }
    let config =
        TestDriverConfig { task: task_config(scenario), start_ms: 0, rocksdb: built.needs_rocksdb, guarantee: guarantee(scenario) };
    let driver = match TopologyTestDriver::new(&built.topology, config) {
        Ok(driver) => driver,
        Err(error) => {
            answer.insert("start_error".into(), symbol(error.kind()).into());
            answer.insert(ERROR_TEXT.into(), error.to_string().into());
            return Ok(());
        }
    };
    let mut steps = vec![];
    let mut failed = false;
    for step in &scenario.steps {
        let outcome = match step {
            Step::Wall(wall) => driver.advance_wall_clock_ms(wall.wall as i64),
            Step::Record(record) => driver.pipe_raw(&record.topic, input(record, &scenario.topics)?),
        };
        if let Err(error) = outcome {
            steps.push(json!({"error": symbol(error.kind())}));
            answer.insert(ERROR_TEXT.into(), error.to_string().into());
            failed = true;
            break;
        }
        steps.push(outputs(driver.drain(), &scenario.topics)?);
    }
    if !failed {
        answer.insert("stores".into(), stores::dump(&driver, scenario, &steps)?);
    }
    answer.insert("steps".into(), steps.into());
    answer.insert("dropped".into(), driver.dropped_records().into());
    if let (Err(error), false) = (driver.close(), failed) {
        answer.insert("close_error".into(), symbol(error.kind()).into());
    }
    Ok(())
}

pub fn guarantee(scenario: &Scenario) -> ProcessingGuarantee {
    match scenario.config.guarantee {
        Guarantee::AtLeastOnce => ProcessingGuarantee::AtLeastOnce,
        Guarantee::ExactlyOnce => ProcessingGuarantee::ExactlyOnce,
    }
}

pub fn task_config(scenario: &Scenario) -> TaskConfig {
    let config = &scenario.config;
    let on_error = |on_error| match on_error {
        scenario::OnError::Fail => millstream::OnError::Fail,
        scenario::OnError::Continue => millstream::OnError::Continue,
    };
    TaskConfig {
        cache_max_bytes: config.cache_bytes as usize,
        on_deserialization_error: on_error(config.on_deserialization_error),
        on_processing_error: on_error(config.on_processing_error),
        dead_letter_topic: config.dead_letter_topic.as_ref().map(|topic| (**topic).into()),
        emit_interval_ms: 0,
        compatibility: Compatibility::Kafka,
        ..TaskConfig::new("oracle")
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics off the terminal: those of user functions are part of a scenario, others become a failure of theirs.
pub fn hush_panics() {
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
