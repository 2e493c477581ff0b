//! Transactions.

use super::*;

pub fn a_committed_transaction_is_seen_as_a_whole_and_not_before(here: &Here) {
    let (one, two) = (here.topic("one", 1), here.topic("two", 1));
    let producer = here.transactional("producer");
    let mut uncommitted = here.beginning_of(&one, Isolation::ReadUncommitted);
    let mut committed = here.consumer(ConsumerOptions::default());
    let all = [&one, &two].map(|topic| (TopicPartition::new(&**topic, 0), Position::Beginning));
    committed.assign(&all).unwrap();
    producer.begin_transaction().unwrap();
    send(&*producer, &one, 0, ["a", "b"]);
    send(&*producer, &two, 0, ["c"]);
    assert_eq!(texts(&mut *uncommitted, 2), ["a", "b"]);
    read_nothing(&mut *committed);
    producer.commit_transaction(SOON).unwrap();
    let mut found = texts(&mut *committed, 3);
    found.sort();
    assert_eq!(found, ["a", "b", "c"]);
    // And the next one.
    producer.begin_transaction().unwrap();
    send(&*producer, &one, 0, ["d"]);
    producer.commit_transaction(SOON).unwrap();
    assert_eq!(texts(&mut *committed, 1), ["d"]);
}

pub fn an_aborted_transaction_is_never_seen_by_those_who_read_committed(here: &Here) {
    let topic = here.topic("topic", 1);
    let (producer, plain) = (here.transactional("producer"), here.producer());
    for round in 0..3 {
        send(&*plain, &topic, 0, [format!("plain {round}")]);
        producer.begin_transaction().unwrap();
        send(&*producer, &topic, 0, [format!("aborted {round}")]);
        send(&*plain, &topic, 0, [format!("between {round}")]);
        send(&*producer, &topic, 0, [format!("aborted too {round}")]);
        producer.abort_transaction(SOON).unwrap();
        producer.begin_transaction().unwrap();
        send(&*producer, &topic, 0, [format!("committed {round}")]);
        producer.commit_transaction(SOON).unwrap();
    }
    let expected = (0..3).flat_map(|round| ["plain", "between", "committed"].map(|what| format!("{what} {round}")));
    let mut consumer = here.beginning_of(&topic, Isolation::ReadCommitted);
    assert_eq!(texts(&mut *consumer, 9), expected.collect::<Vec<_>>());
    read_nothing(&mut *consumer);
    let all = texts(&mut *here.beginning_of(&topic, Isolation::ReadUncommitted), 15);
    assert!(all.contains(&"aborted too 2".to_owned()));
}

pub fn records_behind_an_open_transaction_wait_for_its_end(here: &Here) {
    let topic = here.topic("topic", 1);
    let partition = TopicPartition::new(&*topic, 0);
    let producer = here.transactional("producer");
    send(&*here.producer(), &topic, 0, ["before"]);
    producer.begin_transaction().unwrap();
    send(&*producer, &topic, 0, ["inside"]);
    send(&*here.producer(), &topic, 0, ["behind"]);
    let mut consumer = here.beginning_of(&topic, Isolation::ReadCommitted);
    assert_eq!(texts(&mut *consumer, 1), ["before"]);
    read_nothing(&mut *consumer);
    assert_eq!(consumer.end_offsets(std::slice::from_ref(&partition), SOON).unwrap()[&partition], 1);
    let mut uncommitted = here.beginning_of(&topic, Isolation::ReadUncommitted);
    assert_eq!(uncommitted.end_offsets(std::slice::from_ref(&partition), SOON).unwrap()[&partition], 3);
    producer.commit_transaction(SOON).unwrap();
    assert_eq!(texts(&mut *consumer, 2), ["inside", "behind"]);
}

