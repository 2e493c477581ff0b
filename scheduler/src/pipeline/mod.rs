//! What a pipeline is: references, validation, and what engines are told.

#[cfg(test)]
mod cases;
pub(crate) mod judge;
pub(crate) mod reference;
pub(crate) mod unsupported;
pub(crate) mod updates;
pub(crate) mod validate;
