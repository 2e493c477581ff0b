//! Where a model runs: which server, and which of its replicas.

use std::collections::BTreeMap;

use millstream_proto::seldon::scheduler::Model;

use super::spec;
use crate::{
    name::did_you_mean,
    server::{Server, ServerReplica},
};

/// The chosen places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) server: String,
    pub(crate) replicas: Vec<u32>,
}

/// What is to be placed, and what is known about the replicas of servers.
pub(crate) struct Wish<'a> {
    pub(crate) model: &'a Model,
    /// The memory that one replica takes.
    pub(crate) memory: u64,
    /// Whether a replica of a server has this version already.
    pub(crate) loaded: &'a dyn Fn(&str, u32) -> bool,
    /// Memory that models on their way to a replica will take.
    pub(crate) reserved: &'a dyn Fn(&str, u32) -> u64,
}

/// The first server with enough suitable replicas; else the first with the minimum; else why there is none.
pub(crate) fn choose(wish: &Wish<'_>, servers: &BTreeMap<String, Server>) -> Result<Choice, String> {
    let mut reasons = Vec::new();
    let mut suitable: Vec<_> = servers
        .iter()
        .filter(|(name, server)| match unsuitable(wish.model, name, server) {
            Some(reason) => {
                reasons.push(format!("{name} {reason}"));
                false
            }
            None => true,
        })
        .collect();
    if suitable.is_empty() {
        let named = spec::server(wish.model).filter(|named| !servers.contains_key(*named));
        let why = match named {
            Some(named) => format!("server {named} does not exist{}", did_you_mean(named, servers.keys().map(String::as_str))),
            None if reasons.is_empty() => "no server is connected".into(),
            None => reasons.join("; "),
        };
        return Err(format!("Failed to schedule model as no matching servers are available: {why}"));
    }
    suitable.sort_by_key(|(name, server)| !server.replicas.keys().any(|index| (wish.loaded)(name, *index)));
    let deployment = spec::deployment(wish.model);
    let (desired, minimum) = (deployment.replicas as usize, deployment.min_replicas as usize);
    let choices: Vec<_> = suitable.iter().map(|(name, server)| (*name, candidates(wish, name, server))).collect();
    let enough = |count: usize| choices.iter().find(|(_, replicas)| replicas.len() >= count);
    match enough(desired).or_else(|| (minimum > 0).then(|| enough(minimum)).flatten()) {
        Some((server, replicas)) => {
            let replicas = replicas.iter().take(desired).copied().collect();
            Ok(Choice { server: server.to_string(), replicas })
        }
        None => {
            let had: Vec<_> = choices.iter().map(|(name, replicas)| format!("{name} has {}", replicas.len())).collect();
            let memory = if wish.memory > 0 { format!(" with {} bytes of free memory", wish.memory) } else { String::new() };
            Err(format!("Failed to schedule model as no server had enough suitable replicas: {desired} wanted{memory}, {}", had.join(", ")))
        }
    }
}

/// Why a server cannot run the model.
fn unsuitable(model: &Model, name: &str, server: &Server) -> Option<String> {
    if server.replicas.is_empty() {
        return Some("has no replica".into());
    }
    match spec::server(model) {
        Some(named) if named != name => return Some(format!("is not {named}")),
        None if !server.shared() => return Some("is not shared".into()),
        _ => {}
    }
    if server.deleted() {
        return Some("is being deleted".into());
    }
    let capabilities = server.capabilities();
    let missing = spec::requirements(model).find(|requirement| !capabilities.contains(requirement))?;
    Some(format!("lacks the capability {missing}{}", did_you_mean(missing, capabilities.iter().copied())))
}

