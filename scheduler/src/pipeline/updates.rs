//! What dataflow engines that speak the chainer protocol are told to build.

use std::collections::HashMap;

use millstream_proto::seldon::{
    chainer::{
        Batch, PipelineStepUpdate, PipelineTensorMapping, PipelineTopic, PipelineUpdateMessage, pipeline_step_update::PipelineJoinType,
        pipeline_update_message::PipelineOperation,
    },
    scheduler::{Pipeline, pipeline_step::JoinOp},
};

use super::reference::{ExternalReference, Reference};
use crate::topics::Topics;

/// The whole update that creates a pipeline version; its references are normalised and valid.
pub(crate) fn create(topics: &Topics, pipeline: &Pipeline) -> PipelineUpdateMessage {
    let builder = Builder { topics, pipeline };
    PipelineUpdateMessage {
        op: PipelineOperation::Create.into(),
        pipeline: pipeline.name.clone(),
        version: pipeline.version,
        uid: pipeline.uid.clone(),
        updates: builder.updates(),
        pipeline_output_topic: topics.pipeline(&pipeline.name, "outputs"),
        pipeline_error_topic: topics.errors(),
        allow_cycles: pipeline.allow_cycles,
        max_step_revisits: pipeline.max_step_revisits,
        ..Default::default()
    }
}

/// The update that deletes a pipeline version; its topics stay.
pub(crate) fn delete(pipeline: &Pipeline) -> PipelineUpdateMessage {
    PipelineUpdateMessage {
        op: PipelineOperation::Delete.into(),
        pipeline: pipeline.name.clone(),
        version: pipeline.version,
        uid: pipeline.uid.clone(),
        ..Default::default()
    }
}

struct Builder<'a> {
    topics: &'a Topics,
    pipeline: &'a Pipeline,
}

impl Builder<'_> {
    fn updates(&self) -> Vec<PipelineStepUpdate> {
        let name = &self.pipeline.name;
        let mut updates: Vec<_> = self
            .pipeline
            .steps
            .iter()
            .map(|step| PipelineStepUpdate {
                sources: match step.inputs.is_empty() {
                    true => vec![topic(name, self.topics.pipeline(name, "inputs"), None)],
                    false => self.references(&step.inputs),
                },
                triggers: self.references(&step.triggers),
                sink: Some(topic(name, self.topics.model(&step.name, "inputs"), None)),
                input_join_ty: join(step.inputs_join),
                triggers_join_ty: join(step.triggers_join),
                join_window_ms: step.join_window_ms,
                tensor_map: self.renames(&step.tensor_map),
                batch: step.batch.map(|batch| Batch { size: batch.size, window_ms: batch.window_ms, rolling: false }),
                ..Default::default()
            })
            .collect();
        updates.extend(self.pipeline.input.as_ref().map(|input| PipelineStepUpdate {
            sources: self.external_references(&input.external_inputs),
            triggers: self.external_references(&input.external_triggers),
            sink: Some(topic(name, self.topics.pipeline(name, "inputs"), None)),
            input_join_ty: join(input.join_type),
            triggers_join_ty: join(input.triggers_join),
            join_window_ms: input.join_window_ms,
            tensor_map: self.external_renames(&input.tensor_map),
            ..Default::default()
        }));
        updates.extend(self.pipeline.output.as_ref().map(|output| PipelineStepUpdate {
            sources: self.references(&output.steps),
            sink: Some(topic(name, self.topics.pipeline(name, "outputs"), None)),
            input_join_ty: join(output.steps_join),
            triggers_join_ty: PipelineJoinType::Inner.into(),
            join_window_ms: Some(output.join_window_ms),
            tensor_map: self.renames(&output.tensor_map),
            ..Default::default()
        }));
        updates.push(PipelineStepUpdate {
            sources: vec![topic(name, self.topics.errors(), None)],
            sink: Some(topic(name, self.topics.pipeline(name, "outputs"), None)),
            input_join_ty: PipelineJoinType::Inner.into(),
            triggers_join_ty: PipelineJoinType::Inner.into(),
            ..Default::default()
        });
        updates
    }

    fn source(&self, reference: Reference<'_>) -> PipelineTopic {
        let name = match reference.step == self.pipeline.name {
            true => self.topics.pipeline(reference.step, reference.side),
            false => self.topics.model(reference.step, reference.side),
        };
        topic(&self.pipeline.name, name, reference.tensor)
    }

    fn external_source(&self, reference: ExternalReference<'_>) -> PipelineTopic {
        let name = match reference.step {
            Some(step) => self.topics.model(step, reference.side),
            None => self.topics.pipeline(reference.pipeline, reference.side),
        };
        topic(reference.pipeline, name, reference.tensor)
    }

    fn references(&self, references: &[String]) -> Vec<PipelineTopic> {
        references.iter().filter_map(|reference| Some(self.source(Reference::parse(reference)?))).collect()
    }

    fn external_references(&self, references: &[String]) -> Vec<PipelineTopic> {
        references.iter().filter_map(|reference| Some(self.external_source(ExternalReference::parse(reference).ok()?))).collect()
    }

    fn renames(&self, map: &HashMap<String, String>) -> Vec<PipelineTensorMapping> {
        sorted(map.iter().filter_map(|(from, to)| Some(rename(self.source(Reference::parse(from)?), to))))
    }

    fn external_renames(&self, map: &HashMap<String, String>) -> Vec<PipelineTensorMapping> {
        sorted(map.iter().filter_map(|(from, to)| Some(rename(self.external_source(ExternalReference::parse(from).ok()?), to))))
    }
}

