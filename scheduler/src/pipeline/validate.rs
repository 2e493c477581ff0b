//! Whether a pipeline can be built. The order of the checks is part of the interface: clients see the first that fails.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use millstream_proto::seldon::scheduler::{Pipeline, PipelineInput, PipelineOutput, PipelineStep};

use super::reference::{ExternalReference, Reference};
use crate::{
    name,
    refusal::{Refusal, refuse},
};

/// Checks a pipeline whose references are normalised. Never panics, whatever the pipeline says.
pub(crate) fn validate(pipeline: &Pipeline, longest_name: usize) -> Result<(), Refusal> {
    let p = &pipeline.name;
    let steps = step_names(pipeline)?;
    if !name::is_valid(p) {
        refuse!("pipeline {p:?} has an invalid name: it must be alphanumeric (lower case, inner dashes) without dots");
    }
    if p.len() > longest_name {
        refuse!("pipeline {p} has a name of {} characters: topic names leave room for {longest_name}", p.len());
    }
    if pipeline.steps.is_empty() {
        refuse!("pipeline {p} has no steps defined");
    }
    if steps.contains(p.as_str()) {
        refuse!("pipeline {p} must not have a step name with the same name as pipeline name");
    }
    for step in &pipeline.steps {
        if !name::is_valid(&step.name) || step.name.len() > longest_name {
            let s = &step.name;
            refuse!("pipeline {p} step {s:?} has an invalid name: a step is named like its model, alphanumeric (lower case, inner dashes)");
        }
        step_references(p, step, "input", &step.inputs)?;
    }
    for step in &pipeline.steps {
        step_references(p, step, "trigger", &step.triggers)?;
    }
    for step in &pipeline.steps {
        for (what, references) in [("input", &step.inputs), ("trigger", &step.triggers)] {
            if let Some(missing) = references.iter().map(|r| source(r)).find(|source| source != p && !steps.contains(source)) {
                let hint = name::did_you_mean(missing, steps.iter().copied());
                refuse!("pipeline {p} step {} has {what} {missing} for step that does not exist{hint}", step.name);
            }
        }
    }
    if let Some(output) = &pipeline.output {
        output_references(p, output, &steps)?;
    }
    if !pipeline.allow_cycles {
        acyclic(pipeline)?;
    }
    for step in &pipeline.steps {
        if let Some(both) = step.triggers.iter().find(|trigger| step.inputs.contains(trigger)) {
            refuse!("pipeline {p} step {} has {both} as an input and as a trigger: keep one of them", step.name);
        }
    }
    if let Some(input) = &pipeline.input {
        external_references(p, input)?;
    }
    tensor_maps(pipeline)
}

/// The names of the steps; a name occurs once.
fn step_names(pipeline: &Pipeline) -> Result<BTreeSet<&str>, Refusal> {
    let mut names = BTreeSet::new();
    match pipeline.steps.iter().find(|step| !names.insert(step.name.as_str())) {
        Some(repeated) => refuse!("pipeline {} has repeated step {}", pipeline.name, repeated.name),
        None => Ok(names),
    }
}

/// What comes before the first dot.
fn source(reference: &str) -> &str {
    reference.split_once('.').map_or(reference, |(source, _)| source)
}

fn step_references(p: &str, step: &PipelineStep, what: &str, references: &[String]) -> Result<(), Refusal> {
    for reference in references {
        if reference.is_empty() || reference.starts_with('.') {
            refuse!("pipeline {p} step {} has an empty {what}", step.name);
        }
        if Reference::parse(reference).is_none() {
            refuse!(
                "pipeline step {what} invalid pipeline {p} step {} {what} {reference}: write <step>, or <step>.<inputs or outputs>[.<tensor>]",
                step.name
            );
        }
    }
    Ok(())
}

