//! Which worker runs which task: where questions go.

use std::collections::{BTreeMap, HashMap};

use millstream_topology::{TaskId, dataflow::WorkerHandle};
use parking_lot::Mutex;

/// The tasks that run in this process, and the workers that keep global stores.
#[derive(Default)]
pub(crate) struct Hosts(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    tasks: HashMap<TaskId, WorkerHandle>,
    globals: BTreeMap<usize, WorkerHandle>,
}

impl Hosts {
    pub fn add(&self, task: TaskId, worker: &WorkerHandle) {
        self.0.lock().tasks.insert(task, worker.clone());
    }

    pub fn remove(&self, task: TaskId) {
        self.0.lock().tasks.remove(&task);
    }

    pub fn add_globals(&self, thread: usize, worker: &WorkerHandle) {
        self.0.lock().globals.insert(thread, worker.clone());
    }

    pub fn remove_globals(&self, thread: usize) {
        self.0.lock().globals.remove(&thread);
    }

    /// The tasks of a sub-topology that run here, by partition.
    pub fn tasks_of(&self, subtopology: usize) -> Vec<(TaskId, WorkerHandle)> {
        let inner = self.0.lock();
        let mut tasks: Vec<_> =
            inner.tasks.iter().filter(|(task, _)| task.subtopology == subtopology).map(|(t, w)| (*t, w.clone())).collect();
        tasks.sort_by_key(|(task, _)| *task);
        tasks
    }

    /// A worker that keeps the global stores.
    pub fn any_globals(&self) -> Option<WorkerHandle> {
        self.0.lock().globals.values().next().cloned()
    }
}
