//! Stores against each other, against naive models, and against what Kafka Streams' own stores answered.

mod generate;
mod kafka;
mod model;
mod rocks;
mod script;
