//! Reading.

use super::*;

pub fn a_poll_gives_no_more_records_than_asked_for(here: &Here) {
    let topic = here.topic("topic", 2);
    for partition in 0..2 {
        send(&*here.producer(), &topic, partition, 0..500);
    }
    let mut consumer = here.consumer(ConsumerOptions { max_poll_records: 64, ..ConsumerOptions::default() });
    let all: Vec<_> = (0..2).map(|p| (TopicPartition::new(&*topic, p), Position::Beginning)).collect();
    consumer.assign(&all).unwrap();
    let (mut next, until) = ([0; 2], Instant::now() + SOON);
    while next != [500, 500] {
        assert!(Instant::now() < until, "{next:?}");
        let batches = consumer.poll(NOW).unwrap();
        assert!(batches.iter().map(|batch| batch.records.len()).sum::<usize>() <= 64);
        for batch in batches {
            for record in &batch.records {
                assert_eq!(record.offset, next[batch.from.partition as usize]);
                next[batch.from.partition as usize] += 1;
            }
            assert_eq!(consumer.position(&batch.from).unwrap(), batch.next_offset);
        }
    }
}

pub fn assignment_begins_where_it_is_told_to(here: &Here) {
    let topic = here.topic("topic", 3);
    for partition in 0..3 {
        send(&*here.producer(), &topic, partition, 0..10);
    }
    let mut consumer = here.consumer(ConsumerOptions::default());
    let of = |partition| TopicPartition::new(&*topic, partition);
    consumer.assign(&[(of(0), Position::Beginning), (of(1), Position::Offset(7)), (of(2), Position::End)]).unwrap();
    assert_eq!([0, 1, 2].map(|p| consumer.position(&of(p)).unwrap()), [0, 7, 10]);
    let mut counts = [0; 3];
    read(&mut *consumer, 13).iter().for_each(|(from, _)| counts[from.partition as usize] += 1);
    assert_eq!(counts, [10, 3, 0]);
    // The next assignment replaces this one.
    consumer.assign(&[(of(1), Position::Offset(9))]).unwrap();
    assert_eq!(texts(&mut *consumer, 1), ["9"]);
    assert!(matches!(consumer.position(&of(0)), Err(Error::State(_))));
    consumer.assign(&[]).unwrap();
    read_nothing(&mut *consumer);
}

/// Nothing but the offset is known to it: neither an end nor another place of the topic has been asked for.
pub fn a_consumer_that_begins_at_an_offset_misses_nothing(here: &Here) {
    for name in ["a", "b", "c", "d", "e"] {
        let topic = here.topic(name, 4);
        let place = |partition| (TopicPartition::new(&*topic, partition), Position::Offset(7));
        (0..4).for_each(|partition| send(&*here.producer(), &topic, partition, 0..10));
        let mut consumer = here.consumer(ConsumerOptions::default());
        consumer.assign(&(0..4).map(place).collect::<Vec<_>>()).unwrap();
        assert_eq!(read(&mut *consumer, 12).len(), 12);
    }
}

pub fn an_end_is_the_end_at_the_time_of_the_call(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    send(&*producer, &topic, 0, ["before"]);
    let mut consumer = here.consumer(ConsumerOptions::default());
    consumer.assign(&[(TopicPartition::new(&*topic, 0), Position::End)]).unwrap();
    send(&*producer, &topic, 0, ["after"]);
    assert_eq!(texts(&mut *consumer, 1), ["after"]);
}

pub fn seeking_goes_back_and_forth(here: &Here) {
    let topic = here.topic("topic", 1);
    send(&*here.producer(), &topic, 0, 0..100);
    let partition = TopicPartition::new(&*topic, 0);
    let mut consumer = here.beginning_of(&topic, Isolation::ReadCommitted);
    assert_eq!(read(&mut *consumer, 100)[99].1.offset, 99);
    consumer.seek(&partition, Position::Offset(40)).unwrap();
    assert_eq!(consumer.position(&partition).unwrap(), 40);
    assert_eq!(texts(&mut *consumer, 60)[0], "40");
    consumer.seek(&partition, Position::Beginning).unwrap();
    assert_eq!(texts(&mut *consumer, 100)[0], "0");
    consumer.seek(&partition, Position::Beginning).unwrap();
    consumer.seek(&partition, Position::End).unwrap();
    read_nothing(&mut *consumer);
    let elsewhere = TopicPartition::new("elsewhere", 0);
    assert!(matches!(consumer.seek(&elsewhere, Position::End), Err(Error::State(_))));
}

pub fn paused_partitions_are_not_read_and_keep_their_place(here: &Here) {
    let (topic, producer) = (here.topic("topic", 2), here.producer());
    let of = |partition| TopicPartition::new(&*topic, partition);
    let mut consumer = here.consumer(ConsumerOptions { max_poll_records: 4, ..ConsumerOptions::default() });
    consumer.assign(&[(of(0), Position::Beginning), (of(1), Position::Beginning)]).unwrap();
    consumer.pause(&[of(1)]).unwrap();
    for partition in 0..2 {
        send(&*producer, &topic, partition, 0..10);
    }
    assert!(read(&mut *consumer, 10).iter().all(|(from, _)| from.partition == 0));
    read_nothing(&mut *consumer);
    assert_eq!(consumer.position(&of(1)).unwrap(), 0);
    consumer.resume(&[of(1)]).unwrap();
    let some: usize = loop {
        let count = consumer.poll(NOW).unwrap().iter().map(|batch| batch.records.len()).sum();
        if count > 0 {
            break count;
        }
    };
    consumer.pause(&[of(1)]).unwrap();
    read_nothing(&mut *consumer);
    consumer.resume(&[of(1)]).unwrap();
    assert_eq!(texts(&mut *consumer, 10 - some)[0], some.to_string());
}

