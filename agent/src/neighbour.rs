//! A neighbouring server that speaks the Open Inference Protocol by gRPC.

use crate::error::{AgentError, InferError, LoadError, one_line};
use crate::options::{NeighbourOptions, Options};
use millstream_proto::inference as oip;
use oip::grpc_inference_service_client::GrpcInferenceServiceClient;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

const SETTINGS: &str = "model-settings.json";
const CONNECT: Duration = Duration::from_secs(2);

/// Law: an error of the transport is always `UNAVAILABLE` and names the endpoint; every other code is the server's own answer, so
/// that a caller knows what is worth a retry.
#[derive(Clone)]
pub(crate) struct Neighbour {
    endpoint: String,
    client: GrpcInferenceServiceClient<Channel>,
    repository: Option<PathBuf>,
    infer_timeout: Duration,
    places: Arc<Semaphore>,
    queue: usize,
}

impl Neighbour {
    /// Connects when it is first used.
    pub(crate) fn new(neighbour: &NeighbourOptions, options: &Options) -> Result<Neighbour, AgentError> {
        let endpoint = neighbour.endpoint.clone();
        let channel = Endpoint::from_shared(endpoint.clone()).map_err(|error| AgentError::Address {
            option: "endpoint",
            value: endpoint.clone(),
            example: 8081,
            reason: error.to_string(),
        })?;
        let client = GrpcInferenceServiceClient::new(channel.connect_timeout(CONNECT).tcp_nodelay(true).connect_lazy())
            .max_decoding_message_size(options.max_message_bytes)
            .max_encoding_message_size(options.max_message_bytes);
        let (repository, queue) = (neighbour.model_repository.clone(), options.inference_queue);
        let places = Arc::new(Semaphore::new(queue.min(Semaphore::MAX_PERMITS)));
        Ok(Neighbour { endpoint, client, repository, infer_timeout: options.infer_timeout(), places, queue })
    }

    pub(crate) async fn ready(&self) -> Result<bool, Status> {
        let mut client = self.client.clone();
        Ok(self.bounded(CONNECT, client.server_ready(oip::ServerReadyRequest {})).await?.into_inner().ready)
    }

    pub(crate) async fn model_ready(&self, over_there: &str) -> Result<bool, Status> {
        let request = oip::ModelReadyRequest { name: over_there.into(), version: String::new() };
        let mut client = self.client.clone();
        Ok(self.bounded(self.infer_timeout, client.model_ready(request)).await?.into_inner().ready)
    }

    pub(crate) async fn metadata(&self, over_there: &str) -> Result<oip::ModelMetadataResponse, Status> {
        let request = oip::ModelMetadataRequest { name: over_there.into(), version: String::new() };
        let mut client = self.client.clone();
        Ok(self.bounded(self.infer_timeout, client.model_metadata(request)).await?.into_inner())
    }

    /// The name that a version of a model has there: its own folder in the server's repository, or, where models are there already,
    /// the model's name.
    pub(crate) fn name_there(&self, model: &str, version: u32) -> String {
        match self.repository {
            Some(_) => format!("{model}_{version}"),
            None => model.into(),
        }
    }

    /// `source` is where the model's files are; it is not looked at without a repository to copy them to.
    pub(crate) async fn load(&self, over_there: &str, source: impl FnOnce() -> Result<PathBuf, LoadError>) -> Result<(), LoadError> {
        let place = self.place(over_there)?;
        if let Some(place) = &place {
            let (source, place, name) = (source()?, place.clone(), over_there.to_string());
            let copied = tokio::task::spawn_blocking(move || install(&source, &place, &name));
            copied.await.unwrap_or_else(|error| Err(LoadError::File { path: PathBuf::new(), reason: error.to_string() }))?;
        }
        let request = oip::RepositoryModelLoadRequest { model_name: over_there.into(), ..Default::default() };
        let loaded = self.client.clone().repository_model_load(request).await;
        if let (Err(_), Some(place)) = (&loaded, place) {
            // Why it was not loaded matters more than a folder that stays behind: the next load replaces it.
            let _ = remove(&place);
        }
        loaded.map(drop).map_err(|status| self.load_error(over_there, status))
    }

    pub(crate) async fn unload(&self, over_there: &str) -> Result<(), LoadError> {
        let request = oip::RepositoryModelUnloadRequest { model_name: over_there.into(), ..Default::default() };
        match self.client.clone().repository_model_unload(request).await {
            // It may have been restarted: what is not there is unloaded.
            Err(status) if status.code() != Code::NotFound => Err(self.load_error(over_there, status)),
            _ => self.place(over_there)?.map_or(Ok(()), |place| remove(&place)),
        }
    }

