//! The components: each as a process of its own, and all of them in one.

use std::{future::Future, sync::Arc, time::Instant};

use anyhow::Context;
use millstream_agent::{Agent, Backend, NeighbourOptions, Options as AgentOptions};
use millstream_broker::Broker;
use millstream_engine::{Engine, EngineOptions};
use millstream_gateway::{InProcess, InferenceServer, ModelGateway, ModelGatewayOptions, PipelineGateway, PipelineGatewayOptions};
use millstream_scheduler::{Options as SchedulerOptions, Scheduler};

use crate::{
    args::{AgentArgs, BrokerArgs, EngineArgs, ModelGatewayArgs, PipelineGatewayArgs, SchedulerArgs, UpArgs},
    inspector,
};

/// Completes when the process is told to stop.
async fn shutdown() {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return drop(tokio::signal::ctrl_c().await);
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

async fn broker(args: &BrokerArgs) -> anyhow::Result<Arc<dyn Broker>> {
    let args = args.clone();
    // Connecting waits for the broker: not on a thread of the runtime.
    let connect = move || millstream_broker::connect(args.bootstrap_servers.as_deref(), &args.data_dir);
    Ok(tokio::task::spawn_blocking(connect).await??)
}

/// The broker that several processes share: never the embedded one, which lives inside one process.
async fn shared_broker(args: &BrokerArgs) -> anyhow::Result<Arc<dyn Broker>> {
    anyhow::ensure!(
        args.bootstrap_servers.is_some(),
        "--bootstrap-servers is missing: components in processes of their own meet on Apache Kafka; `millstream up` runs them in one process without it"
    );
    broker(args).await
}

pub async fn scheduler(args: SchedulerArgs) -> anyhow::Result<()> {
    let options = SchedulerOptions {
        listen: args.listen,
        namespace: args.broker.namespace.clone(),
        topic_prefix: args.broker.topic_prefix.clone(),
        partitions: args.partitions,
        ..SchedulerOptions::default()
    };
    let broker = shared_broker(&args.broker).await?;
    let handle = Scheduler::start(options, broker).await?;
    eprintln!("scheduler         {}", handle.address());
    let mut handle = handle;
    tokio::select! {
        outcome = handle.wait() => Ok(outcome?),
        () = shutdown() => Ok(handle.stop().await?),
    }
}

pub async fn engine(args: EngineArgs) -> anyhow::Result<()> {
    let broker = shared_broker(&args.broker).await?;
    let options = EngineOptions {
        replica: args.replica,
        topic_prefix: args.broker.topic_prefix,
        namespace: args.broker.namespace,
        ..EngineOptions::default()
    };
    eprintln!("engine            {}", options.replica);
    let mut handle = Engine::start(options, &args.scheduler.scheduler_host, broker)?;
    tokio::select! {
        () = handle.wait() => {}
        () = shutdown() => {}
    }
    Ok(handle.stop().await?)
}

pub async fn pipeline_gateway(args: PipelineGatewayArgs) -> anyhow::Result<()> {
    let broker = shared_broker(&args.broker).await?;
    let mut options = PipelineGatewayOptions {
        listen: args.listen,
        topic_prefix: args.broker.topic_prefix,
        namespace: args.broker.namespace,
        inference_server: args.inference_server,
        ..PipelineGatewayOptions::default()
    };
    if let Some(replica) = args.replica {
        options.replica = replica;
    }
    let handle = PipelineGateway::start(options, broker, &args.scheduler.scheduler_host, None).await?;
    eprintln!("pipeline gateway  {}", handle.address());
    shutdown().await;
    handle.shutdown().await;
    Ok(())
}

pub async fn model_gateway(args: ModelGatewayArgs) -> anyhow::Result<()> {
    let broker = shared_broker(&args.broker).await?;
    let options = ModelGatewayOptions {
        topic_prefix: args.broker.topic_prefix,
        namespace: args.broker.namespace,
        partitions: args.partitions,
        inference_server: args.inference_server,
        ..ModelGatewayOptions::default()
    };
    let handle = ModelGateway::start(options, broker, &args.scheduler.scheduler_host, None).await?;
    eprintln!("model gateway");
    shutdown().await;
    handle.shutdown().await;
    Ok(())
}

pub async fn agent(args: AgentArgs) -> anyhow::Result<()> {
    let backend = match args.neighbour {
        Some(endpoint) => Backend::Neighbour(NeighbourOptions { endpoint, model_repository: args.model_repository }),
        None => Backend::Onnx,
    };
    let options = AgentOptions {
        server_name: args.server_name,
        replica_index: args.replica_index,
        scheduler: format!("http://{}", args.scheduler.scheduler_host),
        listen: args.listen,
        inference_host: args.advertise_host,
        backend,
        ..AgentOptions::default()
    };
    let agent = Agent::bind(options).await?;
    eprintln!("agent             {}", agent.handle().address());
    Ok(agent.run(shutdown()).await?)
}

/// Everything in one process.
pub async fn up(args: UpArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let broker = broker(&args.broker).await?;
    match &args.broker.bootstrap_servers {
        Some(servers) => eprintln!("broker            Apache Kafka at {servers}"),
        None => eprintln!("broker            embedded, in {}", args.broker.data_dir.display()),
    }
    let (namespace, topic_prefix) = (args.broker.namespace.clone(), args.broker.topic_prefix.clone());
    let options = SchedulerOptions {
        listen: args.scheduler_listen,
        namespace: namespace.clone(),
        topic_prefix: topic_prefix.clone(),
        partitions: args.partitions,
        // All replicas are in this process and start at once: none is waited for.
        rejoin_grace_ms: 200,
        ..SchedulerOptions::default()
    };
    let mut scheduler = Scheduler::start(options, broker.clone()).await?;
    let address = scheduler.address().to_string();
    eprintln!("scheduler         {address}");

    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let options = AgentOptions { scheduler: format!("http://{address}"), listen: local, ..AgentOptions::default() };
    let agent = Agent::bind(options).await?;
    let models: Arc<dyn InferenceServer> = Arc::new(InProcess(agent.handle().server().clone()));
    eprintln!("model server      embedded ONNX runtime, {}", agent.handle().address());

    let options = ModelGatewayOptions {
        topic_prefix: topic_prefix.clone(),
        namespace: namespace.clone(),
        partitions: args.partitions,
        ..ModelGatewayOptions::default()
    };
    let model_gateway = ModelGateway::start(options, broker.clone(), &address, Some(models.clone())).await?;
    let options = EngineOptions { topic_prefix: topic_prefix.clone(), namespace: namespace.clone(), ..EngineOptions::default() };
    let mut engine = Engine::start(options, &address, broker.clone())?;
    eprintln!("engine            engine-0");
    let options = PipelineGatewayOptions {
        listen: args.listen,
        replica: "gateway-0".into(),
        topic_prefix: topic_prefix.clone(),
        namespace: namespace.clone(),
        ..PipelineGatewayOptions::default()
    };
    let gateway = PipelineGateway::start(options, broker.clone(), &address, Some(models)).await?;
    eprintln!("inference         {} (REST and gRPC)", gateway.address());
    let inspecting = inspector::serve(args.inspect_listen, broker, &topic_prefix, &namespace)
        .await
        .with_context(|| format!("--inspect-listen {}", args.inspect_listen))?;
    eprintln!("ready after {} ms. What next:", started.elapsed().as_millis());
    eprintln!("  millstream model load -f models/add10.yaml --wait");
    eprintln!(
        "  millstream model infer add10 '{{\"inputs\": [{{\"name\": \"INPUT\", \"shape\": [1, 4], \"datatype\": \"FP32\", \"data\": [1, 2, 3, 4]}}]}}'"
    );

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let agent = tokio::spawn(agent.run(async { drop(stopped.await) }));
    let outcome = first_end(&mut scheduler, &mut engine).await;
    gateway.shutdown().await;
    model_gateway.shutdown().await;
    engine.stop().await?;
    drop(stop);
    agent.await??;
    scheduler.stop().await?;
    drop(inspecting);
    outcome
}

/// Waits for a signal, or for a component that ends by itself, which is an error.
async fn first_end(scheduler: &mut millstream_scheduler::Handle, engine: &mut millstream_engine::EngineHandle) -> anyhow::Result<()> {
    fn ended(what: &'static str) -> impl Fn(()) -> anyhow::Result<()> {
        move |()| anyhow::bail!("the {what} stopped by itself: see the log (MILLSTREAM_LOG=info)")
    }
    let scheduler: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(scheduler.wait());
    tokio::select! {
        outcome = scheduler => outcome.map_err(Into::into),
        () = engine.wait() => ended("engine")(()),
        () = shutdown() => Ok(()),
    }
}
