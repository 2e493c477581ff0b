//! Epochs: what commits together.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use millstream_topology::{
    DefaultSerde, Error, InvalidTimestamp, Output, RawRecord, SinkDef, SinkTopic, SourceDef, TaskConfig, TaskId, Topology,
    dataflow::{Batch, ClosedEpoch, Command, DataflowId, EpochSink, Installation, Progress, Worker},
};

const SOON: Duration = Duration::from_secs(20);
const TASK: TaskId = TaskId { subtopology: 0, partition: 0 };

/// What the sink was told: so many outputs, or the offset of an epoch.
#[derive(Debug, PartialEq)]
enum Told {
    Outputs(usize),
    Closed(i64),
}

struct Sink(Sender<Told>);

impl EpochSink for Sink {
    fn outputs(&mut self, _: DataflowId, _: TaskId, outputs: Vec<Output>) {
        self.0.send(Told::Outputs(outputs.len())).unwrap();
    }
    fn closed(&mut self, epoch: ClosedEpoch) {
        self.0.send(Told::Closed(epoch.tasks[0].2.offsets["in"])).unwrap();
    }
    fn failed(&mut self, _: DataflowId, _: Option<TaskId>, error: Error) {
        panic!("{error}");
    }
}

/// So many records from an offset on, handed out when the gate opens, if there is one.
struct Records(i64, usize, Option<Receiver<()>>);

impl Batch for Records {
    fn partition(&self) -> i32 {
        0
    }
    fn next_offset(&self) -> i64 {
        self.0 + self.1 as i64
    }
    fn unpack(self: Box<Self>, each: &mut dyn FnMut(i64, RawRecord)) {
        let Self(first, count, gate) = *self;
        if let Some(gate) = gate {
            gate.recv_timeout(SOON).unwrap();
        }
        (first..).take(count).for_each(|offset| each(offset, RawRecord { value: Some(vec![0; 8].into()), ..RawRecord::default() }));
    }
}

fn copy() -> Topology {
    let (key, value) = (String::default_serde(), i64::default_serde());
    let extractor = Arc::new(InvalidTimestamp::Fail);
    let source = SourceDef::<Option<String>, i64> { key: key.clone(), value: value.clone(), extractor };
    let sink = SinkDef::<Option<String>, i64> { key, value, topic: SinkTopic::Fixed("out".into()), partitioner: None, partition_key: None };
    let mut topology = Topology::new();
    topology.add_source("source", &["in".into()], None, source.into_maker()).unwrap();
    topology.add_sink("sink", Some("out".into()), &["source"], sink.into_maker()).unwrap();
    topology
}

#[test]
fn what_comes_after_the_end_of_an_epoch_is_not_put_out_before_the_epoch_is_handed_over() {
    let (told, heard) = channel();
    let worker = Worker::spawn("worker", || 0, Box::new(Sink(told))).unwrap();
    let send = |command| worker.handle().send(command).unwrap();
    let installation = Installation { topology: Arc::new(copy()), config: TaskConfig::new("copy"), rocks: None, global_copy: 0 };
    send(Command::Install(0, Box::new(installation)));
    send(Command::AddTask(0, TASK));
    send(Command::StartTask(0, TASK, Progress::default()));
    // All of this waits for the worker at once.
    let (open, gate) = channel();
    send(Command::Feed(0, TASK, "in".into(), Box::new(Records(0, 2, Some(gate)))));
    send(Command::Feed(0, TASK, "in".into(), Box::new(Records(2, 1, None))));
    send(Command::Close);
    send(Command::Feed(0, TASK, "in".into(), Box::new(Records(3, 3, None))));
    send(Command::Applied);
    send(Command::Close);
    open.send(()).unwrap();
    let heard: Vec<Told> = (0..5).map(|_| heard.recv_timeout(SOON).unwrap()).collect();
    assert_eq!(heard, [Told::Outputs(2), Told::Outputs(1), Told::Closed(3), Told::Outputs(3), Told::Closed(6)]);
}
