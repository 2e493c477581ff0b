//! The names of everything in one join, in the order in which Kafka Streams generates them.

use std::sync::Arc;

use crate::builder::graph::Graph;

pub(super) const OUTPUT: &str = "KTABLE-FK-JOIN-OUTPUT-";

/// The names of one join; those that the user did not give are numbered.
pub(super) struct Names {
    user: Option<String>,
    pub registration: Arc<str>,
    pub subscribe: Arc<str>,
    pub registration_sink: Arc<str>,
    pub registration_source: Arc<str>,
    pub store: Arc<str>,
    pub receive: Arc<str>,
    pub answer: Arc<str>,
    pub fan_out: Arc<str>,
    pub response: Arc<str>,
    pub response_sink: Arc<str>,
    pub response_source: Arc<str>,
    pub resolve: Arc<str>,
}

impl Names {
    pub fn new(graph: &mut Graph, user: Option<&str>) -> Self {
        const REGISTRATION: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-";
        const PROCESSOR: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-PROCESSOR-";
        const SINK: &str = "KTABLE-SINK-";
        const SOURCE: &str = "KTABLE-SOURCE-";
        let mut name = |suffix: &str, prefix: &str| graph.name_with_suffix_or(user, suffix, prefix);
        Self {
            user: user.map(String::from),
            registration: (name("-subscription-registration", REGISTRATION) + "-topic").into(),
            subscribe: name("-subscription-registration-processor", REGISTRATION).into(),
            registration_sink: name("-subscription-registration-sink", SINK).into(),
            registration_source: name("-subscription-registration-source", SOURCE).into(),
            store: name("-subscription-store", "KTABLE-FK-JOIN-SUBSCRIPTION-STATE-STORE-").into(),
            receive: name("-subscription-receive", PROCESSOR).into(),
            answer: name("-subscription-join-foreign", PROCESSOR).into(),
            fan_out: name("-foreign-join-subscription", PROCESSOR).into(),
            response: (name("-subscription-response", "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-") + "-topic").into(),
            response_sink: name("-subscription-response-sink", SINK).into(),
            response_source: name("-subscription-response-source", SOURCE).into(),
            resolve: name("-subscription-response-resolver", "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-RESOLVER-PROCESSOR-").into(),
        }
    }

    pub fn result(&self, graph: &mut Graph) -> Arc<str> {
        graph.name_with_suffix_or(self.user.as_deref(), "-result", OUTPUT).into()
    }
}
