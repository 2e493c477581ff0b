//! Brokers, Millstream's processes, models and pipelines.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use millstream_engine::pipeline::{PipelineBuilder, Step};
use millstream_proto::seldon::scheduler::{
    LoadModelRequest, LoadPipelineRequest, MetaData, Model, ModelSpec, Pipeline, UnloadPipelineRequest, scheduler_client::SchedulerClient,
};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::{
    client::{Ask, Grpc, Rest},
    kafka::Kafka,
    mlserver::MlServer,
    options::{Options, Protocol},
};

const SOON: Duration = Duration::from_secs(30);
/// How often what is awaited is looked for.
const OFTEN: Duration = Duration::from_millis(2);

/// What runs; it ends when this is dropped.
pub struct Platform {
    inference: SocketAddr,
    /// Until all ports are open.
    pub started: Duration,
    /// Until a pipeline whose models are loaded answers.
    pub first_answer: Duration,
    /// Until the first pipeline answers, from loading its model on.
    pub first_answer_with_models: Duration,
    scheduler: SchedulerClient<Channel>,
    runtime: Runtime,
    mlserver: bool,
    // In the order in which they end.
    _processes: Vec<Process>,
    _mlserver: Option<MlServer>,
    _kafka: Option<Kafka>,
    _directory: tempfile::TempDir,
}

/// A shell that ends its child when its input ends: with this process, however that ends.
struct Process(Child);

