//! Names of topics.

/// The topics of one namespace: `<prefix>.<namespace>.<kind>.<name>.<inputs or outputs>`.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    base: String,
}

/// What Kafka allows.
const LONGEST: usize = 249;

impl Topics {
    pub(crate) fn new(prefix: &str, namespace: &str) -> Self {
        Self { base: format!("{prefix}.{namespace}") }
    }

    /// `side` is `inputs` or `outputs`.
    pub(crate) fn pipeline(&self, name: &str, side: &str) -> String {
        format!("{}.pipeline.{name}.{side}", self.base)
    }

    pub(crate) fn model(&self, name: &str, side: &str) -> String {
        format!("{}.model.{name}.{side}", self.base)
    }

    pub(crate) fn errors(&self) -> String {
        format!("{}.errors.errors", self.base)
    }

    /// Where the scheduler keeps every resource.
    pub(crate) fn state(&self) -> String {
        format!("{}.scheduler.state", self.base)
    }

    /// How many characters the name of a model or pipeline may have.
    pub(crate) fn longest_name(&self) -> usize {
        LONGEST.saturating_sub(self.pipeline("", "outputs").len())
    }
}
