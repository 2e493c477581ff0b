//! Why a request is refused.

/// One sentence that says what is wrong, where, and what to do. Always `FAILED_PRECONDITION` on the wire: clients do not retry it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(crate) String);

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        Self::failed_precondition(refusal.0)
    }
}

/// Refuses with a formatted sentence.
macro_rules! refuse {
    ($($text:tt)*) => { return Err(crate::refusal::Refusal(format!($($text)*))) };
}
pub(crate) use refuse;
