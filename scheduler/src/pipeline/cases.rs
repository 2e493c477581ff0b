//! Pipelines that are refused, and those that are not.

use millstream_proto::seldon::scheduler::{Batch, DataflowSpec, Pipeline, PipelineInput, PipelineOutput, PipelineStep};

use super::{reference::normalise, unsupported::refuse_unsupported, validate::validate};

/// A step in one line: `name < input input ! trigger`.
fn step(text: &str) -> PipelineStep {
    let (head, triggers) = text.split_once('!').unwrap_or((text, ""));
    let (name, inputs) = head.split_once('<').unwrap_or((head, ""));
    let words = |text: &str| text.split_whitespace().map(|word| word.replace('∅', "")).collect();
    PipelineStep { name: name.trim().into(), inputs: words(inputs), triggers: words(triggers), ..Default::default() }
}

fn pipeline(steps: &[&str]) -> Pipeline {
    Pipeline { name: "p".into(), steps: steps.iter().map(|text| step(text)).collect(), ..Default::default() }
}

fn with(steps: &[&str], change: impl FnOnce(&mut Pipeline)) -> Pipeline {
    let mut pipeline = pipeline(steps);
    change(&mut pipeline);
    pipeline
}

fn output(steps: &[&str]) -> Option<PipelineOutput> {
    Some(PipelineOutput { steps: steps.iter().map(ToString::to_string).collect(), ..Default::default() })
}

fn input(inputs: &[&str], triggers: &[&str]) -> Option<PipelineInput> {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Some(PipelineInput { external_inputs: owned(inputs), external_triggers: owned(triggers), ..Default::default() })
}

fn renames(steps: &[&str], from: &str, to: &str) -> Pipeline {
    with(steps, |p| p.steps.last_mut().unwrap().tensor_map = [(from.to_string(), to.to_string())].into())
}

fn verdict(mut pipeline: Pipeline) -> Result<(), String> {
    normalise(&mut pipeline);
    validate(&pipeline, 60).and_then(|()| refuse_unsupported(&pipeline)).map_err(|refusal| refusal.0)
}

#[test]
fn pipelines_that_can_be_built_are_accepted() {
    let good = [
        pipeline(&["a"]),
        with(&["a", "b < a"], |p| p.output = output(&["b"])),
        with(&["a", "b", "c < a b.outputs.T p p.inputs.X"], |p| p.output = output(&["c", "a.outputs.T", "b.inputs"])),
        with(&["a"], |p| p.dataflow_spec = Some(DataflowSpec { clean_topics_on_delete: true })),
        with(&["a", "b < a"], |p| p.steps[1].join_window_ms = Some(5)),
        renames(&["a", "b < a"], "a.outputs.T", "X"),
        renames(&["a", "b < a.outputs.T"], "a.outputs.T", "X"),
        renames(&["a"], "p.inputs.T", "X"),
        with(&["a", "b"], |p| {
            p.output = output(&["a", "b"]);
            p.output.as_mut().unwrap().tensor_map = [("a.outputs.T".to_string(), "X".to_string())].into();
        }),
    ];
    for pipeline in good {
        assert_eq!(verdict(pipeline.clone()), Ok(()), "{pipeline:?}");
    }
}

