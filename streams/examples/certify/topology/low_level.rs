//! Stores, and the ops of the low-level API. Those work on the topology that the DSL has built, after all other ops.

use super::{Builder, unsupported};
use crate::{
    run::Stop,
    scenario::{AddProcessor, AddSink, AddSource, Store},
};

impl<'a> Builder<'a> {
    pub(super) fn add_state_store(&mut self, _: &'a Store) -> Result<(), Stop> {
        unsupported("add_state_store")
    }

    pub(super) fn add_source(&mut self, _: &'a AddSource) -> Result<(), Stop> {
        unsupported("add_source")
    }

    pub(super) fn add_processor(&mut self, _: &'a AddProcessor) -> Result<(), Stop> {
        unsupported("add_processor")
    }

    pub(super) fn add_store(&mut self, _: &'a Store) -> Result<(), Stop> {
        unsupported("add_store")
    }

    pub(super) fn add_sink(&mut self, _: &'a AddSink) -> Result<(), Stop> {
        unsupported("add_sink")
    }
}
