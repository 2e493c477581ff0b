//! The text of a topology, byte for byte what `Topology.describe()` of Kafka Streams prints.

use std::fmt::Write;

use super::{
    NodeKind, Topology,
    java_order::{Tree, hash_order},
    subtopologies::Subtopology,
};

impl Topology {
    /// The topology as text: sub-topologies, nodes, topics and stores.
    pub fn describe(&self) -> String {
        let mut text = String::from("Topologies:\n ");
        for part in self.subtopologies() {
            text.push_str("  ");
            match part.is_global {
                true => self.describe_global(&part, &mut text),
                false => self.describe_part(&part, &mut text),
            }
        }
        text
    }

    fn describe_global(&self, part: &Subtopology, text: &mut String) {
        let _ = writeln!(text, "Sub-topology: {} for global store (will not generate tasks)", part.id);
        for (i, &at) in part.nodes.iter().enumerate() {
            let (before, after) = (i.checked_sub(1).map(|i| part.nodes[i]), part.nodes.get(i + 1).copied());
            let _ = writeln!(text, "    {}", self.describe_node(at, before.as_slice(), after.as_slice()));
        }
    }

    fn describe_part(&self, part: &Subtopology, text: &mut String) {
        let order = hash_order(part.nodes.iter().map(|&at| (at, &*self.nodes[at].name)), |(_, name)| name);
        let mut sizes = vec![1usize; self.nodes.len()];
        let mut before: Vec<Tree> = self.nodes.iter().map(|_| Tree::default()).collect();
        let mut after: Vec<Tree> = self.nodes.iter().map(|_| Tree::default()).collect();
        for (at, _) in order {
            for parent in &self.nodes[at].parents {
                let parent = self.at(parent).unwrap_or(at);
                before[at].insert(parent, |a, b| self.goes_before(&sizes, a, b));
                after[parent].insert(at, |a, b| self.goes_before(&sizes, a, b));
                let size = sizes[at];
                grow(&mut sizes, &before, parent, size);
            }
        }
        let mut nodes = part.nodes.clone();
        nodes.sort_by(|&a, &b| sizes[b].cmp(&sizes[a]).then_with(|| self.nodes[a].name.cmp(&self.nodes[b].name)));
        let _ = writeln!(text, "Sub-topology: {}", part.id);
        for at in nodes {
            let _ = writeln!(text, "    {}", self.describe_node(at, &before[at].items(), &after[at].items()));
        }
        text.push('\n');
    }

    fn goes_before(&self, sizes: &[usize], a: usize, b: usize) -> bool {
        (sizes[b], &self.nodes[a].name) < (sizes[a], &self.nodes[b].name)
    }

    fn describe_node(&self, at: usize, before: &[usize], after: &[usize]) -> String {
        let node = &self.nodes[at];
        let names = |nodes: &[usize]| match nodes.iter().map(|&at| &*self.nodes[at].name).collect::<Vec<_>>() {
            none if none.is_empty() => "none".to_string(),
            names => names.join(", "),
        };
        let (arrow, name) = ("\n      --> ", &node.name);
        match &node.kind {
            NodeKind::Source { pattern: Some(pattern), .. } => {
                format!("Source: {name} (topics: {}){arrow}{}", pattern.as_str(), names(after))
            }
            NodeKind::Source { topics, .. } => {
                let topics = hash_order(topics.iter(), |t| t).iter().map(|t| &***t).collect::<Vec<_>>().join(", ");
                format!("Source: {name} (topics: [{topics}]){arrow}{}", names(after))
            }
            NodeKind::Processor { stores, .. } => {
                let stores = hash_order(stores.iter(), |s| s).iter().map(|s| &***s).collect::<Vec<_>>().join(", ");
                format!("Processor: {name} (stores: [{stores}]){arrow}{}\n      <-- {}", names(after), names(before))
            }
            NodeKind::Sink { topic: Some(topic), .. } => format!("Sink: {name} (topic: {topic})\n      <-- {}", names(before)),
            NodeKind::Sink { topic: None, .. } => format!("Sink: {name} (extractor class: *)\n      <-- {}", names(before)),
        }
    }
}

fn grow(sizes: &mut [usize], before: &[Tree], at: usize, by: usize) {
    sizes[at] += by;
    for parent in before[at].items() {
        grow(sizes, before, parent, by);
    }
}
