//! Consumer groups: who is in them, which partitions each member has, and the committed offsets.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use rocksdb::WriteBatch;

use super::{keys, storage::Storage};
use crate::{CommittedOffset, Error, GroupMetadata, Offsets, TopicPartition, signal::Signal};

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<HashMap<String, Arc<Group>>>);

impl Groups {
    /// The groups with the offsets that were committed.
    pub fn load(storage: &Storage) -> Result<Self, Error> {
        let groups = Self::default();
        for (key, value) in storage.rows(keys::OFFSET)? {
            let damaged = || storage.error("holds a damaged committed offset: restore it from a copy");
            let (group, partition) = keys::parse_offset(&key).ok_or_else(damaged)?;
            let (offset, metadata) = value.split_first_chunk().ok_or_else(damaged)?;
            let metadata = String::from_utf8_lossy(metadata).into_owned();
            let committed = CommittedOffset { offset: i64::from_be_bytes(*offset), metadata };
            groups.get(&group).state.lock().offsets.insert(partition, committed);
        }
        Ok(groups)
    }

    /// A group; it is there as soon as someone asks for it.
    pub fn get(&self, id: &str) -> Arc<Group> {
        self.0.lock().entry(id.to_owned()).or_insert_with(|| Arc::new(Group { id: id.to_owned(), state: Mutex::default() })).clone()
    }

    /// A topic came or went: those who read it share its partitions anew. Offsets of a topic that went are `forgotten`.
    pub fn topic_changed(&self, topic: &str, forgotten: Option<(&Storage, &mut WriteBatch)>) {
        let groups: Vec<_> = self.0.lock().values().cloned().collect();
        let mut forgotten = forgotten;
        for group in groups {
            let mut state = group.state.lock();
            if let Some((storage, write)) = &mut forgotten {
                for (partition, _) in state.offsets.extract_if(|partition, _| &*partition.topic == topic) {
                    write.delete_cf(storage.meta(), keys::offset(&group.id, &partition));
                }
            }
            if state.members.values().any(|member| member.topics.iter().any(|name| &**name == topic)) {
                state.begin_rebalance();
            }
        }
    }
}

/// A group. **Law.** A partition has at most one member per generation, and only members of the newest generation commit.
#[derive(Debug)]
pub(crate) struct Group {
    id: String,
    state: Mutex<GroupState>,
}

#[derive(Debug, Default)]
pub(crate) struct GroupState {
    generation: i32,
    /// Members are giving up what they have; when all have, the next generation begins.
    rebalancing: bool,
    members: BTreeMap<String, Member>,
    last_member: u64,
    offsets: HashMap<TopicPartition, CommittedOffset>,
}

#[derive(Debug)]
struct Member {
    topics: Vec<Arc<str>>,
    session: Duration,
    signal: Arc<Signal>,
    /// When it last polled.
    seen: Instant,
    /// It waits in a poll, so it is alive.
    waiting: bool,
    /// It has given up what it had in this rebalance.
    ready: bool,
    assigned: Vec<TopicPartition>,
}

/// What a member is to do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read on; look again then at the latest.
    Read(Instant),
    /// Give up what it has, then say [`Group::ready`].
    GiveUp,
    /// Begin with these.
    Begin(i32, Vec<TopicPartition>),
    /// It was silent for too long and is no member any more: give up what it has, then join again.
    Expelled,
}

impl GroupState {
    fn begin_rebalance(&mut self) {
        self.rebalancing = true;
        for member in self.members.values_mut() {
            member.ready = false;
            member.signal.nudge();
        }
    }

    /// Drops silent members, and begins the next generation when all are ready for it.
    fn advance(&mut self, now: Instant, partitions: &dyn Fn(&str) -> i32) {
        let before = self.members.len();
        self.members.retain(|_, member| member.waiting || member.seen + member.session > now);
        if self.members.len() < before && !self.rebalancing {
            self.begin_rebalance();
        }
        if self.rebalancing && !self.members.is_empty() && self.members.values().all(|member| member.ready) {
            self.rebalancing = false;
            self.generation += 1;
            let subscriptions: Vec<_> = self.members.iter().map(|(id, member)| (id.as_str(), member.topics.as_slice())).collect();
            let mut shares = assign_ranges(&subscriptions, partitions);
            for (id, member) in &mut self.members {
                member.assigned = shares.remove(id).unwrap_or_default();
                member.signal.nudge();
            }
        }
    }

    /// Whether this member may commit.
    fn check(&self, group: &GroupMetadata) -> Result<(), Error> {
        let current = match group.generation {
            -1 => self.members.is_empty(),
            generation => generation == self.generation && self.members.contains_key(&group.member_id),
        };
        let Self { generation, .. } = self;
        let refused =
            || format!("group {} is at generation {generation}, not {} of {:?}", group.group_id, group.generation, group.member_id);
        if current { Ok(()) } else { Err(Error::Fenced(refused())) }
    }
}

impl Group {
    /// Joins; the member's id. `again` is the id that it has already.
    pub fn join(&self, topics: Vec<Arc<str>>, session: Duration, signal: &Arc<Signal>, again: Option<String>) -> String {
        let mut state = self.state.lock();
        state.last_member += 1;
        let id = again.unwrap_or_else(|| format!("{}-{:08}", self.id, state.last_member));
        let member =
            Member { topics, session, signal: signal.clone(), seen: Instant::now(), waiting: false, ready: false, assigned: vec![] };
        state.members.insert(id.clone(), member);
        state.begin_rebalance();
        id
    }