fn output_references(p: &str, output: &PipelineOutput, steps: &BTreeSet<&str>) -> Result<(), Refusal> {
    if output.steps.is_empty() {
        refuse!("pipeline {p} output has no steps: name one, or leave the output away");
    }
    for reference in &output.steps {
        let step = source(reference);
        if !steps.contains(step) {
            refuse!("pipeline {p} output step {step} not found{}", name::did_you_mean(step, steps.iter().copied()));
        }
    }
    match output.steps.iter().find(|reference| Reference::parse(reference).is_none()) {
        Some(invalid) => refuse!("pipeline {p} output specifier {invalid} invalid: write <step>, or <step>.<inputs or outputs>[.<tensor>]"),
        None => Ok(()),
    }
}

/// Kahn's algorithm over inputs and triggers: what is left over lies on a cycle or behind one.
fn acyclic(pipeline: &Pipeline) -> Result<(), Refusal> {
    let mut sources: BTreeMap<&str, BTreeSet<&str>> = pipeline
        .steps
        .iter()
        .map(|step| {
            let references = step.inputs.iter().chain(&step.triggers).map(|reference| source(reference));
            (step.name.as_str(), references.filter(|source| *source != pipeline.name).collect())
        })
        .collect();
    loop {
        let free: Vec<_> = sources.iter().filter(|(_, from)| from.is_empty()).map(|(step, _)| *step).collect();
        if free.is_empty() {
            break;
        }
        sources.retain(|step, _| !free.contains(step));
        sources.values_mut().for_each(|from| from.retain(|step| !free.contains(step)));
    }
    if !sources.is_empty() {
        refuse!("pipeline {} has a cycle: look at the steps {}", pipeline.name, sources.keys().copied().collect::<Vec<_>>().join(", "));
    }
    Ok(())
}

fn external_references(p: &str, input: &PipelineInput) -> Result<(), Refusal> {
    if input.external_inputs.is_empty() {
        refuse!("pipeline {p} input has no external inputs: name one, or leave the input away");
    }
    for (what, references) in [("input", &input.external_inputs), ("input trigger", &input.external_triggers)] {
        for reference in references {
            if let Err(reason) = ExternalReference::parse(reference) {
                refuse!("pipeline {p} {what} {reference:?} is invalid. {reason}");
            }
        }
    }
    Ok(())
}

/// A tensor map must rename tensors that are there: an entry that can never apply is a mistake.
fn tensor_maps(pipeline: &Pipeline) -> Result<(), Refusal> {
    let p = &pipeline.name;
    let own = [format!("{p}.inputs")];
    for step in &pipeline.steps {
        let inputs = if step.inputs.is_empty() { &own[..] } else { &step.inputs };
        tensor_map(&format!("pipeline {p} step {}", step.name), &step.tensor_map, inputs)?;
    }
    if let Some(output) = &pipeline.output {
        tensor_map(&format!("pipeline {p} output"), &output.tensor_map, &output.steps)?;
    }
    Ok(())
}

fn tensor_map(place: &str, map: &HashMap<String, String>, inputs: &[String]) -> Result<(), Refusal> {
    let inputs: Vec<_> = inputs.iter().filter_map(|input| Reference::parse(input)).collect();
    let sorted: BTreeMap<_, _> = map.iter().collect();
    for (key, to) in sorted {
        let Some(Reference { step, side, tensor: Some(tensor) }) = Reference::parse(key) else {
            refuse!("{place} tensorMap {key} is invalid: write <step>.<inputs or outputs>.<tensor>");
        };
        let same: Vec<_> = inputs.iter().filter(|input| input.step == step && input.side == side).collect();
        if same.is_empty() {
            refuse!("{place} tensorMap {key} renames a tensor of {step}.{side}, which is not among its inputs");
        }
        let mut taken = same.iter().filter_map(|input| input.tensor).peekable();
        if taken.peek().is_some() && !taken.any(|taken| taken == tensor) {
            refuse!("{place} tensorMap {key} renames tensor {tensor}, which its inputs do not take from {step}.{side}");
        }
        if to.is_empty() {
            refuse!("{place} tensorMap {key} has no new name: write the tensor's name in the step");
        }
    }
    Ok(())
}
