//! What a model is: its versions, their states, and where they may run.

pub(crate) mod schedule;
pub(crate) mod spec;
pub(crate) mod version;
