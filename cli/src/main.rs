//! `millstream`: every component as a subcommand, all of them in one process (`up`), and the user's commands.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 done; 1 it failed; 2 the command line is wrong;
//! 3 the awaited state was not reached in time.

mod args;
mod client;
mod commands;
mod components;
mod inspector;
mod output;

use std::io::IsTerminal;

use clap::Parser;

use crate::args::{Cli, Command, GatewayCommand};

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("MILLSTREAM_LOG").unwrap_or_else(|_| "warn".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(run(cli));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> std::process::ExitCode {
    eprintln!("error: {error:#}");
    let not_reached = error.downcast_ref::<commands::NotReached>().is_some();
    std::process::ExitCode::from(if not_reached { 3 } else { 1 })
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Up(args) => components::up(args).await,
        Command::Scheduler(args) => components::scheduler(args).await,
        Command::Engine(args) => components::engine(args).await,
        Command::Gateway(GatewayCommand::Pipeline(args)) => components::pipeline_gateway(args).await,
        Command::Gateway(GatewayCommand::Model(args)) => components::model_gateway(args).await,
        Command::Agent(args) => components::agent(args).await,
        Command::Model(command) => commands::model(command).await,
        Command::Pipeline(command) => commands::pipeline(command).await,
    }
}
