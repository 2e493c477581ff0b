//! An agent in front of a real MLServer: load, ready, infer, errors, unload.
#![allow(clippy::unwrap_used)]

#[path = "support/mlserver.rs"]
mod mlserver;

use millstream_agent::{Backend, LoadError, ModelServer, NeighbourOptions, Options};
use millstream_proto::inference::model_infer_request::InferInputTensor;
use millstream_proto::inference::{InferTensorContents, ModelInferRequest};
use millstream_proto::seldon::agent::ModelVersion;
use millstream_proto::seldon::scheduler::{MetaData, Model, ModelSpec};
use mlserver::MlServer;
use std::time::Duration;
use tonic::Code;

fn version(name: &str, version: u32, uri: &str) -> ModelVersion {
    let meta = MetaData { name: name.into(), ..Default::default() };
    let spec = ModelSpec { uri: uri.into(), ..Default::default() };
    ModelVersion { model: Some(Model { meta: Some(meta), model_spec: Some(spec), ..Default::default() }), version }
}

fn request(model: &str, tensor: &str, typed: bool) -> ModelInferRequest {
    let values = [1f32, 2., 3., 4.];
    let contents = typed.then(|| InferTensorContents { fp32_contents: values.to_vec(), ..Default::default() });
    let input = InferInputTensor { name: tensor.into(), datatype: "FP32".into(), shape: vec![1, 4], contents, ..Default::default() };
    let raw = (!typed).then(|| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into());
    ModelInferRequest {
        model_name: model.into(),
        model_version: "1".into(),
        id: "r1".into(),
        inputs: vec![input],
        raw_input_contents: raw.into_iter().collect(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_lives_its_whole_life_on_a_real_mlserver() {
    let mut mlserver = tokio::task::spawn_blocking(MlServer::start).await.unwrap();
    let neighbour = NeighbourOptions { endpoint: mlserver.endpoint(), model_repository: Some(mlserver.repository()) };
    let options =
        Options { backend: Backend::Neighbour(neighbour), infer_timeout_ms: 60_000, load_timeout_ms: 60_000, ..Options::default() };
    let server = ModelServer::new(&options).unwrap();
    assert!(server.ready().await);

    let uri = "file://../models/mlserver-add10";
    server.load(&version("py", 1, uri)).await.unwrap();
    server.load(&version("py", 2, uri)).await.unwrap();
    assert!(server.model_ready("py", "").await && server.model_ready("py", "1").await && !server.model_ready("py", "3").await);
    assert_eq!(server.metadata("py", "").await.unwrap().versions, ["2"]);

    for (name, answered_by) in [("py", "2"), ("py_1", "1")] {
        let response = server.infer(request(name, "INPUT", true)).await.unwrap();
        assert_eq!((response.model_name.as_str(), response.model_version.as_str(), response.id.as_str()), ("py", answered_by, "r1"));
        assert_eq!((response.outputs[0].name.as_str(), &response.outputs[0].shape[..]), ("OUTPUT", &[1, 4][..]));
        assert_eq!(response.outputs[0].contents.as_ref().unwrap().fp32_contents, [11., 12., 13., 14.]);
    }
    let response = server.infer(request("py", "INPUT", false)).await.unwrap();
    let raw: Vec<u8> = [11f32, 12., 13., 14.].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(response.raw_output_contents, [raw]);

    let status = server.infer(request("py", "WRONG", true)).await.unwrap_err();
    assert!(status.code() == Code::InvalidArgument && status.message().contains("INPUT"), "{status}");

    let broken = tempfile::tempdir().unwrap();
    std::fs::write(broken.path().join("model-settings.json"), r#"{"implementation": "no_such_module.Model"}"#).unwrap();
    let error = server.load(&version("broken", 1, &format!("file://{}", broken.path().display()))).await.unwrap_err();
    assert!(matches!(&error, LoadError::Refused { model, .. } if model == "broken_1"), "{error}");
    assert!(!mlserver.repository().join("broken_1").exists());

    server.unload("py", 2).await.unwrap();
    assert!(!mlserver.repository().join("py_2").exists());
    assert_eq!(server.infer(request("py", "INPUT", true)).await.unwrap().model_version, "1");

    mlserver.kill();
    let status = tokio::time::timeout(Duration::from_secs(60), server.infer(request("py", "INPUT", true))).await.unwrap().unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains("cannot be reached"), "{status}");
    assert!(!server.ready().await);
}
