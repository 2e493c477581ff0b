//! Punctuators: user code that runs when time has passed.

use super::Task;
use crate::{
    context::{PunctuationType, RecordContext},
    error::Error,
    handler::decide,
    node::catch,
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
                Some(callback) => catch(&mut self.context, |context| callback(context, now)),
                None => Ok(()),
            };
            let outcome = match outcome {
                Err(error) if !error.is_handled() => {
                    decide(&self.context.config.on_processing_error.clone(), &mut self.context, &node, error)
                }
                outcome => outcome,
            };
            self.context.record = record;
            self.context.schedules[i - 1].callback = callback;
            outcome?;
        }
        self.context.schedules.retain(|schedule| !schedule.cancelled.get());
        Ok(())
    }

    pub(super) fn next_punctuation(&self, kind: PunctuationType) -> Option<i64> {
        self.context.schedules.iter().filter(|s| s.kind == kind && !s.cancelled.get()).map(|s| s.next).min()
    }
}
