//! The embedded broker's consumer.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    core::Running,
    faults::Operation,
    fetch::{Fetch, Read},
    groups::{Group, Step},
};
use crate::{
    Consumer, ConsumerOptions, Error, FetchedBatch, GroupMetadata, OffsetReset, Offsets, Position, RebalanceListener, TopicPartition,
    Waker,
    names::Names,
    signal::{Reader, Signal},
};

/// How many bytes one poll may bring, beside the batch that crosses the line.
const POLL_BYTES: usize = 16 << 20;

/// **Law.** It looks only at partitions that said that they may have something, so that idle ones cost nothing; and takes turns among them.
pub(crate) struct EmbeddedConsumer {
    broker: Arc<Running>,
    options: ConsumerOptions,
    signal: Arc<Signal>,
    fetches: HashMap<u64, Fetch>,
    slots: HashMap<TopicPartition, u64>,
    last_slot: u64,
    ready: VecDeque<u64>,
    names: Names,
    group: Option<Arc<Group>>,
    membership: Option<Membership>,
}

struct Membership {
    id: String,
    topics: Vec<Arc<str>>,
    /// −1 while it has no partitions of any generation.
    generation: i32,
    listener: Box<dyn RebalanceListener>,
}

impl EmbeddedConsumer {
    pub fn new(broker: Arc<Running>, options: ConsumerOptions) -> Self {
        let group = options.group_id.as_deref().map(|id| broker.groups.get(id));
        let options = ConsumerOptions { max_poll_records: options.max_poll_records.max(1), ..options };
        Self {
            broker,
            options,
            signal: Arc::default(),
            fetches: HashMap::new(),
            slots: HashMap::new(),
            last_slot: 0,
            ready: VecDeque::new(),
            names: Names::default(),
            group,
            membership: None,
        }
    }

    fn group(&self) -> Result<&Arc<Group>, Error> {
        self.group.as_ref().ok_or_else(|| Error::State("the consumer has no group: make one with a group id".into()))
    }

    fn fetch(&mut self, partition: &TopicPartition) -> Result<&mut Fetch, Error> {
        let unassigned = || Error::State(format!("{} {} is not assigned: assign it first", partition.topic, partition.partition));
        let slot = self.slots.get(partition).ok_or_else(unassigned)?;
        self.fetches.get_mut(slot).ok_or_else(unassigned)
    }

    fn resolve(&self, partition: &TopicPartition, position: Position) -> Result<i64, Error> {
        let (start, end) = self.broker.topics.get(&partition.topic)?.log(partition)?.range(self.options.isolation)?;
        Ok(match position {
            Position::Beginning => start,
            Position::End => end,
            Position::Offset(offset) => offset,
        })
    }

    fn add(&mut self, partition: &TopicPartition, position: Position) -> Result<(), Error> {
        let at = self.resolve(partition, position)?;
        let log = self.broker.topics.get(&partition.topic)?.log(partition)?.clone();
        self.last_slot += 1;
        let reader = Reader::new(self.signal.clone(), self.last_slot);
        log.add_reader(reader.clone());
        self.slots.insert(partition.clone(), self.last_slot);
        self.fetches.insert(self.last_slot, Fetch::new(log, reader, at));
        Ok(())
    }

    fn give_up_all(&mut self) {
        self.slots.clear();
        self.fetches.clear();
    }

    fn reset(&self, partition: &TopicPartition) -> Result<Position, Error> {
        match self.options.offset_reset {
            OffsetReset::Earliest => Ok(Position::Beginning),
            OffsetReset::Latest => Ok(Position::End),
            OffsetReset::None => Err(Error::NoOffset(format!("{} {}", partition.topic, partition.partition))),
        }
    }

