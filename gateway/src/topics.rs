//! The names of the data plane's topics.

use std::sync::Arc;

/// Law: `<prefix>.<namespace>.<kind>.<name>.<side>`; one errors topic for all of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    root: Arc<str>,
}

impl Topics {
    pub fn new(prefix: &str, namespace: &str) -> Result<Self, crate::Error> {
        let fits = |text: &str, extra: &[u8]| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b));
        if !fits(prefix, b"._-") {
            return Err(crate::Error::Option {
                option: "topic_prefix",
                reason: format!("{prefix:?} may hold letters, digits and . _ - only"),
            });
        }
        if !fits(namespace, b"_-") {
            return Err(crate::Error::Option {
                option: "namespace",
                reason: format!("{namespace:?} may hold letters, digits and _ - only"),
            });
        }
        Ok(Self { root: format!("{prefix}.{namespace}").into() })
    }

    pub fn pipeline_inputs(&self, pipeline: &str) -> String {
        format!("{}.pipeline.{pipeline}.inputs", self.root)
    }

    pub fn pipeline_outputs(&self, pipeline: &str) -> String {
        format!("{}.pipeline.{pipeline}.outputs", self.root)
    }

    pub fn model_inputs(&self, model: &str) -> String {
        format!("{}.model.{model}.inputs", self.root)
    }

    pub fn model_outputs(&self, model: &str) -> String {
        format!("{}.model.{model}.outputs", self.root)
    }

    pub fn errors(&self) -> String {
        format!("{}.errors.errors", self.root)
    }
}
