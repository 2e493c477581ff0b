//! One connection that asks: as cheap as can be, so that what is measured is the answerer.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use millstream_proto::inference::{
    InferTensorContents, ModelInferRequest, grpc_inference_service_client::GrpcInferenceServiceClient,
    model_infer_request::InferInputTensor,
};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// How long an answer may take before it counts as an error.
const PATIENCE: Duration = Duration::from_secs(5);

pub trait Ask: Send {
    /// Asks, waits for the answer, and says what is wrong with it.
    fn ask(&mut self) -> Result<(), String>;
}

/// HTTP/1.1, kept alive.
pub struct Rest {
    stream: TcpStream,
    request: Vec<u8>,
    expected: String,
    answer: Vec<u8>,
}

impl Rest {
    /// Asks a pipeline for the tensor 1, 2, 3, 4, and expects another.
    pub fn connect(address: SocketAddr, pipeline: &str, expected: [f32; 4]) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).expect("a socket of this process");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket of this process");
        let body = r#"{"inputs":[{"name":"INPUT","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}"#;
        let head = format!("POST /v2/pipelines/{pipeline}/infer HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
        Self { stream, request, expected: format!("{expected:?}").replace(' ', ""), answer: Vec::new() }
    }
}

impl Ask for Rest {
    fn ask(&mut self) -> Result<(), String> {
        self.stream.write_all(&self.request).map_err(|e| e.to_string())?;
        self.answer.clear();
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk).map_err(|e| e.to_string())? {
                0 => return Err("the connection was closed".into()),
                n => self.answer.extend_from_slice(&chunk[..n]),
            }
            let text = std::str::from_utf8(&self.answer).map_err(|e| e.to_string())?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                let right = head.starts_with("HTTP/1.1 200") && body.contains(&self.expected);
                return if right { Ok(()) } else { Err(text.replace("\r\n", " | ")) };
            }
        }
    }
}

/// gRPC: one connection.
pub struct Grpc {
    runtime: Runtime,
    client: GrpcInferenceServiceClient<Channel>,
    pipeline: String,
    expected: Vec<u8>,
}

impl Grpc {
    /// As [`Rest::connect`].
    pub fn connect(address: SocketAddr, pipeline: &str, expected: [f32; 4]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address").tcp_nodelay(true);
        let client = GrpcInferenceServiceClient::new(runtime.block_on(endpoint.connect()).expect("the gateway listens"));
        let expected = expected.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { runtime, client, pipeline: format!("{pipeline}.pipeline"), expected }
    }
}

impl Ask for Grpc {
    fn ask(&mut self) -> Result<(), String> {
        let contents = InferTensorContents { fp32_contents: vec![1., 2., 3., 4.], ..Default::default() };
        let tensor = InferInputTensor {
            name: "INPUT".into(),
            datatype: "FP32".into(),
            shape: vec![1, 4],
            contents: Some(contents),
            ..Default::default()
        };
        let mut request = tonic::Request::new(ModelInferRequest { inputs: vec![tensor], ..Default::default() });
        request.metadata_mut().insert("seldon-model", self.pipeline.parse().map_err(|_| "the name is no header".to_owned())?);
        request.set_timeout(PATIENCE);
        let answer = self.runtime.block_on(self.client.model_infer(request)).map_err(|status| status.message().to_owned())?.into_inner();
        let typed = || {
            let contents = answer.outputs.first()?.contents.as_ref()?;
            Some(contents.fp32_contents.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
        };
        let values = answer.raw_output_contents.first().map(|raw| raw.to_vec()).or_else(typed);
        if values.as_ref() == Some(&self.expected) { Ok(()) } else { Err(format!("{answer:?}")) }
    }
}
