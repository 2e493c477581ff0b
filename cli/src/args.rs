//! The command line: one definition per flag, from which help and errors follow.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Inference pipelines and streams, exactly once.
#[derive(Parser)]
#[command(name = "millstream", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run everything in this process: broker, scheduler, engine, gateways and a model server.
    Up(UpArgs),
    /// Run a scheduler.
    Scheduler(SchedulerArgs),
    /// Run an engine replica.
    Engine(EngineArgs),
    /// Run a gateway.
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Run a model server.
    Agent(AgentArgs),
    /// Load, unload, list and ask models.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Load, unload, list, ask and inspect pipelines.
    #[command(subcommand)]
    Pipeline(PipelineCommand),
}

#[derive(Subcommand)]
pub enum GatewayCommand {
    /// REST and gRPC in front of pipelines.
    Pipeline(PipelineGatewayArgs),
    /// Feeds models from their topics.
    Model(ModelGatewayArgs),
}

/// Where the data is.
#[derive(Args, Clone)]
pub struct BrokerArgs {
    /// Apache Kafka's addresses, host:port with commas between; without them the embedded broker in --data-dir is used.
    #[arg(long, env = "MILLSTREAM_BOOTSTRAP_SERVERS")]
    pub bootstrap_servers: Option<String>,
    /// Where the embedded broker keeps its data.
    #[arg(long, default_value = "millstream-data", env = "MILLSTREAM_DATA_DIR")]
    pub data_dir: PathBuf,
    /// The first part of all topics' names.
    #[arg(long, default_value = "seldon")]
    pub topic_prefix: String,
    /// The second part of all topics' names.
    #[arg(long, default_value = "default", env = "POD_NAMESPACE")]
    pub namespace: String,
}

#[derive(Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Where inference is answered: REST and gRPC.
    #[arg(long, default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,
    /// Where the scheduler answers.
    #[arg(long, default_value = "127.0.0.1:9004")]
    pub scheduler_listen: SocketAddr,
    /// Where `pipeline inspect` is answered.
    #[arg(long, default_value = "127.0.0.1:9007")]
    pub inspect_listen: SocketAddr,
    /// How many partitions the topics of models and pipelines have.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
}

#[derive(Args)]
pub struct SchedulerArgs {
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Where the scheduler answers.
    #[arg(long, default_value = "0.0.0.0:9004")]
    pub listen: SocketAddr,
    /// How many partitions the topics of models and pipelines have.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
}

#[derive(Args)]
pub struct EngineArgs {
    #[command(flatten)]
    pub broker: BrokerArgs,
    #[command(flatten)]
    pub scheduler: SchedulerHost,
    /// The replica's name, unique among engines.
    #[arg(long, env = "POD_NAME")]
    pub replica: String,
}

#[derive(Args)]
pub struct PipelineGatewayArgs {
    #[command(flatten)]
    pub broker: BrokerArgs,
    #[command(flatten)]
    pub scheduler: SchedulerHost,
    /// Where inference is answered: REST and gRPC.
    #[arg(long, default_value = "0.0.0.0:9000")]
    pub listen: SocketAddr,
    /// The replica's name, unique among pipeline gateways; random if not given.
    #[arg(long, env = "POD_NAME")]
    pub replica: Option<String>,
    /// host:port of a server or proxy that answers for all models; without it each model is asked where the scheduler has loaded it.
    #[arg(long)]
    pub inference_server: Option<String>,
}

#[derive(Args)]
pub struct ModelGatewayArgs {
    #[command(flatten)]
    pub broker: BrokerArgs,
    #[command(flatten)]
    pub scheduler: SchedulerHost,
    /// host:port of a server or proxy that runs all models; without it each model is asked where the scheduler has loaded it.
    #[arg(long)]
    pub inference_server: Option<String>,
    /// How many partitions the topics of models have.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
}

