//! The embedded broker's producer. A send writes on the caller's thread: there is no queue, and nothing to wait for in a flush.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{batch, core::Running, faults::Operation, transactions::Transaction};
use crate::{Acknowledge, Error, GroupMetadata, Offsets, ProduceBatch, Producer};

/// **Law.** A send that returned is acknowledged: `acknowledge` was called before.
pub(crate) struct EmbeddedProducer {
    broker: Arc<Running>,
    transactional_id: Option<String>,
    /// The transactional id's state, and the epoch that is ours.
    session: Mutex<Option<(Arc<Mutex<Transaction>>, u32)>>,
}

impl EmbeddedProducer {
    pub fn new(broker: Arc<Running>, transactional_id: Option<String>) -> Self {
        Self { broker, transactional_id, session: Mutex::default() }
    }

    fn session(&self) -> Result<(Arc<Mutex<Transaction>>, u32), Error> {
        self.transactional_id()?;
        self.session.lock().clone().ok_or_else(|| Error::State("the producer is not ready: call init_transactions first".into()))
    }

    fn transactional_id(&self) -> Result<&str, Error> {
        self.transactional_id.as_deref().ok_or_else(|| Error::State("the producer has no transactional id: make one with an id".into()))
    }

    fn append(&self, batch: &ProduceBatch) -> Result<i64, Error> {
        let ProduceBatch { to, records } = batch;
        let broker = &self.broker;
        broker.faults.before(Operation::Append, Some(to))?;
        let topic = broker.topics.get(&to.topic)?;
        let log = topic.log(to)?;
        let last =
            (records.len() as u32).checked_sub(1).ok_or_else(|| Error::State("the batch has no records: send at least one".into()))?;
        let limit = broker.options.max_message_bytes;
        for record in records {
            let size = record.size();
            if size > limit {
                return Err(Error::TooLarge { size, limit });
            }
            if topic.compact && record.key.is_none() {
                return Err(Error::Other(format!("topic {} is compacted: give every record a key", to.topic)));
            }
        }
        let encode = |producer| batch::encode((0..).zip(records), last, producer);
        match &self.transactional_id {
            None => log.append(encode(batch::NO_PRODUCER), false, |_, _| ()),
            Some(_) => {
                let (transaction, epoch) = self.session()?;
                transaction.lock().append(epoch, &broker.storage, log, encode)
            }
        }
    }
}

impl Producer for EmbeddedProducer {
    fn send(&self, batch: ProduceBatch, acknowledge: Option<Acknowledge>) -> Result<(), Error> {
        let offset = self.append(&batch)?;
        if let Some(acknowledge) = acknowledge {
            acknowledge(Ok(offset));
        }
        Ok(())
    }

    fn flush(&self, _deadline: Duration) -> Result<(), Error> {
        Ok(())
    }

    fn init_transactions(&self, _deadline: Duration) -> Result<(), Error> {
        let id = self.transactional_id()?;
        let session = self.broker.transactions.init(&self.broker.storage, id)?;
        *self.session.lock() = Some(session);
        Ok(())
    }

    fn begin_transaction(&self) -> Result<(), Error> {
        let (transaction, epoch) = self.session()?;
        transaction.lock().begin(epoch)
    }

    fn send_offsets(&self, offsets: &Offsets, group: &GroupMetadata, _deadline: Duration) -> Result<(), Error> {
        let (transaction, epoch) = self.session()?;
        transaction.lock().add_offsets(epoch, self.broker.groups.get(&group.group_id), group, offsets)
    }

    fn commit_transaction(&self, _deadline: Duration) -> Result<(), Error> {
        self.broker.faults.before(Operation::Commit, None)?;
        let (transaction, epoch) = self.session()?;
        transaction.lock().commit(epoch, &self.broker.storage)
    }

    fn abort_transaction(&self, _deadline: Duration) -> Result<(), Error> {
        let (transaction, epoch) = self.session()?;
        transaction.lock().abort_own(epoch, &self.broker.storage)
    }
}

impl Drop for EmbeddedProducer {
    /// Nobody else could end the transaction that it leaves open.
    fn drop(&mut self) {
        if let Some((transaction, epoch)) = self.session.lock().take() {
            let _ = transaction.lock().abort_own(epoch, &self.broker.storage);
        }
    }
}
