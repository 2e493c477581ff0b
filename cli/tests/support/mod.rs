//! The built binary: its components as processes, and the user's commands.
#![allow(dead_code)] // each test crate uses its own part of it

pub mod load;

use std::{
    fs::{self, OpenOptions},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take that has no deadline of its own.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The repository: models are named relative to it.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn binary(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(args).current_dir(ROOT).stdin(Stdio::null());
    for inherited in ["POD_NAME", "POD_NAMESPACE", "MILLSTREAM_BOOTSTRAP_SERVERS", "MILLSTREAM_DATA_DIR"] {
        command.env_remove(inherited);
    }
    command
}

/// A component in a process of its own, killed when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where its part of the log begins: before that its predecessor wrote.
    from: usize,
}

impl Process {
    /// Starts it; what it prints is appended to `NAME.log` in the folder.
    pub fn start(folder: &Path, name: &str, args: &[&str]) -> Self {
        let log = folder.join(format!("{name}.log"));
        let from = fs::metadata(&log).map_or(0, |log| log.len() as usize);
        let out = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = binary(args);
        command.env("MILLSTREAM_LOG", "info").stdout(out.try_clone().unwrap()).stderr(out);
        Self { child: command.spawn().unwrap(), log, from }
    }

    /// Waits for a line that begins with this, and returns what follows there.
    pub fn said(&mut self, beginning: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if let Some(rest) = log.lines().rev().find_map(|line| line.strip_prefix(beginning)) {
                return rest.trim().to_string();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "never said {beginning:?} ({ended:?}):\n{log}");
            sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap().split_off(self.from)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "does not end:\n{}", self.log());
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }
}

/// Runs a command to its end, which has to come.
pub fn run(args: &[&str], variables: &[(&str, &str)]) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let [out, err] = ["out", "err"].map(|name| folder.path().join(name));
    let file = |path| fs::File::create(path).unwrap();
    let mut child = binary(args).envs(variables.iter().copied()).stdout(file(&out)).stderr(file(&err)).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("millstream {} does not end", args.join(" "));
        }
        sleep(Duration::from_millis(5));
    };
    Done { code, out: fs::read_to_string(out).unwrap(), err: fs::read_to_string(err).unwrap() }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Everything in one process, on a data directory.
pub struct Up {
    pub process: Process,
    pub scheduler: String,
    pub inference: String,
    pub inspector: String,
}

impl Up {
    pub fn start(folder: &Path, more: &[&str]) -> Self {
        let address = |port: u16| format!("127.0.0.1:{port}");
        let (scheduler, inference, inspector) = (address(free_port()), address(free_port()), address(free_port()));
        let data = folder.join("data").display().to_string();
        let mut args = vec!["up", "--data-dir", &data, "--listen", &inference, "--scheduler-listen", &scheduler];
        args.extend(["--inspect-listen", &inspector]);
        args.extend(more);
        let mut process = Process::start(folder, "up", &args);
        process.said("ready after ");
        Self { process, scheduler, inference, inspector }
    }

    /// The user's command against it.
    pub fn run(&self, args: &[&str]) -> Done {
        run(args, &[("SELDON_SCHEDULE_HOST", &self.scheduler), ("SELDON_INFER_HOST", &self.inference)])
    }
}
