//! Model gateways: each model is served by one of them.

use std::sync::Arc;

use millstream_proto::seldon::scheduler::{ModelUpdateStatusMessage, model_status_response::ModelOperation};

use super::{State, effect::Effect, models::ModelEntry};
use crate::{
    members::Outcome,
    model::spec,
    place::{Lane, place},
};

impl State {
    /// Places models as lanes are placed, and tells those whose models changed.
    pub(super) fn place_on_model_gateways(&mut self, out: &mut Vec<Effect>) {
        let gateways = self.model_gateways.names().map(|name| Arc::from(name.as_str())).collect();
        let served = self.models.iter().filter(|(_, entry)| !entry.deleted);
        let lanes = served.map(|(name, _)| whole(name)).collect();
        self.model_placement = place(&self.model_placement, &lanes, &gateways, self.config.rules.load_bound);
        let names: Vec<_> = self.models.keys().cloned().collect();
        for name in &names {
            self.turn_to_gateway(name, out);
        }
        // Who was here before the scheduler restarted may serve what another serves now.
        for gateway in std::mem::take(&mut self.new_model_gateways) {
            let others = names.iter().filter(|name| self.model_placement.owners.get(&whole(name)).is_none_or(|owner| **owner != *gateway));
            out.extend(others.filter_map(|name| self.model_operation(name, &gateway, ModelOperation::ModelDelete, true)));
        }
    }

    fn turn_to_gateway(&mut self, name: &str, out: &mut Vec<Effect>) {
        let target = self.model_placement.owners.get(&whole(name)).cloned();
        // Topics that a pipeline reads stay.
        let used = self.is_used(name);
        let Some(entry) = self.models.get_mut(name).filter(|entry| entry.gateway != target) else { return };
        let former = std::mem::replace(&mut entry.gateway, target.clone());
        let asked = target.as_ref().or(former.as_ref()).map(ToString::to_string);
        entry.gateways.ask(asked.iter());
        let cleans = entry.deleted && entry.versions.last().is_some_and(|latest| spec::cleans_topics(&latest.model));
        let keep_topics = !cleans || used;
        out.extend(former.and_then(|gateway| self.model_operation(name, &gateway, ModelOperation::ModelDelete, keep_topics)));
        out.extend(target.and_then(|gateway| self.model_operation(name, &gateway, ModelOperation::ModelCreate, false)));
        self.changed.models.insert(name.into());
    }

    fn model_operation(&self, name: &str, gateway: &str, operation: ModelOperation, keep_topics: bool) -> Option<Effect> {
        let mut message = self.model_status(name, false)?;
        message.operation = operation.into();
        message.timestamp = self.models.get(name)?.gateways.clock;
        message.keep_topics = keep_topics;
        Some(Effect::ModelGateway { name: gateway.into(), message: Box::new(message) })
    }

    /// A gateway has gone, or is a new process: what it served is to be placed again.
    pub(super) fn model_gateway_lost(&mut self, gateway: &str) {
        for (name, entry) in self.models.iter_mut().filter(|(_, entry)| entry.gateway.as_deref() == Some(gateway)) {
            entry.gateway = None;
            self.changed.models.insert(name.clone());
        }
        self.models.values_mut().for_each(|entry| entry.gateways.forget(gateway));
        // Without any gateway, no model waits for one.
        self.changed.recheck = true;
    }

    pub(super) fn model_gateway_answered(&mut self, answer: ModelUpdateStatusMessage) {
        let Some(update) = answer.update else { return };
        let result = if answer.success { Ok(()) } else { Err(answer.reason) };
        let Some(entry) = self.models.get_mut(&update.model) else { return };
        if entry.gateways.answer(&update.stream, update.timestamp, result) {
            self.changed.models.insert(update.model);
        }
    }

    pub(super) fn model_gateway_outcome(&self, entry: &ModelEntry) -> Outcome {
        match entry.gateways.outcome() {
            Outcome::NobodyAsked if !self.model_gateways.is_empty() && !entry.deleted => Outcome::Pending,
            outcome => outcome,
        }
    }
}

/// A model as a whole.
fn whole(model: &str) -> Lane {
    Lane { pipeline: model.into(), partition: 0 }
}
