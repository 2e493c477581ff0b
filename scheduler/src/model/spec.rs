//! What a model asks for, and how two definitions of it differ.

use millstream_proto::seldon::scheduler::{
    DeploymentSpec, Model, ModelRuntimeInfo,
    model_runtime_info::ModelRuntimeInfo::{Mlserver, Triton},
    model_spec::ModelSpec::Explainer,
};

/// What a new definition of a model means for the one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// They say the same.
    Nothing,
    /// Only where the definition comes from.
    Meta,
    /// Only how many replicas: the version stays.
    Deployment,
    /// What is served: a new version.
    Version,
}

pub(crate) fn change(old: &Model, new: &Model) -> Change {
    if (&old.model_spec, &old.stream_spec, &old.dataflow_spec) != (&new.model_spec, &new.stream_spec, &new.dataflow_spec) {
        Change::Version
    } else if old.deployment_spec != new.deployment_spec {
        Change::Deployment
    } else if old.meta != new.meta {
        Change::Meta
    } else {
        Change::Nothing
    }
}

pub(crate) fn name(model: &Model) -> &str {
    model.meta.as_ref().map_or("", |meta| &meta.name)
}

/// The generation of the Kubernetes resource; `None` if there is none. 0 is none as well.
pub(crate) fn generation(model: &Model) -> Option<i64> {
    model.meta.as_ref()?.kubernetes_meta.as_ref().map(|meta| meta.generation).filter(|generation| *generation > 0)
}

/// How many replicas; a model that does not say wants one.
pub(crate) fn deployment(model: &Model) -> DeploymentSpec {
    model.deployment_spec.unwrap_or(DeploymentSpec { replicas: 1, ..Default::default() })
}

/// Whether the topics go when the model goes.
pub(crate) fn cleans_topics(model: &Model) -> bool {
    model.dataflow_spec.is_some_and(|spec| spec.clean_topics_on_delete)
}

pub(crate) fn requirements(model: &Model) -> impl Iterator<Item = &str> {
    model.model_spec.iter().flat_map(|spec| &spec.requirements).map(|requirement| requirement.trim())
}

pub(crate) fn explains(model: &Model) -> bool {
    model.model_spec.as_ref().is_some_and(|spec| matches!(spec.model_spec, Some(Explainer(_))))
}

pub(crate) fn server(model: &Model) -> Option<&str> {
    model.model_spec.as_ref()?.server.as_deref().filter(|server| !server.is_empty())
}

/// The memory of one replica: that of an instance × how many instances the server runs.
pub(crate) fn memory(model: &Model, reported: Option<&ModelRuntimeInfo>) -> u64 {
    let Some(spec) = &model.model_spec else { return 0 };
    let info = reported.or(spec.model_runtime_info.as_ref()).and_then(|info| info.model_runtime_info.as_ref());
    let instances = match info {
        Some(Mlserver(settings)) => settings.parallel_workers,
        Some(Triton(config)) => config.cpu.iter().map(|cpu| cpu.instance_count).sum(),
        None => 1,
    };
    spec.memory_bytes.unwrap_or(0).saturating_mul(u64::from(instances.max(1)))
}
