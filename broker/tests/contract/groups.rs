//! Groups.

use super::*;

/// What a group told a member.
#[derive(Clone, Default)]
pub struct Rebalances(Arc<Mutex<RebalanceLog>>);

#[derive(Default)]
pub struct RebalanceLog {
    held: Vec<TopicPartition>,
    assigned: usize,
    /// Commits these when partitions are revoked.
    to_commit: Offsets,
    committed: Vec<Result<(), Error>>,
}

impl Rebalances {
    pub fn ignored() -> Box<dyn RebalanceListener> {
        Box::new(Self::default())
    }

    pub fn held(&self) -> Vec<TopicPartition> {
        self.0.lock().unwrap().held.clone()
    }
}

impl RebalanceListener for Rebalances {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        let mut log = self.0.lock().unwrap();
        log.held.extend_from_slice(partitions);
        log.held.sort();
        log.assigned += 1;
    }

    fn revoked(&mut self, partitions: &[TopicPartition], commit: &mut dyn FnMut(&Offsets) -> Result<(), Error>) {
        let mut log = self.0.lock().unwrap();
        assert!(!partitions.is_empty());
        log.held.retain(|held| !partitions.contains(held));
        if !log.to_commit.is_empty() {
            let result = commit(&log.to_commit);
            log.committed.push(result);
        }
    }
}

/// Polls members until all of this is true.
pub fn poll_until(members: &mut [&mut Box<dyn Consumer>], mut what: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < until, "the group does not get there");
        for member in &mut *members {
            member.poll(Duration::from_millis(20)).unwrap();
        }
    }
}

pub fn committed_offsets_are_kept_with_their_metadata(here: &Here) {
    let topic = here.topic("topic", 2);
    let of = |partition| TopicPartition::new(&*topic, partition);
    let mut consumer = here.consumer(here.group("group"));
    assert_eq!(consumer.committed(&[of(0), of(1)], SOON).unwrap(), Offsets::new());
    let first = Offsets::from([(of(0), CommittedOffset { offset: 5, metadata: "how far: ½".into() })]);
    consumer.commit(&first, SOON).unwrap();
    assert_eq!(consumer.committed(&[of(0), of(1)], SOON).unwrap(), first);
    let second = Offsets::from([(of(0), CommittedOffset { offset: 3, metadata: String::new() })]);
    consumer.commit(&second, SOON).unwrap();
    let mut other = here.consumer(here.group("group"));
    assert_eq!(other.committed(&[of(0)], SOON).unwrap(), second);
    assert_eq!(here.consumer(here.group("other")).committed(&[of(0)], SOON).unwrap(), Offsets::new());
}

pub fn a_group_begins_at_its_committed_offsets(here: &Here) {
    let topic = here.topic("topic", 1);
    send(&*here.producer(), &topic, 0, 0..10);
    let partition = TopicPartition::new(&*topic, 0);
    here.consumer(here.group("group")).commit(&offsets(&[(&partition, 7)]), SOON).unwrap();
    let mut consumer = here.consumer(here.group("group"));
    consumer.subscribe(&[&topic], Rebalances::ignored()).unwrap();
    assert_eq!(texts(&mut *consumer, 3), ["7", "8", "9"]);
}

pub fn a_group_without_offsets_begins_where_the_reset_says(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    send(&*producer, &topic, 0, ["old"]);
    let with = |offset_reset, group| here.consumer(ConsumerOptions { offset_reset, ..here.group(group) });
    let mut earliest = with(OffsetReset::Earliest, "earliest");
    earliest.subscribe(&[&topic], Rebalances::ignored()).unwrap();
    assert_eq!(texts(&mut *earliest, 1), ["old"]);

    let mut latest = with(OffsetReset::Latest, "latest");
    let rebalances = Rebalances::default();
    latest.subscribe(&[&topic], Box::new(rebalances.clone())).unwrap();
    poll_until(&mut [&mut latest], || rebalances.held().len() == 1);
    send(&*producer, &topic, 0, ["new"]);
    assert_eq!(texts(&mut *latest, 1), ["new"]);

    let mut none = with(OffsetReset::None, "none");
    none.subscribe(&[&topic], Rebalances::ignored()).unwrap();
    let until = Instant::now() + SOON;
    let error = loop {
        assert!(Instant::now() < until);
        if let Err(error) = none.poll(NOW) {
            break error;
        }
    };
    assert_eq!(error, Error::NoOffset(format!("{topic} 0")));
}

