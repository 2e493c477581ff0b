//! An Apache Kafka for tests: one broker per test process, on free ports, gone with the process however it ends.
//!
//! Other crates take it in with `#[path = "../../broker/tests/support/kafka.rs"] mod kafka;`. Needs Java 17 and Maven; Maven fetches the
//! jars once, into `${MILLSTREAM_CACHE:-$HOME/.cache/millstream}`.
#![allow(dead_code)] // each test crate that takes it in uses its own part of it

use std::{
    env,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

const POM: &str = include_str!("kafka/pom.xml");
const VERSION: &str = "4.3.1";
const UP_WITHIN: Duration = Duration::from_secs(90);

/// The address of this process's Kafka; the first call starts it.
pub fn bootstrap() -> &'static str {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    &KAFKA.get_or_init(Kafka::start).address
}

/// A Kafka. **Law.** It ends when this is dropped or when its process ends, whichever is first: a shell holds its leash.
pub struct Kafka {
    /// What clients connect to.
    pub address: String,
    leash: Child,
}

impl Kafka {
    /// Starts one.
    pub fn start() -> Self {
        for tool in ["java", "mvn"] {
            let found = Command::new(tool).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
            assert!(found, "`{tool}` does not run, and tests against Apache Kafka need it: apt-get install openjdk-17-jre-headless maven");
        }
        let jars = format!("{}/*", jars().display());
        // Another process may take a port between looking and starting.
        let mut last = String::new();
        for _ in 0..3 {
            match Self::try_start(&jars) {
                Ok(kafka) => return kafka,
                Err(why) => last = why,
            }
        }
        panic!("Apache Kafka does not start: {last}");
    }

    fn try_start(jars: &str) -> Result<Self, String> {
        let directory = env::temp_dir().join(format!("kafka-{}-{:08x}", std::process::id(), free_port() as u32 * 7919));
        fs::create_dir_all(&directory).map_err(|e| e.to_string())?;
        let (clients, controller) = (free_port(), free_port());
        let properties = directory.join("server.properties");
        fs::write(&properties, settings(&directory, clients, controller)).map_err(|e| e.to_string())?;
        // The shell reads until its input ends, which it does when this process is gone; a signal to this process's group passes it by.
        let script = r#"
            java -cp "$1" kafka.tools.StorageTool format -t "$(java -cp "$1" kafka.tools.StorageTool random-uuid)" -c "$2/server.properties" \
                > "$2/format.log" 2>&1 < /dev/null || echo 'the storage cannot be formatted' >> "$2/format.log"
            java -Xmx512m -XX:+UseSerialGC -cp "$1" kafka.Kafka "$2/server.properties" > "$2/server.log" 2>&1 < /dev/null &
            kafka=$!
            read -r _
            kill -9 $kafka
            wait $kafka 2> /dev/null
            rm -rf "$2"
        "#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", jars]).arg(&directory).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let leash = shell.spawn().map_err(|e| e.to_string())?;
        let kafka = Self { address: format!("127.0.0.1:{clients}"), leash };
        let until = Instant::now() + UP_WITHIN;
        loop {
            let log = fs::read_to_string(directory.join("server.log")).unwrap_or_default();
            if log.contains("Kafka Server started") {
                return Ok(kafka);
            }
            let ended = ["Exiting Kafka", "shut down completed", "FATAL", "Fatal error"].iter().any(|sign| log.contains(sign));
            if ended || Instant::now() > until {
                let format = fs::read_to_string(directory.join("format.log")).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(30).collect();
                return Err(format!("{format}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n")));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        let _ = self.leash.wait();
    }
}

fn settings(directory: &Path, clients: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{clients}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
",
        directory.join("data").display()
    )
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("this machine has a free port").port()
}

/// Where the jars are; the first test process on a machine fetches them, others wait for it.
fn jars() -> PathBuf {
    let cache = env::var_os("MILLSTREAM_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let home = env::var_os("HOME").expect("set HOME or MILLSTREAM_CACHE: the jars of Apache Kafka are kept there");
        Path::new(&home).join(".cache/millstream")
    });
    let directory = cache.join(format!("kafka-{VERSION}"));
    let libs = directory.join("libs");
    fs::create_dir_all(&directory).expect("the cache directory can be created");
    let lock = File::create(directory.join("lock")).expect("the cache directory can be written");
    lock.lock().expect("the cache directory can be locked");
    if !libs.is_dir() {
        fs::write(directory.join("pom.xml"), POM).expect("the cache directory can be written");
        let part = directory.join("libs.part");
        let _ = fs::remove_dir_all(&part);
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs.part"]).current_dir(&directory);
        let output = maven.output().expect("mvn runs");
        assert!(
            output.status.success(),
            "mvn cannot fetch Apache Kafka {VERSION}; is the network there?\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(part, &libs).expect("the cache directory can be written");
    }
    libs
}