pub fn a_poll_waits_for_records_and_returns_at_once_when_they_come(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let mut consumer = here.beginning_of(&topic, Isolation::ReadCommitted);
    send(&*producer, &topic, 0, ["first"]);
    read(&mut *consumer, 1);
    let sender = thread::spawn(move || {
        thread::sleep(Duration::from_millis(500));
        let began = Instant::now();
        send(&*producer, &topic, 0, ["second"]);
        began
    });
    let records = loop {
        let records: Vec<_> = consumer.poll(SOON).unwrap().into_iter().flat_map(|batch| batch.records).collect();
        if !records.is_empty() {
            break records;
        }
    };
    let came = Instant::now();
    let took = came.duration_since(sender.join().unwrap());
    assert_eq!(text(&records[0]), "second");
    assert!(took < Duration::from_millis(400), "{took:?}");
}

pub fn a_poll_without_records_ends_at_its_deadline(here: &Here) {
    let topic = here.topic("topic", 1);
    let mut consumer = here.beginning_of(&topic, Isolation::ReadUncommitted);
    for deadline in [0, 50, 300].map(Duration::from_millis) {
        let began = Instant::now();
        assert_eq!(consumer.poll(deadline).unwrap(), []);
        let took = began.elapsed();
        assert!(deadline <= took + Duration::from_millis(1) && took < deadline + Duration::from_millis(400), "{deadline:?} took {took:?}");
    }
}

pub fn a_wake_ends_a_poll_from_another_thread(here: &Here) {
    let topic = here.topic("topic", 1);
    let mut consumer = here.beginning_of(&topic, Isolation::ReadCommitted);
    read_nothing(&mut *consumer);
    let waker = consumer.waker();
    let woken = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        waker.wake();
        began
    });
    assert_eq!(consumer.poll(SOON).unwrap(), []);
    let ended = Instant::now();
    assert!(ended.duration_since(woken.join().unwrap()) < Duration::from_millis(200));
}

pub fn a_wake_before_the_poll_is_not_lost(here: &Here) {
    let topic = here.topic("topic", 1);
    let mut consumer = here.beginning_of(&topic, Isolation::ReadCommitted);
    read_nothing(&mut *consumer);
    consumer.waker().wake();
    let began = Instant::now();
    assert_eq!(consumer.poll(SOON).unwrap(), []);
    assert!(began.elapsed() < Duration::from_secs(1));
    // It was used up.
    let began = Instant::now();
    consumer.poll(NOW).unwrap();
    assert!(began.elapsed() >= NOW - Duration::from_millis(1));
}

pub fn end_offsets_and_positions_agree_when_caught_up(here: &Here) {
    let topic = here.topic("topic", 2);
    send(&*here.producer(), &topic, 0, 0..10);
    let of = |partition| TopicPartition::new(&*topic, partition);
    let mut consumer = here.consumer(ConsumerOptions::default());
    consumer.assign(&[(of(0), Position::Beginning), (of(1), Position::Beginning)]).unwrap();
    let ends = consumer.end_offsets(&[of(0), of(1)], SOON).unwrap();
    assert_eq!(ends, HashMap::from([(of(0), 10), (of(1), 0)]));
    read(&mut *consumer, 10);
    assert_eq!(consumer.position(&of(0)).unwrap(), 10);
}

pub fn deleted_records_are_not_read_any_more(here: &Here) {
    let topic = here.topic("topic", 1);
    let partition = TopicPartition::new(&*topic, 0);
    send(&*here.producer(), &topic, 0, 0..10);
    here.admin().delete_records(&[(partition.clone(), 6)], SOON).unwrap();
    let mut consumer = here.beginning_of(&topic, Isolation::ReadCommitted);
    assert_eq!(consumer.position(&partition).unwrap(), 6);
    assert_eq!(texts(&mut *consumer, 4), ["6", "7", "8", "9"]);
    // Who was further back goes on with the first that is left.
    consumer.seek(&partition, Position::Offset(2)).unwrap();
    assert_eq!(texts(&mut *consumer, 4), ["6", "7", "8", "9"]);
    here.admin().delete_records(&[(partition.clone(), 3)], SOON).unwrap();
    assert!(here.admin().delete_records(&[(partition.clone(), 11)], SOON).is_err());
    here.admin().delete_records(&[(partition.clone(), 10)], SOON).unwrap();
    send(&*here.producer(), &topic, 0, ["10"]);
    assert_eq!(texts(&mut *here.beginning_of(&topic, Isolation::ReadCommitted), 1), ["10"]);
}
