//! From a pipeline to a topology of the library: one op of the DSL for each thing that a step does.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use millstream::{
    Consumed, DefaultSerde, Error, FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, Header, Headers, JoinWindows, KStream, Produced,
    RawRecord, StoreType, StreamJoined, StreamsBuilder, Topology,
    embed::{Output, Target},
};
use millstream_proto::seldon::scheduler::Pipeline;

use crate::{
    EngineError, Topics,
    message::{Message, Shape},
};

/// How long a partner is waited for, where the pipeline does not say.
pub(crate) const DEFAULT_JOIN_WINDOW_MS: u32 = 60_000;
/// The header that says which pipeline a record belongs to.
pub(crate) const PIPELINE: &str = "pipeline";
const VERSION: &str = "x-pipeline-version";
const ERRORS: &str = "seldon-pipeline-errors";
const ALIBI: [&str; 2] = ["x-seldon-alibi-type", "x-seldon-alibi-method"];

type Stream = KStream<Option<Bytes>, Bytes>;

/// A pipeline as a topology, and the topics around it.
pub struct Compiled {
    /// What runs.
    pub topology: Topology,
    /// What it reads.
    pub sources: Vec<Arc<str>>,
    /// What it reads and writes: all of these must be there, equally partitioned.
    pub topics: Vec<Arc<str>>,
}

/// One topic that a step reads, and what it takes from there.
struct Group {
    topic: Arc<str>,
    shape: Shape,
    /// No names: all tensors.
    tensors: Vec<String>,
    renames: HashMap<String, String>,
}

/// Compiles a pipeline whose references are normalised (`step.outputs`, `step.outputs.tensor`, `pipeline.inputs`).
///
/// A step that reads one topic is a chain `source → select → sink`; one that reads several is an inner join of theirs, left to right.
/// Failures of steps come back through the errors topic to the pipeline's outputs.
///
/// # Errors
/// A reference that is not normalised, or a topology that cannot be.
pub fn compile(pipeline: &Pipeline, topics: &Topics) -> Result<Compiled, EngineError> {
    let builder = StreamsBuilder::new();
    let mut sources: BTreeMap<Arc<str>, Stream> = BTreeMap::new();
    let mut all = vec![topics.errors(), topics.pipeline(&pipeline.name, "inputs"), topics.pipeline(&pipeline.name, "outputs")];
    let mut steps: Vec<_> = pipeline.steps.iter().collect();
    steps.sort_by(|a, b| a.name.cmp(&b.name));
    for step in steps {
        let own = [format!("{}.inputs", pipeline.name)];
        let inputs = if step.inputs.is_empty() { &own[..] } else { &step.inputs[..] };
        let groups = groups(pipeline, topics, inputs, &step.tensor_map)?;
        let window = step.join_window_ms.filter(|&ms| ms > 0).unwrap_or(DEFAULT_JOIN_WINDOW_MS);
        let sink = topics.model(&step.name, "inputs");
        all.extend([sink.clone(), topics.model(&step.name, "outputs")]);
        connect(&builder, &mut sources, pipeline, topics, &groups, window, (&sink, Shape::Request))?;
    }
    if let Some(output) = &pipeline.output {
        let groups = groups(pipeline, topics, &output.steps, &output.tensor_map)?;
        let window = if output.join_window_ms > 0 { output.join_window_ms } else { DEFAULT_JOIN_WINDOW_MS };
        connect(&builder, &mut sources, pipeline, topics, &groups, window, (&topics.pipeline(&pipeline.name, "outputs"), Shape::Response))?;
    }
    // Failures pass as they are: their value is a text, and their header names the step.
    let (name, version) = (pipeline.name.clone(), pipeline.version);
    let failures = source(&builder, &mut sources, topics.errors());
    let stamped = failures.process_values(move || Stamp::new(&name, version), &[]);
    stamped.to_with(&topics.pipeline(&pipeline.name, "outputs"), raw());

    all.sort();
    all.dedup();
    Ok(Compiled { topology: builder.build()?, sources: sources.into_keys().collect(), topics: all })
}

fn raw() -> Produced<Option<Bytes>, Bytes> {
    Produced::with(Bytes::default_serde(), Bytes::default_serde())
}

fn source(builder: &StreamsBuilder, sources: &mut BTreeMap<Arc<str>, Stream>, topic: Arc<str>) -> Stream {
    let make = || builder.stream_with(&[&topic], Consumed::with(Bytes::default_serde(), Bytes::default_serde()));
    sources.entry(topic.clone()).or_insert_with(make).clone()
}

/// Sources → selections → joins → sink.
fn connect(
    builder: &StreamsBuilder,
    sources: &mut BTreeMap<Arc<str>, Stream>,
    pipeline: &Pipeline,
    topics: &Topics,
    groups: &[Group],
    window_ms: u32,
    (sink, shape): (&Arc<str>, Shape),
) -> Result<(), EngineError> {
    let select = |sources: &mut _, group: &Group| {
        let selection = Arc::new(Selection {
            from: group.shape,
            to: shape,
            tensors: group.tensors.clone(),
            renames: group.renames.clone(),
            stamp: Stamp::new(&pipeline.name, pipeline.version),
            errors: topics.errors(),
        });
        source(builder, sources, group.topic.clone()).process_values(move || Select(selection.clone()), &[])
    };
    let Some((first, others)) = groups.split_first() else {
        return Err(EngineError::Pipeline(format!("pipeline {}: {sink} has no source: name an input", pipeline.name)));
    };
    let mut joined = select(sources, first);
    for other in others {
        let other = select(sources, other);
        let joiner = move |left: &Bytes, right: &Bytes| join(left, right, shape);
        let options =
            StreamJoined::with(Bytes::default_serde(), Bytes::default_serde(), Bytes::default_serde()).store_type(StoreType::InMemory);
        joined = joined.join_with(&other, joiner, JoinWindows::of_time_difference_with_no_grace(window_ms.into()), options);
    }
    joined.to_with(sink, raw());
    Ok(())
}

