//! Subscribers that answer operations: model gateways, pipeline gateways and engines that speak Seldon's protocols.

use std::collections::BTreeMap;

/// Who is subscribed, by name, with the session.
#[derive(Debug, Default)]
pub(crate) struct Members(BTreeMap<String, u64>);

impl Members {
    pub(crate) fn join(&mut self, name: &str, session: u64) {
        self.0.insert(name.into(), session);
    }

    /// Whether it was there and has not subscribed again since.
    pub(crate) fn leave(&mut self, name: &str, session: u64) -> bool {
        let current = self.0.get(name) == Some(&session);
        if current {
            self.0.remove(name);
        }
        current
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the members answered to the latest operation on one resource. Answers to an older operation, or of somebody who was not asked,
/// do not count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// Logical clock of the operation.
    pub(crate) clock: u64,
    answers: BTreeMap<String, Option<Result<(), String>>>,
}

/// What the answers come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    NobodyAsked,
    Pending,
    Done,
    Failed(String),
}

impl Answers {
    /// A new operation for these members.
    pub(crate) fn ask<'a>(&mut self, members: impl Iterator<Item = &'a String>) {
        self.clock += 1;
        self.answers = members.map(|name| (name.clone(), None)).collect();
    }

    /// One more member for the same operation.
    pub(crate) fn ask_also(&mut self, member: &str) {
        self.answers.insert(member.into(), None);
    }

    pub(crate) fn forget(&mut self, member: &str) {
        self.answers.remove(member);
    }

    /// Whether the answer counts.
    pub(crate) fn answer(&mut self, member: &str, clock: u64, result: Result<(), String>) -> bool {
        let asked = self.answers.get_mut(member).filter(|_| clock == self.clock);
        asked.map(|answer| *answer = Some(result)).is_some()
    }

    /// Done when at least one is done and none is pending; failed when all failed.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut failure = None;
        let mut done = false;
        for (name, answer) in &self.answers {
            match answer {
                None => return Outcome::Pending,
                Some(Ok(())) => done = true,
                Some(Err(reason)) => failure = Some(format!("{name}: {reason}")),
            }
        }
        match failure {
            _ if done => Outcome::Done,
            Some(reason) => Outcome::Failed(reason),
            None => Outcome::NobodyAsked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_to_the_latest_operation_count() {
        let mut members = Members::default();
        members.join("a", 1);
        members.join("b", 2);
        let mut answers = Answers::default();
        assert_eq!(answers.outcome(), Outcome::NobodyAsked);
        answers.ask(members.names());
        let old = answers.clock;
        answers.ask(members.names());
        assert!(!answers.answer("a", old, Ok(())) && !answers.answer("c", answers.clock, Ok(())));
        assert!(answers.answer("a", answers.clock, Err("no".into())));
        assert_eq!(answers.outcome(), Outcome::Pending);
        assert!(answers.answer("b", answers.clock, Ok(())));
        assert_eq!(answers.outcome(), Outcome::Done);
        answers.forget("b");
        assert_eq!(answers.outcome(), Outcome::Failed("a: no".into()));
    }

    #[test]
    fn a_member_that_came_back_is_not_thrown_out_by_its_old_stream() {
        let mut members = Members::default();
        members.join("a", 1);
        members.join("a", 2);
        assert!(!members.leave("a", 1));
        assert!(members.leave("a", 2) && members.is_empty());
    }
}
