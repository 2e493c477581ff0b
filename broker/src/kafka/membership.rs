//! What the group wants of a consumer.

use std::time::{Duration, Instant};

use rdkafka::{consumer::Consumer as _, error::KafkaError, types::RDKafkaErrorCode as Code};

use super::{
    consumer::{KafkaConsumer, PATIENCE, TRY_AGAIN},
    context::Change,
    errors::{from_kafka, passes},
    offsets::{commit, resolve},
};
use crate::{Consumer as _, Error, OffsetReset, Position, TopicPartition};

impl KafkaConsumer {
    /// Serves librdkafka's events and does what the group wants. What has to wait for the cluster is tried again: says when.
    pub(crate) fn follow_group(&mut self) -> Result<Option<Instant>, Error> {
        loop {
            let swallowed = self.client.context().swallowed();
            match self.client.poll(Duration::ZERO) {
                None if swallowed == self.client.context().swallowed() => break,
                None | Some(Ok(_)) => {}
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => return Err(Error::Broken(code.to_string())),
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(code) if passes(code) || code == Code::PartitionEOF => {}
                    // librdkafka rejoins by itself.
                    Some(Code::PollExceeded | Code::UnknownMemberId | Code::IllegalGeneration) => {}
                    _ => return Err(from_kafka(&error, "")),
                },
            }
        }
        while let Some(change) = self.client.context().next_change() {
            match change {
                Change::Revoke => self.revoke()?,
                // It has left the group meanwhile.
                Change::Assign(_) if self.membership.is_none() => self.revoke()?,
                Change::Assign(partitions) => match self.begin(&partitions) {
                    Err(Error::Timeout(_) | Error::Unreachable(_)) => {
                        self.client.context().put_back(Change::Assign(partitions));
                        return Ok(Some(Instant::now() + TRY_AGAIN));
                    }
                    result => result?,
                },
            }
        }
        Ok(None)
    }

    /// Continues from the committed offsets.
    fn begin(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        let committed = self.committed(partitions, PATIENCE)?;
        let mut missing = Ok(());
        let mut places = Vec::with_capacity(partitions.len());
        for name in partitions {
            let position = match (committed.get(name), self.options.offset_reset) {
                (Some(committed), _) => Position::Offset(committed.offset),
                (None, OffsetReset::Earliest) => Position::Beginning,
                (None, OffsetReset::Latest) => Position::End,
                (None, OffsetReset::None) => {
                    missing = Err(Error::NoOffset(format!("{} {}", name.topic, name.partition)));
                    continue;
                }
            };
            places.push((name.clone(), position));
        }
        let positions = resolve(&self.cluster, &self.client, &places, PATIENCE)?;
        self.take(positions)?;
        self.generation = self.generation.max(0) + 1;
        if let Some(listener) = &mut self.membership {
            listener.assigned(partitions);
        }
        missing
    }

    /// Gives up what it has, after the listener has committed what there is to commit.
    pub(crate) fn revoke(&mut self) -> Result<(), Error> {
        let mut held: Vec<_> = self.slots.keys().cloned().collect();
        held.sort_unstable();
        if let (Some(listener), false) = (&mut self.membership, held.is_empty()) {
            let client = &self.client;
            listener.revoked(&held, &mut |offsets| commit(client, offsets));
        }
        self.drop_partitions();
        self.client.unassign().map_err(|e| from_kafka(&e, ""))
    }
}
