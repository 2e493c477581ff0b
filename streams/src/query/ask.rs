//! Asking a task.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::sync_channel},
    time::{Duration, Instant},
};

use millstream_topology::{
    Error, Task, TaskId,
    dataflow::{DataflowId, WorkerHandle},
};

use super::{Position, PositionBound, Query, QueryFailure, QuerySuccess, StateQueryError, StateQueryRequest};

/// How long to wait before a worker with a full queue is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// A task's answer, on its own thread.
pub(crate) fn answer<Q: Query>(task: &Task, request: &StateQueryRequest<Q>) -> Result<QuerySuccess<Q::Result>, QueryFailure> {
    let partition = task.id().partition;
    let position = position(task);
    let PositionBound(bound) = &request.bound;
    let reads = |topic: &str| task.topics().any(|read| &**read == topic);
    let is_behind = |(topic, of, offset): (&Arc<str>, i32, i64)| {
        of == partition && reads(topic) && position.get(topic, of).is_none_or(|at| at < offset)
    };
    if bound.iter().any(is_behind) {
        return Err(QueryFailure::NotUpToBound { partition, position });
    }
    let store = task.stores().get(&request.store).ok_or(QueryFailure::DoesNotExist(partition))?;
    let answered =
        catch_unwind(AssertUnwindSafe(|| request.query.answer(&**store))).unwrap_or_else(|panic| Some(Err(Error::from_panic(panic))));
    match answered {
        Some(Ok(result)) => Ok(QuerySuccess { result, position }),
        Some(Err(error)) => Err(QueryFailure::Store(error)),
        None => Err(QueryFailure::UnknownQueryType(request.store.clone())),
    }
}

/// The last record of each topic that was processed.
fn position(task: &Task) -> Position {
    let partition = task.id().partition;
    let processed = task.offsets().into_iter().filter(|(_, next)| *next > 0 && partition >= 0);
    processed.fold(Position::empty(), |position, (topic, next)| position.with(topic, partition, next - 1))
}

/// The answers of these tasks (`None`: of the one that keeps global stores), each on its own thread.
pub(crate) fn ask_all<Q: Query>(
    request: &StateQueryRequest<Q>,
    dataflow: DataflowId,
    tasks: Vec<(Option<TaskId>, WorkerHandle)>,
    deadline: Duration,
) -> Result<BTreeMap<i32, Result<QuerySuccess<Q::Result>, QueryFailure>>, StateQueryError> {
    let until = Instant::now() + deadline;
    let (answers, answered) = sync_channel(tasks.len().max(1));
    let mut waiting = vec![];
    for (task, worker) in tasks {
        let partition = task.map_or(-1, |task| task.partition);
        loop {
            let (request, answers) = (request.clone(), answers.clone());
            let question = move |task: Option<&Task>| {
                let answer = task.map_or(Err(QueryFailure::NotPresent(partition)), |task| answer(task, &request));
                // Nobody waits any more if it is too late.
                let _ = answers.try_send((partition, answer));
            };
            match worker.ask(dataflow, task, Box::new(question)) {
                Ok(true) => waiting.push(partition),
                Ok(false) if Instant::now() < until => {
                    std::thread::sleep(ASK_AGAIN);
                    continue;
                }
                Ok(false) => return Err(StateQueryError::Timeout(partition)),
                // It went away between looking and asking.
                Err(_) => {}
            }
            break;
        }
    }
    drop(answers);
    let mut results = BTreeMap::new();
    while results.len() < waiting.len() {
        let left = until.saturating_duration_since(Instant::now());
        match answered.recv_timeout(left) {
            Ok((partition, answer)) => drop(results.insert(partition, answer)),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                let silent = waiting.iter().find(|partition| !results.contains_key(partition)).copied().unwrap_or_default();
                return Err(StateQueryError::Timeout(silent));
            }
            // A worker went away with its questions.
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                for partition in waiting.iter().filter(|partition| !results.contains_key(partition)).copied().collect::<Vec<_>>() {
                    results.insert(partition, Err(QueryFailure::NotPresent(partition)));
                }
            }
        }
    }
    Ok(results)
}
