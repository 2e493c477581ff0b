//! The platform as processes of its own on Apache Kafka: scheduler, two engine replicas, two pipeline gateways, model gateway, agent.
#![allow(clippy::unwrap_used)]

#[path = "../../broker/tests/support/kafka.rs"]
mod kafka;
#[path = "../../agent/tests/support/mlserver.rs"]
mod mlserver;
mod support;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use support::{
    Done, PATIENCE, Process, free_port,
    load::{Asked, CHAIN, Clients, JOIN, Target, all_answered, errors},
    run,
};

const PARTITIONS: usize = 4;
const ENGINES: [&str; 2] = ["engine-a", "engine-b"];

/// One cluster at a time: they share a Kafka, and the machine.
static TURN: Mutex<()> = Mutex::new(());

struct Cluster {
    folder: tempfile::TempDir,
    namespace: &'static str,
    scheduler_address: String,
    gateways: [String; 2],
    scheduler: Process,
    engines: [Process; 2],
    _others: Vec<Process>,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// All processes, with the demo's models and pipelines loaded.
    fn start(namespace: &'static str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let scheduler_address = format!("127.0.0.1:{}", free_port());
        let scheduler = start_scheduler(&folder, namespace, &scheduler_address);
        let engines = ENGINES.map(|name| start_engine(&folder, namespace, &scheduler_address, name));
        let start = |name: &str, args: &[&str]| start(&folder, namespace, &scheduler_address, name, args);
        let gateway = |name: &str| {
            let mut gateway = start(name, &["gateway", "pipeline", "--listen", "127.0.0.1:0", "--replica", name]);
            (gateway.said("pipeline gateway  "), gateway)
        };
        let [(first, first_gateway), (second, second_gateway)] = ["gateway-a", "gateway-b"].map(gateway);
        let mut agent =
            Process::start(folder.path(), "agent", &["agent", "--listen", "127.0.0.1:0", "--scheduler-host", &scheduler_address]);
        agent.said("agent ");
        let others = vec![first_gateway, second_gateway, start("model-gateway", &["gateway", "model"]), agent];
        let cluster =
            Self { gateways: [first, second], folder, namespace, scheduler_address, scheduler, engines, _others: others, _turn: turn };
        for model in ["add10", "add20", "mul10"] {
            cluster.run(&["model", "load", "-f", &format!("models/{model}.yaml"), "--wait"]).ok();
        }
        cluster.run(&["pipeline", "load", "-f", "demo/pipelines.yaml", "--wait"]).ok();
        cluster
    }

    fn run(&self, args: &[&str]) -> Done {
        run(args, &[("SELDON_SCHEDULE_HOST", &self.scheduler_address), ("SELDON_INFER_HOST", &self.gateways[0])])
    }

    fn clients(&self, connections: usize) -> Clients {
        Clients::new(&[&self.gateways[0], &self.gateways[1]], connections)
    }

    /// How many lanes each engine was last told to run.
    fn lanes(&self) -> BTreeMap<String, usize> {
        let log = self.scheduler.log();
        let told = log.lines().filter(|line| line.contains("lanes assigned role=\"ENGINE\""));
        let field = |line: &str, name: &str| {
            line.split(' ').find_map(|part| part.strip_prefix(name).map(|value| value.trim_matches('"').to_string()))
        };
        told.map(|line| (field(line, "replica=").unwrap(), field(line, "lanes=").unwrap().parse().unwrap())).collect()
    }

