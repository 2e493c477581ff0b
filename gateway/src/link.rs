//! The link to the scheduler: subscriptions that come back by themselves.

use std::time::Duration;

use futures::future::BoxFuture;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::Error;

/// A channel that connects when it is first needed.
pub(crate) fn channel(what: &'static str, address: &str) -> Result<Channel, Error> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(url).map_err(|e| Error::Address { what, address: address.into(), reason: e.to_string() })?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .connect_lazy())
}

/// What a subscription says.
pub(crate) enum Event<T> {
    /// It is open, for the first time or again: what is the case now follows.
    Opened,
    Message(T),
}

type Open<T> = Box<dyn Fn() -> BoxFuture<'static, Result<Streaming<T>, Status>> + Send + Sync>;

/// Law: it never ends; a scheduler that is away is asked again, at first soon, then every second.
pub(crate) struct Subscription<T> {
    what: &'static str,
    open: Open<T>,
    state: State<T>,
    pause: Duration,
}

enum State<T> {
    Opening(BoxFuture<'static, Result<Streaming<T>, Status>>),
    Open(Box<Streaming<T>>),
}

impl<T: Send + 'static> Subscription<T> {
    const SHORTEST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    pub fn new(what: &'static str, open: impl Fn() -> BoxFuture<'static, Result<Streaming<T>, Status>> + Send + Sync + 'static) -> Self {
        let state = State::Opening(open());
        Self { what, open: Box::new(open), state, pause: Self::SHORTEST }
    }

    /// Waits for the next event. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Event<T> {
        loop {
            let lost = match &mut self.state {
                State::Opening(opening) => match opening.await {
                    Ok(stream) => {
                        tracing::info!(subscription = self.what, "subscribed to the scheduler");
                        self.state = State::Open(Box::new(stream));
                        return Event::Opened;
                    }
                    Err(status) => status.message().to_owned(),
                },
                State::Open(stream) => match stream.message().await {
                    Ok(Some(message)) => {
                        self.pause = Self::SHORTEST;
                        return Event::Message(message);
                    }
                    Ok(None) => "the scheduler closed the stream".to_owned(),
                    Err(status) => status.message().to_owned(),
                },
            };
            if self.pause == Self::SHORTEST {
                tracing::warn!(subscription = self.what, reason = lost, "lost the scheduler; trying again");
            }
            let (pause, opening) = (self.pause, (self.open)());
            self.pause = (self.pause * 2).min(Self::LONGEST);
            self.state = State::Opening(Box::pin(async move {
                tokio::time::sleep(pause).await;
                opening.await
            }));
        }
    }
}
