//! Where the outputs of lanes become records: in the partition of the lane, whatever their key.

use std::sync::Arc;

use millstream::embed::{ClosedEpoch, DataflowId, EpochSink, Output, TaskId};
use millstream_broker::{Header, Headers, ProduceBatch, Producer, Record, TopicPartition, Waker};
use parking_lot::Mutex;

use crate::EngineError;

/// What a worker has put out, shared with the replica's thread.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Mutex<Inner>>);

struct Inner {
    producer: Arc<dyn Producer>,
    waker: Arc<dyn Waker>,
    closed: Option<ClosedEpoch>,
    /// Tasks that failed, with their dataflow and the reason.
    failed: Vec<(DataflowId, String)>,
    error: Option<EngineError>,
}

impl Sink {
    pub fn new(producer: Arc<dyn Producer>, waker: Arc<dyn Waker>) -> Self {
        Self(Arc::new(Mutex::new(Inner { producer, waker, closed: None, failed: vec![], error: None })))
    }

    pub fn take_closed(&self) -> Option<ClosedEpoch> {
        self.0.lock().closed.take()
    }

    pub fn take_failed(&self) -> Vec<(DataflowId, String)> {
        std::mem::take(&mut self.0.lock().failed)
    }

    /// The first error of a send, once.
    pub fn check(&self) -> Result<(), EngineError> {
        self.0.lock().error.take().map_or(Ok(()), Err)
    }
}

impl EpochSink for Sink {
    fn outputs(&mut self, _: DataflowId, task: TaskId, outputs: Vec<Output>) {
        let mut inner = self.0.lock();
        let mut batches: Vec<ProduceBatch> = vec![];
        for Output { topic, record, .. } in outputs {
            let headers: Headers = record.headers.to_vec().into_iter().map(|h| Header { name: h.name, value: h.value }).collect();
            let record = Record { key: record.key, value: record.value, timestamp: record.timestamp, headers };
            match batches.iter_mut().find(|batch| batch.to.topic == topic) {
                Some(batch) => batch.records.push(record),
                None => batches.push(ProduceBatch { to: TopicPartition { topic, partition: task.partition }, records: vec![record] }),
            }
        }
        for batch in batches {
            if let Err(error) = inner.producer.send(batch, None) {
                inner.error.get_or_insert(error.into());
                inner.waker.wake();
            }
        }
    }

    fn closed(&mut self, epoch: ClosedEpoch) {
        let mut inner = self.0.lock();
        inner.closed = Some(epoch);
        inner.waker.wake();
    }

    fn failed(&mut self, dataflow: DataflowId, _: Option<TaskId>, error: millstream::Error) {
        let mut inner = self.0.lock();
        inner.failed.push((dataflow, error.to_string()));
        inner.waker.wake();
    }
}
