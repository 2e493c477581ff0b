//! Engines and gateways.

use millstream_proto::lanes::{
    Assignment, AssignmentApplied, AssignmentAppliedResponse, Role, Routes, RoutesRequest, SubscribeRequest, lanes_server::Lanes,
};
use tokio::sync::{oneshot, watch};
use tokio_stream::{StreamExt, wrappers::WatchStream};
use tonic::{Request, Response, Status};

use super::Services;
use crate::{
    client::{Answers, stopping},
    state::input::Input,
};

#[tonic::async_trait]
impl Lanes for Services {
    type SubscribeStream = Answers<Assignment>;

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        let role = role(request.role)?;
        let (name, session) = (request.replica, self.client.session());
        if name.is_empty() {
            return Err(Status::invalid_argument("replica is empty: a replica subscribes under its own name"));
        }
        let (sender, receiver) = watch::channel(None);
        let stream = WatchStream::new(receiver).filter_map(|assignment: Option<Assignment>| assignment.map(Ok));
        let stream = self.client.guard(stream, Input::ReplicaLeft { role, name: name.clone(), session });
        self.client
            .join(move |registry, _| {
                registry.assignments.retain(|_, stream| !stream.is_closed());
                registry.assignments.insert((role, name.as_str().into()), sender);
                tracing::info!(role = role.as_str_name(), replica = name, "replica connected");
                Some(Input::ReplicaJoined { role, name, session, transactional_ids: request.transactional_ids })
            })
            .await?;
        Ok(Response::new(stream))
    }

    type SubscribeRoutesStream = Answers<Routes>;

    async fn subscribe_routes(&self, _: Request<RoutesRequest>) -> Result<Response<Self::SubscribeRoutesStream>, Status> {
        let (ready, routes) = oneshot::channel();
        self.client
            .join(move |registry, state| {
                registry.route(state);
                let _ = ready.send(registry.routes.subscribe()); // whoever asked may have gone
                None
            })
            .await?;
        let routes = routes.await.map_err(|_| stopping())?;
        Ok(Response::new(Box::pin(WatchStream::new(routes).map(Ok))))
    }

    async fn applied(&self, request: Request<AssignmentApplied>) -> Result<Response<AssignmentAppliedResponse>, Status> {
        let AssignmentApplied { replica: name, role: number, generation, failures } = request.into_inner();
        let failures = failures.into_iter().collect();
        self.client.step(Input::Applied { role: role(number)?, name, generation, failures }).await?;
        Ok(Response::new(AssignmentAppliedResponse {}))
    }
}

fn role(number: i32) -> Result<Role, Status> {
    Role::try_from(number).map_err(|_| Status::invalid_argument(format!("role {number} is not known: use ENGINE or PIPELINE_GATEWAY")))
}
