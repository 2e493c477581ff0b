//! CPU time and memory of the processes that this one has started.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    time::Duration,
};

/// A tick of the kernel's accounting.
const TICK: Duration = Duration::from_millis(10);

/// By the name of the program.
#[derive(Default)]
pub struct Usage(BTreeMap<String, Of>);

#[derive(Clone, Copy, Default)]
struct Of {
    cpu: Duration,
    bytes: u64,
}

impl Usage {
    /// What all descendants have used so far, and the memory that they hold now.
    pub fn now() -> Self {
        let mut parents = HashMap::new();
        let mut processes = vec![];
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let (Some(from), Some(to)) = (stat.find('('), stat.rfind(')')) else { continue };
            let fields: Vec<u64> = stat[to + 1..].split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            let memory = fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
            // What processes share counts once.
            let share = memory.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            parents.insert(pid, fields[1] as u32);
            let of = Of { cpu: TICK * (fields[11] + fields[12]) as u32, bytes: share.unwrap_or(0) << 10 };
            processes.push((pid, stat[from + 1..to].to_owned(), of));
        }
        let mine = |mut pid: u32| {
            while let Some(parent) = parents.get(&pid) {
                if *parent == std::process::id() {
                    return true;
                }
                pid = *parent;
            }
            false
        };
        let mut usage = Self::default();
        for (_, name, of) in processes.into_iter().filter(|(pid, name, _)| name != "sh" && mine(*pid)) {
            let sum = usage.0.entry(name).or_default();
            *sum = Of { cpu: sum.cpu + of.cpu, bytes: sum.bytes + of.bytes };
        }
        usage
    }

    /// The CPU time since then.
    pub fn since(mut self, before: &Self) -> Self {
        for (name, of) in &mut self.0 {
            of.cpu -= before.0.get(name).map_or(Duration::ZERO, |before| before.cpu.min(of.cpu));
        }
        self
    }

    fn each(&self, show: impl Fn(&Of) -> String) -> String {
        self.0.iter().map(|(name, of)| format!("{name} {}", show(of))).collect::<Vec<_>>().join(", ")
    }

    /// CPU time by request.
    pub fn per_request(&self, requests: usize) -> String {
        format!("CPU by request: {}", self.each(|of| format!("{:.2} ms", of.cpu.as_secs_f64() * 1e3 / requests.max(1) as f64)))
    }

    /// How much of a core that was.
    pub fn shares(&self, of_time: Duration) -> String {
        self.each(|of| format!("{:.1} % of a core", of.cpu.as_secs_f64() * 100.0 / of_time.as_secs_f64()))
    }

    pub fn memory(&self) -> String {
        self.each(|of| format!("{} MB", of.bytes / 1_000_000))
    }
}
