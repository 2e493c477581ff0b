//! Topics.

use super::*;

pub fn a_topic_is_created_described_listed_and_deleted(here: &Here) {
    let (admin, plain, old) = (here.admin(), here.name("plain"), here.name("old"));
    let (compact, both) = (here.name("compact"), here.name("both"));
    let topics = [
        NewTopic::new(&plain, 3),
        NewTopic::new(&old, 1).retention_ms(3_600_000),
        NewTopic::new(&compact, 2).compacted(),
        NewTopic::new(&both, 1).compacted().retention_ms(7_200_000),
    ];
    admin.create_topics(&topics, SOON).unwrap();
    for NewTopic { name, partitions, retention_ms, compact } in &topics {
        let expected = TopicDescription { partitions: *partitions, retention_ms: *retention_ms, compact: *compact };
        assert_eq!(admin.describe_topic(name, SOON).unwrap(), expected, "{name}");
    }
    let listed = || admin.list_topics(SOON).unwrap().into_iter().filter(|name| name.starts_with(&format!("{}-", here.prefix)));
    assert_eq!(listed().collect::<Vec<_>>(), [&both, &compact, &old, &plain].map(Clone::clone));
    admin.delete_topics(&[&plain, &old, &here.name("never")], SOON).unwrap();
    assert_eq!(listed().collect::<Vec<_>>(), [both, compact]);
    assert_eq!(admin.describe_topic(&plain, SOON), Err(Error::UnknownTopic(plain)));
}

pub fn creating_a_topic_again_is_no_error_unless_its_partitions_differ(here: &Here) {
    let name = here.topic("topic", 2);
    here.topic("topic", 2);
    let other = here.admin().create_topics(&[NewTopic::new(&name, 3)], SOON);
    assert_eq!(other, Err(Error::TopicExists { topic: name, partitions: 2 }));
}

pub fn a_topic_that_is_not_there_is_an_error_that_names_it(here: &Here) {
    let (name, there) = (here.name("nowhere"), here.topic("there", 2));
    let mut consumer = here.consumer(here.group("group"));
    let unknown = Err(Error::UnknownTopic(name.clone()));
    assert_eq!(consumer.assign(&[(TopicPartition::new(&*name, 0), Position::Beginning)]), unknown);
    assert_eq!(consumer.subscribe(&[&name], Rebalances::ignored()), unknown);
    assert_eq!(here.admin().describe_topic(&name, SOON).map(|_| ()), unknown);
    let beyond = consumer.assign(&[(TopicPartition::new(&*there, 2), Position::Beginning)]);
    assert_eq!(beyond, Err(Error::UnknownPartition { topic: there, partition: 2 }));
}

pub fn bad_topic_names_and_numbers_of_partitions_are_refused(here: &Here) {
    let refused = |topic: NewTopic| here.admin().create_topics(&[topic], SOON).unwrap_err().to_string();
    assert!(refused(NewTopic::new("no spaces", 1)).contains("is no topic name"));
    assert!(refused(NewTopic::new(here.name("zero"), 0)).contains("ask for at least 1"));
}

pub fn a_deleted_topic_that_is_created_again_is_empty(here: &Here) {
    let name = here.topic("topic", 1);
    send(&*here.producer(), &name, 0, ["old"]);
    here.admin().delete_topics(&[&name], SOON).unwrap();
    here.topic("topic", 1);
    send(&*here.producer(), &name, 0, ["new"]);
    let found = read(&mut *here.beginning_of(&name, Isolation::ReadCommitted), 1);
    assert_eq!((found[0].1.offset, text(&found[0].1)), (0, "new".to_owned()));
}
