//! A replica: its port and its connection to the scheduler.

use crate::control::Control;
use crate::error::AgentError;
use crate::options::Options;
use crate::server::ModelServer;
use millstream_proto::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

/// Requests that are being answered at the end get this long.
const FAREWELL: Duration = Duration::from_secs(5);

/// A replica that listens already and registers when it [runs](Agent::run).
///
/// ```no_run
/// # async fn start() -> Result<(), millstream_agent::AgentError> {
/// let agent = millstream_agent::Agent::bind(Default::default()).await?;
/// let handle = agent.handle();
/// println!("models answer on {}", handle.address());
/// agent.run(std::future::pending()).await
/// # }
/// ```
pub struct Agent {
    options: Options,
    scheduler: Endpoint,
    listener: TcpListener,
    handle: Handle,
    registered: watch::Sender<bool>,
}

/// A running agent, for others in the same process.
#[derive(Clone)]
pub struct Handle {
    server: ModelServer,
    address: SocketAddr,
    registered: watch::Receiver<bool>,
}

impl Handle {
    /// The models, to be asked without a network.
    pub fn server(&self) -> &ModelServer {
        &self.server
    }

    /// Where the Open Inference Protocol is answered.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the scheduler knows the replica. Set a deadline around it: while there is no scheduler it waits on.
    pub async fn registered(&mut self) {
        // The agent is gone: nothing to wait for.
        let _ = self.registered.wait_for(|registered| *registered).await;
    }

    /// Whether the scheduler knows the replica now.
    pub fn is_registered(&self) -> bool {
        *self.registered.borrow()
    }
}

impl Agent {
    /// Takes the port. Whoever connects from now on is answered once the agent runs.
    pub async fn bind(options: Options) -> Result<Agent, AgentError> {
        let scheduler = Endpoint::from_shared(options.scheduler.clone()).map_err(|error| AgentError::Address {
            option: "scheduler",
            value: options.scheduler.clone(),
            example: 9005,
            reason: error.to_string(),
        })?;
        let server = ModelServer::new(&options)?;
        let listen = |reason| AgentError::Listen { address: options.listen, reason };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (registered, watched) = watch::channel(false);
        let handle = Handle { server, address, registered: watched };
        Ok(Agent { options, scheduler, listener, handle, registered })
    }

    /// For others in the same process.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Answers requests and follows the scheduler until `shutdown` is done; then what is being answered is finished, within bounds.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        let Agent { options, scheduler, listener, handle, registered } = self;
        let Handle { server, address, .. } = handle;
        let stopped = |reason: String| AgentError::Serve { address, reason };
        let control = Control::new(&options, scheduler, address.port(), server.clone(), registered);

        let inference = GrpcInferenceServiceServer::new(server)
            .max_decoding_message_size(options.max_message_bytes)
            .max_encoding_message_size(options.max_message_bytes);
        let (health_reporter, health) = tonic_health::server::health_reporter();
        health_reporter.set_serving::<GrpcInferenceServiceServer<ModelServer>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(millstream_proto::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| stopped(error.to_string()))?;
        let (finish, finished) = oneshot::channel::<()>();
        let serving = Server::builder()
            .add_service(inference)
            .add_service(health)
            .add_service(reflection)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async { finished.await.unwrap_or(()) });
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            ended = &mut serving => return Err(stopped(ended.err().map_or("it was told to".into(), |error| error.to_string()))),
            never = control.run() => match never {},
            () = shutdown => {}
        }
        drop(control);
        let _ = finish.send(());
        // Whoever is still connected after the farewell is cut off.
        match tokio::time::timeout(FAREWELL, serving).await {
            Ok(Err(error)) => Err(stopped(error.to_string())),
            _ => Ok(()),
        }
    }
}