const LEASH: &str = r#""$@" < /dev/null & child=$!; read -r _; kill -9 $child; wait $child 2> /dev/null"#;

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Platform {
    pub fn start(options: &Options) -> Self {
        let kafka = options.kafka.then(Kafka::start);
        let mlserver = options.mlserver.then(MlServer::start);
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let [inference, scheduler, inspector, agent] = free_addresses();
        let start = |arguments: &str, broker: bool| {
            let mut command = Command::new("sh");
            command.args(["-c", LEASH, "sh"]).arg(binary());
            // Models are named by paths of the project's.
            command.args(arguments.split_whitespace()).current_dir(project());
            match &kafka {
                Some(kafka) if broker => drop(command.args(["--bootstrap-servers", &kafka.address])),
                None if broker => drop(command.arg("--data-dir").arg(directory.path())),
                _ => {}
            }
            if let (Some(mlserver), true) = (&mlserver, arguments.starts_with("agent")) {
                command.args(["--server-name", "mlserver", "--neighbour", &mlserver.endpoint(), "--model-repository"]);
                command.arg(mlserver.repository());
            }
            let quiet = std::process::Stdio::null;
            let stderr = if std::env::var_os("MILLSTREAM_LOG").is_some() { std::process::Stdio::inherit() } else { quiet() };
            Process(command.stdin(std::process::Stdio::piped()).stderr(stderr).stdout(quiet()).spawn().expect("millstream runs"))
        };
        let began = Instant::now();
        let host = format!("--scheduler-host {scheduler}");
        let processes = match options.processes {
            false => vec![start(&format!("up --listen {inference} --scheduler-listen {scheduler} --inspect-listen {inspector}"), true)],
            true => vec![
                start(&format!("scheduler --listen {scheduler} --partitions 1"), true),
                start(&format!("agent {host} --listen {agent}"), false),
                start(&format!("gateway model {host} --partitions 1"), true),
                start(&format!("engine {host} --replica engine-0"), true),
                start(&format!("gateway pipeline {host} --listen {inference}"), true),
            ],
        };
        for address in [inference, scheduler] {
            until(|| TcpStream::connect(address).is_ok());
        }
        let started = began.elapsed();
        let runtime = Runtime::new().expect("a runtime");
        let scheduler = runtime.block_on(SchedulerClient::connect(format!("http://{scheduler}"))).expect("the scheduler listens");
        let mut platform = Self {
            inference,
            started,
            first_answer: Duration::ZERO,
            first_answer_with_models: Duration::ZERO,
            scheduler,
            runtime,
            mlserver: options.mlserver,
            _processes: processes,
            _mlserver: mlserver,
            _kafka: kafka,
            _directory: directory,
        };
        platform.load(options.pipelines);
        platform
    }

    fn load(&mut self, pipelines: usize) {
        // A replica that has not subscribed yet would be measured as a slow load.
        thread::sleep(Duration::from_secs(1));
        let [first, second, third] = if self.mlserver { ["mlserver-add10"; 3] } else { ["add10", "add20", "mul10"] };
        let one = |name: &str| PipelineBuilder::new(name).step(Step::new(first)).output(first).build();
        self.first_answer_with_models = self.time("one", |platform| {
            platform.load_model(first);
            platform.load_pipeline(one("one"));
        });
        self.first_answer = self.time("first", |platform| platform.load_pipeline(one("first")));
        let request = UnloadPipelineRequest { name: "first".into() };
        self.runtime.block_on(self.scheduler.unload_pipeline(request)).expect("it is unloaded");
        if !self.mlserver {
            let after = |model: &str, before: &str| Step::new(model).input(before).rename(format!("{before}.outputs.OUTPUT"), "INPUT");
            self.load_model(second);
            self.load_model(third);
            let steps = PipelineBuilder::new("three").step(Step::new(first)).step(after(second, first)).step(after(third, second));
            self.load_pipeline(steps.output(third).build());
            self.time("three", |_| {});
        }
        for i in 1..pipelines {
            let name = format!("other-{i}");
            self.load_pipeline(one(&name));
        }
        if pipelines > 1 {
            self.time(&format!("other-{}", pipelines - 1), |_| {});
        }
    }

    /// How long it takes until a pipeline answers.
    fn time(&mut self, pipeline: &str, load: impl FnOnce(&mut Self)) -> Duration {
        let began = Instant::now();
        load(self);
        // Each time anew: after a failure, more of an answer may be on its way.
        until(|| self.connect(pipeline, Protocol::Rest).ask().is_ok());
        began.elapsed()
    }

    fn load_model(&mut self, name: &str) {
        let requirements = vec![if self.mlserver { "mlserver" } else { "onnx" }.to_owned()];
        let spec = ModelSpec { uri: format!("file://models/{name}"), requirements, ..Default::default() };
        let meta = MetaData { name: name.into(), ..Default::default() };
        let model = Model { meta: Some(meta), model_spec: Some(spec), ..Default::default() };
        self.runtime.block_on(self.scheduler.load_model(LoadModelRequest { model: Some(model) })).expect("it is taken");
    }

    fn load_pipeline(&mut self, pipeline: Pipeline) {
        self.runtime.block_on(self.scheduler.load_pipeline(LoadPipelineRequest { pipeline: Some(pipeline) })).expect("it is taken");
    }

    /// A connection that asks a pipeline.
    pub fn connect(&self, pipeline: &str, protocol: Protocol) -> Box<dyn Ask> {
        let expected = if pipeline == "three" { [310., 320., 330., 340.] } else { [11., 12., 13., 14.] };
        match protocol {
            Protocol::Rest => Box::new(Rest::connect(self.inference, pipeline, expected)),
            Protocol::Grpc => Box::new(Grpc::connect(self.inference, pipeline, expected)),
        }
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "Millstream does not do what it should: see its log with MILLSTREAM_LOG=info");
        thread::sleep(OFTEN);
    }
}

fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The binary lies beside the folder of this one.
fn binary() -> PathBuf {
    let here = std::env::current_exe().expect("this program has a path");
    let binary = here.ancestors().nth(2).map(|release| release.join("millstream")).unwrap_or_default();
    assert!(binary.is_file(), "{} is not there: cargo build --release --workspace --bins", binary.display());
    binary
}

fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let taken: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("this machine has a free port"));
    taken.map(|listener| listener.local_addr().expect("it is bound"))
}