    /// Leaves.
    pub fn leave(&self, member: &str) {
        let mut state = self.state.lock();
        if state.members.remove(member).is_some() {
            state.begin_rebalance();
        }
    }

    /// What a member of this generation, that `holds` partitions or none, is to do.
    pub fn step(&self, id: &str, generation: i32, holds: bool, partitions: &dyn Fn(&str) -> i32) -> Step {
        let now = Instant::now();
        let mut state = self.state.lock();
        let Some(member) = state.members.get_mut(id) else { return Step::Expelled };
        member.seen = now;
        let rejoins = !member.ready && !holds;
        member.ready |= rejoins;
        state.advance(now, partitions);
        let GroupState { rebalancing, generation: newest, .. } = *state;
        let member = &state.members[id];
        match rebalancing {
            true if !member.ready => Step::GiveUp,
            false if generation != newest => Step::Begin(newest, member.assigned.clone()),
            _ => {
                let silent = state.members.values().filter(|other| !other.waiting).map(|other| other.seen + other.session);
                let check_again = now + member.session / 3;
                Step::Read(silent.fold(check_again, Instant::min).max(now + Duration::from_millis(1)))
            }
        }
    }

    /// It has given up what it had.
    pub fn ready(&self, id: &str) {
        if let Some(member) = self.state.lock().members.get_mut(id) {
            member.ready = true;
        }
    }

    /// It begins or ends to wait.
    pub fn waits(&self, id: &str, waiting: bool) {
        if let Some(member) = self.state.lock().members.get_mut(id) {
            member.waiting = waiting;
            member.seen = Instant::now();
        }
    }

    /// The offsets that were committed.
    pub fn committed(&self, partitions: &[TopicPartition]) -> Offsets {
        let state = self.state.lock();
        partitions.iter().filter_map(|partition| Some((partition.clone(), state.offsets.get(partition)?.clone()))).collect()
    }

    /// Whether this member may commit.
    pub fn check(&self, member: &GroupMetadata) -> Result<(), Error> {
        self.state.lock().check(member)
    }

    /// Commits; when it returns, the offsets are stored.
    pub fn commit(&self, storage: &Storage, member: &GroupMetadata, offsets: &Offsets) -> Result<(), Error> {
        let mut commit = self.begin_commit(member)?;
        let mut write = WriteBatch::new();
        commit.put(storage, &mut write, offsets);
        storage.write(write)?;
        commit.done(offsets);
        Ok(())
    }

    /// Keeps the generation from changing until the commit is stored.
    pub fn begin_commit(&self, member: &GroupMetadata) -> Result<Commit<'_>, Error> {
        let state = self.state.lock();
        state.check(member)?;
        Ok(Commit { group: &self.id, state })
    }
}

/// A commit under way.
pub(crate) struct Commit<'a> {
    group: &'a str,
    state: MutexGuard<'a, GroupState>,
}

impl Commit<'_> {
    /// Puts offsets into what will be written.
    pub fn put(&mut self, storage: &Storage, write: &mut WriteBatch, offsets: &Offsets) {
        for (partition, committed) in offsets {
            let value = [&committed.offset.to_be_bytes(), committed.metadata.as_bytes()].concat();
            write.put_cf(storage.meta(), keys::offset(self.group, partition), value);
        }
    }

    /// They were written.
    pub fn done(mut self, offsets: &Offsets) {
        self.state.offsets.extend(offsets.iter().map(|(partition, committed)| (partition.clone(), committed.clone())));
    }
}

/// Range assignment: each topic's partitions in runs, in the order of the members' ids, so that equal numbers go together.
fn assign_ranges(members: &[(&str, &[Arc<str>])], partitions: &dyn Fn(&str) -> i32) -> HashMap<String, Vec<TopicPartition>> {
    let mut readers: BTreeMap<&Arc<str>, Vec<&str>> = BTreeMap::new();
    for (member, topics) in members {
        topics.iter().for_each(|topic| readers.entry(topic).or_default().push(member));
    }
    let mut shares: HashMap<String, Vec<TopicPartition>> = HashMap::new();
    for (topic, readers) in readers {
        let (all, share) = (partitions(topic), readers.len() as i32);
        let mut next = 0;
        for (i, member) in readers.into_iter().enumerate() {
            let count = all / share + i32::from((i as i32) < all % share);
            shares.entry(member.to_owned()).or_default().extend((next..next + count).map(|p| TopicPartition::new(topic.clone(), p)));
            next += count;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_of_all_topics_go_to_the_same_member() {
        let topics: Vec<Arc<str>> = vec!["a".into(), "b".into()];
        let shares = assign_ranges(&[("m1", &topics), ("m2", &topics), ("m3", &topics[..1])], &|topic| if topic == "a" { 4 } else { 3 });
        let of = |member: &str| shares[member].iter().map(|p| format!("{}{}", p.topic, p.partition)).collect::<Vec<_>>();
        assert_eq!(of("m1"), ["a0", "a1", "b0", "b1"]);
        assert_eq!(of("m2"), ["a2", "b2"]);
        assert_eq!(of("m3"), ["a3"]);
    }
}
