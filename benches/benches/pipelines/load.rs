//! Many connections that ask, at a rate or as fast as it goes.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::client::Ask;

#[derive(Clone, Copy)]
pub enum Pace {
    /// So many requests a second, whether or not earlier ones are answered.
    Rate(u32),
    /// So many connections, each of which asks again as soon as it is answered.
    Saturation(usize),
}

/// How many connections keep a rate; as long as one is free, requests start when they should.
const FOR_A_RATE: usize = 32;

#[derive(Default)]
pub struct Outcome {
    /// How long each answer took, in ascending order: at a rate, since the moment when its request was due.
    pub latencies: Vec<Duration>,
    pub errors: usize,
    pub first_error: Option<String>,
    pub took: Duration,
}

impl Outcome {
    pub fn percentile(&self, percent: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * percent / 100.0).ceil() as usize).copied().unwrap_or_default()
    }

    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}

/// Asks for so long. Threads and sockets that block: a timer of the kernel's is more exact than one of an async runtime.
pub fn run(pace: Pace, duration: Duration, connect: impl Fn() -> Box<dyn Ask> + Sync) -> Outcome {
    let connections = match pace {
        Pace::Rate(_) => FOR_A_RATE,
        Pace::Saturation(connections) => connections,
    };
    let mut clients: Vec<_> = (0..connections).map(|_| connect()).collect();
    let started = Instant::now();
    let next = AtomicU32::new(0);
    let due = || match pace {
        Pace::Rate(per_second) => {
            let due = started + Duration::from_secs(1) * next.fetch_add(1, Ordering::Relaxed) / per_second;
            thread::sleep(due.min(started + duration).saturating_duration_since(Instant::now()));
            due
        }
        Pace::Saturation(_) => Instant::now(),
    };
    let ask = |client: &mut Box<dyn Ask>| {
        let mut outcome = Outcome::default();
        loop {
            let due = due();
            if due >= started + duration {
                return outcome;
            }
            match client.ask() {
                Ok(()) => outcome.latencies.push(due.elapsed()),
                Err(error) => {
                    outcome.errors += 1;
                    outcome.first_error.get_or_insert(error);
                    *client = connect();
                }
            }
        }
    };
    let mut total = thread::scope(|scope| {
        let threads: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| ask(client))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).fold(Outcome::default(), |mut total, one| {
            total.latencies.extend(one.latencies);
            total.errors += one.errors;
            total.first_error = total.first_error.or(one.first_error);
            total
        })
    });
    total.took = started.elapsed();
    total.latencies.sort_unstable();
    total
}
