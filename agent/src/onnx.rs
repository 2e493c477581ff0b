//! The embedded runtime: an ONNX model, checked and computed by tract.

use crate::error::{InferError, LoadError, one_line};
use crate::tensor::{Dim, TensorSpec};
use millstream_proto::inference::{ModelInferRequest, ModelInferResponse, ModelMetadataResponse};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TDim;
use tract_onnx::{Onnx, pb};

/// Plans that a model keeps whose dimensions have to be known before it can be planned; beyond that the one that was not used for
/// longest goes.
const PLANS_KEPT: usize = 16;

type Plan = Arc<TypedRunnableModel>;
type Shapes = TVec<TVec<usize>>;

/// A loaded model. What passes its checks has the names, datatypes and shapes that the model declares.
pub(crate) struct OnnxModel {
    name: String,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    plans: Plans,
}

/// One plan for all shapes where the runtime can leave the open dimensions symbolic, which is what exporters that name their
/// dimensions give; otherwise one per combination of input shapes.
enum Plans {
    Any(Plan),
    PerShape { model: Box<InferenceModel>, recent: Mutex<Vec<(Shapes, Plan)>> },
}

impl OnnxModel {
    /// Reads and plans `model.onnx` of a folder, or the file itself. Takes long for a large model: not for an async thread.
    pub(crate) fn load(name: &str, path: &Path) -> Result<OnnxModel, LoadError> {
        let path = if path.is_dir() { path.join("model.onnx") } else { path.to_owned() };
        if !path.is_file() {
            return Err(LoadError::File { reason: "no such file: an ONNX model's folder holds a model.onnx".into(), path });
        }
        // tract panics on some broken graphs.
        let loaded = catch_unwind(AssertUnwindSafe(|| Self::read(name, &path)));
        loaded
            .unwrap_or_else(|panic| Err(TractError::msg(panic_text(&*panic))))
            .map_err(|error| LoadError::Onnx { path: path.clone(), reason: one_line(&format!("{error:#}")) })
    }

    fn read(name: &str, path: &Path) -> TractResult<OnnxModel> {
        let reader = onnx();
        Self::of(name, &reader, &reader.proto_model_for_path(path)?, path.parent().and_then(Path::to_str))
    }