pub fn offsets_of_a_transaction_are_committed_with_it_or_not_at_all(here: &Here) {
    let (input, output) = (here.topic("input", 1), here.topic("output", 1));
    let partition = TopicPartition::new(&*input, 0);
    send(&*here.producer(), &input, 0, 0..10);
    let mut consumer = here.consumer(here.group("group"));
    let rebalances = Rebalances::default();
    consumer.subscribe(&[&input], Box::new(rebalances.clone())).unwrap();
    read(&mut *consumer, 10);
    let producer = here.transactional("producer");
    for (offset, commits) in [(4, false), (6, true), (9, false)] {
        producer.begin_transaction().unwrap();
        send(&*producer, &output, 0, [offset]);
        let metadata = format!("at {offset}");
        let all = Offsets::from([(partition.clone(), CommittedOffset { offset, metadata })]);
        producer.send_offsets(&all, &consumer.group_metadata().unwrap(), SOON).unwrap();
        if commits { producer.commit_transaction(SOON).unwrap() } else { producer.abort_transaction(SOON).unwrap() }
    }
    let expected = Offsets::from([(partition.clone(), CommittedOffset { offset: 6, metadata: "at 6".into() })]);
    assert_eq!(consumer.committed(&[partition], SOON).unwrap(), expected);
    assert_eq!(texts(&mut *here.beginning_of(&output, Isolation::ReadCommitted), 1), ["6"]);
}

pub fn the_position_moves_over_what_is_not_to_be_seen(here: &Here) {
    let topic = here.topic("topic", 1);
    let partition = TopicPartition::new(&*topic, 0);
    let producer = here.transactional("producer");
    let mut consumer = here.beginning_of(&topic, Isolation::ReadCommitted);
    for round in 0..3 {
        producer.begin_transaction().unwrap();
        send(&*producer, &topic, 0, ["seen"]);
        producer.commit_transaction(SOON).unwrap();
        producer.begin_transaction().unwrap();
        send(&*producer, &topic, 0, ["hidden"]);
        producer.abort_transaction(SOON).unwrap();
        if round == 1 {
            // Read to the end before anyone asks where it is.
            read_nothing_but(&mut *consumer, "seen");
        }
        let end = consumer.end_offsets(std::slice::from_ref(&partition), SOON).unwrap()[&partition];
        read_to(&mut *consumer, &partition, end);
        // Or asks before it reads at all.
        let mut other = here.consumer(ConsumerOptions { isolation: Isolation::ReadCommitted, ..ConsumerOptions::default() });
        let end = other.end_offsets(std::slice::from_ref(&partition), SOON).unwrap()[&partition];
        other.assign(&[(partition.clone(), Position::Beginning)]).unwrap();
        read_to(&mut *other, &partition, end);
    }
}

fn read_to(consumer: &mut dyn Consumer, partition: &TopicPartition, end: i64) {
    let until = Instant::now() + SOON;
    while consumer.position(partition).unwrap() < end {
        assert!(Instant::now() < until, "at {} of {end}", consumer.position(partition).unwrap());
        for batch in consumer.poll(NOW).unwrap() {
            assert!(batch.records.iter().all(|record| text(record) == "seen"));
            assert_eq!(batch.next_offset, consumer.position(partition).unwrap());
        }
    }
    assert_eq!(consumer.position(partition).unwrap(), end);
}

fn read_nothing_but(consumer: &mut dyn Consumer, value: &str) {
    let until = Instant::now() + 3 * NOW;
    while Instant::now() < until {
        consumer.poll(NOW).unwrap().iter().flat_map(|batch| &batch.records).for_each(|record| assert_eq!(text(record), value));
    }
}

pub fn a_newer_producer_of_the_same_transactional_id_fences_the_older(here: &Here) {
    let topic = here.topic("topic", 1);
    let older = here.transactional("producer");
    older.begin_transaction().unwrap();
    send(&*older, &topic, 0, ["zombie"]);
    let newer = here.transactional("producer");
    let to = TopicPartition::new(&*topic, 0);
    let sent = older.send(ProduceBatch { to, records: vec![record("too late")] }, None).and_then(|()| older.flush(SOON));
    let committed = older.commit_transaction(SOON);
    let error = sent.and(committed).unwrap_err();
    assert!(matches!(error, Error::Fenced(_)) && error.is_fatal(), "{error:?}");
    newer.begin_transaction().unwrap();
    send(&*newer, &topic, 0, ["alive"]);
    newer.commit_transaction(SOON).unwrap();
    let mut consumer = here.beginning_of(&topic, Isolation::ReadCommitted);
    assert_eq!(texts(&mut *consumer, 1), ["alive"]);
    read_nothing(&mut *consumer);
}

