//! The models of a replica.

use crate::error::{AgentError, InferError, LoadError};
use crate::executor::{Executor, Pace};
use crate::neighbour::Neighbour;
use crate::onnx::OnnxModel;
use crate::options::{Backend, Options};
use crate::source::locate;
use millstream_proto::inference::{ModelInferRequest, ModelInferResponse, ModelMetadataResponse};
use millstream_proto::seldon::agent::ModelVersion;
use millstream_proto::seldon::scheduler::{Model, ModelSpec};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Request, Response, Status};

/// Which model is meant, where a router has decided it already.
const TARGET: &str = "seldon-internal-model";

/// Law: what [`loaded`](ModelServer::loaded) lists answers, and the memory of all of it together never exceeds the replica's.
///
/// A cheap handle: clones share the models. A model is addressed as `<model>`, which is the latest version that is loaded, or as
/// `<model>_<version>`. The field `model_version` of a request does not choose: Seldon's model gateway always sends `1`.
#[derive(Clone)]
pub struct ModelServer(Arc<Inner>);

struct Inner {
    engine: Engine,
    memory: Arc<Memory>,
    load_timeout: Duration,
    models: RwLock<HashMap<String, BTreeMap<u32, Arc<Loaded>>>>,
}

#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
enum Engine {
    Onnx(Executor),
    Neighbour(Neighbour),
}

struct Loaded {
    name: String,
    version: u32,
    definition: Model,
    runtime: Runtime,
    _memory: Reservation,
}

enum Runtime {
    Onnx(Arc<(OnnxModel, Pace)>),
    /// Its name there.
    Neighbour(String),
}

struct Memory {
    total: u64,
    reserved: AtomicU64,
}

/// A model's part of the memory, given back when the last that uses the model lets it go.
struct Reservation(Arc<Memory>, u64);

impl Memory {
    fn available(&self) -> u64 {
        self.total - self.reserved.load(Ordering::Acquire)
    }

    fn reserve(self: &Arc<Self>, model: &str, asked: u64) -> Result<Reservation, LoadError> {
        let add = |reserved: u64| reserved.checked_add(asked).filter(|sum| *sum <= self.total);
        match self.reserved.fetch_update(Ordering::AcqRel, Ordering::Acquire, add) {
            Ok(_) => Ok(Reservation(self.clone(), asked)),
            Err(reserved) => Err(LoadError::Memory { model: model.into(), asked, available: self.total - reserved, total: self.total }),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.0.reserved.fetch_sub(self.1, Ordering::AcqRel);
    }
}

impl ModelServer {
    /// A server without models. It needs neither port nor scheduler: [`Agent`](crate::Agent) gives it both.
    pub fn new(options: &Options) -> Result<ModelServer, AgentError> {
        let engine = match &options.backend {
            Backend::Onnx => Engine::Onnx(Executor::new(options.parallel_inferences(), options.inference_queue)),
            Backend::Neighbour(neighbour) => Engine::Neighbour(Neighbour::new(neighbour, options)?),
        };
        let memory = Arc::new(Memory { total: options.memory_bytes, reserved: AtomicU64::new(0) });
        Ok(ModelServer(Arc::new(Inner { engine, memory, load_timeout: options.load_timeout(), models: RwLock::default() })))
    }

    /// Loads a version of a model beside those that are loaded. The same definition again changes nothing; another one under the
    /// same version takes its place once it is loaded.
    pub async fn load(&self, wanted: &ModelVersion) -> Result<(), LoadError> {
        let definition = wanted.model.clone().unwrap_or_default();
        let name = definition.meta.as_ref().map(|meta| meta.name.clone()).unwrap_or_default();
        if self.exact(&name, wanted.version).is_some_and(|loaded| loaded.definition == definition) {
            return Ok(());
        }
        let none = ModelSpec::default();
        let spec = definition.model_spec.as_ref().unwrap_or(&none);
        let memory = self.0.memory.reserve(&name, spec.memory_bytes())?;
        let runtime = self.in_time(&name, "loaded", self.start(&name, wanted.version, spec)).await?;
        let loaded = Arc::new(Loaded { name: name.clone(), version: wanted.version, definition, runtime, _memory: memory });
        let before = self.0.models.write().entry(name.clone()).or_default().insert(wanted.version, loaded);
        drop(before);
        tracing::info!(model = name, version = wanted.version, "loaded");
        Ok(())
    }

    async fn start(&self, name: &str, version: u32, spec: &ModelSpec) -> Result<Runtime, LoadError> {
        let (uri, artifact_version) = (spec.uri.clone(), spec.artifact_version);
        match &self.0.engine {
            Engine::Onnx(_) => {
                let path = locate(&uri, artifact_version)?;
                let (owned, at) = (name.to_string(), path.clone());
                let loaded = tokio::task::spawn_blocking(move || OnnxModel::load(&owned, &at)).await;
                let model = loaded.unwrap_or_else(|error| Err(LoadError::Onnx { path, reason: error.to_string() }))?;
                Ok(Runtime::Onnx(Arc::new((model, Pace::default()))))
            }
            Engine::Neighbour(neighbour) => {
                let there = neighbour.name_there(name, version);
                neighbour.load(&there, || locate(&uri, artifact_version)).await?;
                Ok(Runtime::Neighbour(there))
            }
        }
    }