    /// Waits until both engines have lanes, which are those of two pipelines.
    fn until_lanes_are_split(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let lanes = self.lanes();
            if ENGINES.iter().all(|engine| lanes.get(*engine).is_some_and(|lanes| *lanes > 0))
                && lanes.values().sum::<usize>() == 2 * PARTITIONS
            {
                return println!("lanes: {lanes:?}");
            }
            assert!(Instant::now() < until, "{lanes:?}\n{}", self.scheduler.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn start(folder: &tempfile::TempDir, namespace: &str, scheduler: &str, name: &str, args: &[&str]) -> Process {
    let more = ["--bootstrap-servers", kafka::bootstrap(), "--namespace", namespace, "--scheduler-host", scheduler];
    Process::start(folder.path(), name, &[args, &more].concat())
}

fn start_scheduler(folder: &tempfile::TempDir, namespace: &str, address: &str) -> Process {
    let args = ["scheduler", "--bootstrap-servers", kafka::bootstrap(), "--namespace", namespace, "--listen", address];
    let mut scheduler = Process::start(folder.path(), "scheduler", &args);
    scheduler.said("scheduler  ");
    scheduler
}

fn start_engine(folder: &tempfile::TempDir, namespace: &str, scheduler: &str, name: &str) -> Process {
    let mut engine = start(folder, namespace, scheduler, name, &["engine", "--replica", name]);
    engine.said("engine  ");
    engine
}

fn partitions_of(asked: &[Asked]) -> BTreeMap<i32, usize> {
    let mut partitions = BTreeMap::new();
    asked.iter().filter_map(Asked::partition).for_each(|partition| *partitions.entry(partition).or_default() += 1);
    partitions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_requests_at_once_are_answered_one_to_one() {
    let cluster = Cluster::start("many");
    cluster.until_lanes_are_split();
    let clients = cluster.clients(16);
    let started = Instant::now();
    let asked = clients.at_once(JOIN, 5_000).await;
    println!("5,000 at once: {:?}, partitions {:?}", started.elapsed(), partitions_of(&asked));
    all_answered(&asked);
    assert_eq!(partitions_of(&asked).len(), PARTITIONS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lanes_of_a_killed_engine_move_and_no_request_hangs_or_is_answered_with_anothers() {
    let mut cluster = Cluster::start("moved");
    cluster.until_lanes_are_split();
    let load = cluster.clients(2).steadily(&[JOIN, CHAIN], 32);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let killed = Instant::now();
    cluster.engines[0].kill();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = load.stop().await;
    // A lane has moved when a request is answered that was sent to it after the death.
    let mut moved: BTreeMap<(&str, i32), Duration> = BTreeMap::new();
    for asked in asked.iter().filter(|asked| asked.sent > killed) {
        let Some(partition) = asked.partition() else { continue };
        let after = asked.answered - killed;
        moved.entry((asked.pipeline, partition)).and_modify(|first| *first = after.min(*first)).or_insert(after);
    }
    let slowest = moved.values().max().unwrap();
    let failed = errors(&asked);
    println!("{} requests, of which failed {failed:?}; all lanes answer {slowest:?} after the death of an engine", asked.len());
    assert_eq!(moved.len(), 2 * PARTITIONS, "{moved:?}");
    assert!(*slowest < Duration::from_secs(10), "{moved:?}");
    let answered: Vec<_> = asked.iter().filter_map(|asked| asked.outcome.as_ref().ok()).collect();
    assert_eq!(answered.iter().collect::<HashSet<_>>().len(), answered.len(), "one key each");

    cluster.engines[0] = start_engine(&cluster.folder, cluster.namespace, &cluster.scheduler_address, ENGINES[0]);
    let load = cluster.clients(2).steadily(&[JOIN, CHAIN], 8);
    cluster.until_lanes_are_split();
    tokio::time::sleep(Duration::from_secs(1)).await;
    all_answered(&load.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_is_killed_and_started_again_forgets_nothing_and_disturbs_nobody() {
    let mut cluster = Cluster::start("again");
    cluster.until_lanes_are_split();
    let (models, pipelines) = (["model", "list", "-o", "json"], ["pipeline", "list", "-o", "json"]);
    let before = [cluster.run(&models).ok(), cluster.run(&pipelines).ok()];
    let load = cluster.clients(2).steadily(&[JOIN, CHAIN], 8);
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.scheduler.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let restarted = Instant::now();
    cluster.scheduler = start_scheduler(&cluster.folder, cluster.namespace, &cluster.scheduler_address);
    println!("the scheduler answers again {:?} after its start", restarted.elapsed());
    let until = Instant::now() + PATIENCE;
    loop {
        let now = [cluster.run(&models).ok(), cluster.run(&pipelines).ok()];
        if now == before {
            break;
        }
        assert!(Instant::now() < until, "{before:?} became {now:?}");
    }
    println!("everything is as before {:?} after the restart", restarted.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = load.stop().await;
    println!("{} requests meanwhile", asked.len());
    all_answered(&asked);
    // What is loaded now is known to gateways and engines, too.
    cluster.run(&["pipeline", "load", "-f", "demo/pipelines.yaml", "--wait"]).ok();
    all_answered(&cluster.clients(1).at_once(JOIN, 20).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_served_by_a_real_mlserver_and_the_others_by_the_embedded_runtime() {
    const MIXED: Target = ("mixed", &[("PLUS10", |x| x + 10.0), ("PLUS20", |x| x + 20.0)]);
    let mlserver = tokio::task::spawn_blocking(mlserver::MlServer::start).await.unwrap();
    let cluster = Cluster::start("mixed");
    let (endpoint, repository) = (mlserver.endpoint(), mlserver.repository().display().to_string());
    let args = ["agent", "--listen", "127.0.0.1:0", "--server-name", "mlserver", "--scheduler-host", &cluster.scheduler_address];
    let neighbour = ["--neighbour", &endpoint, "--model-repository", &repository];
    let _agent = Process::start(cluster.folder.path(), "mlserver-agent", &[&args[..], &neighbour].concat());
    cluster.run(&["model", "load", "-f", "models/mlserver-add10.yaml", "--wait"]).ok();
    let pipeline = cluster.folder.path().join("mixed.yaml");
    let demo = fs::read_to_string(format!("{}/demo/pipelines.yaml", support::ROOT)).unwrap();
    let (_, join) = demo.split_once("---").unwrap();
    fs::write(&pipeline, join.replace("name: join", "name: mixed").replace("add10", "mlserver-add10")).unwrap();
    cluster.run(&["pipeline", "load", "-f", pipeline.to_str().unwrap(), "--wait"]).ok();
    let started = Instant::now();
    let asked = cluster.clients(2).at_once(MIXED, 300).await;
    println!("300 at once, one step by MLServer: {:?}", started.elapsed());
    all_answered(&asked);
}
