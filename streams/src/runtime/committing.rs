//! How an epoch is committed.

use std::time::{Duration, Instant};

use millstream_broker::{CommittedOffset, Error as BrokerError, Offsets, TopicPartition};
use millstream_topology::{
    dataflow::{ClosedEpoch, Command},
    store::bytes::StateBatch,
};

use super::{
    StreamsError, commit,
    member::{COMMIT_DEADLINE, Member, send},
    topics::TOPIC_DEADLINE,
};

type CommitOffsets<'a> = &'a mut dyn FnMut(&Offsets) -> Result<(), BrokerError>;

impl Member {
    /// How long until a commit is due; `None` if there is nothing to commit.
    pub fn due(&self) -> Option<Duration> {
        match self.dirty && !self.closing {
            true if self.commit_requested => Some(Duration::ZERO),
            true => Some(self.shared.config.commit_interval.saturating_sub(self.last_commit.elapsed())),
            false => None,
        }
    }

    /// Takes up what the worker has done, and closes the open epoch if its commit is due and the one before is done.
    pub fn advance(&mut self, commit_offsets: CommitOffsets<'_>) -> Result<(), StreamsError> {
        self.take_up(commit_offsets)?;
        if self.due().is_some_and(|due| due.is_zero()) {
            self.close()?;
        }
        Ok(())
    }

    /// Closes the open epoch, waits for it, and commits it.
    pub fn commit_now(&mut self, commit_offsets: CommitOffsets<'_>) -> Result<(), StreamsError> {
        let until = Instant::now() + COMMIT_DEADLINE;
        loop {
            self.take_up(commit_offsets)?;
            match (self.closing, self.dirty) {
                (false, false) => return Ok(()),
                (false, true) => self.close()?,
                (true, _) if Instant::now() > until => return Err(StreamsError::Timeout("the last commit")),
                (true, _) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn take_up(&mut self, commit_offsets: CommitOffsets<'_>) -> Result<(), StreamsError> {
        let news = self.outbox.news()?;
        self.dirty |= news.worked;
        self.commit_requested |= news.commit_requested;
        news.closed.map_or(Ok(()), |epoch| self.commit(epoch, commit_offsets))
    }

    fn close(&mut self) -> Result<(), StreamsError> {
        (self.closing, self.dirty, self.commit_requested) = (true, false, false);
        send(&self.handle, Command::Close)
    }

    /// Commits a complete epoch: outputs and offsets, then local state.
    fn commit(&mut self, epoch: ClosedEpoch, commit_offsets: CommitOffsets<'_>) -> Result<(), StreamsError> {
        let mut offsets = Offsets::new();
        for (_, task, progress) in &epoch.tasks {
            for (topic, &offset) in &progress.offsets {
                let committed = CommittedOffset { offset, metadata: commit::write(progress, topic, None) };
                offsets.insert(TopicPartition::new(topic.clone(), task.partition), committed);
            }
            self.progress.insert(*task, progress.clone());
        }
        self.outbox.flush(COMMIT_DEADLINE)?;
        match self.shared.config.is_exactly_once() {
            true => {
                if let (Some(group), false) = (&self.group, offsets.is_empty()) {
                    self.outbox.begin_transaction()?;
                    self.producer.send_offsets(&offsets, group, COMMIT_DEADLINE)?;
                }
                if self.outbox.is_in_transaction() {
                    self.producer.commit_transaction(COMMIT_DEADLINE)?;
                    self.outbox.transaction_ended();
                }
            }
            false if !offsets.is_empty() => commit_offsets(&offsets)?,
            false => {}
        }
        if let Some(rocks) = &self.rocks {
            let batch = StateBatch { writes: epoch.writes, offsets: self.changelog_offsets(&offsets) };
            rocks.apply(&batch).map_err(millstream_topology::Error::from)?;
        }
        (self.last_commit, self.closing, self.has_progressed) = (Instant::now(), false, true);
        self.outbox.release()?;
        send(&self.handle, Command::Applied)?;
        self.purge(&offsets);
        Ok(())
    }

    /// Up to where the changelogs of the tasks here are in local state.
    fn changelog_offsets(&self, committed: &Offsets) -> Vec<(std::sync::Arc<str>, i32, i64)> {
        let logged = self.tasks.iter().filter(|task| !self.restorer.is_restoring(**task));
        let logged = logged.flat_map(|task| self.plan.changelogs(task.subtopology).iter().map(move |logged| (task, logged)));
        let offset = |(task, logged): (&millstream_topology::TaskId, &super::topics::Logged)| {
            let partition = TopicPartition::new(logged.topic.clone(), task.partition);
            let offset = match logged.is_source {
                true => committed.get(&partition).map(|committed| committed.offset),
                false => self.outbox.acknowledged(&partition),
            };
            offset.map(|offset| (logged.topic.clone(), task.partition, offset))
        };
        logged.filter_map(offset).collect()
    }

    /// Deletes what was read from repartition topics: nobody else reads them.
    fn purge(&mut self, committed: &Offsets) {
        if self.last_purge.elapsed() < self.shared.config.repartition_purge_interval {
            return;
        }
        self.last_purge = Instant::now();
        let read = committed.iter().filter(|(partition, _)| self.plan.is_repartition(&partition.topic));
        let before: Vec<_> = read.map(|(partition, committed)| (partition.clone(), committed.offset)).collect();
        if before.is_empty() {
            return;
        }
        if let Err(error) = self.shared.broker.admin().delete_records(&before, TOPIC_DEADLINE) {
            tracing::warn!(%error, "what was read from repartition topics is not deleted yet");
        }
    }
}
