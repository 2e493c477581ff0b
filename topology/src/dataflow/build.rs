//! Draws a dataflow on a timely worker.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use timely::{
    container::CapacityContainerBuilder,
    dataflow::{
        ProbeHandle,
        channels::pact::Pipeline,
        operators::{
            Capability, Concatenate, Operator, Probe,
            generic::{OutputBuilder, builder_rc::OperatorBuilder},
        },
    },
    worker::Worker,
};

use super::{
    event::{Emission, Event},
    stage::Stage,
};

type Container<D> = CapacityContainerBuilder<Vec<D>>;

/// Where the worker's loop puts events for the source: stage and event, in order; and the epochs that it closes.
#[derive(Default)]
pub(super) struct Intake {
    pub events: VecDeque<(usize, Event)>,
    /// The epoch that is open; the source holds its capability.
    pub epoch: u64,
    pub activate: Option<Box<dyn Fn()>>,
}

/// `source → stages → sink`, with a probe behind the sink. What stages emit goes to `emitted` at once.
pub(super) fn build(
    worker: &mut Worker,
    name: &str,
    intake: Rc<RefCell<Intake>>,
    stages: Vec<Stage>,
    emitted: Rc<dyn Fn(Emission)>,
) -> ProbeHandle<u64> {
    let probe = ProbeHandle::new();
    let handle = probe.clone();
    worker.dataflow_core::<u64, _, _, _>(name, None, (), |(), scope| {
        let mut builder = OperatorBuilder::new("source".into(), scope);
        let (mut outputs, mut streams) = (vec![], vec![]);
        for _ in &stages {
            let (output, stream) = builder.new_output::<Vec<Event>>();
            outputs.push(OutputBuilder::<_, Container<Event>>::from(output));
            streams.push(stream);
        }
        let activator = scope.activator_for(builder.operator_info().address);
        intake.borrow_mut().activate = Some(Box::new(move || activator.activate()));
        builder.build(move |capabilities: Vec<Capability<u64>>| {
            let mut capabilities = capabilities;
            move |_frontiers| {
                let mut intake = intake.borrow_mut();
                let mut sessions: Vec<_> = outputs.iter_mut().map(OutputBuilder::activate).collect();
                while let Some((stage, event)) = intake.events.pop_front() {
                    sessions[stage].session(&capabilities[stage]).give(event);
                }
                drop(sessions);
                for capability in &mut capabilities {
                    if *capability.time() < intake.epoch {
                        capability.downgrade(&intake.epoch);
                    }
                }
            }
        });
        let results = streams.into_iter().zip(stages).map(|(stream, mut stage)| {
            let (name, emitted) = (format!("stage {}", stage.part.id), emitted.clone());
            stream.unary::<Container<()>, _, _, _>(Pipeline, &name, move |_, _| {
                move |input, _| {
                    input.for_each(|_, events| {
                        for event in events.drain(..) {
                            stage.handle(event, &mut |emission| emitted(emission));
                        }
                    });
                }
            })
        });
        let results: Vec<_> = results.collect();
        scope.concatenate(results).probe_with(&handle);
    });
    probe
}
