//! The models of `models/` answer, and each wrong request is told what is wrong.

#![allow(clippy::unwrap_used)]

use millstream_agent::{LoadError, ModelServer, Options};
use millstream_proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use millstream_proto::inference::{InferTensorContents, ModelInferRequest, ModelInferResponse};
use millstream_proto::seldon::agent::ModelVersion;
use millstream_proto::seldon::scheduler::{MetaData, Model, ModelSpec};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

fn server() -> ModelServer {
    ModelServer::new(&Options { memory_bytes: 1000, ..Options::default() }).unwrap()
}

fn version(name: &str, version: u32, uri: String, memory: Option<u64>) -> ModelVersion {
    let meta = MetaData { name: name.into(), ..Default::default() };
    let spec = ModelSpec { uri, memory_bytes: memory, ..Default::default() };
    ModelVersion { model: Some(Model { meta: Some(meta), model_spec: Some(spec), ..Default::default() }), version }
}

fn bundled(model: &str) -> String {
    format!("file://../models/{model}")
}

async fn with(models: &[&str]) -> ModelServer {
    let server = server();
    for model in models {
        server.load(&version(model, 1, bundled(model), None)).await.unwrap();
    }
    server
}

fn fp32(name: &str, shape: &[i64], values: &[f32]) -> InferInputTensor {
    let contents = Some(InferTensorContents { fp32_contents: values.to_vec(), ..Default::default() });
    InferInputTensor { name: name.into(), datatype: "FP32".into(), shape: shape.to_vec(), contents, ..Default::default() }
}

fn int32(name: &str, shape: &[i64], values: &[i32]) -> InferInputTensor {
    let contents = Some(InferTensorContents { int_contents: values.to_vec(), ..Default::default() });
    InferInputTensor { name: name.into(), datatype: "INT32".into(), shape: shape.to_vec(), contents, ..Default::default() }
}

fn request(model: &str, inputs: Vec<InferInputTensor>) -> ModelInferRequest {
    ModelInferRequest { model_name: model.into(), id: "r1".into(), inputs, ..Default::default() }
}

fn rows(raw: &[u8]) -> Vec<f32> {
    raw.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn shapes(response: &ModelInferResponse) -> Vec<(&str, &str, &[i64])> {
    response.outputs.iter().map(|output| (output.name.as_str(), output.datatype.as_str(), &output.shape[..])).collect()
}

async fn refused(server: &ModelServer, request: ModelInferRequest) -> Status {
    server.infer(request).await.unwrap_err()
}

#[tokio::test]
async fn arithmetic_models_answer_for_any_number_of_rows() {
    let server = with(&["add10", "add20", "mul10"]).await;
    for (model, expected) in [("add10", [11., 12., 13., 14.]), ("add20", [21., 22., 23., 24.]), ("mul10", [10., 20., 30., 40.])] {
        for batch in [1, 3, 1, 64] {
            let input = fp32("INPUT", &[batch, 4], &[1., 2., 3., 4.].repeat(batch as usize));
            let response = server.infer(request(model, vec![input])).await.unwrap();
            assert_eq!(shapes(&response), [("OUTPUT", "FP32", &[batch, 4][..])]);
            assert_eq!(rows(&response.raw_output_contents[0]), expected.repeat(batch as usize));
            assert_eq!((response.model_name.as_str(), response.model_version.as_str(), response.id.as_str()), (model, "1", "r1"));
        }
    }
}

#[tokio::test]
async fn raw_contents_give_the_same_answer() {
    let server = with(&["add10"]).await;
    let mut raw = request("add10", vec![fp32("INPUT", &[1, 4], &[])]);
    raw.inputs[0].contents = None;
    raw.raw_input_contents = vec![[1f32, 2., 3., 4.].iter().flat_map(|value| value.to_le_bytes()).collect()];
    assert_eq!(rows(&server.infer(raw).await.unwrap().raw_output_contents[0]), [11., 12., 13., 14.]);
}

#[tokio::test]
async fn sumdiff_answers_with_both_outputs_or_the_one_that_is_asked_for() {
    let server = with(&["sumdiff"]).await;
    let (a, b): (Vec<i32>, Vec<i32>) = ((0..16).collect(), (0..16).map(|n| n * n).collect());
    let mut both = request("sumdiff", vec![int32("INPUT1", &[1, 16], &b), int32("INPUT0", &[1, 16], &a)]);
    let ints = |raw: &[u8]| raw.chunks_exact(4).map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap())).collect::<Vec<_>>();
    let response = server.infer(both.clone()).await.unwrap();
    assert_eq!(shapes(&response), [("OUTPUT0", "INT32", &[1, 16][..]), ("OUTPUT1", "INT32", &[1, 16][..])]);
    assert_eq!(ints(&response.raw_output_contents[0]), (0..16).map(|n| n + n * n).collect::<Vec<_>>());
    assert_eq!(ints(&response.raw_output_contents[1]), (0..16).map(|n| n - n * n).collect::<Vec<_>>());
    both.outputs = vec![InferRequestedOutputTensor { name: "OUTPUT1".into(), ..Default::default() }];
    let response = server.infer(both).await.unwrap();
    assert_eq!(shapes(&response), [("OUTPUT1", "INT32", &[1, 16][..])]);
    assert_eq!(response.raw_output_contents.len(), 1);
}