    /// Unloads a version. One that is not loaded is unloaded already.
    pub async fn unload(&self, name: &str, version: u32) -> Result<(), LoadError> {
        let Some(loaded) = self.exact(name, version) else { return Ok(()) };
        if let (Engine::Neighbour(neighbour), Runtime::Neighbour(there)) = (&self.0.engine, &loaded.runtime)
            && !self.shares_name_there(&loaded, there)
        {
            self.in_time(name, "unloaded", neighbour.unload(there)).await?;
        }
        let mut models = self.0.models.write();
        if let Some(versions) = models.get_mut(name) {
            versions.remove(&version);
            if versions.is_empty() {
                models.remove(name);
            }
        }
        drop(models);
        tracing::info!(model = name, version, "unloaded");
        Ok(())
    }

    /// Without a repository all versions of a model are one model there, and the last of them unloads it.
    fn shares_name_there(&self, loaded: &Loaded, there: &str) -> bool {
        let models = self.0.models.read();
        let mut others = models.get(&loaded.name).into_iter().flatten().filter(|(version, _)| **version != loaded.version);
        others.any(|(_, other)| matches!(&other.runtime, Runtime::Neighbour(name) if name == there))
    }

    async fn in_time<T>(&self, model: &str, what: &'static str, work: impl Future<Output = Result<T, LoadError>>) -> Result<T, LoadError> {
        let limit = self.0.load_timeout;
        let late = || LoadError::Timeout { model: model.into(), what, limit_ms: limit.as_millis() as u64 };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Answers an inference request.
    pub async fn infer(&self, request: ModelInferRequest) -> Result<ModelInferResponse, Status> {
        self.call(Request::new(request)).await.map(Response::into_inner)
    }

    /// As [`infer`](ModelServer::infer), with metadata: the header `seldon-internal-model` goes before the request's `model_name`,
    /// and headers that begin with `x-` travel to a neighbouring server and back.
    pub async fn call(&self, request: Request<ModelInferRequest>) -> Result<Response<ModelInferResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let header = metadata.get_all(TARGET).iter().next_back().and_then(|value| value.to_str().ok());
        let loaded = self.find(header.unwrap_or(&message.model_name))?;
        let mut response = match (&self.0.engine, &loaded.runtime) {
            (Engine::Onnx(executor), Runtime::Onnx(model)) => Response::new(executor.infer(model, message).await?),
            (Engine::Neighbour(neighbour), Runtime::Neighbour(there)) => {
                let mut request = Request::new(message);
                *request.metadata_mut() = extensions(&metadata);
                let (metadata, message, _) = neighbour.infer(there, request).await?.into_parts();
                Response::from_parts(extensions(&metadata), message, Default::default())
            }
            _ => unreachable!("a model's runtime is its server's"),
        };
        let answer = response.get_mut();
        answer.model_name.clone_from(&loaded.name);
        answer.model_version = loaded.version.to_string();
        Ok(response)
    }

    /// What a model takes and gives. `version` chooses where it is not empty.
    pub async fn metadata(&self, name: &str, version: &str) -> Result<ModelMetadataResponse, Status> {
        let loaded = self.find_version(name, version)?;
        let versions = vec![loaded.version.to_string()];
        match (&self.0.engine, &loaded.runtime) {
            (Engine::Neighbour(neighbour), Runtime::Neighbour(there)) => {
                Ok(ModelMetadataResponse { name: loaded.name.clone(), versions, ..neighbour.metadata(there).await? })
            }
            (_, Runtime::Onnx(model)) => Ok(model.0.metadata(versions)),
            _ => unreachable!("a model's runtime is its server's"),
        }
    }

    /// Whether a model would answer now.
    pub async fn model_ready(&self, name: &str, version: &str) -> bool {
        match (&self.0.engine, self.find_version(name, version).as_deref().map(|loaded| &loaded.runtime)) {
            (Engine::Neighbour(neighbour), Ok(Runtime::Neighbour(there))) => neighbour.model_ready(there).await.unwrap_or(false),
            (_, found) => found.is_ok(),
        }
    }

    /// Whether models can be loaded now.
    pub async fn ready(&self) -> bool {
        match &self.0.engine {
            Engine::Onnx(_) => true,
            Engine::Neighbour(neighbour) => neighbour.ready().await.unwrap_or(false),
        }
    }

    /// The versions that are loaded, with their definitions.
    pub fn loaded(&self) -> Vec<ModelVersion> {
        let models = self.0.models.read();
        let version = |loaded: &Arc<Loaded>| ModelVersion { model: Some(loaded.definition.clone()), version: loaded.version };
        models.values().flat_map(|versions| versions.values().map(version)).collect()
    }

    /// Memory that no model has reserved.
    pub fn available_memory_bytes(&self) -> u64 {
        self.0.memory.available()
    }

    fn exact(&self, name: &str, version: u32) -> Option<Arc<Loaded>> {
        self.0.models.read().get(name)?.get(&version).cloned()
    }

    fn find(&self, target: &str) -> Result<Arc<Loaded>, InferError> {
        if let Some((_, latest)) = self.0.models.read().get(target).and_then(|versions| versions.last_key_value()) {
            return Ok(latest.clone());
        }
        let versioned = target.rsplit_once('_').and_then(|(name, version)| self.exact(name, version.parse().ok()?));
        versioned.ok_or_else(|| InferError::UnknownModel(target.into()))
    }

    fn find_version(&self, name: &str, version: &str) -> Result<Arc<Loaded>, InferError> {
        match version {
            "" => self.find(name),
            _ => self.find(&format!("{name}_{version}")),
        }
    }
}

/// The headers that belong to the request rather than to the connection.
fn extensions(metadata: &MetadataMap) -> MetadataMap {
    let mut kept = MetadataMap::new();
    for entry in metadata.iter() {
        if let KeyAndValueRef::Ascii(key, value) = entry
            && (key.as_str().starts_with("x-") || matches!(key.as_str(), "traceparent" | "baggage"))
        {
            kept.append(key.clone(), value.clone());
        }
    }
    kept
}
