//! Which replica runs which lane: consistent hashing with bounded load.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A pipeline × a partition: the unit that is placed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The pipeline's name; its versions share their lanes, so that an update moves nothing.
    pub pipeline: Arc<str>,
    /// The partition.
    pub partition: i32,
}

/// Which replica runs which lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The replicas among which the lanes were placed.
    pub replicas: BTreeSet<Arc<str>>,
    /// The owner of each lane.
    pub owners: BTreeMap<Lane, Arc<str>>,
}

/// The placement of `lanes` on `replicas` that follows `previous`.
///
/// **Law.** It depends on nothing but its arguments. No replica has more than `ceil(c × lanes / replicas)` lanes, and as far as that
/// allows none has more than its share of one pipeline's lanes, by the same formula. A lane moves only if its owner is gone or has too
/// many, or if a replica that joined is the one that its hash prefers; two of a pipeline are never too many to stay.
///
/// Preference is rendezvous hashing: a lane prefers the replica with which its hash is highest, so that each replica is everybody's
/// first choice equally often and takes equally from all the others when it joins.
pub fn place(previous: &Placement, lanes: &BTreeSet<Lane>, replicas: &BTreeSet<Arc<str>>, c: f64) -> Placement {
    let mut placing = Placing::new(lanes, replicas, c);
    for lane in lanes {
        if let Some(owner) = previous.owners.get(lane).filter(|owner| replicas.contains(*owner)) {
            placing.put(lane, owner);
        }
    }
    placing.give_to_joiners(&replicas.difference(&previous.replicas).collect());
    placing.shed();
    for lane in lanes {
        if !placing.owners.contains_key(lane) {
            placing.put_somewhere(lane);
        }
    }
    placing.spread();
    let owners = placing.owners.iter().map(|(&lane, &owner)| (lane.clone(), owner.clone())).collect();
    Placement { replicas: replicas.clone(), owners }
}

struct Placing<'a> {
    replicas: &'a BTreeSet<Arc<str>>,
    /// The most lanes of a replica.
    bound: usize,
    /// The most lanes of a pipeline on one replica.
    shares: BTreeMap<&'a str, usize>,
    load: BTreeMap<&'a str, usize>,
    share: BTreeMap<(&'a str, &'a str), usize>,
    owners: BTreeMap<&'a Lane, &'a Arc<str>>,
    /// Lanes that this placement has moved or placed.
    moved: BTreeSet<&'a Lane>,
}

impl<'a> Placing<'a> {
    fn new(lanes: &'a BTreeSet<Lane>, replicas: &'a BTreeSet<Arc<str>>, c: f64) -> Self {
        let bound = |lanes: usize| ((c.max(1.0) * lanes as f64) / replicas.len().max(1) as f64).ceil() as usize;
        let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
        for lane in lanes {
            *shares.entry(&*lane.pipeline).or_default() += 1;
        }
        shares.values_mut().for_each(|count| *count = bound(*count));
        Self {
            replicas,
            bound: bound(lanes.len()),
            shares,
            load: BTreeMap::new(),
            share: BTreeMap::new(),
            owners: BTreeMap::new(),
            moved: BTreeSet::new(),
        }
    }

    fn load(&self, replica: &str) -> usize {
        self.load.get(replica).copied().unwrap_or(0)
    }

    fn share(&self, lane: &Lane, replica: &str) -> usize {
        self.share.get(&(&*lane.pipeline, replica)).copied().unwrap_or(0)
    }

    fn put(&mut self, lane: &'a Lane, replica: &'a Arc<str>) {
        *self.load.entry(replica).or_default() += 1;
        *self.share.entry((&lane.pipeline, replica)).or_default() += 1;
        self.owners.insert(lane, replica);
    }

    fn take(&mut self, lane: &'a Lane) {
        if let Some(replica) = self.owners.remove(lane) {
            *self.load.entry(replica).or_default() -= 1;
            *self.share.entry((&lane.pipeline, replica)).or_default() -= 1;
            self.moved.insert(lane);
        }
    }

    /// Whether the replica can take the lane without going over either bound.
    fn fits(&self, lane: &Lane, replica: &str) -> bool {
        self.load(replica) < self.bound && self.share(lane, replica) < self.shares[&*lane.pipeline]
    }

    /// The replica that the lane's hash prefers among those that `allowed` admits.
    fn preferred(&self, lane: &Lane, allowed: impl Fn(&str) -> bool) -> Option<&'a Arc<str>> {
        self.replicas.iter().filter(|replica| allowed(replica)).max_by_key(|replica| weight(lane, replica))
    }

    fn give_to_joiners(&mut self, joined: &BTreeSet<&Arc<str>>) {
        let lanes: Vec<_> = self.owners.keys().copied().collect();
        for lane in lanes {
            let Some(home) = self.preferred(lane, |_| true) else { return };
            if joined.contains(home) && self.owners[lane] != home && self.fits(lane, home) {
                self.take(lane);
                self.put(lane, home);
            }
        }
    }

    /// Takes the lanes that prefer them least from replicas that have too many.
    fn shed(&mut self) {
        for replica in self.replicas {
            while self.load(replica) > self.bound {
                let least = self.owners.iter().filter(|(_, owner)| **owner == replica).map(|(lane, _)| *lane);
                let Some(lane) = least.min_by_key(|lane| weight(lane, replica)) else { break };
                self.take(lane);
            }
        }
    }

    fn put_somewhere(&mut self, lane: &'a Lane) {
        let fits = self.preferred(lane, |replica| self.fits(lane, replica));
        // The bound times the replicas is at least the number of lanes: while one is not placed, one replica has room.
        if let Some(replica) = fits.or_else(|| self.preferred(lane, |replica| self.load(replica) < self.bound)) {
            self.moved.insert(lane);
            self.put(lane, replica);
        }
    }

    /// Moves lanes of pipelines that weigh too much on one replica to replicas where they fit; those that move anyway come first.
    fn spread(&mut self) {
        // Each move lowers the sum over all (pipeline, replica) of the lanes above the share, so this ends.
        loop {
            let over = |(lane, owner): &(&&'a Lane, &&'a Arc<str>)| {
                let share = self.shares[&*lane.pipeline];
                self.share(lane, owner) > if self.moved.contains(*lane) { share } else { share.max(2) }
            };
            let mut candidates: Vec<_> = self.owners.iter().filter(over).map(|(lane, owner)| (*lane, *owner)).collect();
            candidates.sort_by_key(|(lane, owner)| (!self.moved.contains(lane), weight(lane, owner)));
            let better =
                candidates.into_iter().find_map(|(lane, _)| Some((lane, self.preferred(lane, |replica| self.fits(lane, replica))?)));
            let Some((lane, replica)) = better else { return };
            self.take(lane);
            self.put(lane, replica);
        }
    }
}

/// How much a lane prefers a replica. The same on every machine and in every release: FNV-1a, finished by splitmix64.
fn weight(lane: &Lane, replica: &str) -> u64 {
    let text = [lane.pipeline.as_bytes(), b"\0", &lane.partition.to_le_bytes(), replica.as_bytes()];
    mix(text.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)))
}

fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod properties;
