//! Benchmarks of Millstream: what they share.
//!
//! | file | what |
//! | --- | --- |
//! | `engine` | a topology without a broker, in batches and epochs |
//! | `input` | records in bytes, as a fetch hands them out |
//! | `nexmark` | the NEXMark queries in the DSL, and the generator of their events |

pub mod engine;
pub mod input;
pub mod nexmark;
