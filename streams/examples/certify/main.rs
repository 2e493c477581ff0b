//! Runs golden scenarios through the public API and compares every step with what Kafka Streams did.
//!
//! ```sh
//! cargo run --release -p millstream --example certify -- streams/tests/vectors
//! ```

mod compare;
mod functions;
mod processors;
mod records;
mod report;
mod run;
mod runtime;
mod scenario;
mod stores;
mod topology;
mod value;

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
};

use clap::{Parser, ValueEnum};
use flate2::read::MultiGzDecoder;

use crate::{
    compare::{Difference, compare},
    report::{Judged, Outcome, Report},
    run::Stop,
    scenario::{Scenario, StoreFormat, StoreKind},
};

/// Runs golden scenarios through Millstream and compares every step with what Kafka Streams did.
#[derive(Parser)]
struct Options {
    /// Scenario files (.jsonl, .jsonl.gz), or folders of them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The kind of the stores that the DSL chooses: the scenario's own one, or always this one.
    #[arg(long, value_enum, default_value_t)]
    store: Store,
    /// Shows the topology, the step, what was expected and what came, for the first difference of this scenario.
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
    /// Runs only this family.
    #[arg(long)]
    family: Option<usize>,
    /// Lists what is not supported, and how many scenarios ask for it.
    #[arg(long)]
    unsupported: bool,
    /// How many failed scenarios to name for each family.
    #[arg(long, default_value_t = 5)]
    failures: usize,
    /// Runs scenarios on an embedded broker instead of the test driver; those that move the clock or have a cache count as unsupported.
    #[arg(long)]
    runtime: bool,
    /// Runs only every so many scenarios.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// How many scenarios run at once [default: one a core].
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Store {
    #[default]
    Own,
    InMemory,
    Rocksdb,
}

impl Store {
    fn of(self, scenario: &Scenario) -> StoreKind {
        match self {
            // Of the headers format, the answers are those of the scenario's own kind alone.
            _ if scenario.config.store_format == StoreFormat::Headers => scenario.config.store,
            Self::Own => scenario.config.store,
            Self::InMemory => StoreKind::InMemory,
            Self::Rocksdb => StoreKind::Rocksdb,
        }
    }
}

fn main() -> ExitCode {
    certify(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("certify: {error:#}");
        ExitCode::FAILURE
    })
}

fn certify(options: &Options) -> anyhow::Result<ExitCode> {
    run::hush_panics();
    let mut files = vec![];
    for path in &options.paths {
        find(path, &mut files)?;
    }
    let mut report = Report::default();
    let mut nearest = String::new();
    for file in &files {
        let lines = read(file).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
        if let Some(id) = &options.explain {
            let quoted = format!("\"id\":{}", serde_json::Value::from(id.as_str()));
            let found = lines.iter().filter(|line| line.contains(&quoted)).find_map(|line| Some((line, judge(line, options)?)));
            if let Some((line, judged)) = found {
                print!("{}", report::explain(line, &judged));
                return Ok(ExitCode::SUCCESS);
            }
            let ids = lines.iter().filter_map(|line| line.split_once("\"id\":\"")?.1.split('"').next());
            nearest = ids.chain([&*nearest]).max_by_key(|other| shared_prefix(other, id)).unwrap_or_default().to_string();
            continue;
        }
        let lines: Vec<_> = lines.into_iter().step_by(options.every.max(1)).collect();
        judge_all(&lines, options).into_iter().for_each(|judged| report.add(judged));
    }
    if let Some(id) = &options.explain {
        anyhow::bail!("no scenario has the id {id}: give its file or folder; the nearest is {nearest}");
    }
    if report.is_empty() {
        let family = options.family.map_or(String::new(), |family| format!(" of family {family}"));
        let paths: Vec<_> = options.paths.iter().map(|path| path.display().to_string()).collect();
        anyhow::bail!("no scenario{family} in {}: give .jsonl or .jsonl.gz files, or folders of them", paths.join(", "));
    }
    print!("{}", report.show(options.failures, options.unsupported));
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Scenario files in `path`, sorted.
fn find(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut entries: Vec<_> = entries.map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    entries.sort();
    for entry in entries {
        let name = entry.to_string_lossy();
        if entry.is_dir() || name.ends_with(".jsonl") || name.ends_with(".jsonl.gz") {
            find(&entry, files)?;
        }
    }
    Ok(())
}

fn shared_prefix(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count()
}

fn read(file: &Path) -> std::io::Result<Vec<String>> {
    let open = File::open(file)?;
    let is_gzip = file.extension().is_some_and(|e| e == "gz");
    let reader: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(open)) } else { Box::new(open) };
    let lines = BufReader::new(reader).lines().collect::<Result<Vec<_>, _>>()?;
    Ok(lines.into_iter().filter(|line| !line.trim().is_empty() && !line.starts_with("//")).collect())
}

