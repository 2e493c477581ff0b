//! Bad input: one clear line, the right code, and everything else goes on.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, io::Write, net::TcpListener, net::TcpStream, path::Path, time::Instant};

use millstream_proto::inference::{
    InferTensorContents, ModelInferRequest, grpc_inference_service_client::GrpcInferenceServiceClient,
    model_infer_request::InferInputTensor,
};
use support::{Done, Process, Up, run};
use tonic::Code;

const GOOD: &str = r#"{"inputs": [{"name": "INPUT", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}"#;

/// It failed, and says so in one line that has these words in it.
fn fails(done: &Done, code: i32, words: &[&str]) {
    assert_eq!(done.code, Some(code), "{done:?}");
    let errors: Vec<_> = done.err.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && words.iter().all(|word| errors[0].contains(word)), "{words:?} are not in {:?}", done.err);
    assert!(done.out.is_empty(), "{done:?}");
}

fn up(folder: &Path) -> Up {
    let up = Up::start(folder, &[]);
    for model in ["add10", "add20", "mul10"] {
        up.run(&["model", "load", "-f", &format!("models/{model}.yaml"), "--wait"]).ok();
    }
    up.run(&["pipeline", "load", "-f", "demo/pipelines.yaml", "--wait"]).ok();
    up
}

fn still_answers(up: &Up) {
    assert!(up.run(&["pipeline", "infer", "chain", GOOD]).ok().contains("[110.0,120.0,130.0,140.0]"));
    assert!(up.run(&["model", "infer", "add10", GOOD]).ok().contains("[11.0,12.0,13.0,14.0]"));
}