fn topic(pipeline: &str, topic: String, tensor: Option<&str>) -> PipelineTopic {
    PipelineTopic { pipeline_name: pipeline.into(), topic_name: topic, tensor: tensor.map(Into::into) }
}

fn rename(from: PipelineTopic, to: &str) -> PipelineTensorMapping {
    let topic_and_tensor = format!("{}.{}", from.topic_name, from.tensor.unwrap_or_default());
    PipelineTensorMapping { pipeline_name: from.pipeline_name, topic_and_tensor, tensor_name: to.into() }
}

fn sorted(renames: impl Iterator<Item = PipelineTensorMapping>) -> Vec<PipelineTensorMapping> {
    let mut renames: Vec<_> = renames.collect();
    renames.sort_by(|a, b| a.topic_and_tensor.cmp(&b.topic_and_tensor));
    renames
}

fn join(join: i32) -> i32 {
    match JoinOp::try_from(join) {
        Ok(JoinOp::Inner) => PipelineJoinType::Inner,
        Ok(JoinOp::Outer) => PipelineJoinType::Outer,
        Ok(JoinOp::Any) => PipelineJoinType::Any,
        Err(_) => PipelineJoinType::Unknown,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_proto::seldon::scheduler::{PipelineInput, PipelineOutput, PipelineStep};

    #[test]
    fn a_pipeline_becomes_one_update_per_step_one_for_its_input_one_for_its_output_and_one_for_errors() {
        let pipeline = Pipeline {
            name: "p".into(),
            uid: "u".into(),
            version: 3,
            steps: vec![
                PipelineStep { name: "a".into(), ..Default::default() },
                PipelineStep {
                    name: "b".into(),
                    inputs: vec!["a.outputs.T".into(), "p.inputs".into()],
                    tensor_map: [("a.outputs.T".to_string(), "X".to_string())].into(),
                    join_window_ms: Some(5),
                    ..Default::default()
                },
            ],
            input: Some(PipelineInput { external_inputs: vec!["q.step.s.outputs".into()], ..Default::default() }),
            output: Some(PipelineOutput { steps: vec!["b.outputs".into()], ..Default::default() }),
            ..Default::default()
        };
        let update = create(&Topics::new("seldon", "ns"), &pipeline);
        assert_eq!((update.op(), update.uid.as_str(), update.version), (PipelineOperation::Create, "u", 3));
        let flow: Vec<_> = update
            .updates
            .iter()
            .map(|u| {
                let sources: Vec<_> = u.sources.iter().map(|s| format!("{}@{}", s.topic_name, s.pipeline_name)).collect();
                format!("{} -> {}", sources.join(" + "), u.sink.as_ref().unwrap().topic_name)
            })
            .collect();
        assert_eq!(
            flow,
            [
                "seldon.ns.pipeline.p.inputs@p -> seldon.ns.model.a.inputs",
                "seldon.ns.model.a.outputs@p + seldon.ns.pipeline.p.inputs@p -> seldon.ns.model.b.inputs",
                "seldon.ns.model.s.outputs@q -> seldon.ns.pipeline.p.inputs",
                "seldon.ns.model.b.outputs@p -> seldon.ns.pipeline.p.outputs",
                "seldon.ns.errors.errors@p -> seldon.ns.pipeline.p.outputs",
            ]
        );
        let b = &update.updates[1];
        assert_eq!((b.join_window_ms, b.sources[0].tensor.as_deref()), (Some(5), Some("T")));
        assert_eq!(b.tensor_map[0].topic_and_tensor, "seldon.ns.model.a.outputs.T");
        assert_eq!(update.updates[3].join_window_ms, Some(0));
    }
}
