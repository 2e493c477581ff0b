//! Model servers where the scheduler says that they are: each model is asked where it runs.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use millstream_proto::{
    inference::{ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest},
    lanes::{Route, Routes, RoutesRequest, lanes_client::LanesClient},
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tonic::{Request, Response, Status, async_trait, transport::Channel};

use crate::{
    InferenceServer, Remote,
    link::{Event, Subscription},
};

/// How long a model that is known is waited for while no server answers for it.
const AWAY: Duration = Duration::from_secs(3);
/// How long one that is not known is: that it was loaded may be still on its way here.
const UNKNOWN: Duration = Duration::from_millis(250);

/// The servers of each model, with their addresses.
type Table = HashMap<String, Servers>;

struct Servers {
    all: Vec<(String, Remote)>,
    turn: AtomicUsize,
}

/// Asks for each model one of the servers that run it, in turn.
///
/// **Law.** What the scheduler last said holds while it is away; and while it has not heard of a model's servers, as after its restart, the
/// last ones that it knew are asked.
pub(crate) struct Router {
    table: watch::Receiver<Option<Arc<Table>>>,
    follower: JoinHandle<()>,
}

impl Router {
    pub fn start(subscriber: String, scheduler: Channel) -> Self {
        let (sender, table) = watch::channel(None);
        Self { table, follower: tokio::spawn(follow(subscriber, scheduler, sender)) }
    }

    async fn server(&self, model: &str) -> Result<Remote, Status> {
        let mut table = self.table.clone();
        let asked = Instant::now();
        loop {
            let now = table.borrow_and_update().clone();
            let servers = now.as_ref().map(|table| table.get(model));
            if let Some(Some(Servers { all, turn })) = servers
                && !all.is_empty()
            {
                return Ok(all[turn.fetch_add(1, Ordering::Relaxed) % all.len()].1.clone());
            }
            let unknown = matches!(servers, Some(None));
            let until = asked + if unknown { UNKNOWN } else { AWAY };
            if !matches!(tokio::time::timeout_at(until, table.changed()).await, Ok(Ok(()))) {
                return Err(match now {
                    None => Status::unavailable("the scheduler has not been reached yet: ask again later"),
                    Some(_) if unknown => Status::not_found(format!("there is no model {model}: load it first")),
                    Some(_) => Status::unavailable(format!("no server answers for model {model} now: ask again later")),
                });
            }
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

async fn follow(subscriber: String, scheduler: Channel, table: watch::Sender<Option<Arc<Table>>>) {
    let client = LanesClient::new(scheduler);
    let mut subscription = Subscription::new("routes", move || {
        let (mut client, request) = (client.clone(), RoutesRequest { subscriber: subscriber.clone() });
        Box::pin(async move { Ok(client.subscribe_routes(request).await?.into_inner()) })
    });
    loop {
        if let Event::Message(Routes { routes }) = subscription.next().await {
            let old = table.borrow().clone().unwrap_or_default();
            table.send_replace(Some(Arc::new(routes.into_iter().map(|route| servers(route, &old)).collect())));
        }
    }
}

/// The servers of a route; connections that there are stay.
fn servers(Route { model, addresses }: Route, old: &Table) -> (String, Servers) {
    let known = |address: &str| old.values().flat_map(|servers| &servers.all).find(|(known, _)| known == address).map(|(_, s)| s.clone());
    let mut all = Vec::with_capacity(addresses.len());
    for address in addresses {
        match known(&address).map_or_else(|| Remote::new(&address), Ok) {
            Ok(server) => all.push((address, server)),
            Err(error) => tracing::warn!(model, %error, "a server cannot be asked"),
        }
    }
    if all.is_empty() {
        all = old.get(&model).map(|servers| servers.all.clone()).unwrap_or_default();
    }
    (model, Servers { all, turn: AtomicUsize::new(0) })
}

#[async_trait]
impl InferenceServer for Router {
    async fn infer(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        self.server(&request.get_ref().model_name).await?.infer(request).await
    }

    async fn ready(&self, request: ModelReadyRequest) -> Result<bool, Status> {
        self.server(&request.name).await?.ready(request).await
    }

    async fn metadata(&self, request: ModelMetadataRequest) -> Result<ModelMetadataResponse, Status> {
        self.server(&request.name).await?.metadata(request).await
    }
}
