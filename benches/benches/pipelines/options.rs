//! What is measured.

use std::{fmt, time::Duration};

const HELP: &str = "\
Without options: everything that the README states. With one of these: that alone.
  --broker embedded|kafka        the log (embedded); a Kafka is started
  --layout up|processes          `millstream up`, or each component by itself (up)
  --models onnx|mlserver         the embedded runtime, or a real MLServer, which needs --layout processes (onnx)
  --pipelines N                  how many pipelines are loaded; all use the same models (1)
  --load STEPS[@RATE]            1 or 3 steps, at a rate or as fast as it goes; may be given more than once; saturation first warms the JVM
                                 (1 3 1@100 3@50)
  --protocol rest|grpc           (rest)
  --connections N                how many ask at once at saturation (64)
  --seconds N, --warm-up N       how long each load is measured (10), and how long it runs before (3)";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Rest,
    Grpc,
}

/// Requests to a chain of so many steps, at so many a second or as many as are answered.
#[derive(Clone, Copy)]
pub struct Load {
    pub steps: usize,
    pub rate: Option<u32>,
}

#[derive(Clone)]
pub struct Options {
    pub kafka: bool,
    pub processes: bool,
    pub mlserver: bool,
    pub pipelines: usize,
    pub loads: Vec<Load>,
    pub protocol: Protocol,
    pub connections: usize,
    pub seconds: Duration,
    pub warm_up: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kafka: false,
            processes: false,
            mlserver: false,
            pipelines: 1,
            loads: vec![],
            protocol: Protocol::Rest,
            connections: 64,
            seconds: Duration::from_secs(10),
            warm_up: Duration::from_secs(3),
        }
    }
}

impl Load {
    fn parse(text: &str) -> Option<Self> {
        let (steps, rate) = text.split_once('@').map_or((text, None), |(steps, rate)| (steps, Some(rate)));
        let rate = rate.map(|rate| rate.parse().ok().filter(|rate| *rate > 0)).map_or(Some(None), |rate| rate.map(Some))?;
        matches!(steps, "1" | "3").then(|| Self { steps: if steps == "1" { 1 } else { 3 }, rate })
    }

    /// The pipeline that is asked.
    pub fn pipeline(&self) -> &'static str {
        if self.steps == 1 { "one" } else { "three" }
    }
}

fn loads(texts: &[&str]) -> Vec<Load> {
    texts.iter().filter_map(|text| Load::parse(text)).collect()
}

impl Options {
    /// From the command line. Cargo says `--bench`.
    pub fn from_arguments() -> Vec<Self> {
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench").peekable();
        if arguments.peek().is_none() {
            return Self::all();
        }
        let mut options = Self::default();
        while let Some(key) = arguments.next() {
            let value = arguments.next().unwrap_or_default();
            let known = match (key.as_str(), value.as_str()) {
                ("--broker", "embedded" | "kafka") => set(&mut options.kafka, Some(value == "kafka")),
                ("--layout", "up" | "processes") => set(&mut options.processes, Some(value == "processes")),
                ("--models", "onnx" | "mlserver") => set(&mut options.mlserver, Some(value == "mlserver")),
                ("--protocol", "rest") => set(&mut options.protocol, Some(Protocol::Rest)),
                ("--protocol", "grpc") => set(&mut options.protocol, Some(Protocol::Grpc)),
                ("--pipelines", n) => set(&mut options.pipelines, n.parse().ok()),
                ("--connections", n) => set(&mut options.connections, n.parse().ok()),
                ("--seconds", n) => set(&mut options.seconds, n.parse().ok().map(Duration::from_secs)),
                ("--warm-up", n) => set(&mut options.warm_up, n.parse().ok().map(Duration::from_secs)),
                ("--load", load) => Load::parse(load).map(|load| options.loads.push(load)).is_some(),
                _ => false,
            };
            let possible = (options.kafka || !options.processes) && (options.processes || !options.mlserver);
            if !known || arguments.peek().is_none() && !possible {
                eprintln!("{key} {value} is not possible.\n{HELP}");
                std::process::exit(2);
            }
        }
        if options.loads.is_empty() {
            options.loads = loads(if options.mlserver { &["1", "1@100"] } else { &["1", "3", "1@100", "3@50"] });
        }
        vec![options]
    }

    /// What the README states.
    fn all() -> Vec<Self> {
        let embedded = Self { loads: loads(&["1", "3", "1@200"]), ..Self::default() };
        let kafka = Self { kafka: true, loads: loads(&["1", "3", "1@100", "3@50"]), ..Self::default() };
        let mlserver = Self { processes: true, mlserver: true, loads: loads(&["1", "1@100"]), ..kafka.clone() };
        vec![
            Self { protocol: Protocol::Grpc, ..embedded.clone() },
            embedded,
            Self { pipelines: 101, ..kafka.clone() },
            Self { processes: true, ..kafka.clone() },
            Self { processes: true, pipelines: 101, ..kafka.clone() },
            kafka,
            mlserver,
        ]
    }
}

fn set<T>(field: &mut T, value: Option<T>) -> bool {
    value.map(|value| *field = value).is_some()
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = if self.steps == 1 { "one step" } else { "three steps" };
        match self.rate {
            Some(rate) => write!(f, "{steps}, {rate}/s"),
            None => write!(f, "{steps}, saturation"),
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kafka, processes, mlserver, pipelines, protocol, .. } = self;
        let broker = if *kafka { "Apache Kafka" } else { "embedded broker" };
        let layout = if *processes { "separate processes" } else { "`millstream up`" };
        let models = if *mlserver { "MLServer" } else { "embedded runtime" };
        let protocol = if *protocol == Protocol::Rest { "REST" } else { "gRPC" };
        write!(f, "{broker}, {layout}, {models}, {protocol}, {pipelines} pipeline{}", if *pipelines == 1 { "" } else { "s" })
    }
}
