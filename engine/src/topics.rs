//! The names of the data plane's topics (one namespace): `<prefix>.<namespace>.<kind>.<name>.<side>`.

use std::sync::Arc;

/// The topics of one namespace.
#[derive(Clone, Debug)]
pub struct Topics {
    root: Arc<str>,
}

impl Topics {
    /// The topics of a namespace under a prefix.
    pub fn new(prefix: &str, namespace: &str) -> Self {
        Self { root: format!("{prefix}.{namespace}").into() }
    }

    /// A side of a pipeline: `inputs` or `outputs`.
    pub fn pipeline(&self, pipeline: &str, side: &str) -> Arc<str> {
        format!("{}.pipeline.{pipeline}.{side}", self.root).into()
    }

    /// A side of a model: `inputs` or `outputs`.
    pub fn model(&self, model: &str, side: &str) -> Arc<str> {
        format!("{}.model.{model}.{side}", self.root).into()
    }

    /// Where failures of steps go.
    pub fn errors(&self) -> Arc<str> {
        format!("{}.errors.errors", self.root).into()
    }

    /// Up to where each pipeline has read its topics: the engine's own, compacted.
    pub fn progress(&self) -> Arc<str> {
        format!("{}.engine.progress", self.root).into()
    }

    /// The application id of a pipeline: the prefix of its internal topics.
    pub fn application(&self, pipeline: &str) -> String {
        format!("{}.engine.{pipeline}", self.root)
    }
}
