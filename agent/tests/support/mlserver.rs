//! A real MLServer for tests. Its Python environment is made once, under `$MILLSTREAM_CACHE` or `~/.cache/millstream`.
#![allow(dead_code)] // each test crate that includes this file uses its own part of it

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PACKAGES: [&str; 2] = ["mlserver==1.7.1", "numpy"];
const START: Duration = Duration::from_secs(90);

/// A running server, killed when it is dropped.
pub struct MlServer {
    process: Child,
    folder: tempfile::TempDir,
    pub grpc_port: u16,
    pub http_port: u16,
}

impl MlServer {
    /// Starts a server without models and waits until it is ready. Panics with its log after 90 s.
    pub fn start() -> MlServer {
        let python = environment();
        let folder = tempfile::tempdir().unwrap();
        let [grpc_port, http_port] = free_ports();
        let settings = format!(
            r#"{{"host": "127.0.0.1", "http_port": {http_port}, "grpc_port": {grpc_port}, "parallel_workers": 0, "metrics_endpoint": null, "debug": false}}"#
        );
        fs::create_dir(folder.path().join("repository")).unwrap();
        fs::write(folder.path().join("repository/settings.json"), settings).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new(python.with_file_name("mlserver"))
            .args(["start", "repository"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("mlserver is installed");
        let mut server = MlServer { process, folder, grpc_port, http_port };
        let deadline = Instant::now() + START;
        while !server.ready() {
            let ended = server.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "MLServer is not ready ({ended:?}):\n{}", server.log());
            sleep(Duration::from_millis(100));
        }
        server
    }

    /// Its gRPC address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc_port)
    }

    /// The folder in which it looks for models.
    pub fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn ready(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut connection = TcpStream::connect(("127.0.0.1", self.http_port))?;
            connection.set_read_timeout(Some(Duration::from_secs(2)))?;
            connection.write_all(b"GET /v2/health/ready HTTP/1.1\r\nHost: mlserver\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            Ok(answer)
        };
        // REST and gRPC are two servers that start one after the other.
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) && TcpStream::connect(("127.0.0.1", self.grpc_port)).is_ok()
    }
}

impl Drop for MlServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let taken: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}

/// The Python of an environment with MLServer in it. One process makes it, others wait for the lock; the mark says that it is whole.
fn environment() -> PathBuf {
    let cache = std::env::var_os("MILLSTREAM_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        Path::new(&std::env::var_os("HOME").expect("HOME or MILLSTREAM_CACHE says where to keep the Python environment"))
            .join(".cache/millstream")
    });
    fs::create_dir_all(&cache).unwrap();
    let (place, lock) = (cache.join("mlserver"), File::create(cache.join("mlserver.lock")).unwrap());
    lock.lock().unwrap();
    let (python, mark) = (place.join("bin/python"), place.join("installed"));
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let _ = fs::remove_dir_all(&place);
    run(Command::new("python3").args(["-m", "venv"]).arg(&place));
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES));
    fs::write(mark, wanted).unwrap();
    python
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; Python 3 with venv is needed"));
    assert!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
}