#[test]
fn a_manifest_that_cannot_be_is_refused_with_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let up = up(folder.path());
    let pipeline = |spec: &str| format!("apiVersion: mlops.seldon.io/v1alpha1\nkind: Pipeline\nmetadata:\n  name: bad\nspec:\n{spec}\n");
    let model = |spec: &str| format!("apiVersion: mlops.seldon.io/v1alpha1\nkind: Model\nmetadata:\n  name: bad\nspec:\n{spec}\n");
    let corrupt = folder.path().join("corrupt");
    fs::create_dir(&corrupt).unwrap();
    fs::write(corrupt.join("model.onnx"), "this is no model").unwrap();
    let corrupt = model(&format!("  storageUri: file://{}\n  requirements: [onnx]", corrupt.display()));
    let cycle = "  steps:\n  - name: add10\n    inputs: [mul10]\n  - name: mul10\n    inputs: [add10]";
    for (verb, yaml, words) in [
        ("pipeline", pipeline("  stepz: []"), &["unknown field `stepz`", "did you mean `steps`?"][..]),
        ("pipeline", pipeline("  steps:\n  - name: add10\n    inputs: [ad10]"), &["pipeline bad step add10 has input ad10"]),
        (
            "pipeline",
            pipeline("  steps:\n  - name: add10\n  output:\n    steps: [ad10]"),
            &["output step ad10 not found", "did you mean add10?"],
        ),
        ("pipeline", pipeline(cycle), &["pipeline bad has a cycle", "add10, mul10"]),
        ("pipeline", pipeline("  steps: []"), &["pipeline bad has no steps"]),
        ("pipeline", pipeline("  steps:\n  - name: add10\n    inputsJoinType: outer"), &["inputsJoinType"]),
        ("pipeline", pipeline("  steps:\n  - name: add10\n    triggers: [bad.inputs.x]"), &["triggers"]),
        ("pipeline", pipeline("  steps:\n  - name: add10\n    batch:\n      size: 4"), &["batch"]),
        ("pipeline", pipeline("  steps:\n  - name: add10\n  input:\n    externalInputs: [chain]"), &["input"]),
        ("pipeline", pipeline("  steps: [name"), &["bad.yaml", "document 1"]),
        ("pipeline", pipeline("  steps:\n  - name: add10").replace("kind: Pipeline", "kind: Pipe"), &["kind is \"Pipe\"", "Pipeline"]),
        ("pipeline", pipeline("  steps:\n  - name: add10").replace("v1alpha1", "v2"), &["apiVersion", "mlops.seldon.io/v1alpha1"]),
        ("pipeline", model("  storageUri: file://models/add10"), &["millstream model load"]),
        ("model", model("  storageUrl: file://models/add10"), &["unknown field `storageUrl`", "did you mean `storageUri`?"]),
        ("model", model("  storageUri: gs://bucket/x\n  requirements: [onnx]"), &["model bad failed", "no access to gs://"]),
        ("model", model("  storageUri: file://models/nothing\n  requirements: [onnx]"), &["models/nothing: no such file"]),
        ("model", corrupt, &["model bad failed", "corrupt", "not an ONNX model"]),
    ] {
        let path = folder.path().join("bad.yaml");
        fs::write(&path, &yaml).unwrap();
        let done = up.run(&[verb, "load", "-f", path.to_str().unwrap(), "--wait", "--timeout-secs", "20"]);
        fails(&done, 1, words);
    }
    fails(&up.run(&["model", "load", "-f", "nowhere.yaml"]), 1, &["nowhere.yaml", "No such file"]);
    still_answers(&up);
    assert!(up.run(&["pipeline", "list"]).ok().contains("chain"));
    for verb in ["status", "unload"] {
        fails(&up.run(&["pipeline", verb, "chian"]), 1, &["pipeline chian does not exist", "did you mean chain?"]);
        fails(&up.run(&["model", verb, "ad10"]), 1, &["model ad10 does not exist", "did you mean add10?"]);
    }
    // A pipeline whose model does not come: what is awaited is not reached.
    let path = folder.path().join("waits.yaml");
    fs::write(&path, pipeline("  steps:\n  - name: nobody\n  output:\n    steps: [nobody]")).unwrap();
    let done = up.run(&["pipeline", "load", "-f", path.to_str().unwrap(), "--wait", "--timeout-secs", "1"]);
    fails(&done, 3, &["pipeline bad is not PipelineReady after 1 s", "nobody"]);
    assert_eq!(up.run(&["pipeline", "lod"]).code, Some(2));
    still_answers(&up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_cannot_be_answered_gets_its_code_and_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let up = up(folder.path());
    let tensor = |name: &str, shape: &str, datatype: &str, data: &str| {
        format!(r#"{{"inputs": [{{"name": "{name}", "shape": {shape}, "datatype": "{datatype}", "data": {data}}}]}}"#)
    };
    let wrong_name = tensor("IMPUT", "[1, 4]", "FP32", "[1, 2, 3, 4]");
    let wrong_shape = tensor("INPUT", "[1, 3]", "FP32", "[1, 2, 3]");
    let wrong_datatype = tensor("INPUT", "[1, 4]", "INT32", "[1, 2, 3, 4]");
    let large = 65 << 20;
    for (path, body, status, words) in [
        ("models/add10", wrong_name.as_str(), 400, &["add10", "INPUT"][..]),
        ("models/add10", &wrong_shape, 400, &["add10", "wrong shape", "[1,3]"]),
        ("models/add10", &wrong_datatype, 400, &["add10", "wrong datatype", "FP32", "INT32"]),
        ("pipelines/chain", &wrong_name, 400, &["add10", "INPUT"]),
        ("pipelines/chain", &wrong_shape, 400, &["add10", "wrong shape"]),
        ("pipelines/chain", &wrong_datatype, 400, &["add10", "wrong datatype"]),
        ("models/nobody", GOOD, 404, &["nobody"]),
        ("pipelines/nobody", GOOD, 404, &["there is no pipeline nobody"]),
        ("pipelines/chain", "{\"inputs\": [", 400, &["malformed JSON"]),
        ("models/add10", "", 400, &["malformed JSON"]),
    ] {
        let (got, said) = post(&up.inference, &format!("/v2/{path}/infer"), body, body.len());
        assert_eq!(got, status, "{path} {body}: {said}");
        assert!(words.iter().all(|word| said.contains(word)) && !said.contains('\n'), "{words:?} are not in {said}");
    }
    let (status, said) = post(&up.inference, "/v2/pipelines/chain/infer", "", large);
    assert!(status == 413 && said.contains("67108864"), "{status} {said}");

    let mut client = GrpcInferenceServiceClient::connect(format!("http://{}", up.inference)).await.unwrap();
    let request = |model: &str, name: &str, datatype: &str, shape: i64| {
        let contents = match datatype {
            "INT32" => InferTensorContents { int_contents: vec![1; shape as usize], ..Default::default() },
            _ => InferTensorContents { fp32_contents: vec![1.0; shape as usize], ..Default::default() },
        };
        let input = InferInputTensor {
            name: name.into(),
            datatype: datatype.into(),
            shape: vec![1, shape],
            contents: Some(contents),
            ..Default::default()
        };
        let mut request = tonic::Request::new(ModelInferRequest { model_name: model.into(), inputs: vec![input], ..Default::default() });
        request.metadata_mut().insert("seldon-model", model.parse().unwrap());
        request
    };
    for (request, code, word) in [
        (request("add10", "IMPUT", "FP32", 4), Code::InvalidArgument, "INPUT"),
        (request("add10", "INPUT", "INT32", 4), Code::InvalidArgument, "wrong datatype"),
        (request("chain.pipeline", "INPUT", "FP32", 3), Code::InvalidArgument, "wrong shape"),
        (request("nobody", "INPUT", "FP32", 4), Code::NotFound, "nobody"),
        (request("nobody.pipeline", "INPUT", "FP32", 4), Code::NotFound, "nobody"),
    ] {
        let status = client.model_infer(request).await.unwrap_err();
        assert!(status.code() == code && status.message().contains(word), "{status:?}, not {code:?} and {word}");
    }
    // The CLI passes on what it is told.
    fails(&up.run(&["pipeline", "infer", "nobody", GOOD]), 1, &["404", "there is no pipeline nobody"]);
    fails(&up.run(&["model", "infer", "add10", &wrong_shape, "--inference-mode", "grpc"]), 1, &["InvalidArgument", "wrong shape"]);
    fails(&up.run(&["model", "infer", "add10", "{"]), 1, &["malformed JSON"]);
    still_answers(&up);
}

/// Status and body of a POST that says that its body has this length.
fn post(address: &str, path: &str, body: &str, length: usize) -> (u16, String) {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(support::PATIENCE)).unwrap();
    write!(connection, "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let answer = std::io::read_to_string(connection).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_string())
}

#[test]
fn what_cannot_start_says_why_and_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let up = up(folder.path());
    let data = folder.path().join("data").display().to_string();
    let other = folder.path().join("other");
    let other_data = other.display().to_string();
    fs::create_dir_all(other.join("broker")).unwrap();
    fs::write(other.join("broker/VERSION"), "millstream broker 99\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let port = taken.split_once(':').unwrap().1;
    let fresh = |name: &str| folder.path().join(name).display().to_string();
    let (f1, f2, f3) = (fresh("f1"), fresh("f2"), fresh("f3"));
    let free = "127.0.0.1:0";
    let nobody = "127.0.0.1:1";
    for (args, words) in [
        (
            &["up", "--data-dir", &data, "--listen", free, "--scheduler-listen", free, "--inspect-listen", free][..],
            &[data.as_str(), "in use"][..],
        ),
        (&["up", "--data-dir", &other_data], &[&other_data, "millstream broker 99", "millstream broker 1"]),
        (&["up", "--data-dir", "/proc/nowhere"], &["/proc/nowhere", "cannot be created"]),
        (&["up", "--data-dir", &f1, "--listen", &taken, "--scheduler-listen", free, "--inspect-listen", free], &[port, "in use"]),
        (&["up", "--data-dir", &f2, "--listen", free, "--scheduler-listen", &taken, "--inspect-listen", free], &[port, "in use"]),
        (&["up", "--data-dir", &f3, "--listen", free, "--scheduler-listen", free, "--inspect-listen", &taken], &[port, "in use"]),
        (&["up", "--bootstrap-servers", nobody], &["broker 127.0.0.1:1 cannot be reached"]),
        (&["scheduler", "--bootstrap-servers", nobody], &["broker 127.0.0.1:1 cannot be reached"]),
        (&["engine", "--replica", "e", "--bootstrap-servers", nobody], &["broker 127.0.0.1:1 cannot be reached"]),
        (&["gateway", "pipeline", "--bootstrap-servers", nobody], &["broker 127.0.0.1:1 cannot be reached"]),
        (&["gateway", "model", "--bootstrap-servers", nobody], &["broker 127.0.0.1:1 cannot be reached"]),
        (&["engine", "--replica", "e"], &["--bootstrap-servers is missing"]),
        (&["agent", "--listen", &taken], &[port, "in use"]),
        (&["model", "list", "--scheduler-host", nobody], &["no scheduler answers at 127.0.0.1:1"]),
        (&["model", "infer", "m", GOOD, "--inference-host", nobody], &["nothing answers at 127.0.0.1:1"]),
        (
            &["model", "infer", "m", GOOD, "--inference-host", nobody, "--inference-mode", "grpc"],
            &["no inference endpoint answers at 127.0.0.1:1"],
        ),
        (&["pipeline", "inspect", "p", "--inspect-host", nobody], &["no inspector answers at 127.0.0.1:1"]),
    ] {
        let started = Instant::now();
        let done = run(args, &[]);
        println!("{:?} {}", started.elapsed(), done.err.trim_end());
        fails(&done, 1, words);
    }
    for args in [&["up", "--listen", "nonsense"][..], &["up", "--partitions", "0"], &["agent", "--model-repository", "x"], &["engine"]] {
        assert_eq!(run(args, &[]).code, Some(2), "{args:?}");
    }
    still_answers(&up);
    // Told to stop, it does, and says that all is well.
    let Up { mut process, .. } = up;
    terminate(&process);
    assert!(process.ended().success());
}

fn terminate(process: &Process) {
    assert!(std::process::Command::new("kill").arg(process.pid().to_string()).status().unwrap().success());
}
