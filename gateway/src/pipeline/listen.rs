//! One port for HTTP/1.1, HTTP/2 without TLS, and gRPC.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{Request, header};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use millstream_proto::{FILE_DESCRIPTOR_SET, inference::grpc_inference_service_server::GrpcInferenceServiceServer};
use tokio::{net::TcpListener, sync::watch};
use tower::ServiceExt;

use super::{core::Core, grpc::Grpc};

/// How long a client may take for the headers of a request.
const HEADERS: Duration = Duration::from_secs(30);
/// How long requests that are under way may take when the gateway stops.
const GRACE: Duration = Duration::from_secs(5);

/// Accepts until it is told to stop, then lets what is under way finish.
pub(crate) async fn serve(listener: TcpListener, core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let streams = u32::try_from(core.options.max_in_flight).unwrap_or(u32::MAX).max(100);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(Duration::from_secs(20));
    let (rest, grpc) = (super::rest::router(core.clone()), grpc(core));
    let service = TowerToHyperService::new(tower::service_fn(move |request: Request<Incoming>| {
        let is_grpc = request.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
        if is_grpc { grpc.clone() } else { rest.clone() }.oneshot(request.map(Body::new))
    }));
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: those that are open must go first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _best_effort = stream.set_nodelay(true);
        let connection = builder.serve_connection(TokioIo::new(stream), service.clone()).into_owned();
        let watched = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(GRACE, connections.shutdown()).await.is_err() {
        tracing::warn!("requests are still under way; stopping without them");
    }
}

fn grpc(core: Arc<Core>) -> Router {
    let limit = core.options.max_body_bytes;
    let (health, health_service) = tonic_health::server::health_reporter();
    let inference = GrpcInferenceServiceServer::new(Grpc(core)).max_decoding_message_size(limit);
    let mut routes = tonic::service::Routes::new(inference).add_service(health_service);
    let reflection = || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET);
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no gRPC reflection"),
    }
    tokio::spawn(async move { health.set_serving::<GrpcInferenceServiceServer<Grpc>>().await });
    routes.prepare().into_axum_router()
}
