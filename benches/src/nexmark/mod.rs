//! The NEXMark queries over the events of an auction house, written in the DSL.
//!
//! | file | what |
//! | --- | --- |
//! | `events` | persons, auctions and bids, in one topic |
//! | `generator` | the events themselves, the same in every run |
//! | `plain` | their bytes |
//! | `q0` … `q12` | one query each; it writes to the topic of its name |
//! | `winning` | the best bid of each auction, from which `q4` and `q6` go on |

pub mod events;
pub mod generator;
mod plain;
mod q0;
mod q1;
mod q11;
mod q12;
mod q2;
mod q3;
mod q4;
mod q5;
mod q6;
mod q7;
mod q8;
#[cfg(test)]
mod small_run;
mod winning;

use millstream::StreamsBuilder;

/// The queries by name, and what draws them.
pub const QUERIES: [(&str, fn(&StreamsBuilder)); 11] = [
    ("q0", q0::draw),
    ("q1", q1::draw),
    ("q2", q2::draw),
    ("q3", q3::draw),
    ("q4", q4::draw),
    ("q5", q5::draw),
    ("q6", q6::draw),
    ("q7", q7::draw),
    ("q8", q8::draw),
    ("q11", q11::draw),
    ("q12", q12::draw),
];