#[tokio::test]
async fn iris_tells_the_three_species_apart() {
    let server = with(&["iris"]).await;
    let flowers = [5.1, 3.5, 1.4, 0.2, 6.0, 2.7, 4.1, 1.0, 6.5, 3.0, 5.8, 2.2];
    let response = server.infer(request("iris", vec![fp32("INPUT", &[3, 4], &flowers)])).await.unwrap();
    assert_eq!(shapes(&response), [("CLASS", "INT64", &[3][..]), ("SCORES", "FP32", &[3, 3][..])]);
    let classes: Vec<_> = response.raw_output_contents[0].chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(classes, [0, 1, 2]);
    for (row, class) in rows(&response.raw_output_contents[1]).chunks_exact(3).zip(classes) {
        assert!((row.iter().sum::<f32>() - 1.).abs() < 1e-5);
        assert!(row[class as usize] > 0.8, "{row:?}");
    }
}

#[tokio::test]
async fn metadata_names_tensors_with_an_open_batch() {
    let server = with(&["iris"]).await;
    let metadata = server.metadata("iris", "").await.unwrap();
    let tensor =
        |t: &millstream_proto::inference::model_metadata_response::TensorMetadata| (t.name.clone(), t.datatype.clone(), t.shape.clone());
    assert_eq!(metadata.inputs.iter().map(tensor).collect::<Vec<_>>(), [("INPUT".into(), "FP32".into(), vec![-1, 4])]);
    let outputs = [("CLASS".into(), "INT64".into(), vec![-1]), ("SCORES".into(), "FP32".into(), vec![-1, 3])];
    assert_eq!(metadata.outputs.iter().map(tensor).collect::<Vec<_>>(), outputs);
    assert_eq!((metadata.name.as_str(), metadata.versions, metadata.platform.as_str()), ("iris", vec!["1".to_string()], "onnx"));
    assert_eq!(server.metadata("iris", "2").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn each_wrong_request_is_told_what_was_expected_and_what_came() {
    let server = with(&["add10", "sumdiff"]).await;
    let good = || fp32("INPUT", &[1, 4], &[0.; 4]);
    let add10 = |inputs| request("add10", inputs);
    let mut wrong_output = add10(vec![good()]);
    wrong_output.outputs = vec![InferRequestedOutputTensor { name: "OUT".into(), ..Default::default() }];
    let mut both_contents = add10(vec![good()]);
    both_contents.raw_input_contents = vec![vec![0; 16].into()];
    let mut short = add10(vec![fp32("INPUT", &[1, 4], &[])]);
    short.inputs[0].contents = None;
    short.raw_input_contents = vec![vec![0; 15].into()];
    let rows_differ = vec![int32("INPUT0", &[1, 16], &[0; 16]), int32("INPUT1", &[2, 16], &[0; 32])];
    let cases = [
        (add10(vec![fp32("INPUTS", &[1, 4], &[0.; 4])]), r#"model add10 has no input "INPUTS": it has INPUT (FP32 [-1,4])"#),
        (add10(vec![]), r#"input "INPUT" of model add10 is missing: expected FP32 [-1,4]"#),
        (add10(vec![good(), good()]), r#"input "INPUT" of model add10 is given twice"#),
        (add10(vec![int32("INPUT", &[1, 4], &[0; 4])]), r#"input "INPUT" of model add10 has the wrong datatype: expected FP32, got INT32"#),
        (add10(vec![fp32("INPUT", &[2, 3], &[0.; 6])]), r#"input "INPUT" of model add10 has the wrong shape: expected [-1,4], got [2,3]"#),
        (add10(vec![fp32("INPUT", &[4], &[0.; 4])]), "has the wrong shape: expected [-1,4], got [4]"),
        (add10(vec![fp32("INPUT", &[-1, 4], &[])]), "has the wrong shape: expected [-1,4], got [-1,4]"),
        (add10(vec![fp32("INPUT", &[2, 4], &[0.; 4])]), "has the wrong contents: expected 8 elements in fp32_contents, got 4"),
        (short, "has the wrong contents: expected 16 bytes for 4 elements, got 15 bytes"),
        (both_contents, "request for model add10 has 1 raw_input_contents for 1 inputs"),
        (wrong_output, r#"model add10 has no output "OUT": it has OUTPUT (FP32 [-1,4])"#),
        (
            request("sumdiff", rows_differ),
            r#"input "INPUT1" of model sumdiff has the wrong shape: expected batch = 1 as in input "INPUT0", got 2"#,
        ),
    ];
    for (request, part) in cases {
        let status = refused(&server, request).await;
        assert!(status.code() == Code::InvalidArgument && status.message().contains(part), "{status}: {part}");
    }
    let status = refused(&server, request("add11", vec![good()])).await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, r#"model "add11" is not loaded on this server: load it or check the name"#)
    );
    assert!(server.infer(add10(vec![good()])).await.is_ok());
}

#[tokio::test]
async fn a_broken_file_is_an_error_with_its_path_and_leaves_the_rest_alone() {
    let server = with(&["add10"]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let uri = format!("file://{}", folder.path().display());
    let good = std::fs::read("../models/iris/model.onnx").unwrap();
    let error = server.load(&version("broken", 1, uri.clone(), None)).await.unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("holds a model.onnx"), "{error}");
    let mut renamed = good.clone();
    let at = renamed.windows(6).rposition(|bytes| bytes == b"SCORES").unwrap();
    renamed[at..at + 6].copy_from_slice(b"SCOREZ");
    for broken in [&b""[..], b"this is no model", &good[..good.len() / 2], &renamed] {
        std::fs::write(&path, broken).unwrap();
        let error = server.load(&version("broken", 1, uri.clone(), Some(600))).await.unwrap_err();
        assert!(matches!(&error, LoadError::Onnx { .. }), "{error}");
        assert!(error.to_string().starts_with(&format!("{} is not an ONNX model", path.display())), "{error}");
        assert!(!error.to_string().contains('\n'));
    }
    assert_eq!(server.available_memory_bytes(), 1000);
    assert!(server.infer(request("add10", vec![fp32("INPUT", &[1, 4], &[0.; 4])])).await.is_ok());
}

#[tokio::test]
async fn any_damage_to_a_file_gives_an_error_or_a_model_but_never_a_crash() {
    let server = server();
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read("../models/iris/model.onnx").unwrap();
    let uri = format!("file://{}/m.onnx", folder.path().display());
    for at in (0..good.len()).step_by(3) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x15;
        std::fs::write(folder.path().join("m.onnx"), bytes).unwrap();
        let damaged = version("damaged", at as u32, uri.clone(), None);
        let loaded = tokio::time::timeout(Duration::from_secs(20), server.load(&damaged)).await.expect("loading must not hang");
        if loaded.is_ok() {
            let _ = server.infer(request("damaged", vec![fp32("INPUT", &[1, 4], &[0.; 4])])).await;
            server.unload("damaged", at as u32).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_latest_version_answers_unless_another_is_named() {
    let server = with(&[]).await;
    server.load(&version("m", 1, bundled("add10"), None)).await.unwrap();
    server.load(&version("m", 2, bundled("add20/model.onnx"), None)).await.unwrap();
    let ask = async |name: &str| {
        let response = server.infer(request(name, vec![fp32("INPUT", &[1, 4], &[0.; 4])])).await?;
        assert_eq!(response.model_name, "m");
        Ok::<_, Status>((response.model_version.clone(), rows(&response.raw_output_contents[0])[0]))
    };
    assert_eq!(ask("m").await.unwrap(), ("2".into(), 20.));
    assert_eq!(ask("m_1").await.unwrap(), ("1".into(), 10.));
    assert_eq!(ask("m_3").await.unwrap_err().code(), Code::NotFound);
    let mut headed = Request::new(request("whatever", vec![fp32("INPUT", &[1, 4], &[0.; 4])]));
    headed.metadata_mut().insert("seldon-internal-model", MetadataValue::from_static("m_1"));
    assert_eq!(server.call(headed).await.unwrap().into_inner().model_version, "1");
    server.unload("m", 2).await.unwrap();
    assert_eq!(ask("m").await.unwrap(), ("1".into(), 10.));
    server.unload("m", 1).await.unwrap();
    server.unload("m", 1).await.unwrap();
    assert_eq!(ask("m").await.unwrap_err().code(), Code::NotFound);
    assert!(server.loaded().is_empty());
}

#[tokio::test]
async fn the_memory_of_all_models_stays_within_the_replicas() {
    let server = server();
    server.load(&version("a", 1, bundled("add10"), Some(600))).await.unwrap();
    let error = server.load(&version("b", 1, bundled("add20"), Some(401))).await.unwrap_err();
    let expected = "model b asks for 401 bytes and 400 of 1000 are free: unload another model or raise `memory_bytes`";
    assert_eq!(error.to_string(), expected);
    server.load(&version("b", 1, bundled("add20"), Some(400))).await.unwrap();
    assert_eq!(server.available_memory_bytes(), 0);
    server.unload("a", 1).await.unwrap();
    assert_eq!(server.available_memory_bytes(), 600);
    // The same again costs nothing, another definition of the same version takes its place.
    server.load(&version("b", 1, bundled("add20"), Some(400))).await.unwrap();
    server.load(&version("b", 1, bundled("add10"), Some(500))).await.unwrap();
    assert_eq!(server.available_memory_bytes(), 500);
}

/// A promise about the order of magnitude only: the figures are the benches'.
#[tokio::test]
async fn a_tiny_model_answers_in_tens_of_microseconds() {
    let server = with(&["add10", "sumdiff", "iris"]).await;
    let sixteen = |name| int32(name, &[1, 16], &[1; 16]);
    for request in [
        request("add10", vec![fp32("INPUT", &[1, 4], &[0.; 4])]),
        request("sumdiff", vec![sixteen("INPUT0"), sixteen("INPUT1")]),
        request("iris", vec![fp32("INPUT", &[1, 4], &[1.; 4])]),
    ] {
        let mut took = Vec::new();
        for _ in 0..2000 {
            let request = request.clone();
            let started = std::time::Instant::now();
            server.infer(request).await.unwrap();
            took.push(started.elapsed());
        }
        took.sort();
        println!("{}: p50 {:?}, p99 {:?}", request.model_name, took[1000], took[1980]);
        assert!(took[1000] < Duration::from_micros(500), "{:?}", took[1000]);
    }
}