#[test]
fn pipelines_that_cannot_be_built_are_refused_with_the_first_reason() {
    let named = |name: &str| with(&["a"], |p| p.name = name.into());
    let cases = [
        // The name, and which steps there are.
        (pipeline(&["a", "a"]), "pipeline p has repeated step a"),
        (named(""), "invalid name"),
        (named("a.b"), "without dots"),
        (named("P"), "invalid name"),
        (named("a_b"), "invalid name"),
        (named(&"x".repeat(61)), "has a name of 61 characters"),
        (pipeline(&[]), "pipeline p has no steps defined"),
        (pipeline(&["a", "p"]), "pipeline p must not have a step name with the same name as pipeline name"),
        (pipeline(&["A"]), "pipeline p step \"A\" has an invalid name"),
        (pipeline(&[""]), "pipeline p step \"\" has an invalid name"),
        // References.
        (pipeline(&["a < ∅"]), "pipeline p step a has an empty input"),
        (pipeline(&["a < .outputs"]), "pipeline p step a has an empty input"),
        (pipeline(&["a", "b < a.out"]), "pipeline step input invalid pipeline p step b input a.out"),
        (pipeline(&["a", "b < a.outputs.T.U"]), "pipeline step input invalid"),
        (pipeline(&["a", "b < a.outputs."]), "pipeline step input invalid"),
        (pipeline(&["a ! ∅"]), "pipeline p step a has an empty trigger"),
        (pipeline(&["a", "b ! a.x"]), "pipeline step trigger invalid pipeline p step b trigger a.x"),
        (pipeline(&["add10", "b < ad10"]), "pipeline p step b has input ad10 for step that does not exist: did you mean add10?"),
        (pipeline(&["a", "b < a ! nobody"]), "pipeline p step b has trigger nobody for step that does not exist"),
        (with(&["a"], |p| p.output = output(&["z"])), "pipeline p output step z not found"),
        (with(&["a"], |p| p.output = output(&["p"])), "pipeline p output step p not found"),
        (with(&["a"], |p| p.output = output(&["a.x"])), "pipeline p output specifier a.x invalid"),
        (with(&["a"], |p| p.output = output(&[])), "pipeline p output has no steps"),
        // Cycles.
        (pipeline(&["a < a"]), "pipeline p has a cycle: look at the steps a"),
        (pipeline(&["x", "a < c", "b < a", "c < b"]), "pipeline p has a cycle: look at the steps a, b, c"),
        (pipeline(&["a < b", "b ! a"]), "pipeline p has a cycle"),
        (with(&["a ! nobody"], |p| p.allow_cycles = true), "trigger nobody for step that does not exist"),
        (pipeline(&["a", "b < a ! a.outputs"]), "pipeline p step b has a.outputs as an input and as a trigger"),
        // Inputs from other pipelines.
        (with(&["a"], |p| p.input = input(&[], &["q"])), "pipeline p input has no external inputs"),
        (with(&["a"], |p| p.input = input(&["q.x"], &[])), "pipeline p input \"q.x\" is invalid. "),
        (with(&["a"], |p| p.input = input(&["q.step.s.x"], &[])), "pipeline p input \"q.step.s.x\" is invalid. "),
        (with(&["a"], |p| p.input = input(&[""], &[])), "pipeline p input \"\" is invalid. "),
        (with(&["a"], |p| p.input = input(&["q"], &["q.x"])), "pipeline p input trigger \"q.x\" is invalid. "),
        // Tensor maps that do nothing.
        (renames(&["a", "b < a"], "a.T", "X"), "pipeline p step b tensorMap a.T is invalid"),
        (renames(&["a", "b < a"], "p.inputs.T", "X"), "renames a tensor of p.inputs, which is not among its inputs"),
        (renames(&["a", "b < a.outputs.U"], "a.outputs.T", "X"), "renames tensor T, which its inputs do not take from a.outputs"),
        (renames(&["a", "b < a"], "a.outputs.T", ""), "tensorMap a.outputs.T has no new name"),
    ];
    for (pipeline, expected) in cases {
        let reason = verdict(pipeline.clone()).expect_err(&format!("{pipeline:?}"));
        assert!(reason.contains(expected), "expected {expected:?}, got {reason:?}");
    }
}

#[test]
fn what_the_engine_does_not_build_yet_is_refused_by_the_name_of_the_field() {
    let three = &["a", "b", "c < a b"][..];
    let cases = [
        (with(three, |p| p.steps[2].inputs_join = 1), "pipeline p: steps[2].inputsJoinType: outer is not supported yet: use inner"),
        (with(three, |p| p.steps[2].inputs_join = 2), "pipeline p: steps[2].inputsJoinType: any is not supported yet: use inner"),
        (
            with(three, |p| p.steps[2].inputs_join = 9),
            "pipeline p: steps[2].inputsJoinType: a join of another release is not supported yet",
        ),
        (pipeline(&["a", "b ! a"]), "pipeline p: steps[1].triggers: "),
        (with(three, |p| p.steps[0].triggers_join = 2), "pipeline p: steps[0].triggersJoinType: any is not supported yet: use inner"),
        (with(three, |p| p.steps[1].batch = Some(Batch { size: Some(3), window_ms: None })), "pipeline p: steps[1].batch: "),
        (with(three, |p| p.steps[1].batch = Some(Batch { size: None, window_ms: Some(3) })), "pipeline p: steps[1].batch: "),
        (with(three, |p| p.input = input(&["q"], &[])), "pipeline p: input: "),
        (
            with(three, |p| p.output = output(&["a", "b"]).map(|output| PipelineOutput { steps_join: 2, ..output })),
            "pipeline p: output.stepsJoin: any is not supported yet: use inner",
        ),
        (with(&["a < b", "b < a"], |p| p.allow_cycles = true), "pipeline p: allowCycles: "),
        (with(three, |p| p.max_step_revisits = 3), "pipeline p: maxStepRevisits: "),
    ];
    for (pipeline, expected) in cases {
        let reason = verdict(pipeline.clone()).expect_err(&format!("{pipeline:?}"));
        assert!(reason.starts_with(expected), "expected {expected:?}, got {reason:?}");
    }
}