/// Both sides have been read and written by this engine, so they can be read.
fn join(left: &Bytes, right: &Bytes, shape: Shape) -> Bytes {
    match (Message::read(left.clone(), shape), Message::read(right.clone(), shape)) {
        (Ok(left), Ok(right)) => left.join(right).write(shape),
        _ => left.clone(),
    }
}

/// Inputs by topic, in the order in which topics are first named. Naming one tensor overrides a reference to the whole topic.
fn groups(
    pipeline: &Pipeline,
    topics: &Topics,
    references: &[String],
    tensor_map: &HashMap<String, String>,
) -> Result<Vec<Group>, EngineError> {
    let mut groups: Vec<Group> = vec![];
    for reference in references {
        let invalid = || {
            EngineError::Pipeline(format!(
                "pipeline {}: reference {reference} is none: write step.outputs or step.outputs.tensor",
                pipeline.name
            ))
        };
        let mut parts = reference.splitn(3, '.');
        let (name, side, tensor) = (parts.next().ok_or_else(invalid)?, parts.next().ok_or_else(invalid)?, parts.next());
        let shape = match side {
            "inputs" => Shape::Request,
            "outputs" => Shape::Response,
            _ => return Err(invalid()),
        };
        let topic = if name == pipeline.name { topics.pipeline(name, side) } else { topics.model(name, side) };
        let group = match groups.iter().position(|group| group.topic == topic) {
            Some(at) => &mut groups[at],
            None => {
                let prefix = format!("{name}.{side}.");
                let renames = tensor_map.iter().filter_map(|(from, to)| Some((from.strip_prefix(&prefix)?.to_string(), to.clone())));
                groups.push(Group { topic, shape, tensors: vec![], renames: renames.collect() });
                groups.last_mut().ok_or_else(invalid)?
            }
        };
        group.tensors.extend(tensor.map(str::to_string));
    }
    Ok(groups)
}

/// Marks records as this pipeline's, in this version.
#[derive(Clone)]
struct Stamp {
    pipeline: Bytes,
    version: Bytes,
}

impl Stamp {
    fn new(pipeline: &str, version: u32) -> Self {
        Self { pipeline: Bytes::copy_from_slice(pipeline.as_bytes()), version: version.to_string().into() }
    }

    fn headers(&self, headers: &Headers) -> Vec<Header> {
        let ours = |name: &str| name == PIPELINE || name == VERSION || ALIBI.contains(&name);
        let mut out: Vec<Header> = headers.to_vec().into_iter().filter(|header| !ours(&header.name)).collect();
        out.push(Header { name: PIPELINE.into(), value: Some(self.pipeline.clone()) });
        out.push(Header { name: VERSION.into(), value: Some(self.version.clone()) });
        out
    }
}

impl FixedKeyProcessor<Option<Bytes>, Bytes, Bytes> for Stamp {
    fn process(
        &mut self,
        context: &mut FixedKeyContext<'_, '_, Option<Bytes>, Bytes>,
        record: FixedKeyRecord<Option<Bytes>, Bytes>,
    ) -> Result<(), Error> {
        let headers = self.headers(record.headers());
        context.forward(record.with_headers(headers.into()))
    }
}

struct Selection {
    from: Shape,
    to: Shape,
    tensors: Vec<String>,
    renames: HashMap<String, String>,
    stamp: Stamp,
    errors: Arc<str>,
}

/// **Law.** A record passes with the tensors that the step takes, not at all if it has none of them; one that cannot be read goes to the
/// errors topic, from where its caller hears of it, and never stops the pipeline.
struct Select(Arc<Selection>);

impl FixedKeyProcessor<Option<Bytes>, Bytes, Bytes> for Select {
    fn process(
        &mut self,
        context: &mut FixedKeyContext<'_, '_, Option<Bytes>, Bytes>,
        record: FixedKeyRecord<Option<Bytes>, Bytes>,
    ) -> Result<(), Error> {
        let Selection { from, to, tensors, renames, stamp, errors } = &*self.0;
        let headers = stamp.headers(record.headers());
        match Message::read(record.value().clone(), *from) {
            Ok(message) => match message.select(tensors, renames) {
                Some(message) => context.forward(record.with_value(message.write(*to)).with_headers(headers.into())),
                None => Ok(()),
            },
            Err(reason) => {
                let mut headers = headers;
                headers.push(Header { name: ERRORS.into(), value: Some(stamp.pipeline.clone()) });
                let (key, timestamp) = (record.key().clone(), record.timestamp());
                let record = RawRecord { key, value: Some(reason.into()), timestamp, headers: headers.into() };
                let partition = context.task_id().partition;
                context.send(Output { topic: errors.clone(), target: Target::Partition(partition), record });
                Ok(())
            }
        }
    }
}
