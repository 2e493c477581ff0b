//! A stage: the timely operator that hosts the tasks of one sub-topology on one worker.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, sync::Arc};

use super::event::{Emission, Event, Progress};
use crate::{
    context::TaskId,
    error::Error,
    graph::{Subtopology, Topology},
    task::{Task, TaskEnv},
};

/// The tasks of one sub-topology.
///
/// **Law.** A task is touched by its own events alone, in their order; one that fails is gone, and the others go on.
pub(super) struct Stage {
    pub topology: Arc<Topology>,
    pub part: Subtopology,
    pub env: TaskEnv,
    pub tasks: BTreeMap<TaskId, Task>,
    /// When the next wall-clock punctuator of any task of the dataflow is due.
    pub next_punctuation: Rc<Cell<i64>>,
    pub dropped: Rc<Cell<u64>>,
}

impl Stage {
    pub fn handle(&mut self, event: Event, emit: &mut dyn FnMut(Emission)) {
        match event {
            Event::WallClock(now) => {
                self.env.wall_clock = now;
                self.on_all(emit, |task| {
                    task.set_wall_clock(now);
                    task.punctuate_wall_clock()
                });
                self.note_punctuations();
            }
            Event::Flush => self.flush(emit),
            Event::Applied => {
                self.tasks.values().flat_map(|task| task.stores().iter()).filter_map(|store| store.rocks()).for_each(|map| map.applied())
            }
            Event::Add(id) => match Task::new(&self.topology, &self.part, id.partition, &self.env) {
                Ok(task) => drop(self.tasks.insert(id, task)),
                Err(error) => emit(Emission::Failed(id, error)),
            },
            Event::Restore { task, store, batch } => self.on(task, emit, |task| {
                let Some(store) = task.stores().get(&store).cloned() else { return Ok(()) };
                let mut outcome = Ok(());
                batch.unpack(&mut |_, record| {
                    if outcome.is_ok() {
                        outcome = store.restore(record);
                    }
                });
                outcome
            }),
            Event::Start { task, progress } => {
                self.on(task, emit, |task| {
                    for (topic, time) in &progress.partition_times {
                        task.set_partition_time(topic, *time)?;
                    }
                    task.set_processor_metadata(progress.processor_metadata);
                    task.init()
                });
                self.note_punctuations();
            }
            Event::Feed { task, topic, batch } => self.on(task, emit, |task| {
                let mut outcome = Ok(());
                batch.unpack(&mut |offset, record| {
                    if outcome.is_ok() {
                        outcome = task.push(&topic, offset, record);
                    }
                });
                outcome?;
                while task.process()? {}
                Ok(())
            }),
            Event::Remove(id) => {
                if let Some(mut task) = self.tasks.remove(&id)
                    && let Err(error) = task.close()
                {
                    tracing::warn!(task = %id, %error, "task did not close cleanly");
                }
            }
        }
    }

    fn flush(&mut self, emit: &mut dyn FnMut(Emission)) {
        for id in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.on(id, emit, Task::flush);
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let writes: Result<Vec<_>, Error> =
                task.stores().iter().filter_map(|store| store.rocks()).map(|map| Ok(map.take_epoch()?)).collect();
            let progress = Progress {
                partition_times: task.partition_times().filter(|(_, time)| *time >= 0).map(|(topic, time)| (topic.clone(), time)).collect(),
                processor_metadata: task.processor_metadata().clone(),
            };
            match writes {
                Ok(writes) if task.take_has_work() || writes.iter().any(|w| !w.is_empty()) => {
                    emit(Emission::Flushed { task: id, progress, writes })
                }
                Ok(_) => task.stores().iter().filter_map(|store| store.rocks()).for_each(|map| map.applied()),
                Err(error) => self.fail(id, error, emit),
            }
        }
    }

    fn on_all(&mut self, emit: &mut dyn FnMut(Emission), mut act: impl FnMut(&mut Task) -> Result<(), Error>) {
        for id in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.on(id, emit, &mut act);
        }
    }

    /// Acts on one task and emits what it wrote.
    fn on(&mut self, id: TaskId, emit: &mut dyn FnMut(Emission), act: impl FnOnce(&mut Task) -> Result<(), Error>) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let before = task.dropped_records();
        let outcome = act(task);
        self.dropped.set(self.dropped.get() + task.dropped_records() - before);
        match outcome {
            Ok(()) => {
                let outputs = task.take_outputs();
                if !outputs.is_empty() {
                    emit(Emission::Outputs(id, outputs));
                }
            }
            Err(error) => self.fail(id, error, emit),
        }
    }

    fn fail(&mut self, id: TaskId, error: Error, emit: &mut dyn FnMut(Emission)) {
        self.tasks.remove(&id);
        emit(Emission::Failed(id, error));
    }

    fn note_punctuations(&mut self) {
        let next = self.tasks.values().filter_map(Task::next_wall_clock_punctuation).min().unwrap_or(i64::MAX);
        self.next_punctuation.set(self.next_punctuation.get().min(next));
    }
}
