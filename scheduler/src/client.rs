//! How the services talk to the task that owns the state.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use tokio::sync::{mpsc, oneshot};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::Status;

use crate::{
    control::Message,
    refusal::Refusal,
    registry::{Out, Registry},
    state::{State, input::Input},
};

/// How many messages a stream may be behind, beyond what it is sent at the start.
const STREAM_QUEUE: usize = 1_024;

/// A stream of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A cheap handle to the task.
#[derive(Clone)]
pub(crate) struct Client {
    inbox: mpsc::Sender<Message>,
    sessions: Arc<AtomicU64>,
}

impl Client {
    pub(crate) fn new(inbox: mpsc::Sender<Message>) -> Self {
        Self { inbox, sessions: Arc::default() }
    }

    /// A number that no other stream of this scheduler has.
    pub(crate) fn session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    async fn send(&self, message: Message) -> Result<(), Status> {
        self.inbox.send(message).await.map_err(|_| stopping())
    }

    /// Takes a step, and returns when it is durable.
    pub(crate) async fn step(&self, input: Input) -> Result<(), Status> {
        let (answer, result) = oneshot::channel();
        self.send(Message::Step(input, answer)).await?;
        Ok(result.await.map_err(|_| stopping())??)
    }

    pub(crate) async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&State) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Status> {
        let (answer, result) = oneshot::channel();
        let query = move |state: &State| {
            let _ = answer.send(query(state)); // whoever asked may have gone
        };
        self.send(Message::Query(Box::new(query))).await?;
        Ok(result.await.map_err(|_| stopping())??)
    }

    pub(crate) async fn join(&self, join: impl FnOnce(&mut Registry, &State) -> Option<Input> + Send + 'static) -> Result<(), Status> {
        self.send(Message::Join(Box::new(join))).await
    }

    /// A stream that `register` puts into the registry, and that `left` follows when it ends.
    pub(crate) async fn stream<T: Send + 'static>(
        &self,
        register: impl FnOnce(&mut Registry, &State, Out<T>) -> Option<Input> + Send + 'static,
        left: Option<Input>,
    ) -> Result<Answers<T>, Status> {
        let (ready, stream) = oneshot::channel();
        let join = move |registry: &mut Registry, state: &State| {
            let (out, messages) = mpsc::channel(STREAM_QUEUE + 2 * state.resources());
            let input = register(registry, state, out);
            let _ = ready.send(messages); // whoever asked may have gone
            input
        };
        // From here on the scheduler may think that somebody is there.
        let guard = Guard { client: self.clone(), left, runtime: tokio::runtime::Handle::current() };
        self.join(join).await?;
        let messages = stream.await.map_err(|_| stopping())?;
        Ok(Box::pin(Guarded { stream: ReceiverStream::new(messages), _guard: guard }))
    }

    pub(crate) fn guard<S: Stream + Send + 'static>(&self, stream: S, left: Input) -> Pin<Box<dyn Stream<Item = S::Item> + Send>> {
        let guard = Guard { client: self.clone(), left: Some(left), runtime: tokio::runtime::Handle::current() };
        Box::pin(Guarded { stream: Box::pin(stream), _guard: guard })
    }
}

/// Why a call gets no answer.
pub(crate) fn stopping() -> Status {
    Status::unavailable("the scheduler is stopping: try again")
}

/// Says that a stream's client has gone, when it is dropped.
struct Guard {
    client: Client,
    left: Option<Input>,
    runtime: tokio::runtime::Handle,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(left) = self.left.take() {
            let client = self.client.clone();
            // A stopping scheduler has no use for it.
            self.runtime.spawn(async move { client.send(Message::Event(left)).await.ok() });
        }
    }
}

struct Guarded<S> {
    stream: S,
    _guard: Guard,
}

impl<S: Stream + Unpin> Stream for Guarded<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.stream).poll_next(context)
    }
}
