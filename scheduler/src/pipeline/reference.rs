//! References of a pipeline: `step`, `step.outputs`, `step.outputs.tensor`, `pipeline.inputs.tensor` …

use millstream_proto::seldon::scheduler::Pipeline;

/// A reference inside a pipeline, normalised: a step (or the pipeline itself), a side, and maybe a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    pub(crate) step: &'a str,
    pub(crate) side: &'a str,
    pub(crate) tensor: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// `None` if it has not the form `<step>.<inputs or outputs>[.<tensor>]`.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (step, rest) = text.split_once('.')?;
        let (side, tensor) = match rest.split_once('.') {
            Some((side, tensor)) => (side, Some(tensor)),
            None => (rest, None),
        };
        let tensor_is_plain = tensor.is_none_or(|tensor| !tensor.is_empty() && !tensor.contains('.'));
        (!step.is_empty() && is_side(side) && tensor_is_plain).then_some(Self { step, side, tensor })
    }
}

/// A reference to another pipeline, normalised: `<pipeline>.<side>[.<tensor>]` or `<pipeline>.step.<step>.<side>[.<tensor>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExternalReference<'a> {
    pub(crate) pipeline: &'a str,
    pub(crate) step: Option<&'a str>,
    pub(crate) side: &'a str,
    pub(crate) tensor: Option<&'a str>,
}

impl<'a> ExternalReference<'a> {
    /// What it means, or why it means nothing.
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let parts: Vec<_> = text.split('.').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err("a part of it is empty");
        }
        let (pipeline, step, rest) = match parts[..] {
            [pipeline, "step", step, ref rest @ ..] => (pipeline, Some(step), rest),
            [pipeline, ref rest @ ..] => (pipeline, None, rest),
            [] => return Err("it is empty"),
        };
        let (side, tensor) = match *rest {
            [side] => (side, None),
            [side, tensor] => (side, Some(tensor)),
            _ => return Err("write <pipeline>.<inputs or outputs>[.<tensor>] or <pipeline>.step.<step>.<inputs or outputs>[.<tensor>]"),
        };
        if !is_side(side) {
            return Err("only inputs or outputs of a pipeline, or of its steps as <pipeline>.step.<step>, can be taken");
        }
        Ok(Self { pipeline, step, side, tensor })
    }
}

fn is_side(part: &str) -> bool {
    part == "inputs" || part == "outputs"
}

/// Writes every reference in full: a bare step means its outputs, the bare name of the pipeline itself its inputs.
pub(crate) fn normalise(pipeline: &mut Pipeline) {
    let own = pipeline.name.clone();
    let internal = |reference: &mut String| {
        if !reference.is_empty() && !reference.contains('.') {
            reference.push_str(if *reference == own { ".inputs" } else { ".outputs" });
        }
    };
    let external = |reference: &mut String| {
        let parts: Vec<_> = reference.split('.').collect();
        if matches!(parts[..], [name] if !name.is_empty()) || matches!(parts[..], [_, "step", _]) {
            reference.push_str(".outputs");
        }
    };
    for step in &mut pipeline.steps {
        step.inputs.iter_mut().chain(&mut step.triggers).for_each(internal);
    }
    if let Some(output) = &mut pipeline.output {
        output.steps.iter_mut().for_each(internal);
    }
    if let Some(input) = &mut pipeline.input {
        input.external_inputs.iter_mut().chain(&mut input.external_triggers).for_each(external);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_proto::seldon::scheduler::{PipelineInput, PipelineOutput, PipelineStep};

    #[test]
    fn bare_references_are_completed_and_others_stay() {
        let step = |inputs: &[&str]| PipelineStep { inputs: inputs.iter().map(ToString::to_string).collect(), ..Default::default() };
        let mut pipeline = Pipeline {
            name: "p".into(),
            steps: vec![step(&["a", "p", "a.inputs", "a.outputs.T", "", ".x"])],
            output: Some(PipelineOutput { steps: vec!["a".into()], ..Default::default() }),
            input: Some(PipelineInput {
                external_inputs: vec!["q".into(), "q.step.s".into(), "q.inputs.T".into()],
                external_triggers: vec!["q".into()],
                ..Default::default()
            }),
            ..Default::default()
        };
        normalise(&mut pipeline);
        assert_eq!(pipeline.steps[0].inputs, ["a.outputs", "p.inputs", "a.inputs", "a.outputs.T", "", ".x"]);
        assert_eq!(pipeline.output.unwrap().steps, ["a.outputs"]);
        let input = pipeline.input.unwrap();
        assert_eq!(input.external_inputs, ["q.outputs", "q.step.s.outputs", "q.inputs.T"]);
        assert_eq!(input.external_triggers, ["q.outputs"]);
    }

    #[test]
    fn references_that_mean_nothing_are_not_parsed() {
        for bad in ["", "a", ".outputs", "a.output", "a.outputs.", "a.outputs.T.U", "a..T"] {
            assert_eq!(Reference::parse(bad), None, "{bad}");
        }
        for bad in ["", "q.step.outputs", "q.step.s.output", "q..inputs", "q.inputs.T.U", "q.x"] {
            assert!(ExternalReference::parse(bad).is_err(), "{bad}");
        }
        let step = ExternalReference::parse("q.step.s.outputs.T").unwrap();
        assert_eq!((step.pipeline, step.step, step.side, step.tensor), ("q", Some("s"), "outputs", Some("T")));
    }
}