pub fn members_share_partitions_by_range_and_equal_numbers_go_together(here: &Here) {
    let (a, b) = (here.topic("a", 5), here.topic("b", 5));
    let (mut one, mut two) = (here.consumer(here.group("group")), here.consumer(here.group("group")));
    let (of_one, of_two) = (Rebalances::default(), Rebalances::default());
    one.subscribe(&[&a, &b], Box::new(of_one.clone())).unwrap();
    poll_until(&mut [&mut one], || of_one.held().len() == 10);
    let generation = one.group_metadata().unwrap();
    two.subscribe(&[&a, &b], Box::new(of_two.clone())).unwrap();
    poll_until(&mut [&mut one, &mut two], || of_one.held().len() + of_two.held().len() == 10 && !of_two.held().is_empty());
    let numbers = |rebalances: &Rebalances, topic: &str| -> Vec<i32> {
        rebalances.held().iter().filter(|partition| &*partition.topic == topic).map(|partition| partition.partition).collect()
    };
    for member in [&of_one, &of_two] {
        assert_eq!(numbers(member, &a), numbers(member, &b));
    }
    let mut shares = [numbers(&of_one, &a), numbers(&of_two, &a)];
    shares.sort();
    assert_eq!(shares, [vec![0, 1, 2], vec![3, 4]]);
    assert!(one.group_metadata().unwrap().generation > generation.generation);
}

pub fn a_member_that_leaves_gives_its_partitions_to_the_others(here: &Here) {
    let topic = here.topic("topic", 4);
    let (mut one, mut two, mut three) =
        (here.consumer(here.group("group")), here.consumer(here.group("group")), here.consumer(here.group("group")));
    let (of_one, of_two, of_three) = (Rebalances::default(), Rebalances::default(), Rebalances::default());
    one.subscribe(&[&topic], Box::new(of_one.clone())).unwrap();
    two.subscribe(&[&topic], Box::new(of_two.clone())).unwrap();
    three.subscribe(&[&topic], Box::new(of_three.clone())).unwrap();
    let counts = || [&of_one, &of_two, &of_three].map(|member| member.held().len());
    poll_until(&mut [&mut one, &mut two, &mut three], || counts().iter().sum::<usize>() == 4 && counts().iter().all(|n| *n > 0));
    one.unsubscribe().unwrap();
    assert_eq!(of_one.held(), []);
    poll_until(&mut [&mut two, &mut three], || counts()[1..] == [2, 2]);
    drop(three);
    poll_until(&mut [&mut two], || of_two.held().len() == 4);
    send(&*here.producer(), &topic, 3, ["still read"]);
    assert_eq!(texts(&mut *two, 1), ["still read"]);
}

pub fn what_is_committed_while_partitions_are_revoked_is_where_the_next_owner_begins(here: &Here) {
    let topic = here.topic("topic", 2);
    for partition in 0..2 {
        send(&*here.producer(), &topic, partition, 0..10);
    }
    let of = |partition| TopicPartition::new(&*topic, partition);
    let (mut one, mut two) = (here.consumer(here.group("group")), here.consumer(here.group("group")));
    let (of_one, of_two) = (Rebalances::default(), Rebalances::default());
    one.subscribe(&[&topic], Box::new(of_one.clone())).unwrap();
    read(&mut *one, 20);
    of_one.0.lock().unwrap().to_commit = offsets(&[(&of(0), 8), (&of(1), 8)]);
    two.subscribe(&[&topic], Box::new(of_two.clone())).unwrap();
    let mut found = HashMap::new();
    let until = Instant::now() + Duration::from_secs(30);
    while found.len() < 4 {
        assert!(Instant::now() < until, "{found:?}");
        for member in [&mut one, &mut two] {
            for batch in member.poll(Duration::from_millis(20)).unwrap() {
                found.extend(batch.records.iter().map(|record| ((batch.from.partition, record.offset), text(record))));
            }
        }
    }
    let expected: HashMap<_, _> = [(0, 8), (0, 9), (1, 8), (1, 9)].into_iter().map(|(p, o)| ((p, o), o.to_string())).collect();
    assert_eq!(found, expected);
    assert_eq!(of_one.0.lock().unwrap().committed, [Ok(())]);
}

pub fn a_member_of_an_older_generation_cannot_commit(here: &Here) {
    let topic = here.topic("topic", 2);
    let partition = TopicPartition::new(&*topic, 0);
    let options = ConsumerOptions { session_timeout: Duration::from_secs(2), ..here.group("group") };
    let mut one = here.consumer(options.clone());
    let of_one = Rebalances::default();
    one.subscribe(&[&topic], Box::new(of_one.clone())).unwrap();
    poll_until(&mut [&mut one], || of_one.held().len() == 2);
    one.commit(&offsets(&[(&partition, 1)]), SOON).unwrap();
    // A consumer outside the group must not commit for it while it has members.
    let outside = here.consumer(options).commit(&offsets(&[(&partition, 3)]), SOON);
    assert!(matches!(outside, Err(Error::Fenced(_))), "{outside:?}");
    one.unsubscribe().unwrap();
    let mut again = here.consumer(here.group("group"));
    assert_eq!(again.committed(std::slice::from_ref(&partition), SOON).unwrap(), offsets(&[(&partition, 1)]));
}
