//! Pipelines under load: latency at a fixed rate, requests a second at saturation, and what they cost.
//!
//! `./x bench --bench pipelines` measures everything that the README states; `-- --help` lists options to measure one thing. The platform
//! runs in processes of its own, with Kafka (and MLServer) beside it on the same cores, and so does the load.
//!
//! | file | what |
//! | --- | --- |
//! | `options` | what is measured |
//! | `platform` | brokers, Millstream's processes, models and pipelines |
//! | `client` | one connection that asks: REST or gRPC |
//! | `load` | many of them, at a rate or as fast as it goes |
//! | `usage` | CPU time and memory of the processes that were started |

mod client;
#[path = "../../../broker/tests/support/kafka.rs"]
mod kafka;
mod load;
#[allow(clippy::unwrap_used)]
#[path = "../../../agent/tests/support/mlserver.rs"]
mod mlserver;
mod options;
mod platform;
mod usage;

use std::time::Duration;

use load::{Outcome, Pace};
use options::{Load, Options};
use platform::Platform;
use usage::Usage;

/// For how long nothing is asked, to see what that costs.
const IDLE: Duration = Duration::from_secs(5);

fn main() {
    for options in Options::from_arguments() {
        measure(&options);
    }
}

fn measure(options: &Options) {
    println!("\n{options}");
    let platform = Platform::start(options);
    println!("  ready after                {:>7.0} ms", ms(platform.started));
    println!("  load → first answer        {:>7.0} ms (models are loaded)", ms(platform.first_answer));
    println!("  load → first answer        {:>7.0} ms (models too)", ms(platform.first_answer_with_models));
    std::thread::sleep(Duration::from_secs(1));
    let before = Usage::now();
    std::thread::sleep(IDLE);
    println!("  idle                       {}", Usage::now().since(&before).shares(IDLE));
    for load in &options.loads {
        let pace = match load.rate {
            Some(per_second) => Pace::Rate(per_second),
            None => Pace::Saturation(options.connections),
        };
        let connect = || platform.connect(load.pipeline(), options.protocol);
        load::run(pace, options.warm_up, connect);
        let before = Usage::now();
        let outcome = load::run(pace, options.seconds, connect);
        print(load, &outcome, &Usage::now().since(&before));
    }
    println!("  memory                     {}", Usage::now().memory());
}

fn print(load: &Load, outcome: &Outcome, used: &Usage) {
    let p = |percent| ms(outcome.percentile(percent));
    println!(
        "  {:<26} {:>6.0}/s  p50 {:>6.2}  p90 {:>6.2}  p99 {:>6.2}  max {:>6.1} ms  {}  errors {}",
        load.to_string(),
        outcome.per_second(),
        p(50.0),
        p(90.0),
        p(99.0),
        p(100.0),
        used.per_request(outcome.latencies.len()),
        outcome.errors,
    );
    if let Some(error) = &outcome.first_error {
        println!("    the first error: {error}");
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