    /// Does what the group wants, and says how long it has no other wish.
    fn follow_group(&mut self) -> Result<Option<Instant>, Error> {
        let (Some(group), true) = (self.group.clone(), self.membership.is_some()) else { return Ok(None) };
        loop {
            let broker = self.broker.clone();
            let partitions = |topic: &str| broker.topics.get(topic).map_or(0, |topic| topic.logs.len() as i32);
            let holds = !self.slots.is_empty();
            let Some(membership) = self.membership.as_mut() else { return Ok(None) };
            match group.step(&membership.id, membership.generation, holds, &partitions) {
                Step::Read(until) => return Ok(Some(until)),
                Step::GiveUp => {
                    self.revoke();
                    group.ready(&self.member_id());
                }
                Step::Expelled => {
                    self.revoke();
                    let Some(membership) = self.membership.as_mut() else { return Ok(None) };
                    membership.generation = -1;
                    let (topics, id) = (membership.topics.clone(), membership.id.clone());
                    group.join(topics, self.options.session_timeout, &self.signal, Some(id));
                }
                Step::Begin(generation, partitions) => {
                    membership.generation = generation;
                    self.begin(&group, &partitions)?;
                }
            }
        }
    }

    fn begin(&mut self, group: &Group, partitions: &[TopicPartition]) -> Result<(), Error> {
        let committed = group.committed(partitions);
        let mut failed = Ok(());
        for partition in partitions {
            let position = committed.get(partition).map_or_else(|| self.reset(partition), |at| Ok(Position::Offset(at.offset)));
            failed = failed.and(position.and_then(|position| self.add(partition, position)));
        }
        if let Some(membership) = self.membership.as_mut() {
            membership.listener.assigned(partitions);
        }
        failed
    }

    /// Gives up what it has, after the listener has committed what there is to commit.
    fn revoke(&mut self) {
        let (Ok(member), Ok(group)) = (self.group_metadata(), self.group().cloned()) else { return };
        let Some(membership) = self.membership.as_mut() else { return };
        if !self.slots.is_empty() {
            let mut partitions: Vec<_> = self.slots.keys().cloned().collect();
            partitions.sort_unstable();
            let broker = &self.broker;
            membership.listener.revoked(&partitions, &mut |offsets| group.commit(&broker.storage, &member, offsets));
        }
        self.give_up_all();
    }

    fn member_id(&self) -> String {
        self.membership.as_ref().map_or_else(String::new, |membership| membership.id.clone())
    }

    fn collect(&mut self) -> Result<Vec<FetchedBatch>, Error> {
        let mut batches = Vec::new();
        let (mut records, mut bytes) = (self.options.max_poll_records, POLL_BYTES);
        self.signal.take_ready(&mut self.ready);
        while records > 0
            && bytes > 0
            && let Some(slot) = self.ready.pop_front()
        {
            let Some(fetch) = self.fetches.get_mut(&slot) else { continue };
            let name = fetch.log.name.clone();
            let read = match self.broker.faults.before(Operation::Fetch, Some(&name)) {
                Ok(()) => fetch.read(self.options.isolation, &mut records, &mut bytes, &mut self.names),
                Err(error) => Err(error),
            };
            match read {
                Ok(Read::Batch(batch, more)) => {
                    if more {
                        self.ready.push_back(slot);
                    }
                    batches.push(batch);
                }
                Ok(Read::Nothing) => {}
                // What was collected must not get lost: it is given out, and the next poll says what is wrong.
                _ if !batches.is_empty() => {
                    self.ready.push_front(slot);
                    break;
                }
                Ok(Read::OutOfRange) => {
                    let position = self.reset(&name)?;
                    self.seek(&name, position)?;
                }
                Ok(Read::Deleted) => {
                    self.slots.remove(&name);
                    self.fetches.remove(&slot);
                    return Err(Error::UnknownTopic(name.topic.to_string()));
                }
                Err(error) => {
                    self.ready.push_back(slot);
                    return Err(error);
                }
            }
        }
        Ok(batches)
    }
}

