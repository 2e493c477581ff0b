//! What librdkafka's errors mean in the contract.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};

use crate::Error;

/// An error of a call about a topic (or none: "").
pub(crate) fn from_kafka(error: &KafkaError, topic: &str) -> Error {
    match error {
        KafkaError::ClientConfig(_, why, key, value) => Error::Other(format!("setting {key}={value} is refused ({why}): correct it")),
        KafkaError::AdminOp(code) => from_code(*code, topic),
        KafkaError::Transaction(error) if error.is_fatal() => match from_code(error.code(), topic) {
            fenced @ Error::Fenced(_) => fenced,
            _ => Error::Broken(error.string()),
        },
        other => other.rdkafka_error_code().map_or_else(|| Error::Other(other.to_string()), |code| from_code(code, topic)),
    }
}

/// An error code about a topic (or none: "").
pub(crate) fn from_code(code: Code, topic: &str) -> Error {
    match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => Error::UnknownTopic(topic.to_owned()),
        Code::OperationTimedOut | Code::RequestTimedOut | Code::MessageTimedOut | Code::TimedOutQueue => Error::Timeout("the request"),
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve => Error::Unreachable("of the cluster".into()),
        Code::Fenced
        | Code::FencedInstanceId
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::AssignmentLost => Error::Fenced(code.to_string()),
        Code::Fatal => Error::Broken(code.to_string()),
        Code::QueueFull => Error::QueueFull,
        Code::State => Error::State("the call does not fit the state: begin or end the transaction, assign the partition".into()),
        Code::NotConfigured => Error::State("the producer has no transactional id: make one with an id".into()),
        Code::InvalidRecord => Error::Other(format!("topic {topic} refuses the record: compacted topics need keys")),
        Code::MessageSizeTooLarge => Error::Other(format!("topic {topic} refuses so large a record: raise its max.message.bytes")),
        Code::AutoOffsetReset | Code::OffsetOutOfRange => Error::NoOffset(topic.to_owned()),
        other => Error::Other(other.to_string()),
    }
}

/// Says what timed out.
pub(crate) fn at(error: Error, what: &'static str) -> Error {
    if matches!(error, Error::Timeout(_)) { Error::Timeout(what) } else { error }
}

/// Whether librdkafka goes on trying by itself.
pub(crate) fn passes(code: Code) -> bool {
    use Code::*;
    matches!(code, AllBrokersDown | BrokerTransportFailure | Resolve | OperationTimedOut | RequestTimedOut | NetworkException)
        || matches!(code, WaitingForCoordinator | CoordinatorNotAvailable | NotCoordinator | CoordinatorLoadInProgress)
        || matches!(code, LeaderNotAvailable | NotLeaderForPartition | UnknownLeaderEpoch | FencedLeaderEpoch)
        || matches!(code, BrokerNotAvailable | ReplicaNotAvailable | OffsetNotAvailable | KafkaStorageError)
}
