//! `millstream model …`

use millstream_engine::manifest::Manifest;
use millstream_proto::seldon::scheduler::{
    LoadModelRequest, ModelReference, ModelStatusRequest, ModelStatusResponse, UnloadModelRequest, model_status::ModelState,
};

use super::{infer, read_file, said, wait_until};
use crate::{
    args::{Format, ListArgs, LoadArgs, ModelCommand, NameArgs},
    client, output,
};

pub async fn model(command: ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Load(args) => load(args).await,
        ModelCommand::Unload(args) => unload(args).await,
        ModelCommand::Status(args) => show(args).await,
        ModelCommand::List(args) => list(args).await,
        ModelCommand::Infer(args) => infer(args, "", "models").await,
    }
}

async fn load(args: LoadArgs) -> anyhow::Result<()> {
    let mut scheduler = client::scheduler(&args.scheduler.scheduler_host).await?;
    let mut names = vec![];
    for manifest in read_file(&args.file)? {
        let Manifest::Model(model) = manifest else {
            anyhow::bail!("{}: a pipeline is among the models: load it with `millstream pipeline load`", args.file.display());
        };
        names.push(model.meta.as_ref().map(|meta| meta.name.clone()).unwrap_or_default());
        scheduler.load_model(LoadModelRequest { model: Some(model) }).await.map_err(said)?;
    }
    for name in names {
        if args.wait {
            wait_for(&args.scheduler.scheduler_host, &name, "ModelAvailable", args.timeout_secs).await?;
        }
        eprintln!("model {name} {}", if args.wait { "answers" } else { "is being loaded" });
    }
    Ok(())
}

async fn unload(args: NameArgs) -> anyhow::Result<()> {
    let mut scheduler = client::scheduler(&args.scheduler.scheduler_host).await?;
    let model = Some(ModelReference { name: args.name.clone(), version: None });
    scheduler.unload_model(UnloadModelRequest { model, kubernetes_meta: None }).await.map_err(said)?;
    match &args.wait {
        Some(state) => {
            wait_for(&args.scheduler.scheduler_host, &args.name, state, args.timeout_secs).await?;
            eprintln!("model {} is {state}", args.name);
        }
        None => eprintln!("model {} is being unloaded", args.name),
    }
    Ok(())
}

async fn statuses(host: &str, name: Option<&str>) -> anyhow::Result<Vec<ModelStatusResponse>> {
    let mut scheduler = client::scheduler(host).await?;
    let model = name.map(|name| ModelReference { name: name.into(), version: None });
    let request = ModelStatusRequest { subscriber_name: "millstream".into(), model, all_versions: false };
    let mut stream = scheduler.model_status(request).await.map_err(said)?.into_inner();
    let mut all = vec![];
    while let Some(status) = stream.message().await.map_err(said)? {
        all.push(status);
    }
    Ok(all)
}

fn state_of(status: &ModelStatusResponse) -> (String, String, u32, u32) {
    let Some(version) = status.versions.last() else { return ("ModelStateUnknown".into(), String::new(), 0, 0) };
    let state = version.state.clone().unwrap_or_default();
    let name = ModelState::try_from(state.state).unwrap_or_default().as_str_name().to_string();
    (name, state.reason, version.version, state.available_replicas)
}

async fn wait_for(host: &str, name: &str, wanted: &str, timeout_secs: u64) -> anyhow::Result<()> {
    wait_until(timeout_secs, &format!("model {name} is not {wanted}"), || async {
        let status = statuses(host, Some(name)).await?;
        let (state, reason, ..) = status.first().map(state_of).unwrap_or_default();
        if state == "ModelFailed" && wanted == "ModelAvailable" {
            anyhow::bail!("model {name} failed: {reason}");
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

fn print(statuses: &[ModelStatusResponse], format: Format) {
    match format {
        Format::Table => {
            let row = |status: &ModelStatusResponse| {
                let (state, reason, version, replicas) = state_of(status);
                vec![status.model_name.clone(), state, version.to_string(), replicas.to_string(), reason]
            };
            output::table(&["model", "state", "version", "replicas", "reason"], &statuses.iter().map(row).collect::<Vec<_>>());
        }
        Format::Json => {
            for status in statuses {
                let (state, reason, version, replicas) = state_of(status);
                println!(
                    "{}",
                    serde_json::json!({ "model": status.model_name, "state": state, "version": version, "replicas": replicas, "reason": reason })
                );
            }
        }
    }
}
