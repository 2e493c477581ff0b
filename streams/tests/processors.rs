//! Processors of one's own: what they may use, where they may forward to, what goes around them, and global and read-only stores.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{Arc, Mutex},
};

use millstream::{
    Around, Consumed, Error, ErrorKind, FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, Named, OnError, Printed, Processor,
    ProcessorContext, ProcessorTopology, ProcessorWrapper, Produced, PunctuationType, Record, Schedule, StreamsBuilder, TaskContext,
    TestDriverConfig, Topology, TopologyConfig, TopologyTestDriver, Wrapped,
    store::{KeyValueStore, StoreDef, StoreSet},
};

type Numbers = KeyValueStore<String, i64>;

fn started(topology: &Topology) -> TopologyTestDriver {
    TopologyTestDriver::new(topology, Default::default()).unwrap()
}

fn texts(driver: &TopologyTestDriver, topic: &str) -> Vec<(String, String)> {
    driver.output_topic::<String, String>(topic).read_key_values().unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// Keeps a store in step with a topic; a negative number is an error.
struct Keep;
impl Processor<String, Option<i64>, (), ()> for Keep {
    fn process(&mut self, context: &mut ProcessorContext<'_, (), ()>, record: Record<String, Option<i64>>) -> Result<(), Error> {
        if record.value.is_some_and(|number| number < 0) {
            return Err(Error::new(ErrorKind::User, "a negative number"));
        }
        let numbers: Numbers = context.store("numbers")?;
        numbers.put(context, &record.key, record.value.as_ref())
    }
}

/// Says what the store has for each key.
struct LookUp;
impl Processor<String, String, String, String> for LookUp {
    fn process(&mut self, context: &mut ProcessorContext<'_, String, String>, record: Record<String, String>) -> Result<(), Error> {
        let numbers: Numbers = context.store("numbers")?;
        let text = numbers.get(&record.key)?.map_or("none".to_string(), |number| number.to_string());
        context.forward(record.with_value(text))
    }
}

#[test]
fn a_global_store_of_ones_own_processor_is_read_by_processors_that_are_not_connected_to_it() {
    let builder = StreamsBuilder::new();
    builder.add_global_store(Numbers::in_memory("numbers"), "numbers-topic", Consumed::new(), || Keep);
    builder.stream::<String, String>("in").process(|| LookUp, &[]).to("out");
    let topology = builder.build().unwrap();
    let describe = topology.describe();
    assert!(describe.contains("Sub-topology: 0 for global store (will not generate tasks)"), "{describe}");
    assert!(describe.contains("Source: KSTREAM-SOURCE-0000000000 (topics: [numbers-topic])"), "{describe}");
    assert!(describe.contains("Processor: KTABLE-SOURCE-0000000001 (stores: [numbers])"), "{describe}");

    let driver = started(&topology);
    driver.input_topic::<String, i64>("numbers-topic").pipe("a".into(), 7, 5).unwrap();
    let input = driver.input_topic::<String, String>("in");
    input.pipe("a".into(), "".into(), 0).unwrap();
    input.pipe("b".into(), "".into(), 0).unwrap();
    assert_eq!(texts(&driver, "out"), pairs(&[("a", "7"), ("b", "none")]));
    assert!(driver.drain().is_empty(), "a global store has no changelog");
}

#[test]
fn a_global_store_cannot_be_connected_and_its_processor_has_no_handler() {
    let builder = StreamsBuilder::new();
    builder.add_global_store(Numbers::in_memory("numbers"), "numbers-topic", Consumed::new().name("keep"), || Keep);
    builder.stream::<String, String>("in").process(|| LookUp, &["numbers"]).to("out");
    let error = builder.build().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Topology);
    assert!(error.to_string().contains("global store"), "{error}");

    let mut nodes = ProcessorTopology::from(Topology::new());
    let source = ("source", "numbers-topic", Consumed::<String, Option<i64>>::new());
    nodes.add_global_store(Numbers::in_memory("numbers"), source, ("keep", || Keep)).unwrap();
    let mut config = TestDriverConfig::default();
    config.task.on_processing_error = OnError::Continue;
    config.task.dead_letter_topic = Some("dead".into());
    let driver = TopologyTestDriver::new(&nodes.build(), config).unwrap();
    let error = driver.input_topic::<String, i64>("numbers-topic").pipe("a".into(), -1, 0).unwrap_err();
    assert_eq!((error.node(), error.kind()), (Some("keep"), ErrorKind::User));
    assert!(driver.drain().is_empty());
}