fn judge_all(lines: &[String], options: &Options) -> Vec<Judged> {
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get())).clamp(1, 256);
    let next = AtomicUsize::new(0);
    let work = || -> Vec<(usize, Judged)> {
        let mut judged = vec![];
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(line) = lines.get(at)
        {
            judged.extend(judge(line, options).map(|result| (at, result)));
        }
        judged
    };
    let mut results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker catches the panics of its scenarios")).collect()
    });
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Runs one scenario and compares; none of another family than the one that is asked for.
fn judge(line: &str, options: &Options) -> Option<Judged> {
    let scenario: Scenario = match serde_json::from_str(line) {
        Ok(scenario) => scenario,
        Err(error) => {
            let id = line.chars().take(60).collect();
            return Some(Judged { id, family: 0, outcome: bad(format!("not a scenario: {error}")), error_text: None });
        }
    };
    if options.family.is_some_and(|family| family != scenario.family) {
        return None;
    }
    let mut error_text = None;
    let outcome = match catch_unwind(AssertUnwindSafe(|| run::run(&scenario, options.store.of(&scenario), options.runtime))) {
        Ok(Ok(got)) => {
            error_text = got.get(run::ERROR_TEXT).and_then(serde_json::Value::as_str).map(String::from);
            let mut expect = scenario.expect.clone();
            if options.runtime {
                restrict(&mut expect, &got);
            }
            let verdict = compare(&expect, &got);
            match verdict.failures.is_empty() {
                true => Outcome::Passed { advice: verdict.advice },
                false => Outcome::Failed(verdict.failures),
            }
        }
        Ok(Err(Stop::Unsupported(what))) => Outcome::Unsupported(what),
        Ok(Err(Stop::Bad(text))) => bad(text),
        Ok(Err(Stop::Build(error))) => bad(error.to_string()),
        Err(panic) => bad(format!("panicked: {}", run::panic_text(&*panic))),
    };
    Some(Judged { id: scenario.id, family: scenario.family, outcome, error_text })
}

/// Leaves what the runtime can answer: not how many records were dropped, nor what is in stores that cannot be listed.
fn restrict(expect: &mut serde_json::Map<String, serde_json::Value>, got: &serde_json::Map<String, serde_json::Value>) {
    expect.retain(|field, _| runtime::FIELDS.contains(&field.as_str()) || field == "store_dependent");
    if let (Some(stores), Some(shown)) = (expect.get_mut("stores").and_then(|stores| stores.as_object_mut()), got.get("stores")) {
        stores.retain(|name, _| shown.get(name).is_some());
    }
}

/// A failure that is no difference.
fn bad(text: String) -> Outcome {
    Outcome::Failed(vec![Difference { place: text, step: None, expected: None, got: None }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_does_what_kafka_streams_does() {
        run::hush_panics();
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
        let options = Options::parse_from(["certify", "vectors", "--runtime", "--every", "40"]);
        let mut files = vec![];
        find(&vectors, &mut files).expect("the vectors are there");
        let mut report = Report::default();
        for file in &files {
            let lines: Vec<_> = read(file).expect("a file of vectors can be read").into_iter().step_by(options.every).collect();
            judge_all(&lines, &options).into_iter().for_each(|judged| report.add(judged));
        }
        assert!(!report.differs(), "{}", report.show(20, false));
    }
}
