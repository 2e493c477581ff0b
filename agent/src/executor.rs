//! Where inferences compute.

use crate::error::InferError;
use crate::onnx::OnnxModel;
use millstream_proto::inference::{ModelInferRequest, ModelInferResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What an inference may cost on an async thread. A hand-over to another thread and back costs about 15 µs, so that a tiny model
/// is answered where the request is; above this bound other requests would feel it.
const INLINE: Duration = Duration::from_micros(100);

/// A request computes on the caller's thread only if the same model has answered one of at least its size within [`INLINE`];
/// otherwise on the blocking pool, at most `parallel` at once with at most `queue` waiting, and one more is refused.
pub(crate) struct Executor {
    admitted: Arc<Semaphore>,
    computing: Arc<Semaphore>,
    queue: usize,
}

/// How large a request of a model may be, in elements, to be computed inline: less than this.
#[derive(Default)]
pub(crate) struct Pace(AtomicU64);

impl Pace {
    fn inline(&self, size: u64) -> bool {
        size < self.0.load(Ordering::Relaxed)
    }

    /// One slow run may be the machine's fault: the next of its size runs outside and, when it is fast, brings it back.
    fn observe(&self, size: u64, took: Duration) {
        if took <= INLINE {
            self.0.fetch_max(size.saturating_add(1), Ordering::Relaxed);
        } else {
            self.0.fetch_min(size, Ordering::Relaxed);
        }
    }
}

impl Executor {
    pub(crate) fn new(parallel: usize, queue: usize) -> Executor {
        let admitted = Arc::new(Semaphore::new((parallel + queue).min(Semaphore::MAX_PERMITS)));
        Executor { admitted, computing: Arc::new(Semaphore::new(parallel)), queue }
    }

    pub(crate) async fn infer(&self, model: &Arc<(OnnxModel, Pace)>, request: ModelInferRequest) -> Result<ModelInferResponse, InferError> {
        let size = elements(&request);
        if model.1.inline(size) {
            return timed(model, size, &request);
        }
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| InferError::Busy { queue: self.queue })?;
        let computing = self.computing.clone().acquire_owned().await.expect("the semaphore is never closed");
        let job = model.clone();
        // A caller who gives up leaves the job behind: it keeps its place until it is done.
        let task = tokio::task::spawn_blocking(move || {
            let _places = (admitted, computing);
            timed(&job, size, &request)
        });
        let failed = |reason| InferError::Failed { model: model.0.name().into(), reason };
        task.await.unwrap_or_else(|error| Err(failed(format!("the computation was ended: {error}"))))
    }
}

fn timed(model: &(OnnxModel, Pace), size: u64, request: &ModelInferRequest) -> Result<ModelInferResponse, InferError> {
    let started = Instant::now();
    let answer = model.0.infer(request);
    if answer.is_ok() {
        model.1.observe(size, started.elapsed());
    }
    answer
}

fn elements(request: &ModelInferRequest) -> u64 {
    let of = |shape: &[i64]| shape.iter().fold(1u64, |product, size| product.saturating_mul(size.unsigned_abs()));
    request.inputs.iter().fold(0, |sum, input| sum.saturating_add(of(&input.shape)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sizes_that_were_seen_to_be_fast_run_inline() {
        let pace = Pace::default();
        assert!(!pace.inline(0));
        pace.observe(8, INLINE);
        assert!(pace.inline(8) && !pace.inline(9));
        pace.observe(100, INLINE * 2);
        assert!(pace.inline(8));
        pace.observe(8, INLINE * 2);
        assert!(!pace.inline(8) && pace.inline(7));
        pace.observe(8, INLINE);
        assert!(pace.inline(8));
    }
}