/// The replicas that can take the model, the best first: those that have it, then those with the most free memory, then by index.
fn candidates(wish: &Wish<'_>, name: &str, server: &Server) -> Vec<u32> {
    let free = |index: u32, replica: &ServerReplica| replica.available_memory.saturating_sub((wish.reserved)(name, index));
    let mut replicas: Vec<_> = server
        .replicas
        .iter()
        .filter(|(_, replica)| !replica.draining)
        .filter(|(index, replica)| (wish.loaded)(name, **index) || free(**index, replica) >= wish.memory)
        .filter(|(_, replica)| !spec::explains(wish.model) || replica.config.capabilities.iter().any(|c| c.trim() == "alibi-explain"))
        .collect();
    replicas.sort_by_key(|(index, replica)| (!(wish.loaded)(name, **index), std::cmp::Reverse(replica.available_memory), **index));
    replicas.into_iter().map(|(index, _)| *index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_proto::seldon::{
        agent::ReplicaConfig,
        scheduler::{DeploymentSpec, ModelSpec, ServerNotify},
    };

    fn server(capabilities: &[&str], memory: &[u64]) -> Server {
        let config = ReplicaConfig { capabilities: capabilities.iter().map(ToString::to_string).collect(), ..Default::default() };
        let replica = |available_memory: &u64| ServerReplica {
            shared: true,
            available_memory: *available_memory,
            config: config.clone(),
            ..Default::default()
        };
        Server { notify: None, replicas: (0..).zip(memory.iter().map(replica)).collect() }
    }

    fn servers() -> BTreeMap<String, Server> {
        let mut gone = server(&["sklearn"], &[100]);
        gone.notify = Some(ServerNotify { name: "gone".into(), shared: true, ..Default::default() });
        let mut private = server(&["onnx", "private"], &[10]);
        private.replicas.values_mut().for_each(|replica| replica.shared = false);
        let entries = [
            ("big", server(&["sklearn", "alibi-explain"], &[50, 90, 70])),
            ("empty", Server::default()),
            ("gone", gone),
            ("onnx", server(&["onnx"], &[10])),
            ("private", private),
        ];
        entries.into_iter().map(|(name, server)| (name.to_string(), server)).collect()
    }

    fn model(requirements: &[&str], replicas: u32) -> Model {
        let requirements = requirements.iter().map(ToString::to_string).collect();
        Model {
            model_spec: Some(ModelSpec { requirements, ..Default::default() }),
            deployment_spec: Some(DeploymentSpec { replicas, ..Default::default() }),
            ..Default::default()
        }
    }

    fn pick(model: &Model, memory: u64, loaded: &[(&str, u32)]) -> Result<(String, Vec<u32>), String> {
        let loaded = |server: &str, index: u32| loaded.contains(&(server, index));
        let wish = Wish { model, memory, loaded: &loaded, reserved: &|_, index| if index == 2 { 15 } else { 0 } };
        choose(&wish, &servers()).map(|choice| (choice.server, choice.replicas))
    }

    #[test]
    fn the_emptiest_replicas_of_the_first_suitable_server_are_chosen() {
        assert_eq!(pick(&model(&["sklearn"], 2), 10, &[]), Ok(("big".into(), vec![1, 2])));
        assert_eq!(pick(&model(&[], 1), 0, &[]), Ok(("big".into(), vec![1])));
        assert_eq!(pick(&model(&["onnx"], 1), 10, &[]), Ok(("onnx".into(), vec![0])));
    }

    #[test]
    fn where_the_model_is_already_comes_first_even_when_memory_is_short() {
        assert_eq!(pick(&model(&[], 1), 95, &[("big", 0)]), Ok(("big".into(), vec![0])));
        assert_eq!(pick(&model(&[], 1), 0, &[("onnx", 0)]), Ok(("onnx".into(), vec![0])));
    }

    #[test]
    fn reserved_memory_is_not_free() {
        assert_eq!(pick(&model(&["sklearn"], 3), 50, &[]), Ok(("big".into(), vec![1, 2, 0])));
        assert!(pick(&model(&["sklearn"], 2), 56, &[]).unwrap_err().contains("2 wanted with 56 bytes of free memory, big has 1"));
    }

    #[test]
    fn the_minimum_is_taken_when_the_wish_cannot_be_fulfilled() {
        let mut few = model(&["sklearn"], 5);
        assert!(pick(&few, 0, &[]).is_err());
        few.deployment_spec.as_mut().unwrap().min_replicas = 2;
        assert_eq!(pick(&few, 0, &[]), Ok(("big".into(), vec![1, 2, 0])));
    }

    #[test]
    fn a_failure_says_what_every_server_lacks_and_what_is_near() {
        let reason = pick(&model(&["sklern"], 1), 0, &[]).unwrap_err();
        assert!(reason.starts_with("Failed to schedule model as no matching servers are available: "), "{reason}");
        for part in [
            "big lacks the capability sklern: did you mean sklearn?",
            "empty has no replica",
            "gone is being deleted",
            "private is not shared",
        ] {
            assert!(reason.contains(part), "{part} in {reason}");
        }
        let mut named = model(&["onnx"], 1);
        named.model_spec.as_mut().unwrap().server = Some("privat".into());
        assert!(pick(&named, 0, &[]).unwrap_err().ends_with("server privat does not exist: did you mean private?"));
        named.model_spec.as_mut().unwrap().server = Some("private".into());
        assert_eq!(pick(&named, 0, &[]), Ok(("private".into(), vec![0])));
    }
}