#[test]
fn a_read_only_store_is_filled_from_its_topic_which_is_its_changelog() {
    let mut nodes = ProcessorTopology::from(Topology::new());
    let source = ("numbers-source", "numbers-topic", Consumed::<String, Option<i64>>::new());
    nodes.add_read_only_state_store(Numbers::in_memory("numbers"), source, ("keep", || Keep)).unwrap();
    nodes.add_source("source", &["in"], Consumed::<String, String>::new()).unwrap();
    nodes.add_processor("look-up", || LookUp, &["source"]).unwrap();
    nodes.connect("look-up", "numbers").unwrap();
    let route = |record: &Record<String, String>, _: &TaskContext| format!("out-{}", record.key).into();
    nodes.add_dynamic_sink("sink", route, Produced::<String, String>::new(), &["look-up"]).unwrap();
    let topology = nodes.build();
    assert_eq!(topology.source_changelog("numbers").map(|topic| &**topic), Some("numbers-topic"));
    assert_eq!(topology.subtopologies().len(), 1, "the store's processor shares its tasks");

    let driver = started(&topology);
    driver.input_topic::<String, i64>("numbers-topic").pipe("a".into(), 7, 5).unwrap();
    driver.input_topic::<String, String>("in").pipe("a".into(), "".into(), 0).unwrap();
    assert_eq!(texts(&driver, "out-a"), pairs(&[("a", "7")]));
    assert!(driver.drain().is_empty(), "a read-only store has no changelog of its own");
}

/// Sends words to the child of their name.
struct Route;
impl Processor<String, String, String, String> for Route {
    fn process(&mut self, context: &mut ProcessorContext<'_, String, String>, record: Record<String, String>) -> Result<(), Error> {
        let child = record.value.clone();
        context.forward_to(&child, record)
    }
}
impl FixedKeyProcessor<String, String, String> for Route {
    fn process(
        &mut self,
        context: &mut FixedKeyContext<'_, '_, String, String>,
        record: FixedKeyRecord<String, String>,
    ) -> Result<(), Error> {
        let child = record.value().clone();
        context.forward_to(&child, record)
    }
}

#[test]
fn a_record_goes_to_the_child_that_is_named_and_an_unknown_child_is_an_error_that_names_them() {
    for fixed_key in [false, true] {
        let builder = StreamsBuilder::new();
        let words = builder.stream::<String, String>("in");
        let routed = match fixed_key {
            true => words.process_values_named(Named::new("route"), || Route, &[]),
            false => words.process_named(Named::new("route"), || Route, &[]),
        };
        for child in ["left", "right"] {
            routed.map_values_named(Named::new(child), |_, word| word.clone()).to(child);
        }
        let driver = started(&builder.build().unwrap());
        let input = driver.input_topic::<String, String>("in");
        input.pipe("a".into(), "right".into(), 0).unwrap();
        assert_eq!((texts(&driver, "left"), texts(&driver, "right")), (vec![], pairs(&[("a", "right")])));
        let error = input.pipe("a".into(), "up".into(), 0).unwrap_err();
        assert!(error.to_string().contains("route: there is no child up: forward to left, right"), "{error}");
    }
}

/// Says where each record came from; and in a punctuator, that there is none.
struct Where;
impl Processor<String, String, String, String> for Where {
    fn init(&mut self, context: &mut ProcessorContext<'_, String, String>) -> Result<(), Error> {
        context.schedule(10, PunctuationType::WallClockTime).map(drop)
    }
    fn process(&mut self, context: &mut ProcessorContext<'_, String, String>, record: Record<String, String>) -> Result<(), Error> {
        let from = context.record_metadata();
        let text = format!("{:?} {} {} {}", from.topic.as_deref(), from.partition, from.offset, context.task_id());
        context.forward(record.with_value(text))
    }
    fn punctuate(&mut self, context: &mut ProcessorContext<'_, String, String>, _: &Schedule, time: i64) -> Result<(), Error> {
        let from = context.record_metadata();
        let text = format!("{:?} {} {}", from.topic, from.partition, from.offset);
        context.forward(Record::new("tick".into(), text, time))
    }
}

#[test]
fn record_metadata_says_where_a_record_came_from_and_nothing_in_a_punctuator() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").process(|| Where, &[]).to("out");
    let driver = started(&builder.build().unwrap());
    let input = driver.input_topic::<String, String>("in");
    input.pipe("a".into(), "".into(), 0).unwrap();
    input.pipe("a".into(), "".into(), 0).unwrap();
    driver.advance_wall_clock_ms(10).unwrap();
    let expected = pairs(&[("a", "Some(\"in\") 0 0 0_0"), ("a", "Some(\"in\") 0 1 0_0"), ("tick", "None -1 -1")]);
    assert_eq!(texts(&driver, "out"), expected);
}

/// Notes which processors it has wrapped and how often each was called; drops what says so, and shouts on the way into `loud`.
#[derive(Clone, Default)]
struct Spy {
    calls: Arc<Mutex<BTreeMap<String, u32>>>,
    fixed: Arc<Mutex<Vec<String>>>,
    shared: Arc<std::sync::OnceLock<StoreDef>>,
}
struct SpyOn(Spy, String, Option<Numbers>);

