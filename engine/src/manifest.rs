//! Seldon Core 2's YAML: `Model` and `Pipeline` (`mlops.seldon.io/v1alpha1`), strict about unknown fields.

use std::collections::HashMap;

use millstream_proto::seldon::scheduler::{
    Batch, DataflowSpec, DeploymentSpec, KubernetesMeta, MetaData, Model, ModelSpec, ParameterSpec, Pipeline, PipelineInput,
    PipelineOutput, PipelineStep,
};
use serde::{Deserialize, de::DeserializeOwned};

const API_VERSION: &str = "mlops.seldon.io/v1alpha1";
const KINDS: [&str; 2] = ["Model", "Pipeline"];

/// A document of a YAML file.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // few of them, and short-lived
pub enum Manifest {
    /// A model.
    Model(Model),
    /// A pipeline.
    Pipeline(Pipeline),
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("document {document}: {reason}")]
pub struct ManifestError {
    /// The number of the document in its file, from 1.
    pub document: usize,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// Reads all documents of a file.
///
/// # Errors
/// The first document that is not a model or pipeline as Seldon Core 2 writes it: an unknown field is named with the nearest known one.
pub fn read(yaml: &str) -> Result<Vec<Manifest>, ManifestError> {
    let documents = yaml.split("\n---").map(|document| document.trim_start_matches("---")).filter(|document| !is_blank(document));
    documents.enumerate().map(|(i, document)| one(document).map_err(|reason| ManifestError { document: i + 1, reason })).collect()
}

fn is_blank(document: &str) -> bool {
    document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

fn one(document: &str) -> Result<Manifest, String> {
    let head: Head = parse(document)?;
    if head.api_version != API_VERSION {
        return Err(format!("apiVersion is {:?}: write {API_VERSION}", head.api_version));
    }
    match head.kind.as_str() {
        "Model" => parse::<Document<ModelManifest>>(document).map(|model| Manifest::Model(model.into())),
        "Pipeline" => parse::<Document<PipelineManifest>>(document).map(|pipeline| Manifest::Pipeline(pipeline.into())),
        other => Err(format!("kind is {other:?}: write one of {}", KINDS.join(", "))),
    }
}

fn parse<T: DeserializeOwned>(document: &str) -> Result<T, String> {
    serde_saphyr::from_str(document).map_err(|error| with_nearest(&error.to_string()))
}

/// Adds the nearest known name to the list of them.
fn with_nearest(error: &str) -> String {
    let first = error.lines().next().unwrap_or_default();
    let nearest = || {
        let (unknown, known) = first.split_once("unknown field `")?.1.split_once('`')?;
        let known = known.split_once("expected ")?.1.trim_start_matches("one of ");
        let names = known.split(", ").map(|name| name.trim_matches('`'));
        names.max_by(|a, b| strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown)))
    };
    nearest().map_or_else(|| first.to_string(), |nearest| format!("{first}; did you mean `{nearest}`?"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document<S> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: S,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    generation: i64,
}

impl Metadata {
    fn kubernetes(&self) -> KubernetesMeta {
        KubernetesMeta { namespace: self.namespace.clone(), generation: self.generation }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ModelManifest {
    storage_uri: String,
    artifact_version: Option<u32>,
    #[serde(default)]
    requirements: Vec<String>,
    memory: Option<Quantity>,
    replicas: Option<u32>,
    #[serde(default)]
    min_replicas: u32,
    #[serde(default)]
    max_replicas: u32,
    server: Option<String>,
    model_type: Option<String>,
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Quantity {
    Bytes(u64),
    Text(String),
}

impl Quantity {
    /// Kubernetes' notation of bytes; what cannot be read asks for nothing.
    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => *bytes,
            Self::Text(text) => {
                let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
                let (number, unit) = text.split_at(split);
                let factor = match unit {
                    "k" | "K" => 1e3,
                    "M" => 1e6,
                    "G" => 1e9,
                    "Ki" => 1024.0,
                    "Mi" => 1_048_576.0,
                    "Gi" => 1_073_741_824.0,
                    _ => 1.0,
                };
                (number.parse::<f64>().unwrap_or(0.0) * factor) as u64
            }
        }
    }
}

impl From<Document<ModelManifest>> for Model {
    fn from(Document { metadata, spec, .. }: Document<ModelManifest>) -> Self {
        let requirements = spec.requirements.into_iter().chain(spec.model_type).collect();
        let parameters = spec.parameters.into_iter().map(|Parameter { name, value }| ParameterSpec { name, value }).collect();
        Self {
            meta: Some(MetaData { name: metadata.name.clone(), kubernetes_meta: Some(metadata.kubernetes()), ..Default::default() }),
            model_spec: Some(ModelSpec {
                uri: spec.storage_uri,
                artifact_version: spec.artifact_version,
                requirements,
                memory_bytes: spec.memory.map(|memory| memory.bytes()),
                server: spec.server,
                parameters,
                ..Default::default()
            }),
            deployment_spec: Some(DeploymentSpec {
                replicas: spec.replicas.unwrap_or(1),
                min_replicas: spec.min_replicas,
                max_replicas: spec.max_replicas,
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Join {
    #[default]
    Inner = 0,
    Outer = 1,
    Any = 2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PipelineManifest {
    steps: Vec<StepManifest>,
    input: Option<InputManifest>,
    output: Option<OutputManifest>,
    dataflow: Option<DataflowManifest>,
    #[serde(default)]
    allow_cycles: bool,
    #[serde(default)]
    max_step_revisits: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StepManifest {
    name: String,
    #[serde(default)]
    inputs: Vec<String>,
    #[serde(default)]
    inputs_join_type: Join,
    join_window_ms: Option<u32>,
    #[serde(default)]
    tensor_map: HashMap<String, String>,
    #[serde(default)]
    triggers: Vec<String>,
    #[serde(default)]
    triggers_join_type: Join,
    batch: Option<BatchManifest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BatchManifest {
    size: Option<u32>,
    window_ms: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InputManifest {
    #[serde(default)]
    external_inputs: Vec<String>,
    #[serde(default)]
    external_triggers: Vec<String>,
    #[serde(default)]
    join_type: Join,
    #[serde(default)]
    triggers_join_type: Join,
    join_window_ms: Option<u32>,
    #[serde(default)]
    tensor_map: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OutputManifest {
    #[serde(default)]
    steps: Vec<String>,
    #[serde(default)]
    steps_join: Join,
    #[serde(default)]
    join_window_ms: u32,
    #[serde(default)]
    tensor_map: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DataflowManifest {
    #[serde(default)]
    clean_topics_on_delete: bool,
}

impl From<Document<PipelineManifest>> for Pipeline {
    fn from(Document { metadata, spec, .. }: Document<PipelineManifest>) -> Self {
        let step = |step: StepManifest| PipelineStep {
            name: step.name,
            inputs: step.inputs,
            join_window_ms: step.join_window_ms,
            tensor_map: step.tensor_map,
            inputs_join: step.inputs_join_type as i32,
            triggers: step.triggers,
            triggers_join: step.triggers_join_type as i32,
            batch: step.batch.map(|batch| Batch { size: batch.size, window_ms: batch.window_ms }),
        };
        Self {
            name: metadata.name.clone(),
            steps: spec.steps.into_iter().map(step).collect(),
            output: spec.output.map(|output| PipelineOutput {
                steps: output.steps,
                join_window_ms: output.join_window_ms,
                steps_join: output.steps_join as i32,
                tensor_map: output.tensor_map,
            }),
            kubernetes_meta: Some(metadata.kubernetes()),
            input: spec.input.map(|input| PipelineInput {
                external_inputs: input.external_inputs,
                external_triggers: input.external_triggers,
                join_window_ms: input.join_window_ms,
                join_type: input.join_type as i32,
                triggers_join: input.triggers_join_type as i32,
                tensor_map: input.tensor_map,
            }),
            dataflow_spec: spec.dataflow.map(|dataflow| DataflowSpec { clean_topics_on_delete: dataflow.clean_topics_on_delete }),
            allow_cycles: spec.allow_cycles,
            max_step_revisits: spec.max_step_revisits,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{PipelineBuilder, Step};

    const YAML: &str = "
apiVersion: mlops.seldon.io/v1alpha1
kind: Pipeline
metadata:
  name: sums
spec:
  steps:
    - name: add10
    - name: add20
      inputs: [add10]
      tensorMap:
        add10.outputs.OUTPUT: INPUT
  output:
    steps: [add20]
";

    #[test]
    fn yaml_and_rust_give_the_same_pipeline() {
        let step = Step::new("add20").input("add10").rename("add10.outputs.OUTPUT", "INPUT");
        let built = PipelineBuilder::new("sums").step(Step::new("add10")).step(step).output("add20").build();
        let Manifest::Pipeline(read) = read(YAML).unwrap().remove(0) else { panic!("not a pipeline") };
        assert_eq!(Pipeline { kubernetes_meta: None, ..read }, built);
    }

    #[test]
    fn an_unknown_field_is_named_with_the_nearest_known_one() {
        let error = read(&YAML.replace("inputs:", "inputz:")).unwrap_err().to_string();
        assert!(error.contains("inputz") && error.contains("did you mean `inputs`?"), "{error}");
    }

    #[test]
    fn another_kind_is_refused_with_those_that_there_are() {
        let error = read(&YAML.replace("kind: Pipeline", "kind: Pipline")).unwrap_err().to_string();
        assert!(error.contains("Model, Pipeline"), "{error}");
    }
}
