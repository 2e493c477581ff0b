//! Pipelines in Rust: the same that the YAML gives.
//!
//! ```
//! use millstream_engine::pipeline::{PipelineBuilder, Step};
//!
//! let pipeline = PipelineBuilder::new("sums")
//!     .step(Step::new("add10"))
//!     .step(Step::new("add20").input("add10").rename("add10.outputs.OUTPUT", "INPUT"))
//!     .output("add20")
//!     .build();
//! assert_eq!(pipeline.steps.len(), 2);
//! ```

use std::collections::HashMap;

use millstream_proto::seldon::scheduler::{Pipeline, PipelineOutput, PipelineStep};

/// A step of a pipeline: the model of the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Step(PipelineStep);

impl Step {
    /// The step that runs this model. Without an input it reads the pipeline's.
    pub fn new(model: impl Into<String>) -> Self {
        Self(PipelineStep { name: model.into(), ..Default::default() })
    }

    /// Reads this too: `step`, `step.outputs`, `step.outputs.tensor`, or the same of the pipeline's own name and `inputs`.
    pub fn input(mut self, reference: impl Into<String>) -> Self {
        self.0.inputs.push(reference.into());
        self
    }

    /// Renames a tensor on its way into this step.
    pub fn rename(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.0.tensor_map.insert(from.into(), to.into());
        self
    }

    /// How far apart in time its inputs may be, in milliseconds.
    pub fn join_window_ms(mut self, ms: u32) -> Self {
        self.0.join_window_ms = Some(ms);
        self
    }
}

/// Builds a pipeline. What is wrong with it the scheduler says when it is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineBuilder {
    name: String,
    steps: Vec<PipelineStep>,
    output: Option<PipelineOutput>,
}

impl PipelineBuilder {
    /// A pipeline without steps.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), steps: vec![], output: None }
    }

    /// Adds a step.
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step.0);
        self
    }

    /// Answers with the outputs of this step too.
    pub fn output(mut self, reference: impl Into<String>) -> Self {
        self.output.get_or_insert_default().steps.push(reference.into());
        self
    }

    /// How far apart in time the output's steps may be, in milliseconds.
    pub fn output_join_window_ms(mut self, ms: u32) -> Self {
        self.output.get_or_insert_default().join_window_ms = ms;
        self
    }

    /// Renames a tensor on its way to the output.
    pub fn output_rename(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        let map: &mut HashMap<String, String> = &mut self.output.get_or_insert_default().tensor_map;
        map.insert(from.into(), to.into());
        self
    }

    /// The pipeline.
    pub fn build(self) -> Pipeline {
        Pipeline { name: self.name, steps: self.steps, output: self.output, ..Default::default() }
    }
}
