//! The replicas of one role (engines, or pipeline gateways), and the lanes that each may run.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use millstream_proto::{
    lanes::{Assignment, LaneSet},
    seldon::scheduler::Pipeline,
    state::{LaneHolder, LanesSnapshot},
};

use crate::place::{Lane, Placement, place};

/// How many assignments a replica may be behind before the oldest is forgotten.
const MOST_UNAPPLIED: usize = 64;

/// Who runs which lane.
///
/// **Law (hand-over).** Where lanes are exclusive, a lane goes to a new owner only when no living replica may still run it: the old owner
/// lives and has confirmed that it let go, or it is dead or did not let go in time, and then the new owner is told whom to fence. Who may
/// run a lane is written to the state topic before the replica is told, so a restart of the scheduler forgets nobody who must be fenced.
#[derive(Debug)]
pub(crate) struct Fleet {
    exclusive: bool,
    placement: Placement,
    replicas: BTreeMap<Arc<str>, Replica>,
    /// Held lanes before the scheduler restarted, and are not back yet.
    expected: BTreeSet<Arc<str>>,
    /// Who may run a lane, the newest last.
    holders: BTreeMap<Lane, Vec<Holder>>,
    generation: u64,
}

#[derive(Debug)]
struct Replica {
    session: u64,
    transactional_ids: Vec<String>,
    /// What it was told and has not confirmed, and the last that it confirmed; the newest last.
    sent: VecDeque<Sent>,
    /// What it runs, with the version's uid.
    confirmed: BTreeMap<Lane, Arc<str>>,
    /// Pipelines that it could not run, with the reason.
    failures: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Sent {
    generation: u64,
    lanes: BTreeMap<Lane, Arc<str>>,
}

#[derive(Debug)]
struct Holder {
    replica: Arc<str>,
    transactional_ids: Vec<String>,
    /// When its lane was given to another.
    revoked: Option<u64>,
}

/// How a placement is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) partitions: i32,
    pub(crate) load_bound: f64,
    /// How long a living owner has to let go of a lane, in milliseconds.
    pub(crate) handover: u64,
}

/// What is to be done for a new placement.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) assignments: Vec<(Arc<str>, Assignment)>,
    /// Pipelines whose holders changed.
    pub(crate) touched: BTreeSet<Arc<str>>,
    /// When to plan again.
    pub(crate) again: Option<u64>,
}

/// Whether a pipeline's lanes run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Running {
    /// There is no replica at all.
    Nowhere,
    /// Not all of them yet, and why.
    Pending(String),
    Failed(String),
    Yes,
}

impl Fleet {
    pub(crate) fn new(exclusive: bool) -> Self {
        let (placement, replicas, expected, holders) = Default::default();
        Self { exclusive, placement, replicas, expected, holders, generation: 0 }
    }

    /// Holders from before a restart: they are expected back, and are waited for until [`Fleet::expect_no_more`].
    pub(crate) fn restore(&mut self, snapshot: LanesSnapshot) {
        let pipeline: Arc<str> = snapshot.pipeline.into();
        for holder in snapshot.holders {
            let lane = Lane { pipeline: pipeline.clone(), partition: holder.partition };
            let replica: Arc<str> = holder.replica.into();
            self.expected.insert(replica.clone());
            self.placement.replicas.insert(replica.clone());
            self.placement.owners.insert(lane.clone(), replica.clone());
            let holder = Holder { replica, transactional_ids: holder.transactional_ids, revoked: None };
            self.holders.entry(lane).or_default().push(holder);
        }
    }