    fn of(name: &str, reader: &Onnx, proto: &pb::ModelProto, folder: Option<&str>) -> TractResult<OnnxModel> {
        let graph = proto.graph.as_ref().ok_or_else(|| TractError::msg("it contains no graph"))?;
        // Old exporters list weights among the inputs.
        let weights: HashSet<&str> = graph.initializer.iter().map(|weight| weight.name.as_str()).collect();
        let inputs: Vec<_> =
            graph.input.iter().filter(|value| !weights.contains(value.name.as_str())).map(TensorSpec::of).collect::<TractResult<_>>()?;
        let outputs: Vec<_> = graph.output.iter().map(TensorSpec::of).collect::<TractResult<_>>()?;
        let computed = |name: &String| {
            weights.contains(name.as_str())
                || inputs.iter().any(|input| input.name == *name)
                || graph.node.iter().any(|node| node.output.contains(name))
        };
        if let Some(output) = outputs.iter().find(|output| !computed(&output.name)) {
            return Err(TractError::msg(format!("nothing computes {:?}", output.name)));
        }
        let parsed = reader.parse(proto, folder)?;
        if !parsed.unresolved_inputs.is_empty() {
            return Err(TractError::msg(format!("nothing computes {:?}", parsed.unresolved_inputs)));
        }
        let model = parsed.model;
        let plans = match plan_for_any_shape(&model) {
            Ok(plan) => Plans::Any(plan),
            Err(reason) => {
                tracing::debug!(model = name, %reason, "planned per shape");
                let ones = inputs
                    .iter()
                    .map(|spec| spec.dims.iter().flatten().map(|dim| if let Dim::Fixed(n) = dim { *n as usize } else { 1 }).collect());
                let ones: Shapes = ones.collect();
                // A model that cannot even be planned for one row will never answer. Without a rank there is nothing to try.
                let recent = match inputs.iter().all(|spec| spec.dims.is_some()) {
                    true => vec![(ones.clone(), plan_for(&model, &ones)?)],
                    false => Vec::new(),
                };
                Plans::PerShape { model: Box::new(model), recent: Mutex::new(recent) }
            }
        };
        Ok(OnnxModel { name: name.into(), inputs, outputs, plans })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn metadata(&self, versions: Vec<String>) -> ModelMetadataResponse {
        ModelMetadataResponse {
            name: self.name.clone(),
            versions,
            platform: "onnx".into(),
            inputs: self.inputs.iter().map(TensorSpec::metadata).collect(),
            outputs: self.outputs.iter().map(TensorSpec::metadata).collect(),
            parameters: HashMap::new(),
        }
    }

    /// Answers with the raw contents of the outputs that were asked for, or of all.
    pub(crate) fn infer(&self, request: &ModelInferRequest) -> Result<ModelInferResponse, InferError> {
        let wanted = self.wanted(request)?;
        let inputs = self.decode(request)?;
        let failed = |reason: &str| InferError::Failed { model: self.name.clone(), reason: one_line(reason) };
        let outputs = catch_unwind(AssertUnwindSafe(|| self.plan(&inputs)?.run(inputs)))
            .map_err(|panic| failed(&panic_text(&*panic)))?
            .map_err(|error| failed(&format!("{error:#}")))?;
        let mut response = ModelInferResponse { id: request.id.clone(), ..Default::default() };
        for index in wanted {
            let value = outputs.get(index).ok_or_else(|| failed("an output is missing"))?;
            let (output, raw) = self.outputs[index].encode(value).map_err(|error| failed(&format!("{error:#}")))?;
            response.outputs.push(output);
            response.raw_output_contents.push(raw);
        }
        Ok(response)
    }

    fn wanted(&self, request: &ModelInferRequest) -> Result<Vec<usize>, InferError> {
        match request.outputs.is_empty() {
            true => Ok((0..self.outputs.len()).collect()),
            false => request.outputs.iter().map(|wanted| self.position("output", &self.outputs, &wanted.name)).collect(),
        }
    }

    fn position(&self, kind: &'static str, specs: &[TensorSpec], tensor: &str) -> Result<usize, InferError> {
        specs.iter().position(|spec| spec.name == tensor).ok_or_else(|| InferError::UnknownTensor {
            model: self.name.clone(),
            kind,
            tensor: tensor.into(),
            known: specs.iter().map(|spec| format!("{} ({spec})", spec.name)).collect::<Vec<_>>().join(", "),
        })
    }

    /// The inputs in the model's order.
    fn decode(&self, request: &ModelInferRequest) -> Result<TVec<TValue>, InferError> {
        let (raw, inputs, model) = (&request.raw_input_contents, request.inputs.len(), &self.name);
        if !raw.is_empty() && (raw.len() != inputs || request.inputs.iter().any(|input| input.contents.is_some())) {
            return Err(InferError::RawContents { model: model.clone(), raw: raw.len(), inputs });
        }
        let mut values: TVec<Option<TValue>> = self.inputs.iter().map(|_| None).collect();
        let mut named: Vec<(&str, i64, &str)> = Vec::new();
        for (index, input) in request.inputs.iter().enumerate() {
            let position = self.position("input", &self.inputs, &input.name)?;
            let spec = &self.inputs[position];
            let value = spec.decode(model, input, raw.get(index))?;
            for (dim, size) in spec.dims.iter().flatten().zip(&input.shape) {
                let Dim::Named(name) = dim else { continue };
                match named.iter().find(|(known, ..)| known == name) {
                    Some((_, same, other)) if same != size => {
                        let expected = format!("{name} = {same} as in input {other:?}");
                        return Err(InferError::WrongInput {
                            model: model.clone(),
                            tensor: spec.name.clone(),
                            what: "shape",
                            expected,
                            got: size.to_string(),
                        });
                    }
                    Some(_) => {}
                    None => named.push((name, *size, &spec.name)),
                }
            }
            if values[position].replace(value.into()).is_some() {
                return Err(InferError::DuplicateInput { model: model.clone(), tensor: spec.name.clone() });
            }
        }
        let missing =
            |spec: &TensorSpec| InferError::MissingInput { model: model.clone(), tensor: spec.name.clone(), expected: spec.to_string() };
        values.into_iter().zip(&self.inputs).map(|(value, spec)| value.ok_or_else(|| missing(spec))).collect()
    }

    fn plan(&self, inputs: &TVec<TValue>) -> TractResult<Plan> {
        let (model, recent) = match &self.plans {
            Plans::Any(plan) => return Ok(plan.clone()),
            Plans::PerShape { model, recent } => (model, recent),
        };
        let same = |shapes: &Shapes| shapes.iter().map(|shape| &shape[..]).eq(inputs.iter().map(|input| input.shape()));
        {
            let mut recent = recent.lock();
            if let Some(index) = recent.iter().position(|(shapes, _)| same(shapes)) {
                let used = recent.remove(index);
                let plan = used.1.clone();
                recent.push(used);
                return Ok(plan);
            }
        }
        let shapes: Shapes = inputs.iter().map(|input| input.shape().into()).collect();
        let plan = plan_for(model, &shapes)?;
        let mut recent = recent.lock();
        if recent.len() == PLANS_KEPT {
            recent.remove(0);
        }
        recent.push((shapes, plan.clone()));
        Ok(plan)
    }
}

fn plan_for_any_shape(model: &InferenceModel) -> TractResult<Plan> {
    model.clone().into_optimized()?.into_runnable()
}

fn plan_for(model: &InferenceModel, shapes: &Shapes) -> TractResult<Plan> {
    let mut model = model.clone();
    for (index, shape) in shapes.iter().enumerate() {
        let shape: TVec<TDim> = shape.iter().map(|size| size.to_dim()).collect();
        let fact = model.input_fact(index)?.clone().with_shape(shape);
        model.set_input_fact(index, fact)?;
    }
    model.into_optimized()?.into_runnable()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the runtime panicked: {}", text.unwrap_or("no reason given"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_proto::inference::model_infer_request::InferInputTensor;

    /// `sumdiff` with dimensions that have no names, so that the runtime cannot know that they are the same.
    fn nameless() -> OnnxModel {
        let reader = onnx();
        let mut proto = reader.proto_model_for_path("../models/sumdiff/model.onnx").unwrap();
        let graph = proto.graph.as_mut().unwrap();
        for value in graph.input.iter_mut().chain(&mut graph.output) {
            let Some(pb::type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().unwrap().value.as_mut() else { panic!() };
            tensor.shape.as_mut().unwrap().dim[0].value = None;
        }
        OnnxModel::of("nameless", &reader, &proto, None).unwrap()
    }

    fn request(rows: [usize; 2]) -> ModelInferRequest {
        let input = |(index, rows): (usize, usize)| InferInputTensor {
            name: format!("INPUT{index}"),
            datatype: "INT32".into(),
            shape: vec![rows as i64, 16],
            ..Default::default()
        };
        let raw = rows.map(|rows| [7u8, 0, 0, 0].repeat(rows * 16).into());
        let inputs = rows.into_iter().enumerate().map(input).collect();
        ModelInferRequest { inputs, raw_input_contents: raw.into(), ..Default::default() }
    }

    #[test]
    fn a_model_whose_dimensions_have_no_names_is_planned_per_shape_within_a_bound() {
        let model = nameless();
        let Plans::PerShape { recent, .. } = &model.plans else { panic!("expected plans per shape") };
        for rows in (1..=PLANS_KEPT + 4).chain([1, 2]) {
            let response = model.infer(&request([rows, rows])).unwrap();
            assert_eq!(response.raw_output_contents[0], [14u8, 0, 0, 0].repeat(rows * 16));
            assert!(recent.lock().len() <= PLANS_KEPT);
        }
        assert_eq!(recent.lock().len(), PLANS_KEPT);
    }

    #[test]
    fn what_only_the_runtime_can_refuse_is_its_failure_and_leaves_the_model_whole() {
        let model = nameless();
        let error = model.infer(&request([2, 3])).unwrap_err();
        assert!(matches!(&error, InferError::Failed { .. }), "{error}");
        assert!(model.infer(&request([2, 2])).is_ok());
    }

    #[test]
    fn no_rows_give_no_rows() {
        let model = OnnxModel::load("sumdiff", Path::new("../models/sumdiff")).unwrap();
        let response = model.infer(&request([0, 0])).unwrap();
        assert_eq!((&response.outputs[0].shape[..], response.raw_output_contents[0].len()), (&[0, 16][..], 0));
    }
}
