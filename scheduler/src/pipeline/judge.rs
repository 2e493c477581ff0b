//! The state of a pipeline version, from what engines, gateways and models say.

use millstream_proto::seldon::scheduler::pipeline_version_state::PipelineStatus;

use crate::fleet::Running;

/// What is known about a version that is to run.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Why its models do not answer, if so.
    pub(crate) models: Result<(), String>,
    pub(crate) engines: Running,
    pub(crate) gateways: Running,
    /// Whether it was ready before.
    pub(crate) proven: bool,
}

/// What clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) status: PipelineStatus,
    pub(crate) reason: String,
    pub(crate) models_ready: bool,
    pub(crate) gateway_status: PipelineStatus,
    pub(crate) gateway_reason: String,
}

/// **Law.** Ready means that it answers: engines run all of its lanes, its models are available, and if there are gateways, they serve it.
pub(crate) fn judge(facts: Facts) -> Verdict {
    let Facts { models, engines, gateways, proven } = facts;
    let models_ready = models.is_ok();
    let on_the_way = if proven { PipelineStatus::PipelineRebalancing } else { PipelineStatus::PipelineCreating };
    let (gateway_status, gateway_reason) = match &gateways {
        Running::Nowhere => (PipelineStatus::PipelineCreate, "no pipeline gateway is connected".into()),
        Running::Pending(reason) => (on_the_way, reason.clone()),
        Running::Failed(reason) => (PipelineStatus::PipelineFailed, reason.clone()),
        Running::Yes => (PipelineStatus::PipelineReady, String::new()),
    };
    let (status, reason) = match (engines, models, gateways) {
        (Running::Failed(reason), ..) => (PipelineStatus::PipelineFailed, reason),
        (_, _, Running::Failed(reason)) => (PipelineStatus::PipelineFailed, format!("pipeline gateway {reason}")),
        (Running::Nowhere, ..) => (PipelineStatus::PipelineCreate, "no dataflow engines available to handle pipeline".into()),
        (_, Err(reason), _) => (PipelineStatus::PipelineCreating, reason),
        (Running::Pending(reason), ..) => (on_the_way, reason),
        (Running::Yes, _, Running::Pending(reason)) => (on_the_way, format!("pipeline gateway: {reason}")),
        (Running::Yes, Ok(()), Running::Yes | Running::Nowhere) => (PipelineStatus::PipelineReady, String::new()),
    };
    Verdict { status, reason, models_ready, gateway_status, gateway_reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_is_ready_only_when_it_answers() {
        let pending = || Running::Pending("soon".into());
        let failed = || Running::Failed("e1: broken".into());
        let no_model = || Err("model m does not exist".to_string());
        use PipelineStatus::*;
        let table = [
            (Ok(()), Running::Yes, Running::Yes, false, PipelineReady, PipelineReady),
            (Ok(()), Running::Yes, Running::Nowhere, false, PipelineReady, PipelineCreate),
            (no_model(), Running::Yes, Running::Yes, false, PipelineCreating, PipelineReady),
            (Ok(()), Running::Nowhere, Running::Yes, false, PipelineCreate, PipelineReady),
            (no_model(), Running::Nowhere, Running::Yes, true, PipelineCreate, PipelineReady),
            (Ok(()), pending(), Running::Yes, false, PipelineCreating, PipelineReady),
            (Ok(()), pending(), Running::Yes, true, PipelineRebalancing, PipelineReady),
            (Ok(()), Running::Yes, pending(), false, PipelineCreating, PipelineCreating),
            (Ok(()), Running::Yes, pending(), true, PipelineRebalancing, PipelineRebalancing),
            (no_model(), failed(), Running::Yes, true, PipelineFailed, PipelineReady),
            (Ok(()), Running::Yes, failed(), true, PipelineFailed, PipelineFailed),
        ];
        for (row, (models, engines, gateways, proven, status, gateway_status)) in table.into_iter().enumerate() {
            let models_ready = models.is_ok();
            let verdict = judge(Facts { models, engines, gateways, proven });
            assert_eq!((verdict.status, verdict.gateway_status, verdict.models_ready), (status, gateway_status, models_ready), "row {row}");
            assert_eq!(verdict.reason.is_empty(), status == PipelineReady, "row {row}: {}", verdict.reason);
        }
    }
}
