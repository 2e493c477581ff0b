//! The gRPC services: each call becomes an input or a query.

mod agent;
mod chainer;
mod health;
mod lanes;
mod scheduler;

use crate::client::Client;

/// Every service of the scheduler.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) client: Client,
}
