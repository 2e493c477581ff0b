//! The task that owns the state: takes what happens in batches, persists, then answers and tells.

use std::{future::pending, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use crate::{
    Error,
    journal::{Journal, Writes},
    refusal::Refusal,
    registry::Registry,
    state::{State, effect::Effect, input::Input},
    time::Clock,
};

/// The most that is taken, persisted and answered together.
const BATCH: usize = 256;

/// What the task is asked.
pub(crate) enum Message {
    /// Take an input, and answer when what it changed is durable.
    Step(Input, oneshot::Sender<Result<(), Refusal>>),
    /// Take an input that nobody waits for.
    Event(Input),
    /// Look at the state.
    Query(Box<dyn FnOnce(&State) + Send>),
    /// Register a stream, and take the input that it is, if any.
    Join(Box<dyn FnOnce(&mut Registry, &State) -> Option<Input> + Send>),
}

/// Where effects that need the broker go.
pub(crate) type DeleteTopics = Arc<dyn Fn(Vec<String>) + Send + Sync>;

/// Runs until every sender of the inbox is gone or the journal fails. **Law.** Nothing is answered or told before it is durable.
pub(crate) async fn run(
    mut state: State,
    mut inbox: mpsc::Receiver<Message>,
    journal: Journal,
    clock: Clock,
    delete_topics: DeleteTopics,
) -> Result<(), Error> {
    let mut registry = Registry::default();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let next_tick = state.next_tick();
        tokio::select! {
            taken = inbox.recv_many(&mut batch, BATCH) => if taken == 0 { return Ok(()) },
            () = sleep_until(&clock, next_tick) => {}
        }
        let (mut effects, mut answers) = (Vec::new(), Vec::new());
        for message in batch.drain(..) {
            match message {
                Message::Step(input, answer) => answers.push((state.step(clock.now(), input, &mut effects), answer)),
                Message::Event(input) => log_refusal(state.step(clock.now(), input, &mut effects)),
                Message::Query(query) => query(&state),
                Message::Join(join) => {
                    if let Some(input) = join(&mut registry, &state) {
                        log_refusal(state.step(clock.now(), input, &mut effects));
                    }
                }
            }
        }
        if state.next_tick() <= clock.now() {
            state.tick(clock.now(), &mut effects);
        }
        let (persistent, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| matches!(effect, Effect::Persist { .. }));
        let writes: Writes = persistent.into_iter().filter_map(write).collect();
        if !writes.is_empty() {
            journal.write(writes).await?;
        }
        // Before anybody hears that a model answers.
        if rest.iter().any(|effect| matches!(effect, Effect::ModelChanged(_) | Effect::ServerChanged(_))) {
            registry.route(&state);
        }
        for (result, answer) in answers {
            let _ = answer.send(result); // whoever asked may have gone
        }
        for effect in rest {
            match effect {
                Effect::DeleteTopics(topics) => delete_topics(topics),
                effect => registry.deliver(effect, &state),
            }
        }
    }
}

fn write(effect: Effect) -> Option<(String, Option<Vec<u8>>)> {
    match effect {
        Effect::Persist { key, value } => Some((key, value)),
        _ => None,
    }
}

fn log_refusal(result: Result<(), Refusal>) {
    if let Err(refusal) = result {
        tracing::debug!(%refusal, "refused");
    }
}

async fn sleep_until(clock: &Clock, at: u64) {
    match at {
        u64::MAX => pending().await,
        at => tokio::time::sleep_until(clock.instant(at).into()).await,
    }
}