impl ProcessorWrapper for Spy {
    fn wrap_processor(&self, name: &str) -> Option<Box<dyn Around>> {
        Some(Box::new(SpyOn(self.clone(), name.to_string(), None)))
    }
    fn wrap_fixed_key_processor(&self, name: &str) -> Option<Box<dyn Around>> {
        self.fixed.lock().unwrap().push(name.to_string());
        self.wrap_processor(name)
    }
    fn stores(&self, _: &str) -> Vec<StoreDef> {
        vec![self.shared.get_or_init(|| Numbers::in_memory("seen").logging(false)).clone()]
    }
}
impl Around for SpyOn {
    fn init(&mut self, _: &mut TaskContext, stores: &StoreSet) -> Result<(), Error> {
        self.2 = stores.get("seen").and_then(|store| store.typed());
        Ok(())
    }
    fn process(&mut self, context: &mut TaskContext, mut wrapped: Wrapped<'_>) -> Result<(), Error> {
        *self.0.calls.lock().unwrap().entry(self.1.clone()).or_default() += 1;
        if let Some(record) = wrapped.record_mut::<String, String>() {
            self.2.as_ref().unwrap().put(context, &record.key, Some(&record.timestamp))?;
            match record.value.as_str() {
                "drop" => return Ok(()),
                _ if self.1 == "loud" => record.value = record.value.to_uppercase(),
                _ => {}
            }
        }
        wrapped.process(context)
    }
}

#[test]
fn a_wrapper_is_around_every_processor_and_can_drop_and_change_records_and_bring_stores() {
    let spy = Spy::default();
    let builder = StreamsBuilder::with_config(TopologyConfig { processor_wrapper: Some(Arc::new(spy.clone())), ..Default::default() });
    builder.add_global_store(Numbers::in_memory("numbers"), "numbers-topic", Consumed::new(), || Keep);
    let words = builder.stream::<String, String>("in").filter_named(Named::new("all"), |_, _| true);
    words
        .select_key_named(Named::new("loud"), |key, _| key.clone())
        .process_values_named(Named::new("look-up"), || FixedLookUp, &[])
        .to("out");
    let topology = builder.build().unwrap();
    assert!(topology.describe().contains("Processor: all (stores: [seen])"), "{}", topology.describe());

    let driver = started(&topology);
    let input = driver.input_topic::<String, String>("in");
    driver.input_topic::<String, i64>("numbers-topic").pipe("a".into(), 7, 5).unwrap();
    input.pipe("a".into(), "word".into(), 3).unwrap();
    input.pipe("b".into(), "drop".into(), 4).unwrap();
    assert_eq!(texts(&driver, "out"), pairs(&[("a", "WORD 7")]));
    let calls = spy.calls.lock().unwrap().clone();
    assert_eq!(calls, BTreeMap::from([("all".into(), 2), ("loud".into(), 1), ("look-up".into(), 1)]));
    let mut fixed = spy.fixed.lock().unwrap().clone();
    fixed.sort();
    assert_eq!(fixed, ["all", "look-up"]);
    assert_eq!(driver.store::<Numbers>("seen").unwrap().get(&"b".into()).unwrap(), Some(4));
}

struct FixedLookUp;
impl FixedKeyProcessor<String, String, String> for FixedLookUp {
    fn process(
        &mut self,
        context: &mut FixedKeyContext<'_, '_, String, String>,
        record: FixedKeyRecord<String, String>,
    ) -> Result<(), Error> {
        let numbers: Numbers = context.store("numbers")?;
        let text = format!("{} {}", record.value(), numbers.get(record.key())?.unwrap_or_default());
        context.forward(record.with_value(text))
    }
}

/// What was printed.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);
impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn print_writes_a_line_per_record_with_its_label() {
    let (plain, mapped) = (Paper::default(), Paper::default());
    let builder = StreamsBuilder::new();
    let words = builder.stream::<String, Option<String>>("in");
    words.print(Printed::to_writer(plain.clone()));
    words.print(Printed::to_writer(mapped.clone()).label("mapped").name("printer").key_value_mapper(|key, word| format!("{key}={word:?}")));
    let topology = builder.build().unwrap();
    let describe = topology.describe();
    assert!(describe.contains("Processor: KSTREAM-PRINTER-0000000001") && describe.contains("Processor: printer"), "{describe}");
    let driver = started(&topology);
    let input = driver.input_topic::<String, Option<String>>("in");
    input.pipe("a".into(), Some("x".into()), 0).unwrap();
    input.pipe("b".into(), None, 0).unwrap();
    let text = |paper: &Paper| String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text(&plain), "[KSTREAM-SOURCE-0000000000]: a, x\n[KSTREAM-SOURCE-0000000000]: b, null\n");
    assert_eq!(text(&mapped), "[mapped]: a=Some(\"x\")\n[mapped]: b=None\n");
}

#[test]
fn printing_to_a_file_that_cannot_be_made_is_an_error_of_build() {
    let builder = StreamsBuilder::new();
    builder.stream::<String, String>("in").print(Printed::to_file("/nowhere/at/all"));
    let error = builder.build().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Topology);
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}
