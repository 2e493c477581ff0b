//! Records on their way.

use super::*;

pub fn records_of_a_partition_keep_their_order_and_get_offsets_without_gaps(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    for batch in 0..50 {
        let records = (batch * 100..(batch + 1) * 100).map(record).collect();
        producer.send(ProduceBatch { to: TopicPartition::new(&*topic, 0), records }, None).unwrap();
    }
    producer.flush(SOON).unwrap();
    let found = read(&mut *here.beginning_of(&topic, Isolation::ReadCommitted), 5000);
    for (i, (_, record)) in found.iter().enumerate() {
        assert_eq!((record.offset, text(record)), (i as i64, i.to_string()));
    }
}

pub fn partitions_are_independent(here: &Here) {
    let (topic, producer) = (here.topic("topic", 3), here.producer());
    for partition in 0..3 {
        send(&*producer, &topic, partition, (0..10).map(|i| format!("{partition}-{i}")));
    }
    let mut consumer = here.consumer(ConsumerOptions::default());
    let all: Vec<_> = (0..3).map(|p| (TopicPartition::new(&*topic, p), Position::Beginning)).collect();
    consumer.assign(&all).unwrap();
    let mut next = HashMap::new();
    for (from, record) in read(&mut *consumer, 30) {
        let next: &mut i64 = next.entry(from.partition).or_default();
        assert_eq!((record.offset, text(&record)), (*next, format!("{}-{next}", from.partition)));
        *next += 1;
    }
}

pub fn acknowledgements_say_the_offset_of_the_first_record(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let (told, answers) = mpsc::channel();
    for count in [3, 1, 500] {
        let told = told.clone();
        let acknowledge: Acknowledge = Box::new(move |result| told.send(result).unwrap());
        let records = (0..count).map(record).collect();
        producer.send(ProduceBatch { to: TopicPartition::new(&*topic, 0), records }, Some(acknowledge)).unwrap();
    }
    let answers: Vec<_> = (0..3).map(|_| answers.recv_timeout(SOON).unwrap()).collect();
    assert_eq!(answers, [Ok(0), Ok(3), Ok(4)]);
}

pub fn nulls_are_not_empty_values(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let forms = [None, Some("".into()), Some("x".into())];
    let records: Vec<_> = forms
        .iter()
        .flat_map(|key| forms.iter().map(|value| Record { key: key.clone(), value: value.clone(), timestamp: 5, ..Record::default() }))
        .collect();
    producer.send(ProduceBatch { to: TopicPartition::new(&*topic, 0), records: records.clone() }, None).unwrap();
    producer.flush(SOON).unwrap();
    let found = read(&mut *here.beginning_of(&topic, Isolation::ReadCommitted), 9);
    assert_eq!(found.into_iter().map(|(_, record)| record.record).collect::<Vec<_>>(), records);
}

pub fn timestamps_and_headers_arrive_as_they_were_sent(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let headers = || [Header::new("b", "2"), Header::new("a", "1"), Header { name: "null".into(), value: None }, Header::new("b", "")];
    let records: Vec<_> = [1_700_000_000_123, 1, 1_600_000_000_000]
        .into_iter()
        .map(|timestamp| Record { timestamp, value: Some("v".into()), headers: headers().into_iter().collect(), key: None })
        .collect();
    producer.send(ProduceBatch { to: TopicPartition::new(&*topic, 0), records: records.clone() }, None).unwrap();
    producer.flush(SOON).unwrap();
    let found = read(&mut *here.beginning_of(&topic, Isolation::ReadCommitted), 3);
    assert_eq!(found.into_iter().map(|(_, record)| record.record).collect::<Vec<_>>(), records);
    assert_eq!(records[0].headers.last("b").map(|value| &value[..]), Some(&b""[..]));
    assert_eq!(records[0].headers.last("null"), None);
}

pub fn large_records_arrive_and_too_large_ones_are_refused(here: &Here) {
    let (topic, producer) = (here.topic("topic", 1), here.producer());
    let large = |size: usize| Record { value: Some(vec![7; size].into()), timestamp: 1, ..Record::default() };
    let to = TopicPartition::new(&*topic, 0);
    producer.send(ProduceBatch { to: to.clone(), records: vec![large(5 << 20)] }, None).unwrap();
    producer.flush(SOON).unwrap();
    let limit = 64 << 20;
    let refused = producer.send(ProduceBatch { to, records: vec![record("fine"), large(limit + 1)] }, None);
    assert_eq!(refused, Err(Error::TooLarge { size: limit + 1, limit }));
    let mut consumer = here.beginning_of(&topic, Isolation::ReadCommitted);
    assert_eq!(read(&mut *consumer, 1)[0].1.record.value.as_ref().unwrap().len(), 5 << 20);
    read_nothing(&mut *consumer);
}

pub fn a_send_to_a_topic_that_is_not_there_fails_and_says_so(here: &Here) {
    let (name, producer) = (here.name("nowhere"), here.producer());
    let (told, answer) = mpsc::channel();
    let acknowledge: Acknowledge = Box::new(move |result| told.send(result).unwrap());
    let sent = producer.send(ProduceBatch { to: TopicPartition::new(&*name, 0), records: vec![record(1)] }, Some(acknowledge));
    let result = sent.and_then(|()| answer.recv_timeout(Duration::from_secs(40)).unwrap().map(|_| ()));
    assert_eq!(result, Err(Error::UnknownTopic(name)));
}

pub fn compacted_topics_refuse_records_without_a_key(here: &Here) {
    let (name, producer) = (here.name("compact"), here.producer());
    here.admin().create_topics(&[NewTopic::new(&name, 1).compacted()], SOON).unwrap();
    let (told, answer) = mpsc::channel();
    let acknowledge: Acknowledge = Box::new(move |result| told.send(result).unwrap());
    let sent = producer.send(ProduceBatch { to: TopicPartition::new(&*name, 0), records: vec![record(1)] }, Some(acknowledge));
    let result = sent.and_then(|()| answer.recv_timeout(SOON).unwrap().map(|_| ()));
    assert!(result.unwrap_err().to_string().contains("compacted"));
}
