//! State on disk: it answers as memory does, whenever its epochs are committed, and survives with its offsets.

use std::sync::Arc;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use super::{
    generate::{Script, script},
    script::Store,
};
use crate::store::bytes::{Map, RocksHandle, RocksState, StateBatch, StateOptions, StoreError};

/// What happens to the epochs after an operation.
#[derive(Clone, Copy, Debug)]
enum Commit {
    Nothing,
    Take,
    Apply,
    Both,
    /// The store is closed and opened again.
    Reopen,
}

fn open(path: &std::path::Path) -> Arc<RocksState> {
    let options = StateOptions { block_cache_bytes: 8 << 20, write_buffer_bytes: 8 << 20, object_cache_bytes: 1 << 10 };
    RocksState::open(path, options).expect("a new directory opens")
}

/// Runs a script in memory and on disk; both answer the same.
fn agree(state: &Arc<RocksState>, partition: i32, (head, operations): Script, commits: &[Commit]) -> Result<(), TestCaseError> {
    let on_disk = || Store::open(&head, Some((state, partition))).expect("the store opens");
    let (mut memory, mut disk) = (Store::open(&head, None).expect("memory opens"), Some(on_disk()));
    let mut batch = None;
    for (operation, commit) in operations.iter().zip(commits.iter().cycle()) {
        let store = disk.as_mut().expect("the store is open");
        let (here, there) = (memory.answer(operation), store.answer(operation));
        prop_assert_eq!(here.expect("memory answers"), there.expect("the disk answers"), "{}: {} after {:?}", &head, operation, commits);
        let map = store.rocks().expect("the store is on disk");
        let mut apply = |map: &RocksHandle| {
            if let Some(batch) = batch.take() {
                state.apply(&batch).expect("the batch is written");
                map.applied();
            }
        };
        match commit {
            Commit::Nothing => {}
            Commit::Apply => apply(&map),
            Commit::Take => {
                apply(&map);
                batch = Some(StateBatch { writes: vec![map.take_epoch().expect("no epoch commits")], offsets: vec![] });
            }
            Commit::Both | Commit::Reopen => {
                apply(&map);
                map.commit(vec![]).expect("the epoch is written");
            }
        }
        if matches!(commit, Commit::Reopen) {
            drop((map, disk.take()));
            disk = Some(on_disk());
        }
    }
    Ok(())
}

/// Each case has a partition for itself.
fn disk_and_memory_agree(kind: &'static str) {
    let directory = tempfile::tempdir().expect("a directory");
    let state = open(directory.path());
    let cases = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let commit = prop_oneof![
        4 => Just(Commit::Nothing), 2 => Just(Commit::Take), 2 => Just(Commit::Apply), 1 => Just(Commit::Both), 1 => Just(Commit::Reopen)
    ];
    let partition = std::cell::Cell::new(0);
    let run = |(script, commits): (Script, Vec<Commit>)| {
        partition.set(partition.get() + 1);
        agree(&state, partition.get(), script, &commits)
    };
    TestRunner::new(cases).run(&(script(kind), vec(commit, 1..20)), run).unwrap_or_else(|error| panic!("{kind}: {error}"));
}

#[test]
fn key_value_stores_answer_on_disk_as_in_memory() {
    disk_and_memory_agree("key-value-disk");
}

#[test]
fn window_stores_answer_on_disk_as_in_memory() {
    ["window-disk", "window-time", "window-time-indexed"].into_iter().for_each(disk_and_memory_agree);
}

#[test]
fn session_stores_answer_on_disk_as_in_memory() {
    ["session-disk", "session-time-indexed"].into_iter().for_each(disk_and_memory_agree);
}

#[test]
fn versioned_stores_answer_on_disk_as_in_memory() {
    disk_and_memory_agree("versioned");
}

/// What may be done to a map.
#[derive(Clone, Debug)]
enum Touch {
    Put(Vec<u8>, Option<u8>),
    DeleteRange(Vec<u8>, Option<Vec<u8>>),
}

#[test]
fn a_map_on_disk_is_the_map_in_memory_also_where_ranges_are_deleted() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = open(directory.path());
    let key = || vec(0..4u8, 0..3);
    let touch = prop_oneof![
        6 => (key(), prop::option::of(any::<u8>())).prop_map(|(key, value)| Touch::Put(key, value)),
        1 => (key(), prop::option::of(key())).prop_map(|(from, to)| Touch::DeleteRange(from, to)),
    ];
    let partition = std::cell::Cell::new(0);
    let run = |(touches, reverse): (Vec<(Touch, u8)>, bool)| {
        partition.set(partition.get() + 1);
        let mut maps = [Map::memory(), Map::Rocks(state.store("any", partition.get()).expect("the store opens"))];
        let disk = maps[1].rocks().expect("it is on disk");
        let mut taken = None;
        for (touch, commit) in touches {
            for map in &mut maps {
                match &touch {
                    Touch::Put(key, value) => map.put(key.clone().into(), value.map(|value| vec![value].into())),
                    Touch::DeleteRange(from, to) => map.delete_range(from, to.as_deref()),
                }
            }
            match (commit, taken.take()) {
                (0, None) => taken = Some(StateBatch { writes: vec![disk.take_epoch().expect("no epoch commits")], offsets: vec![] }),
                (1 | 2, Some(batch)) => {
                    state.apply(&batch).expect("the batch is written");
                    disk.applied();
                }
                (_, batch) => taken = batch,
            }
            let [memory, disk] = maps.each_ref().map(|map| {
                let all = map.range((std::ops::Bound::Unbounded, std::ops::Bound::Unbounded), reverse);
                let all = all.collect::<Result<Vec<_>, _>>().expect("the map answers");
                let row = |key: &[u8]| map.get(key).expect("the map answers");
                (all, row(&[]), row(&[1]), row(&[2, 3]))
            });
            prop_assert_eq!(memory, disk);
        }
        Ok(())
    };
    let cases = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    let touches = vec((touch, 0..5u8), 1..40);
    TestRunner::new(cases).run(&(touches, any::<bool>()), run).unwrap_or_else(|error| panic!("{error}"));
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn rows(map: &RocksHandle) -> Vec<(Bytes, Bytes)> {
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    map.range(all, false).collect::<Result<_, _>>().expect("the disk answers")
}

