//! Turns the ops of a scenario into calls of the DSL.

use crate::{
    run::Stop,
    scenario::{Scenario, StoreKind},
};

pub fn build(_scenario: &Scenario, _store: StoreKind) -> Result<(), Stop> {
    Err(Stop::Unsupported("the DSL".into()))
}
