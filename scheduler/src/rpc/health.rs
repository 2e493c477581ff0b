//! Seldon's own health check.

use millstream_proto::seldon::health::{HealthCheckRequest, HealthCheckResponse, health_check_service_server::HealthCheckService};
use tonic::{Request, Response, Status};

use super::Services;

#[tonic::async_trait]
impl HealthCheckService for Services {
    async fn health_check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let ok = self.client.query(|_| Ok(true)).await?;
        Ok(Response::new(HealthCheckResponse { ok }))
    }
}
