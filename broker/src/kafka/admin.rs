//! Topics.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use rdkafka::{
    TopicPartitionList,
    admin::{AdminOptions, NewTopic as KafkaTopic, ResourceSpecifier, TopicReplication},
    topic_partition_list::Offset,
    types::RDKafkaErrorCode as Code,
};

use super::{
    Cluster,
    errors::{at, from_code, from_kafka},
};
use crate::{Admin, Error, NewTopic, TopicDescription, TopicPartition};

/// How often it is asked whether the cluster knows of a change.
const ASK_AGAIN: Duration = Duration::from_millis(10);

pub(crate) struct KafkaAdmin(pub Arc<Cluster>);

impl KafkaAdmin {
    fn options(deadline: Duration) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(deadline)).operation_timeout(Some(deadline))
    }

    /// Waits until the topic is there, or is not: what was asked for is seen by the calls that follow.
    fn wait_until(&self, topic: &str, there: bool, until: Instant) -> Result<(), Error> {
        loop {
            self.0.forget(topic);
            match self.0.partitions(topic, until.saturating_duration_since(Instant::now()).max(ASK_AGAIN)) {
                Ok(_) if there => return Ok(()),
                Err(Error::UnknownTopic(_)) if !there => return Ok(()),
                Ok(_) | Err(Error::UnknownTopic(_)) => {}
                Err(Error::Other(_)) if there => {} // no leader yet
                Err(error) => return Err(error),
            }
            if Instant::now() >= until {
                return Err(Error::Timeout("the change of the topic"));
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }
}

impl Admin for KafkaAdmin {
    fn create_topics(&self, topics: &[NewTopic], deadline: Duration) -> Result<(), Error> {
        let until = Instant::now() + deadline;
        let largest = (self.0.options.max_message_bytes + 1024).to_string(); // a batch has a head
        let texts: Vec<_> = topics.iter().map(|topic| topic.retention_ms.unwrap_or(-1).to_string()).collect();
        let new = topics.iter().zip(&texts).map(|(topic, retention)| {
            let policy = match (topic.compact, topic.retention_ms) {
                (true, Some(_)) => "compact,delete",
                (true, None) => "compact",
                (false, _) => "delete",
            };
            let replication = TopicReplication::Fixed(self.0.options.replication);
            KafkaTopic::new(&topic.name, topic.partitions, replication)
                .set("cleanup.policy", policy)
                .set("retention.ms", retention)
                .set("max.message.bytes", &largest)
        });
        let new: Vec<_> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        let results = block_on(self.0.admin.create_topics(&new, &Self::options(deadline)));
        for result in results.map_err(|e| at(from_kafka(&e, ""), "create topics"))? {
            match result {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((name, Code::InvalidPartitions)) => {
                    return Err(Error::Other(format!("topic {name} cannot have so many partitions: ask for at least 1")));
                }
                Err((name, Code::InvalidTopic)) => {
                    return Err(Error::Other(format!("{name:?} is no topic name: use 1 to 249 letters, digits, '.', '_' and '-'")));
                }
                Err((name, code)) => return Err(from_code(code, &name)),
            }
        }
        for topic in topics {
            self.wait_until(&topic.name, true, until)?;
            let partitions = self.0.partitions(&topic.name, deadline)?;
            if partitions != topic.partitions {
                return Err(Error::TopicExists { topic: topic.name.clone(), partitions });
            }
        }
        Ok(())
    }

    fn delete_topics(&self, topics: &[&str], deadline: Duration) -> Result<(), Error> {
        let until = Instant::now() + deadline;
        if topics.is_empty() {
            return Ok(());
        }
        let results = block_on(self.0.admin.delete_topics(topics, &Self::options(deadline)));
        for result in results.map_err(|e| at(from_kafka(&e, ""), "delete topics"))? {
            match result {
                Ok(_) | Err((_, Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {}
                Err((name, code)) => return Err(from_code(code, &name)),
            }
        }
        topics.iter().try_for_each(|topic| self.wait_until(topic, false, until))
    }

    fn describe_topic(&self, topic: &str, deadline: Duration) -> Result<TopicDescription, Error> {
        self.0.forget(topic);
        let partitions = self.0.partitions(topic, deadline)?;
        let answers = block_on(self.0.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &Self::options(deadline)));
        let answers = answers.map_err(|e| at(from_kafka(&e, topic), "describe topic"))?;
        let resource = answers.into_iter().next().ok_or_else(|| Error::UnknownTopic(topic.to_owned()))?;
        let resource = resource.map_err(|code| from_code(code, topic))?;
        let value = |name: &str| resource.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
        let policy = value("cleanup.policy");
        let retention_ms = value("retention.ms").parse().ok().filter(|ms: &i64| *ms >= 0 && policy.contains("delete"));
        Ok(TopicDescription { partitions, retention_ms, compact: policy.contains("compact") })
    }

    fn list_topics(&self, deadline: Duration) -> Result<Vec<String>, Error> {
        let metadata = self.0.admin.inner().fetch_metadata(None, deadline).map_err(|e| at(from_kafka(&e, ""), "list topics"))?;
        let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with("__")).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn delete_records(&self, before: &[(TopicPartition, i64)], deadline: Duration) -> Result<(), Error> {
        if before.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(before.len());
        for (name, offset) in before {
            self.0.check(name, deadline)?;
            let TopicPartition { topic, partition } = name;
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).map_err(|e| from_kafka(&e, topic))?;
        }
        let done = block_on(self.0.admin.delete_records(&list, &Self::options(deadline)));
        for element in done.map_err(|e| at(from_kafka(&e, ""), "delete records"))?.elements() {
            element.error().map_err(|e| match from_kafka(&e, element.topic()) {
                Error::NoOffset(topic) => Error::Other(format!("{topic} {} ends before that offset", element.partition())),
                other => other,
            })?;
        }
        Ok(())
    }
}
