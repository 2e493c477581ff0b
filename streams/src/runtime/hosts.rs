//! Which worker runs which task: where questions go.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use millstream_topology::{TaskId, dataflow::WorkerHandle};

/// The tasks that run in this process, and the workers that keep global stores.
#[derive(Default)]
pub(crate) struct Hosts(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    tasks: HashMap<TaskId, WorkerHandle>,
    globals: BTreeMap<usize, WorkerHandle>,
}

impl Hosts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, task: TaskId, worker: &WorkerHandle) {
        self.lock().tasks.insert(task, worker.clone());
    }

    pub fn remove(&self, task: TaskId) {
        self.lock().tasks.remove(&task);
    }

    pub fn add_globals(&self, thread: usize, worker: &WorkerHandle) {
        self.lock().globals.insert(thread, worker.clone());
    }

    pub fn remove_globals(&self, thread: usize) {
        self.lock().globals.remove(&thread);
    }

    /// The tasks of a sub-topology that run here, by partition.
    pub fn tasks_of(&self, subtopology: usize) -> Vec<(TaskId, WorkerHandle)> {
        let inner = self.lock();
        let mut tasks: Vec<_> =
            inner.tasks.iter().filter(|(task, _)| task.subtopology == subtopology).map(|(t, w)| (*t, w.clone())).collect();
        tasks.sort_by_key(|(task, _)| *task);
        tasks
    }

    /// A worker that keeps the global stores.
    pub fn any_globals(&self) -> Option<WorkerHandle> {
        self.lock().globals.values().next().cloned()
    }
}
