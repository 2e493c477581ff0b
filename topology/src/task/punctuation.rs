//! Punctuators: user code that runs when time has passed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Task;
use crate::{
    context::{PunctuationType, RecordContext},
    error::Error,
};

impl Task {
    /// Calls each punctuator of that kind that is due, once; what was missed is skipped.
    pub(super) fn punctuate(&mut self, kind: PunctuationType, now: i64) -> Result<(), Error> {
        let mut i = 0;
        while i < self.context.schedules.len() {
            let schedule = &mut self.context.schedules[i];
            i += 1;
            if schedule.kind != kind || schedule.next > now || schedule.cancelled.get() {
                continue;
            }
            schedule.next += ((now - schedule.next) / schedule.interval + 1) * schedule.interval;
            let (mut callback, node) = (schedule.callback.take(), schedule.node.clone());
            let record = std::mem::replace(&mut self.context.record, RecordContext::none(now));
            self.context.node = node.clone();
            self.has_work = true;
            let outcome = match &mut callback {
                Some(callback) => catch_unwind(AssertUnwindSafe(|| callback(&mut self.context, now))),
                None => Ok(Ok(())),
            };
            self.context.record = record;
            self.context.schedules[i - 1].callback = callback;
            match outcome {
                Ok(outcome) => outcome.map_err(|error| error.at(&node))?,
                Err(panic) => return Err(Error::from_panic(panic).at(&node)),
            }
        }
        self.context.schedules.retain(|schedule| !schedule.cancelled.get());
        Ok(())
    }

    pub(super) fn next_punctuation(&self, kind: PunctuationType) -> Option<i64> {
        self.context.schedules.iter().filter(|s| s.kind == kind && !s.cancelled.get()).map(|s| s.next).min()
    }
}
