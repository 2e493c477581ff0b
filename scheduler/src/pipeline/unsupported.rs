//! What the engine does not build yet. It is refused when a pipeline is loaded, by the field's name: nothing is ignored silently.
//! A line goes from here when the engine has learnt it.

use millstream_proto::seldon::scheduler::{Pipeline, pipeline_input, pipeline_output, pipeline_step};

use crate::refusal::{Refusal, refuse};

/// Refuses what the engine does not build yet.
pub(crate) fn refuse_unsupported(pipeline: &Pipeline) -> Result<(), Refusal> {
    let p = &pipeline.name;
    for (index, step) in pipeline.steps.iter().enumerate() {
        let at = format!("pipeline {p}: steps[{index}]");
        join(&at, "inputsJoinType", join_name(step.inputs_join))?;
        if !step.triggers.is_empty() {
            refuse!("{at}.triggers: triggers are not supported yet: remove them");
        }
        join(&at, "triggersJoinType", join_name(step.triggers_join))?;
        if step.batch.is_some_and(|batch| batch.size.is_some() || batch.window_ms.is_some()) {
            refuse!("{at}.batch: batching is not supported yet: remove it");
        }
    }
    if pipeline.input.is_some() {
        refuse!("pipeline {p}: input: inputs from other pipelines are not supported yet: remove it");
    }
    if let Some(output) = &pipeline.output {
        join(&format!("pipeline {p}: output"), "stepsJoin", join_name(output.steps_join))?;
    }
    if pipeline.allow_cycles {
        refuse!("pipeline {p}: allowCycles: cycles are not supported yet: set it to false");
    }
    if pipeline.max_step_revisits != 0 {
        refuse!("pipeline {p}: maxStepRevisits: cycles are not supported yet: remove it");
    }
    Ok(())
}

/// The three join enums have the same numbers.
fn join_name(join: i32) -> &'static str {
    const {
        assert!(pipeline_step::JoinOp::Outer as i32 == pipeline_input::JoinOp::Outer as i32);
        assert!(pipeline_step::JoinOp::Outer as i32 == pipeline_output::JoinOp::Outer as i32);
    }
    match pipeline_step::JoinOp::try_from(join) {
        Ok(pipeline_step::JoinOp::Inner) => "inner",
        Ok(pipeline_step::JoinOp::Outer) => "outer",
        Ok(pipeline_step::JoinOp::Any) => "any",
        Err(_) => "a join of another release",
    }
}

fn join(at: &str, field: &str, join: &str) -> Result<(), Refusal> {
    if join != "inner" {
        refuse!("{at}.{field}: {join} is not supported yet: use inner");
    }
    Ok(())
}
