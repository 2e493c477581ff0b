//! Which pipelines there are, and whether they are ready.

use std::{collections::HashMap, time::Duration};

use millstream_proto::seldon::scheduler::{
    PipelineStatusResponse, PipelineSubscriptionRequest, pipeline_version_state::PipelineStatus, scheduler_client::SchedulerClient,
};
use parking_lot::RwLock;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::link::{Event, Subscription};

/// What the scheduler last said of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pipeline {
    pub version: u32,
    pub ready: bool,
    /// Why it is not.
    pub reason: String,
    /// Which subscription said so.
    subscription: u64,
}

/// Pipelines by name. Kept while the scheduler is away.
#[derive(Debug, Default)]
pub(crate) struct Catalogue(RwLock<HashMap<String, Pipeline>>);

impl Catalogue {
    pub fn get(&self, name: &str) -> Option<Pipeline> {
        self.0.read().get(name).cloned()
    }

    /// Follows the scheduler for ever.
    pub async fn follow(&self, replica: String, channel: Channel) {
        let client = SchedulerClient::new(channel);
        let mut subscription = Subscription::new("pipelines", move || {
            let request = PipelineSubscriptionRequest { subscriber_name: replica.clone(), ..PipelineSubscriptionRequest::default() };
            let mut client = client.clone();
            Box::pin(async move { Ok(client.subscribe_pipeline_status(request).await?.into_inner()) })
        });
        let (mut number, mut settled) = (0, None);
        loop {
            tokio::select! {
                event = subscription.next() => match event {
                    Event::Opened => {
                        number += 1;
                        settled = Some(Instant::now() + Duration::from_secs(2));
                    }
                    Event::Message(status) => self.learn(status, number),
                },
                // What a new subscription has not mentioned was removed while there was none.
                () = tokio::time::sleep_until(settled.unwrap_or_else(Instant::now)), if settled.is_some() => {
                    settled = None;
                    self.0.write().retain(|_, p| p.subscription == number);
                }
            }
        }
    }

    fn learn(&self, status: PipelineStatusResponse, subscription: u64) {
        let Some(state) = status.versions.into_iter().next_back().and_then(|v| v.state) else { return };
        let gone = matches!(
            state.status(),
            PipelineStatus::PipelineTerminate | PipelineStatus::PipelineTerminating | PipelineStatus::PipelineTerminated
        );
        if gone {
            self.0.write().remove(&status.pipeline_name);
            return;
        }
        let served = matches!(state.pipeline_gw_status(), PipelineStatus::PipelineReady | PipelineStatus::Unknown);
        let running = matches!(state.status(), PipelineStatus::PipelineReady | PipelineStatus::PipelineRebalancing);
        let reason = match () {
            () if !running => format!("{} {}", state.status().as_str_name(), state.reason),
            () if !served => format!("its gateway says {} {}", state.pipeline_gw_status().as_str_name(), state.pipeline_gw_reason),
            () if !state.models_ready => "not all of its models are ready".into(),
            () => String::new(),
        };
        let pipeline =
            Pipeline { version: state.pipeline_version, ready: reason.is_empty(), reason: reason.trim_end().into(), subscription };
        self.0.write().insert(status.pipeline_name, pipeline);
    }
}