#[derive(Args)]
pub struct AgentArgs {
    #[command(flatten)]
    pub scheduler: SchedulerHost,
    /// Where the Open Inference Protocol is answered.
    #[arg(long, default_value = "127.0.0.1:9500")]
    pub listen: SocketAddr,
    /// The host under which gateways reach --listen, if it is not that address.
    #[arg(long)]
    pub advertise_host: Option<String>,
    /// The server that this is a replica of.
    #[arg(long, default_value = "onnx")]
    pub server_name: String,
    /// Which replica of it.
    #[arg(long, default_value_t = 0)]
    pub replica_index: u32,
    /// gRPC address of a neighbouring inference server, MLServer for example; without it models run in this process.
    #[arg(long)]
    pub neighbour: Option<String>,
    /// The folder in which the neighbour looks for models.
    #[arg(long, requires = "neighbour")]
    pub model_repository: Option<PathBuf>,
}

/// Where the scheduler is.
#[derive(Args, Clone)]
pub struct SchedulerHost {
    /// host:port of the scheduler.
    #[arg(long, default_value = "127.0.0.1:9004", env = "SELDON_SCHEDULE_HOST")]
    pub scheduler_host: String,
}

/// Where inference is answered.
#[derive(Args, Clone)]
pub struct InferHost {
    /// host:port of the inference endpoint.
    #[arg(long, default_value = "127.0.0.1:9000", env = "SELDON_INFER_HOST")]
    pub inference_host: String,
    /// Which protocol to ask with.
    #[arg(long, value_enum, default_value_t = Mode::Rest)]
    pub inference_mode: Mode,
    /// A header to send, key=value; may be given more than once.
    #[arg(long = "header")]
    pub headers: Vec<String>,
    /// Print the answer's headers too, to standard error.
    #[arg(long)]
    pub show_headers: bool,
    /// How many times to ask.
    #[arg(short = 'i', long, default_value_t = 1)]
    pub iterations: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    Rest,
    Grpc,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// How results are printed.
#[derive(Args, Clone, Copy)]
pub struct OutputArgs {
    /// How results are printed.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// What to load, and whether to wait until it answers.
#[derive(Args)]
pub struct LoadArgs {
    #[command(flatten)]
    pub scheduler: SchedulerHost,
    /// The YAML, with one or more documents.
    #[arg(short = 'f', long)]
    pub file: PathBuf,
    /// Wait until what was loaded answers.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 60)]
    pub timeout_secs: u64,
}

#[derive(Args)]
pub struct NameArgs {
    #[command(flatten)]
    pub scheduler: SchedulerHost,
    /// Its name.
    pub name: String,
    /// Wait until it is in this state: a name as the scheduler prints it, ModelAvailable or PipelineReady for example.
    #[arg(short = 'w', long)]
    pub wait: Option<String>,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 60)]
    pub timeout_secs: u64,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub scheduler: SchedulerHost,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub struct InferArgs {
    #[command(flatten)]
    pub host: InferHost,
    /// Its name.
    pub name: String,
    /// The request, as JSON of the Open Inference Protocol.
    pub request: String,
}

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Load models from a YAML file.
    Load(LoadArgs),
    /// Unload a model.
    Unload(NameArgs),
    /// Show a model's state.
    Status(NameArgs),
    /// List models.
    List(ListArgs),
    /// Ask a model.
    Infer(InferArgs),
}

#[derive(Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// host:port of `millstream up`'s inspector; used where no bootstrap servers are given.
    #[arg(long, default_value = "127.0.0.1:9007")]
    pub inspect_host: String,
    /// The pipeline.
    pub name: String,
    /// The request: the whole x-request-id of its answer; without it the newest one.
    #[arg(long)]
    pub request_id: Option<String>,
    #[command(flatten)]
    pub scheduler: SchedulerHost,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Subcommand)]
pub enum PipelineCommand {
    /// Load pipelines from a YAML file.
    Load(LoadArgs),
    /// Unload a pipeline.
    Unload(NameArgs),
    /// Show a pipeline's state.
    Status(NameArgs),
    /// List pipelines.
    List(ListArgs),
    /// Ask a pipeline.
    Infer(InferArgs),
    /// Show what one request has left in each topic, in order, with times.
    Inspect(InspectArgs),
}