pub fn a_newer_producer_aborts_what_the_older_left_open(here: &Here) {
    let topic = here.topic("topic", 1);
    let partition = TopicPartition::new(&*topic, 0);
    let older = here.transactional("producer");
    older.begin_transaction().unwrap();
    send(&*older, &topic, 0, ["left open"]);
    let mut group = here.consumer(here.group("group"));
    older.send_offsets(&offsets(&[(&partition, 5)]), &group.group_metadata().unwrap(), SOON).unwrap();
    send(&*here.producer(), &topic, 0, ["behind"]);
    let _newer = here.transactional("producer");
    assert_eq!(texts(&mut *here.beginning_of(&topic, Isolation::ReadCommitted), 1), ["behind"]);
    assert_eq!(group.committed(&[partition], SOON).unwrap(), Offsets::new());
}

pub fn a_member_of_an_older_generation_cannot_add_offsets_to_a_transaction(here: &Here) {
    let topic = here.topic("topic", 2);
    let partition = TopicPartition::new(&*topic, 0);
    let (mut one, mut two) = (here.consumer(here.group("group")), here.consumer(here.group("group")));
    let (of_one, of_two) = (Rebalances::default(), Rebalances::default());
    one.subscribe(&[&topic], Box::new(of_one.clone())).unwrap();
    poll_until(&mut [&mut one], || of_one.held().len() == 2);
    let older = one.group_metadata().unwrap();
    two.subscribe(&[&topic], Box::new(of_two.clone())).unwrap();
    poll_until(&mut [&mut one, &mut two], || of_one.held().len() == 1 && of_two.held().len() == 1);
    let producer = here.transactional("producer");
    producer.begin_transaction().unwrap();
    let fenced = producer.send_offsets(&offsets(&[(&partition, 2)]), &older, SOON);
    assert!(matches!(fenced, Err(Error::Fenced(_))), "{fenced:?}");
    producer.abort_transaction(SOON).unwrap();
    producer.begin_transaction().unwrap();
    producer.send_offsets(&offsets(&[(&partition, 2)]), &one.group_metadata().unwrap(), SOON).unwrap();
    producer.commit_transaction(SOON).unwrap();
    assert_eq!(one.committed(std::slice::from_ref(&partition), SOON).unwrap(), offsets(&[(&partition, 2)]));
}

pub fn calls_that_do_not_fit_the_state_are_errors_and_break_nothing(here: &Here) {
    let topic = here.topic("topic", 1);
    let to = TopicPartition::new(&*topic, 0);
    let is_state = |result: Result<(), Error>| assert!(matches!(result, Err(Error::State(_))), "{result:?}");
    let plain = here.producer();
    is_state(plain.init_transactions(SOON));
    is_state(plain.begin_transaction());
    is_state(plain.commit_transaction(SOON));
    is_state(plain.send(ProduceBatch { to: to.clone(), records: vec![] }, None));
    let producer = here.transactional("producer");
    is_state(producer.send(ProduceBatch { to: to.clone(), records: vec![record(1)] }, None));
    is_state(producer.commit_transaction(SOON));
    producer.begin_transaction().unwrap();
    is_state(producer.begin_transaction());
    send(&*producer, &topic, 0, ["fine"]);
    producer.commit_transaction(SOON).unwrap();

    let mut alone = here.consumer(ConsumerOptions::default());
    is_state(alone.subscribe(&[&topic], Rebalances::ignored()));
    is_state(alone.commit(&offsets(&[(&to, 1)]), SOON));
    is_state(alone.group_metadata().map(|_| ()));
    is_state(alone.pause(std::slice::from_ref(&to)));
    let mut member = here.consumer(here.group("group"));
    member.subscribe(&[&topic], Rebalances::ignored()).unwrap();
    is_state(member.assign(&[(to, Position::Beginning)]));
    assert_eq!(texts(&mut *member, 1), ["fine"]);
}

pub fn many_threads_share_a_producer(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (producer, to) = (producer.clone(), TopicPartition::new(&*topic, 0));
            thread::spawn(move || {
                for i in 0..100 {
                    let records = vec![record(format!("{thread}-{i}"))];
                    producer.send(ProduceBatch { to: to.clone(), records }, None).unwrap();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    producer.flush(SOON).unwrap();
    let found = texts(&mut *here.beginning_of(&topic, Isolation::ReadCommitted), 400);
    for thread in 0..4 {
        let own: Vec<_> = found.iter().filter(|value| value.starts_with(&format!("{thread}-"))).cloned().collect();
        assert_eq!(own, (0..100).map(|i| format!("{thread}-{i}")).collect::<Vec<_>>());
    }
}