    pub(crate) fn snapshot(&self, pipeline: &Arc<str>) -> Option<LanesSnapshot> {
        let of_pipeline = self.holders.iter().filter(|(lane, _)| lane.pipeline == *pipeline);
        let holders: Vec<_> = of_pipeline
            .flat_map(|(lane, holders)| holders.iter().map(|holder| (lane.partition, holder)))
            .map(|(partition, holder)| LaneHolder {
                partition,
                replica: holder.replica.to_string(),
                transactional_ids: holder.transactional_ids.clone(),
            })
            .collect();
        (!holders.is_empty()).then(|| LanesSnapshot { pipeline: pipeline.to_string(), holders })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    pub(crate) fn all_are_back(&self) -> bool {
        self.expected.is_empty()
    }

    pub(crate) fn expect_no_more(&mut self) {
        self.expected.clear();
    }

    /// A replica subscribed. One of the same name is replaced: it is the same one, restarted or reconnected.
    pub(crate) fn join(&mut self, name: &str, session: u64, transactional_ids: Vec<String>) {
        let transactional_ids = if transactional_ids.is_empty() { vec![name.to_string()] } else { transactional_ids };
        let (sent, confirmed, failures) = Default::default();
        self.expected.remove(name);
        self.replicas.insert(name.into(), Replica { session, transactional_ids, sent, confirmed, failures });
    }

    /// Its stream ended. Whether anything changed: not if it has subscribed again since.
    pub(crate) fn leave(&mut self, name: &str, session: u64) -> bool {
        let current = self.replicas.get(name).is_some_and(|replica| replica.session == session);
        if current {
            self.replicas.remove(name);
        }
        current
    }

    /// A replica did what a generation asked for. Returns the pipelines whose holders changed; `None` if it was not asked.
    pub(crate) fn applied(&mut self, name: &str, generation: u64, failures: BTreeMap<String, String>) -> Option<BTreeSet<Arc<str>>> {
        let key: Arc<str> = name.into();
        let replica = self.replicas.get_mut(&key)?;
        while replica.sent.get(1).is_some_and(|next| next.generation <= generation) {
            replica.sent.pop_front();
        }
        let confirmed = replica.sent.front().filter(|sent| sent.generation <= generation)?;
        replica.confirmed = confirmed.lanes.clone();
        replica.failures = failures;
        let last = replica.sent.back().map(|sent| &sent.lanes);
        let mut touched = BTreeSet::new();
        for (lane, holders) in &mut self.holders {
            let before = holders.len();
            let owned = self.placement.owners.get(lane) == Some(&key);
            if replica.confirmed.contains_key(lane) && owned {
                holders.retain(|holder| holder.replica == key); // the others let go, or are fenced
            } else if !replica.confirmed.contains_key(lane) && !last.is_some_and(|last| last.contains_key(lane)) {
                holders.retain(|holder| holder.replica != key);
            }
            if holders.len() != before {
                touched.insert(lane.pipeline.clone());
            }
        }
        self.holders.retain(|_, holders| !holders.is_empty());
        Some(touched)
    }

    /// Makes the next assignment of a replica be sent even if it is the same: what failed is tried again.
    pub(crate) fn retry(&mut self, pipeline: &str) {
        for replica in self.replicas.values_mut() {
            if replica.failures.remove(pipeline).is_some() {
                replica.confirmed.retain(|lane, _| &*lane.pipeline != pipeline);
                replica.sent.clear();
            }
        }
    }

    /// Places the lanes of these pipelines and says what each replica is to be told.
    pub(crate) fn plan(&mut self, wanted: &BTreeMap<Arc<str>, Arc<Pipeline>>, rules: Rules, now: u64) -> Plan {
        let lanes =
            wanted.keys().flat_map(|name| (0..rules.partitions).map(|partition| Lane { pipeline: name.clone(), partition })).collect();
        let candidates = self.replicas.keys().chain(&self.expected).cloned().collect();
        self.placement = place(&self.placement, &lanes, &candidates, rules.load_bound);
        let mut plan = Plan::default();
        self.revoke(now);
        let names: Vec<_> = self.replicas.keys().cloned().collect();
        for name in names {
            let target = self.target(&name, wanted, rules, now, &mut plan.again);
            let unchanged = self.replicas[&name].sent.back().is_some_and(|sent| sent.lanes == target);
            if !unchanged {
                let assignment = self.assign(&name, target, wanted, rules, &mut plan.touched);
                plan.assignments.push((name, assignment));
            }
        }
        plan
    }

    /// Notes since when a lane is somebody else's.
    fn revoke(&mut self, now: u64) {
        for (lane, holders) in &mut self.holders {
            let owner = self.placement.owners.get(lane);
            for holder in holders {
                let owns = owner == Some(&holder.replica);
                holder.revoked = if owns { None } else { holder.revoked.or(Some(now)) };
            }
        }
    }

    /// The lanes that a replica may run now.
    fn target(
        &self,
        name: &Arc<str>,
        wanted: &BTreeMap<Arc<str>, Arc<Pipeline>>,
        rules: Rules,
        now: u64,
        again: &mut Option<u64>,
    ) -> BTreeMap<Lane, Arc<str>> {
        let mut target = BTreeMap::new();
        for (lane, _) in self.placement.owners.iter().filter(|(_, owner)| *owner == name) {
            let holders = self.holders.get(lane).map(Vec::as_slice).unwrap_or_default();
            let mine = holders.last().is_some_and(|holder| holder.replica == *name);
            let waits_until = holders
                .iter()
                .filter(|holder| holder.replica != *name && self.lives(&holder.replica))
                .filter_map(|holder| Some(holder.revoked? + rules.handover).filter(|until| *until > now))
                .max();
            match waits_until {
                Some(until) if self.exclusive && !mine => *again = Some(again.map_or(until, |at| at.min(until))),
                _ => {
                    target.insert(lane.clone(), Arc::from(wanted[&lane.pipeline].uid.as_str()));
                }
            }
        }
        target
    }

    fn lives(&self, replica: &Arc<str>) -> bool {
        self.replicas.contains_key(replica) || self.expected.contains(replica)
    }

    fn assign(
        &mut self,
        name: &Arc<str>,
        target: BTreeMap<Lane, Arc<str>>,
        wanted: &BTreeMap<Arc<str>, Arc<Pipeline>>,
        rules: Rules,
        touched: &mut BTreeSet<Arc<str>>,
    ) -> Assignment {
        self.generation += 1;
        let mut sets: BTreeMap<&Arc<str>, LaneSet> = BTreeMap::new();
        for lane in target.keys() {
            let holders = self.holders.entry(lane.clone()).or_default();
            let pipeline = &wanted[&lane.pipeline];
            let set = sets.entry(&lane.pipeline).or_insert_with(|| LaneSet {
                pipeline: pipeline.name.clone(),
                uid: pipeline.uid.clone(),
                version: pipeline.version,
                spec: Some(Pipeline::clone(pipeline)),
                ..Default::default()
            });
            set.partitions.push(lane.partition);
            for holder in holders.iter().filter(|holder| holder.replica != *name) {
                set.former_owners.extend(holder.transactional_ids.iter().cloned());
            }
            let ids = &self.replicas[name].transactional_ids;
            if !holders.last().is_some_and(|holder| holder.replica == *name && holder.transactional_ids == *ids) {
                // A replica that came back with other ids must fence its former self.
                let former_self = holders.iter().filter(|holder| holder.replica == *name).flat_map(|holder| &holder.transactional_ids);
                set.former_owners.extend(former_self.filter(|id| !ids.contains(id)).cloned());
                holders.retain(|holder| holder.replica != *name);
                holders.push(Holder { replica: name.clone(), transactional_ids: ids.clone(), revoked: None });
                touched.insert(lane.pipeline.clone());
            }
        }
        let mut lanes: Vec<_> = sets.into_values().collect();
        for set in &mut lanes {
            set.former_owners.sort();
            set.former_owners.dedup();
        }
        if let Some(replica) = self.replicas.get_mut(name) {
            replica.sent.push_back(Sent { generation: self.generation, lanes: target });
            if replica.sent.len() > MOST_UNAPPLIED {
                replica.sent.pop_front();
            }
        }
        Assignment { generation: self.generation, lanes, partitions: rules.partitions }
    }

    /// Whether all lanes of a pipeline version run.
    pub(crate) fn running(&self, pipeline: &Arc<str>, uid: &str, partitions: i32) -> Running {
        if self.replicas.is_empty() && self.expected.is_empty() {
            return Running::Nowhere;
        }
        let mut waiting: Option<String> = None;
        for partition in 0..partitions {
            let lane = Lane { pipeline: pipeline.clone(), partition };
            let Some(owner) = self.placement.owners.get(&lane) else {
                waiting = waiting.or_else(|| Some(format!("partition {partition} is not placed yet")));
                continue;
            };
            let Some(replica) = self.replicas.get(owner) else {
                waiting = waiting.or_else(|| Some(format!("partition {partition} waits for {owner} to come back")));
                continue;
            };
            let confirmed = replica.confirmed.get(&lane).is_some_and(|confirmed| **confirmed == *uid);
            match replica.failures.get(&**pipeline) {
                Some(reason) if confirmed => return Running::Failed(format!("{owner}: {reason}")),
                _ if confirmed => {}
                _ => waiting = waiting.or_else(|| Some(format!("partition {partition} is being started on {owner}"))),
            }
        }
        waiting.map_or(Running::Yes, Running::Pending)
    }

    /// Whether no living replica may still run a lane of the pipeline.
    pub(crate) fn released(&self, pipeline: &Arc<str>) -> bool {
        let mut of_pipeline = self.holders.iter().filter(|(lane, _)| lane.pipeline == *pipeline).flat_map(|(_, holders)| holders);
        !of_pipeline.any(|holder| self.lives(&holder.replica))
    }

    /// Forgets the holders of a pipeline that will not come back.
    pub(crate) fn forget(&mut self, pipeline: &str) {
        self.holders.retain(|lane, _| &*lane.pipeline != pipeline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { partitions: 4, load_bound: 1.25, handover: 2_000 };

    fn wanted(names: &[&str]) -> BTreeMap<Arc<str>, Arc<Pipeline>> {
        let pipeline = |name: &str| Pipeline { name: name.into(), uid: format!("{name}-1"), version: 1, ..Default::default() };
        names.iter().map(|name| (Arc::from(*name), Arc::new(pipeline(name)))).collect()
    }

    fn partitions(assignment: &Assignment) -> Vec<i32> {
        assignment.lanes.iter().flat_map(|set| set.partitions.clone()).collect()
    }

    fn of<'a>(plan: &'a Plan, replica: &str) -> &'a Assignment {
        &plan.assignments.iter().find(|(name, _)| &**name == replica).expect("assigned").1
    }

    fn confirm(fleet: &mut Fleet, plan: &Plan) {
        for (name, assignment) in &plan.assignments {
            fleet.applied(name, assignment.generation, BTreeMap::new());
        }
    }

    #[test]
    fn a_lane_of_a_living_owner_moves_only_after_the_owner_let_go() {
        let (mut fleet, wanted) = (Fleet::new(true), wanted(&["p"]));
        fleet.join("a", 1, vec![]);
        let plan = fleet.plan(&wanted, RULES, 0);
        assert_eq!(partitions(of(&plan, "a")), [0, 1, 2, 3]);
        confirm(&mut fleet, &plan);
        assert_eq!(fleet.running(&"p".into(), "p-1", 4), Running::Yes);

        fleet.join("b", 2, vec![]);
        let shrink = fleet.plan(&wanted, RULES, 10);
        let kept = partitions(of(&shrink, "a"));
        assert!(kept.len() < 4 && partitions(of(&shrink, "b")).is_empty());
        assert_eq!(shrink.again, Some(2_010));
        confirm(&mut fleet, &shrink);

        let grow = fleet.plan(&wanted, RULES, 20);
        let (b, moved) = (of(&grow, "b"), 4 - kept.len());
        assert_eq!(partitions(b).len(), moved);
        assert!(b.lanes[0].former_owners.is_empty());
        assert_eq!(grow.assignments.len(), 1);
        confirm(&mut fleet, &grow);
        assert_eq!(fleet.running(&"p".into(), "p-1", 4), Running::Yes);
        assert!(fleet.plan(&wanted, RULES, 30).assignments.is_empty());
    }

    #[test]
    fn the_lanes_of_a_dead_owner_move_at_once_and_its_transactional_ids_are_to_be_fenced() {
        let (mut fleet, wanted) = (Fleet::new(true), wanted(&["p"]));
        fleet.join("a", 1, vec!["a-0".into(), "a-1".into()]);
        fleet.join("b", 2, vec![]);
        let plan = fleet.plan(&wanted, RULES, 0);
        let lost = partitions(of(&plan, "a"));
        confirm(&mut fleet, &plan);
        assert!(fleet.leave("a", 1));
        let plan = fleet.plan(&wanted, RULES, 1);
        let b = of(&plan, "b");
        assert_eq!(partitions(b), [0, 1, 2, 3]);
        assert_eq!(b.lanes[0].former_owners, ["a-0", "a-1"]);
        assert_eq!(fleet.snapshot(&"p".into()).unwrap().holders.len(), 4 + lost.len());
        confirm(&mut fleet, &plan);
        assert_eq!(fleet.snapshot(&"p".into()).unwrap().holders.len(), 4);
    }

    #[test]
    fn an_owner_that_does_not_let_go_in_time_is_fenced() {
        let (mut fleet, wanted) = (Fleet::new(true), wanted(&["p"]));
        fleet.join("a", 1, vec![]);
        let plan = fleet.plan(&wanted, RULES, 0);
        confirm(&mut fleet, &plan);
        fleet.join("b", 2, vec![]);
        fleet.plan(&wanted, RULES, 10);
        assert!(fleet.plan(&wanted, RULES, 2_009).assignments.is_empty());
        let overdue = fleet.plan(&wanted, RULES, 2_010);
        assert_eq!(of(&overdue, "b").lanes[0].former_owners, ["a"]);
    }

    #[test]
    fn gateways_share_a_lane_while_it_moves() {
        let (mut fleet, wanted) = (Fleet::new(false), wanted(&["p"]));
        fleet.join("a", 1, vec![]);
        let plan = fleet.plan(&wanted, RULES, 0);
        confirm(&mut fleet, &plan);
        fleet.join("b", 2, vec![]);
        let plan = fleet.plan(&wanted, RULES, 1);
        assert!(!partitions(of(&plan, "b")).is_empty());
    }

    #[test]
    fn after_a_restart_nothing_moves_while_replicas_come_back_and_the_dead_are_fenced() {
        let (mut before, wanted) = (Fleet::new(true), wanted(&["p", "q"]));
        before.join("a", 1, vec![]);
        before.join("b", 2, vec![]);
        let plan = before.plan(&wanted, RULES, 0);
        confirm(&mut before, &plan);

        let mut after = Fleet::new(true);
        for name in ["p", "q"] {
            after.restore(before.snapshot(&name.into()).unwrap());
        }
        after.join("b", 1, vec![]);
        let again = after.plan(&wanted, RULES, 0);
        assert_eq!(of(&again, "b").lanes, of(&plan, "b").lanes);
        assert!(matches!(after.running(&"p".into(), "p-1", 4), Running::Pending(_)));
        after.expect_no_more();
        let alone = after.plan(&wanted, RULES, 3_000);
        let b = of(&alone, "b");
        assert_eq!(partitions(b).len(), 8);
        assert!(b.lanes.iter().any(|set| set.former_owners == ["a"]));
    }

    #[test]
    fn a_failure_is_of_the_version_that_failed_and_a_retry_sends_the_lanes_again() {
        let (mut fleet, wanted) = (Fleet::new(true), wanted(&["p", "q"]));
        fleet.join("a", 1, vec![]);
        let plan = fleet.plan(&wanted, RULES, 0);
        fleet.applied("a", of(&plan, "a").generation, [("p".to_string(), "no".to_string())].into());
        assert_eq!(fleet.running(&"p".into(), "p-1", 4), Running::Failed("a: no".into()));
        assert_eq!(fleet.running(&"q".into(), "q-1", 4), Running::Yes);
        assert!(matches!(fleet.running(&"p".into(), "p-2", 4), Running::Pending(_)));
        fleet.retry("p");
        assert_eq!(fleet.plan(&wanted, RULES, 1).assignments.len(), 1);
    }

    #[test]
    fn a_stale_session_neither_leaves_nor_is_an_old_confirmation_taken_for_a_new_one() {
        let (mut fleet, first) = (Fleet::new(true), wanted(&["p"]));
        fleet.join("a", 1, vec![]);
        let old = fleet.plan(&first, RULES, 0);
        let both = wanted(&["p", "q"]);
        fleet.plan(&both, RULES, 1);
        fleet.applied("a", of(&old, "a").generation, BTreeMap::new());
        assert_eq!(fleet.running(&"p".into(), "p-1", 4), Running::Yes);
        assert!(matches!(fleet.running(&"q".into(), "q-1", 4), Running::Pending(_)));
        fleet.join("a", 2, vec![]);
        assert!(!fleet.leave("a", 1));
        assert!(!fleet.is_empty());
    }
}
