//! The law of placement, over random histories.

use super::*;
use proptest::prelude::*;

const C: f64 = 1.25;

fn lanes(pipelines: usize, partitions: i32) -> BTreeSet<Lane> {
    let lane = move |pipeline: usize, partition| Lane { pipeline: format!("pipeline-{pipeline}").into(), partition };
    (0..pipelines).flat_map(|pipeline| (0..partitions).map(move |partition| lane(pipeline, partition))).collect()
}

fn replicas(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<Arc<str>> {
    numbers.into_iter().map(|number| format!("replica-{number}").into()).collect()
}

fn bound(lanes: usize, replicas: usize) -> usize {
    (C * lanes as f64 / replicas as f64).ceil() as usize
}

fn load<'a>(placement: &'a Placement, replica: &'a Arc<str>) -> impl Iterator<Item = &'a Lane> {
    placement.owners.iter().filter(move |(_, owner)| *owner == replica).map(|(lane, _)| lane)
}

fn assert_balanced(placement: &Placement, lanes: &BTreeSet<Lane>, replicas: &BTreeSet<Arc<str>>) {
    assert_eq!(placement.owners.keys().collect::<BTreeSet<_>>(), lanes.iter().collect());
    let bound = bound(lanes.len(), replicas.len());
    for replica in replicas {
        let count = load(placement, replica).count();
        assert!(count <= bound, "{replica} has {count} of {} lanes, the bound is {bound}", lanes.len());
    }
}

/// A step of a history: how many pipelines there are, and which replicas.
fn histories() -> impl Strategy<Value = Vec<(usize, BTreeSet<usize>)>> {
    proptest::collection::vec((0..12usize, proptest::collection::btree_set(0..8usize, 1..8)), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_replica_has_more_than_its_bound_whatever_happened_before(history in histories(), partitions in 1..7i32) {
        let mut placement = Placement::default();
        for (pipelines, numbers) in history {
            let (lanes, replicas) = (lanes(pipelines, partitions), replicas(numbers));
            placement = place(&placement, &lanes, &replicas, C);
            assert_balanced(&placement, &lanes, &replicas);
        }
    }

    #[test]
    fn placing_again_moves_nothing_and_is_the_same_every_time(history in histories(), partitions in 1..7i32) {
        let mut placement = Placement::default();
        for (pipelines, numbers) in history {
            let (lanes, replicas) = (lanes(pipelines, partitions), replicas(numbers));
            let next = place(&placement, &lanes, &replicas, C);
            prop_assert_eq!(&next, &place(&placement, &lanes, &replicas, C));
            prop_assert_eq!(&next, &place(&next, &lanes, &replicas, C));
            placement = next;
        }
    }

    #[test]
    fn when_a_replica_dies_only_its_lanes_move(pipelines in 1..12usize, partitions in 1..7i32, count in 2..9usize, dies in 0..9usize) {
        let (lanes, before) = (lanes(pipelines, partitions), replicas(0..count));
        let dead = format!("replica-{}", dies % count);
        let after = before.iter().filter(|replica| ***replica != *dead).cloned().collect();
        let old = place(&Placement::default(), &lanes, &before, C);
        let new = place(&old, &lanes, &after, C);
        for (lane, owner) in &old.owners {
            prop_assert!(**owner == *dead || new.owners[lane] == *owner, "{lane:?} left {owner}");
        }
    }

    #[test]
    fn when_a_replica_joins_lanes_move_to_it_or_away_from_one_that_has_too_many(
        pipelines in 1..12usize, partitions in 1..7i32, count in 1..9usize,
    ) {
        let (lanes, before, after) = (lanes(pipelines, partitions), replicas(0..count), replicas(0..count + 1));
        let joined: Arc<str> = format!("replica-{count}").into();
        let old = place(&Placement::default(), &lanes, &before, C);
        let new = place(&old, &lanes, &after, C);
        for (lane, owner) in &old.owners {
            let too_many = load(&old, owner).count() > bound(lanes.len(), after.len());
            let share = load(&old, owner).filter(|other| other.pipeline == lane.pipeline).count();
            let too_large_a_share = share > bound(partitions as usize, after.len());
            prop_assert!(new.owners[lane] == *owner || new.owners[lane] == joined || too_many || too_large_a_share, "{lane:?} left {owner}");
        }
    }

    #[test]
    fn a_new_pipeline_moves_no_lane_of_another(pipelines in 1..12usize, partitions in 1..7i32, count in 1..9usize) {
        let replicas = replicas(0..count);
        let old = place(&Placement::default(), &lanes(pipelines, partitions), &replicas, C);
        let new = place(&old, &lanes(pipelines + 1, partitions), &replicas, C);
        for (lane, owner) in &old.owners {
            prop_assert_eq!(&new.owners[lane], owner);
        }
    }
}

#[test]
fn a_single_pipeline_is_spread_over_its_replicas() {
    for count in 2..=4 {
        let (lanes, replicas) = (lanes(1, 4), replicas(0..count));
        let placement = place(&Placement::default(), &lanes, &replicas, C);
        let most = replicas.iter().map(|replica| load(&placement, replica).count()).max();
        assert!(most <= Some(bound(4, count)), "{placement:?}");
    }
}

#[test]
fn every_pipeline_of_many_is_spread() {
    let (lanes, replicas) = (lanes(100, 4), replicas(0..2));
    let placement = place(&Placement::default(), &lanes, &replicas, C);
    for replica in &replicas {
        let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
        load(&placement, replica).for_each(|lane| *shares.entry(&lane.pipeline).or_default() += 1);
        assert!(shares.len() == 100 && shares.values().all(|share| *share <= 3), "{replica}: {shares:?}");
    }
}

#[test]
fn a_replica_that_joins_takes_about_its_share() {
    let lanes = lanes(200, 4);
    let old = place(&Placement::default(), &lanes, &replicas(0..4), C);
    let new = place(&old, &lanes, &replicas(0..5), C);
    let moved = old.owners.iter().filter(|(lane, owner)| new.owners[lane] != **owner).count();
    assert!((100..=220).contains(&moved), "{moved} of 800 lanes moved, a fifth would be 160");
}

#[test]
fn there_is_nothing_to_place_on_nobody() {
    assert_eq!(place(&Placement::default(), &lanes(3, 4), &BTreeSet::new(), C).owners, BTreeMap::new());
}
