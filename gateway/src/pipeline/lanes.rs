//! The lanes that this gateway answers for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use millstream_broker::{Admin, NewTopic, TopicPartition};
use millstream_proto::lanes::{Assignment, AssignmentApplied, Role, SubscribeRequest, lanes_client::LanesClient};
use tokio::{sync::watch, time::Instant};
use tonic::transport::Channel;

use super::{
    replies::{Partitions, Replies},
    waiters::{Lane, Waiters},
};
use crate::{
    failure::Failure,
    link::{Event, Subscription},
    topics::Topics,
};

/// What this gateway may write to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owned {
    /// An assignment has come at all.
    pub assigned: bool,
    pub pipelines: HashMap<Arc<str>, Route>,
}

#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub inputs: Arc<str>,
    pub partitions: Arc<[i32]>,
}

/// Follows the scheduler's assignments.
///
/// **Law.** A lane is owned only while its answers are read. One that moves away takes no more requests, and is read until all
/// that wait on it are answered or the drain time has passed; who still waits then is told so.
pub(crate) struct Follower {
    pub replica: String,
    pub topics: Topics,
    pub channel: Channel,
    pub admin: Arc<dyn Admin>,
    pub replies: Arc<Replies>,
    pub waiters: Arc<Waiters>,
    pub owned: watch::Sender<Arc<Owned>>,
    pub drain: Duration,
    /// Lanes that moved away and are still read, and until when.
    pub leaving: BTreeMap<Lane, Instant>,
}

impl Follower {
    const DEADLINE: Duration = Duration::from_secs(10);

    pub async fn run(mut self) {
        let (client, replica) = (LanesClient::new(self.channel.clone()), self.replica.clone());
        let mut subscription = Subscription::new("lanes", move || {
            let request = SubscribeRequest { replica: replica.clone(), role: Role::PipelineGateway.into(), ..SubscribeRequest::default() };
            let mut client = client.clone();
            Box::pin(async move { Ok(client.subscribe(request).await?.into_inner()) })
        });
        let mut again = None;
        loop {
            tokio::select! {
                event = subscription.next() => if let Event::Message(assignment) = event {
                    again = self.apply(&assignment).await.then_some(assignment);
                },
                // A broker that was away may be back.
                () = tokio::time::sleep(Duration::from_secs(1)), if again.is_some() => if let Some(assignment) = again.take() {
                    again = self.apply(&assignment).await.then_some(assignment);
                },
                () = tokio::time::sleep(Duration::from_millis(50)), if !self.leaving.is_empty() => self.forsake().await,
            }
        }
    }

    /// Applies an assignment; whether some of it is to be tried again.
    async fn apply(&mut self, assignment: &Assignment) -> bool {
        let mut wanted: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
        for set in &assignment.lanes {
            wanted.entry(set.pipeline.as_str().into()).or_default().extend(&set.partitions);
        }
        let mut failures = HashMap::new();
        let before = self.owned.borrow().clone();
        let new: Vec<_> = wanted.keys().filter(|p| !before.pipelines.contains_key(*p)).cloned().collect();
        // All at once; one by one only to find out which cannot be created.
        if !new.is_empty() && self.create_topics(&new, assignment.partitions).await.is_err() {
            for pipeline in new {
                if let Err(reason) = self.create_topics(std::slice::from_ref(&pipeline), assignment.partitions).await {
                    wanted.remove(&pipeline);
                    failures.insert(pipeline.to_string(), reason);
                }
            }
        }
        for partitions in wanted.values_mut() {
            partitions.sort_unstable();
            partitions.dedup();
        }
        let until = Instant::now() + self.drain;
        for (pipeline, route) in &before.pipelines {
            let moved = route.partitions.iter().filter(|p| wanted.get(pipeline).is_none_or(|w| !w.contains(p)));
            self.leaving.extend(moved.map(|p| ((pipeline.clone(), *p), until)));
        }
        self.leaving.retain(|(pipeline, partition), _| wanted.get(pipeline).is_none_or(|w| !w.contains(partition)));
        for (pipeline, reason) in self.read(&wanted).await {
            wanted.remove(&pipeline);
            failures.insert(pipeline.to_string(), reason);
        }
        for (pipeline, reason) in &failures {
            tracing::warn!(pipeline, reason, "cannot answer for the pipeline");
        }
        let route = |(pipeline, partitions): (Arc<str>, Vec<i32>)| {
            let inputs = self.topics.pipeline_inputs(&pipeline).into();
            (!partitions.is_empty()).then(|| (pipeline, Route { inputs, partitions: partitions.into() }))
        };
        let owned = Owned { assigned: true, pipelines: wanted.into_iter().filter_map(route).collect() };
        tracing::info!(generation = assignment.generation, pipelines = owned.pipelines.len(), "lanes assigned");
        self.owned.send_replace(Arc::new(owned));
        let failed = !failures.is_empty();
        let applied = AssignmentApplied {
            replica: self.replica.clone(),
            role: Role::PipelineGateway.into(),
            generation: assignment.generation,
            failures,
        };
        let mut client = LanesClient::new(self.channel.clone());
        tokio::spawn(async move {
            if let Ok(Err(status)) = tokio::time::timeout(Self::DEADLINE, client.applied(applied)).await {
                tracing::warn!(reason = status.message(), "cannot tell the scheduler that lanes are applied");
            }
        });
        failed
    }

    /// Both topics are there before the first request, whoever comes first.
    async fn create_topics(&self, pipelines: &[Arc<str>], partitions: i32) -> Result<(), String> {
        let names = pipelines.iter().flat_map(|p| [self.topics.pipeline_inputs(p), self.topics.pipeline_outputs(p)]);
        let topics: Vec<_> = names.map(|name| NewTopic::new(name, partitions)).collect();
        let admin = self.admin.clone();
        let created = tokio::task::spawn_blocking(move || admin.create_topics(&topics, Self::DEADLINE)).await;
        created.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }

    /// Reads the lanes that are wanted and those that are leaving.
    async fn read(&self, wanted: &BTreeMap<Arc<str>, Vec<i32>>) -> HashMap<Arc<str>, String> {
        let mut partitions = Partitions::new();
        let lanes = wanted.iter().flat_map(|(pipeline, ps)| ps.iter().map(move |p| (pipeline, *p)));
        for (pipeline, partition) in lanes.chain(self.leaving.keys().map(|(pipeline, p)| (pipeline, *p))) {
            let topic: Arc<str> = self.topics.pipeline_outputs(pipeline).into();
            partitions.entry(pipeline.clone()).or_default().push(TopicPartition { topic, partition });
        }
        self.replies.assign(partitions).await
    }

    /// Gives up the lanes that have moved away and that nobody waits on any more, or for too long.
    async fn forsake(&mut self) {
        let (now, before) = (Instant::now(), self.leaving.len());
        let waiters = &self.waiters;
        self.leaving.retain(|lane, until| {
            if *until <= now {
                waiters.fail(
                    |l| l == lane,
                    || {
                        Failure::unavailable(format!(
                            "pipeline {} moved to another gateway while the request was under way: ask again",
                            lane.0
                        ))
                    },
                );
            }
            waiters.any(lane)
        });
        if self.leaving.len() < before {
            let owned = self.owned.borrow().clone();
            let wanted = owned.pipelines.iter().map(|(pipeline, route)| (pipeline.clone(), route.partitions.to_vec())).collect();
            self.read(&wanted).await;
        }
    }
}
