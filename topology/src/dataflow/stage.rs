//! A stage: the timely operator that hosts the tasks of one sub-topology on one worker.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use super::event::{Batch, Emission, Event, Progress};
use crate::{
    context::TaskId,
    error::Error,
    graph::{Subtopology, Topology},
    record::RawRecord,
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
    /// The tasks that are restored and have started: only they take part in epochs.
    pub running: BTreeSet<TaskId>,
    /// The worker's clock, as it last looked.
    pub now: Rc<Cell<i64>>,
    /// When the next wall-clock punctuator of any task of the dataflow is due.
    pub next_punctuation: Rc<Cell<i64>>,
    pub dropped: Rc<Cell<u64>>,
}

impl Stage {
    pub fn handle(&mut self, event: Event, emit: &mut dyn FnMut(Emission)) {
        match event {
            Event::WallClock => {
                self.on_all(emit, Task::punctuate_wall_clock);
                let commit_requested = self.tasks.values().any(Task::commit_requested);
                if commit_requested || self.tasks.values().any(Task::has_work) {
                    emit(Emission::Worked { commit_requested });
                }
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
            Event::Restore { task, store, changelog, batch } => self.on(task, emit, |task| {
                let Some(store) = task.stores().get(&store).cloned() else { return Ok(()) };
                let place = (changelog, batch.partition(), batch.next_offset());
                unpack(batch, |_, record| store.restore(record))?;
                // What is restored is committed already: it need not be restored again, and must not pile up in memory.
                store.rocks().map_or(Ok(()), |rocks| Ok(rocks.commit(vec![place])?))
            }),
            Event::Start { task, progress } => {
                self.on(task, emit, |task| {
                    for (topic, time) in &progress.partition_times {
                        task.set_partition_time(topic, *time)?;
                    }
                    task.set_processor_metadata(progress.processor_metadata);
                    progress.offsets.iter().for_each(|(topic, offset)| task.set_position(topic, *offset));
                    task.take_has_work();
                    task.init()
                });
                self.running.insert(task);
                self.note_punctuations();
            }
            Event::Feed { task, topic, batch } => {
                self.on(task, emit, |task| {
                    let next = batch.next_offset();
                    unpack(batch, |offset, record| task.push(&topic, offset, record))?;
                    task.set_position(&topic, next);
                    task.process_ready()
                });
                self.report(task, emit);
            }
            Event::Behind { task, topic, behind } => {
                self.on(task, emit, |task| {
                    task.set_behind(&topic, behind)?;
                    task.process_ready()
                });
                self.report(task, emit);
            }
            Event::Ask(task, question) => question(self.tasks.get(&task)),
            Event::Remove(id) => {
                self.running.remove(&id);
                if let Some(mut task) = self.tasks.remove(&id)
                    && let Err(error) = task.close()
                {
                    tracing::warn!(task = %id, %error, "task did not close cleanly");
                }
            }
        }
    }

    fn flush(&mut self, emit: &mut dyn FnMut(Emission)) {
        for id in self.running.iter().copied().collect::<Vec<_>>() {
            self.on(id, emit, Task::flush);
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let writes: Result<Vec<_>, Error> =
                task.stores().iter().filter_map(|store| store.rocks()).map(|map| Ok(map.take_epoch()?)).collect();
            let progress = Progress {
                partition_times: task.partition_times().filter(|(_, time)| *time >= 0).map(|(topic, time)| (topic.clone(), time)).collect(),
                processor_metadata: task.processor_metadata().clone(),
                offsets: task.offsets(),
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

    /// Tells how far a task has come, and whether it asks for a commit.
    fn report(&self, id: TaskId, emit: &mut dyn FnMut(Emission)) {
        let Some(task) = self.tasks.get(&id) else { return };
        if task.commit_requested() {
            emit(Emission::Worked { commit_requested: true });
        }
        if task.topics().nth(1).is_some() {
            task.offsets().into_iter().for_each(|(topic, offset)| emit(Emission::Consumed { task: id, topic, offset }));
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
        task.set_wall_clock(self.now.get());
        let outcome = act(task);
        self.dropped.set(self.dropped.get() + task.dropped_records() - before);
        match outcome {
            Ok(()) => {
                while let Some(outputs) = task.take_outputs() {
                    emit(Emission::Outputs(id, outputs));
                }
            }
            Err(error) => self.fail(id, error, emit),
        }
    }

    fn fail(&mut self, id: TaskId, error: Error, emit: &mut dyn FnMut(Emission)) {
        self.tasks.remove(&id);
        self.running.remove(&id);
        emit(Emission::Failed(id, error));
    }

    fn note_punctuations(&self) {
        let next = self.tasks.values().filter_map(Task::next_wall_clock_punctuation).min().unwrap_or(i64::MAX);
        self.next_punctuation.set(self.next_punctuation.get().min(next));
    }
}

/// Hands out the records of a batch until one of them fails.
fn unpack(batch: Box<dyn Batch>, mut each: impl FnMut(i64, RawRecord) -> Result<(), Error>) -> Result<(), Error> {
    let mut outcome = Ok(());
    batch.unpack(&mut |offset, record| {
        if outcome.is_ok() {
            outcome = each(offset, record);
        }
    });
    outcome
}