    /// Sends a request as it is, except that it carries the name there. What waits for an answer is bounded in number and time.
    pub(crate) async fn infer(
        &self,
        over_there: &str,
        mut request: Request<oip::ModelInferRequest>,
    ) -> Result<Response<oip::ModelInferResponse>, Status> {
        request.get_mut().model_name = over_there.into();
        request.get_mut().model_version.clear();
        let _place = self.places.try_acquire().map_err(|_| InferError::Busy { queue: self.queue })?;
        let mut client = self.client.clone();
        self.bounded(self.infer_timeout, client.model_infer(request)).await
    }

    async fn bounded<T>(&self, limit: Duration, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<Response<T>, Status> {
        let endpoint = &self.endpoint;
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(|status| match transport_error(&status) {
                Some(reason) => Status::unavailable(format!("the model server at {endpoint} cannot be reached: {reason}")),
                None => status,
            }),
            Err(_) => Err(Status::deadline_exceeded(format!("the model server at {endpoint} did not answer within {limit:?}"))),
        }
    }

    fn place(&self, over_there: &str) -> Result<Option<PathBuf>, LoadError> {
        let Some(repository) = &self.repository else { return Ok(None) };
        if over_there.contains(['/', '\\']) || over_there.starts_with('.') {
            return Err(LoadError::File {
                path: repository.clone(),
                reason: format!("{over_there:?} cannot be the name of a folder in it"),
            });
        }
        Ok(Some(repository.join(over_there)))
    }

    fn load_error(&self, over_there: &str, status: Status) -> LoadError {
        let endpoint = self.endpoint.clone();
        match transport_error(&status) {
            Some(reason) => LoadError::Unreachable { endpoint, reason },
            None => LoadError::Refused { endpoint, model: over_there.into(), reason: one_line(status.message()) },
        }
    }
}

/// A status that the client made up because the connection failed has the transport's error as its source; one that the server
/// sent has none.
fn transport_error(status: &Status) -> Option<String> {
    let first = status.source()?;
    let mut innermost = first;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    Some(one_line(&innermost.to_string()))
}

/// Copies a model's folder and gives it the name under which it is to be loaded.
fn install(source: &Path, place: &Path, name: &str) -> Result<(), LoadError> {
    let broken = |path: &Path, reason: String| LoadError::File { path: path.into(), reason };
    let settings = source.join(SETTINGS);
    let text = fs::read(&settings).map_err(|error| broken(&settings, format!("{error}; the model server needs a {SETTINGS}")))?;
    let mut parsed: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&text).map_err(|error| broken(&settings, error.to_string()))?;
    parsed.insert("name".into(), name.into());
    remove(place)?;
    copy(source, place).map_err(|error| broken(place, format!("the model cannot be copied here: {error}")))?;
    let target = place.join(SETTINGS);
    fs::write(&target, serde_json::Value::Object(parsed).to_string()).map_err(|error| broken(&target, error.to_string()))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if fs::metadata(entry.path())?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn remove(place: &Path) -> Result<(), LoadError> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LoadError::File { path: place.into(), reason: format!("it cannot be removed: {error}") })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(endpoint: &str, repository: Option<PathBuf>) -> Neighbour {
        let options = Options { infer_timeout_ms: 2_000, ..Options::default() };
        Neighbour::new(&NeighbourOptions { endpoint: endpoint.into(), model_repository: repository }, &options).unwrap()
    }

    #[test]
    fn a_model_is_installed_under_its_new_name_and_removed_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (source, place) = (folder.path().join("source"), folder.path().join("repository/m_3"));
        fs::create_dir_all(source.join("weights")).unwrap();
        fs::write(source.join(SETTINGS), r#"{"name": "m", "implementation": "m.M"}"#).unwrap();
        fs::write(source.join("weights/w"), "1").unwrap();
        install(&source, &place, "m_3").unwrap();
        let settings: serde_json::Value = serde_json::from_slice(&fs::read(place.join(SETTINGS)).unwrap()).unwrap();
        assert_eq!(settings, serde_json::json!({"name": "m_3", "implementation": "m.M"}));
        assert_eq!(fs::read(place.join("weights/w")).unwrap(), b"1");
        remove(&place).unwrap();
        assert!(!place.exists());
        remove(&place).unwrap();
    }

    #[test]
    fn a_folder_without_settings_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let error = install(folder.path(), &folder.path().join("x"), "x").unwrap_err().to_string();
        assert!(error.contains("model-settings.json") && error.contains(folder.path().to_str().unwrap()), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable_and_not_an_answer() {
        let there = neighbour("http://127.0.0.1:1", None);
        let status = there.infer("m", Request::new(oip::ModelInferRequest::default())).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("http://127.0.0.1:1 cannot be reached: "), "{}", status.message());
        let error = there.load("m", || unreachable!("there is no repository")).await.unwrap_err();
        assert!(matches!(&error, LoadError::Unreachable { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_name_cannot_leave_the_repository() {
        let there = neighbour("http://127.0.0.1:1", Some("/nowhere".into()));
        let error = there.load("../x_1", || Ok("/".into())).await.unwrap_err().to_string();
        assert!(error.contains("cannot be the name of a folder"), "{error}");
    }
}