#[test]
fn rows_and_offsets_survive_together_and_what_was_not_committed_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let offset = |at| vec![(Arc::from("changelog"), 3, at)];
    {
        let state = open(directory.path());
        let map = state.store("counts", 3).expect("the store opens");
        map.put(bytes("a"), Some(bytes("1")));
        map.put(bytes("b"), Some(bytes("1")));
        map.commit(offset(2)).expect("the epoch is written");
        map.put(bytes("a"), None);
        map.put(bytes("c"), Some(bytes("1")));
        let _taken = map.take_epoch().expect("no epoch commits");
        assert_eq!(rows(&map), [(bytes("b"), bytes("1")), (bytes("c"), bytes("1"))]);
        assert_eq!(state.offset("changelog", 3), Ok(Some(2)));
    }
    let state = open(directory.path());
    let map = state.store("counts", 3).expect("the store opens");
    assert_eq!(rows(&map), [(bytes("a"), bytes("1")), (bytes("b"), bytes("1"))]);
    assert_eq!(state.offset("changelog", 3), Ok(Some(2)));
    assert_eq!(state.offset("changelog", 4), Ok(None));
    // A store that is new to a database that is not.
    let other = state.store("sums", 3).expect("the store opens");
    other.put(bytes("a"), Some(bytes("7")));
    other.commit(offset(9)).expect("the epoch is written");
    drop((map, other, state));
    let state = open(directory.path());
    assert_eq!(rows(&state.store("sums", 3).expect("the store opens")), [(bytes("a"), bytes("7"))]);
    assert_eq!(state.offset("changelog", 3), Ok(Some(9)));
}

#[test]
fn partitions_do_not_see_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = open(directory.path());
    let partitions = [0, 1, 255, 256, 257, i32::MAX];
    let maps: Vec<_> = partitions.iter().map(|partition| state.store("counts", *partition).expect("the store opens")).collect();
    for (map, partition) in maps.iter().zip(partitions) {
        map.put(bytes(""), Some(bytes(&partition.to_string())));
        map.put(Bytes::from_static(&[0xff; 6]), Some(bytes(&partition.to_string())));
        map.commit(vec![]).expect("the epoch is written");
    }
    for (map, partition) in maps.iter().zip(partitions) {
        let own = bytes(&partition.to_string());
        assert_eq!(rows(map), [(bytes(""), own.clone()), (Bytes::from_static(&[0xff; 6]), own)]);
    }
    maps[5].delete_range(b"", None);
    maps[5].commit(vec![]).expect("the epoch is written");
    assert_eq!(maps.iter().map(|map| rows(map).len()).collect::<Vec<_>>(), [2, 2, 2, 2, 2, 0]);
}

#[test]
fn a_partition_has_one_owner_and_one_epoch_that_commits() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = open(directory.path());
    let map = state.store("counts", 0).expect("the store opens");
    let again = state.store("counts", 0).map(|_| ()).expect_err("it has an owner");
    assert_eq!(again, StoreError::InUse { store: "counts".into(), partition: 0 });
    map.take_epoch().expect("no epoch commits");
    assert_eq!(map.take_epoch().map(|_| ()), Err(StoreError::Committing { store: "counts".into(), partition: 0 }));
    map.applied();
    map.take_epoch().expect("the epoch has committed");
    drop(map);
    state.store("counts", 0).expect("its owner is gone");
    let in_use = RocksState::open(directory.path(), StateOptions::default()).map(|_| ()).expect_err("the directory is in use");
    assert!(in_use.to_string().contains("belongs to this process alone"), "{in_use}");
}

#[test]
fn a_map_on_disk_counts_roughly() {
    let directory = tempfile::tempdir().expect("a directory");
    let state = open(directory.path());
    let mut map = Map::Rocks(state.store("counts", 0).expect("the store opens"));
    (0..100u8).for_each(|key| map.put(Bytes::copy_from_slice(&[key]), Some(bytes("1"))));
    assert_eq!(map.approximate_count(), 100);
    map.rocks().expect("it is on disk").commit(vec![]).expect("the epoch is written");
    assert_eq!(map.approximate_count(), 100);
}
