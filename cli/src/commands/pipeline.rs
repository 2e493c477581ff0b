//! `millstream pipeline …`

use millstream_engine::manifest::Manifest;
use millstream_proto::seldon::scheduler::{
    LoadPipelineRequest, PipelineStatusRequest, PipelineStatusResponse, UnloadPipelineRequest, pipeline_version_state::PipelineStatus,
};

use super::{infer, inspect::inspect, read_file, said, wait_until};
use crate::{
    args::{Format, ListArgs, LoadArgs, NameArgs, PipelineCommand},
    client, output,
};

pub async fn pipeline(command: PipelineCommand) -> anyhow::Result<()> {
    match command {
        PipelineCommand::Load(args) => load(args).await,
        PipelineCommand::Unload(args) => unload(args).await,
        PipelineCommand::Status(args) => show(args).await,
        PipelineCommand::List(args) => list(args).await,
        PipelineCommand::Infer(args) => infer(args, ".pipeline", "pipelines").await,
        PipelineCommand::Inspect(args) => inspect(args).await,
    }
}

async fn load(args: LoadArgs) -> anyhow::Result<()> {
    let mut scheduler = client::scheduler(&args.scheduler.scheduler_host).await?;
    let mut names = vec![];
    for manifest in read_file(&args.file)? {
        let Manifest::Pipeline(pipeline) = manifest else {
            anyhow::bail!("{}: a model is among the pipelines: load it with `millstream model load`", args.file.display());
        };
        names.push(pipeline.name.clone());
        scheduler.load_pipeline(LoadPipelineRequest { pipeline: Some(pipeline) }).await.map_err(said)?;
    }
    for name in names {
        if args.wait {
            wait_for(&args.scheduler.scheduler_host, &name, "PipelineReady", args.timeout_secs).await?;
        }
        eprintln!("pipeline {name} {}", if args.wait { "answers" } else { "is being loaded" });
    }
    Ok(())
}

async fn unload(args: NameArgs) -> anyhow::Result<()> {
    let mut scheduler = client::scheduler(&args.scheduler.scheduler_host).await?;
    scheduler.unload_pipeline(UnloadPipelineRequest { name: args.name.clone() }).await.map_err(said)?;
    match &args.wait {
        Some(state) => {
            wait_for(&args.scheduler.scheduler_host, &args.name, state, args.timeout_secs).await?;
            eprintln!("pipeline {} is {state}", args.name);
        }
        None => eprintln!("pipeline {} is being unloaded", args.name),
    }
    Ok(())
}

pub(super) async fn statuses(host: &str, name: Option<&str>) -> anyhow::Result<Vec<PipelineStatusResponse>> {
    let mut scheduler = client::scheduler(host).await?;
    let request = PipelineStatusRequest { subscriber_name: "millstream".into(), name: name.map(Into::into), all_versions: false };
    let mut stream = scheduler.pipeline_status(request).await.map_err(said)?.into_inner();
    let mut all = vec![];
    while let Some(status) = stream.message().await.map_err(said)? {
        all.push(status);
    }
    Ok(all)
}

fn state_of(status: &PipelineStatusResponse) -> (String, String, u32, bool) {
    let state = status.versions.last().and_then(|version| version.state.clone()).unwrap_or_default();
    let name = PipelineStatus::try_from(state.status).unwrap_or_default().as_str_name().to_string();
    (name, state.reason, state.pipeline_version, state.models_ready)
}

async fn wait_for(host: &str, name: &str, wanted: &str, timeout_secs: u64) -> anyhow::Result<()> {
    wait_until(timeout_secs, &format!("pipeline {name} is not {wanted}"), || async {
        let status = statuses(host, Some(name)).await?;
        let (state, reason, ..) = status.first().map(state_of).unwrap_or_default();
        if state == "PipelineFailed" && wanted == "PipelineReady" {
            anyhow::bail!("pipeline {name} failed: {reason}");
        }
        Ok(if state == wanted { Ok(()) } else { Err(format!("{state} {reason}")) })
    })
    .await
}

async fn show(args: NameArgs) -> anyhow::Result<()> {
    if let Some(state) = &args.wait {
        wait_for(&args.scheduler.scheduler_host, &args.name, state, args.timeout_secs).await?;
    }
    print(&statuses(&args.scheduler.scheduler_host, Some(&args.name)).await?, args.output.format);
    Ok(())
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    print(&statuses(&args.scheduler.scheduler_host, None).await?, args.output.format);
    Ok(())
}

fn print(statuses: &[PipelineStatusResponse], format: Format) {
    match format {
        Format::Table => {
            let row = |status: &PipelineStatusResponse| {
                let (state, reason, version, models_ready) = state_of(status);
                vec![status.pipeline_name.clone(), state, version.to_string(), models_ready.to_string(), reason]
            };
            output::table(&["pipeline", "state", "version", "models ready", "reason"], &statuses.iter().map(row).collect::<Vec<_>>());
        }
        Format::Json => {
            for status in statuses {
                let (state, reason, version, models_ready) = state_of(status);
                let json = serde_json::json!({
                    "pipeline": status.pipeline_name, "state": state, "version": version, "modelsReady": models_ready, "reason": reason
                });
                println!("{json}");
            }
        }
    }
}
