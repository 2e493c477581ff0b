//! The user's commands, with Seldon's verbs.

mod inspect;
mod model;
mod pipeline;

use std::time::Duration;

pub use model::model;
pub use pipeline::pipeline;

use crate::{args::InferArgs, client};

/// The awaited state was not reached in time.
#[derive(Debug)]
pub struct NotReached(String);

impl std::fmt::Display for NotReached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotReached {}

const POLL: Duration = Duration::from_millis(20);

/// Asks again and again until `look` says yes; what it says meanwhile is why it is not.
async fn wait_until<F>(timeout_secs: u64, what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<Result<(), String>>>,
{
    let until = tokio::time::Instant::now() + Duration::from_secs(timeout_secs);
    loop {
        match look().await? {
            Ok(()) => return Ok(()),
            Err(state) if tokio::time::Instant::now() >= until => {
                return Err(NotReached(format!("{what} after {timeout_secs} s: {state}")).into());
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

async fn infer(args: InferArgs, suffix: &str, path: &str) -> anyhow::Result<()> {
    let target = format!("{}{suffix}", args.name);
    for _ in 0..args.host.iterations {
        let answer = client::infer(&args.host, &args.name, &target, path, &args.request).await?;
        if args.host.show_headers {
            answer.headers.iter().for_each(|(key, value)| eprintln!("{key}: {value}"));
        }
        println!("{}", answer.json);
    }
    Ok(())
}

fn read_file(path: &std::path::Path) -> anyhow::Result<Vec<millstream_engine::manifest::Manifest>> {
    use anyhow::Context;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    millstream_engine::manifest::read(&text).with_context(|| path.display().to_string())
}

/// What the scheduler says of a failed call, without gRPC's own words.
fn said(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}