impl Consumer for EmbeddedConsumer {
    fn assign(&mut self, partitions: &[(TopicPartition, Position)]) -> Result<(), Error> {
        if self.membership.is_some() {
            return Err(Error::State("the group assigns this consumer's partitions: unsubscribe first".into()));
        }
        for (partition, position) in partitions {
            self.resolve(partition, *position)?;
        }
        self.give_up_all();
        partitions.iter().try_for_each(|(partition, position)| self.add(partition, *position))
    }

    fn subscribe(&mut self, topics: &[&str], listener: Box<dyn RebalanceListener>) -> Result<(), Error> {
        let group = self.group()?.clone();
        for topic in topics {
            self.broker.topics.get(topic)?;
        }
        match self.membership {
            Some(_) => self.revoke(),
            None => self.give_up_all(),
        }
        let topics: Vec<Arc<str>> = topics.iter().map(|topic| (*topic).into()).collect();
        let again = self.membership.take().map(|membership| membership.id);
        let id = group.join(topics.clone(), self.options.session_timeout, &self.signal, again);
        self.membership = Some(Membership { id, topics, generation: -1, listener });
        Ok(())
    }

    fn unsubscribe(&mut self) -> Result<(), Error> {
        self.revoke();
        self.give_up_all();
        if let (Some(membership), Ok(group)) = (self.membership.take(), self.group()) {
            group.leave(&membership.id);
        }
        Ok(())
    }

    fn poll(&mut self, deadline: Duration) -> Result<Vec<FetchedBatch>, Error> {
        let until = Instant::now() + deadline;
        loop {
            let look_again = self.follow_group()?;
            let batches = self.collect()?;
            if self.signal.take_woken() || !batches.is_empty() || Instant::now() >= until {
                return Ok(batches);
            }
            if !self.ready.is_empty() {
                continue;
            }
            match (&self.group, &self.membership) {
                (Some(group), Some(membership)) => {
                    group.waits(&membership.id, true);
                    self.signal.wait(look_again.map_or(until, |again| again.min(until)));
                    group.waits(&membership.id, false);
                }
                _ => self.signal.wait(until),
            }
        }
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.signal.clone()
    }

    fn seek(&mut self, partition: &TopicPartition, position: Position) -> Result<(), Error> {
        self.fetch(partition)?;
        let at = self.resolve(partition, position)?;
        self.fetch(partition)?.seek(at);
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        partitions.iter().try_for_each(|partition| {
            self.fetch(partition)?.pause(true);
            Ok(())
        })
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), Error> {
        partitions.iter().try_for_each(|partition| {
            self.fetch(partition)?.pause(false);
            Ok(())
        })
    }

    fn position(&mut self, partition: &TopicPartition) -> Result<i64, Error> {
        Ok(self.fetch(partition)?.position)
    }

    fn committed(&mut self, partitions: &[TopicPartition], _deadline: Duration) -> Result<Offsets, Error> {
        Ok(self.group()?.committed(partitions))
    }

    fn commit(&mut self, offsets: &Offsets, _deadline: Duration) -> Result<(), Error> {
        self.broker.faults.before(Operation::Commit, None)?;
        self.group()?.commit(&self.broker.storage, &self.group_metadata()?, offsets)
    }

    fn end_offsets(&mut self, partitions: &[TopicPartition], _deadline: Duration) -> Result<HashMap<TopicPartition, i64>, Error> {
        partitions.iter().map(|partition| Ok((partition.clone(), self.resolve(partition, Position::End)?))).collect()
    }

    fn group_metadata(&self) -> Result<GroupMetadata, Error> {
        let group_id = self.options.group_id.clone();
        let group_id = group_id.ok_or_else(|| Error::State("the consumer has no group: make one with a group id".into()))?;
        // A member without a generation must not pass for a consumer outside the group.
        let generation = self.membership.as_ref().map_or(-1, |membership| membership.generation.max(0));
        Ok(GroupMetadata { group_id, generation, member_id: self.member_id(), kafka: None })
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.give_up_all();
        if let (Some(membership), Some(group)) = (&self.membership, &self.group) {
            group.leave(&membership.id);
        }
    }
}
