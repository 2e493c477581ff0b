//! Sources that read every topic whose name matches a pattern.

use std::sync::Arc;

use regex::Regex;

use super::{NodeKind, Topology};
use crate::{
    error::{Error, topology},
    graph::OffsetReset,
    node::SourceMaker,
};

/// A regular expression over whole topic names.
#[derive(Clone, Debug)]
pub struct TopicPattern {
    text: Arc<str>,
    regex: Regex,
}

impl TopicPattern {
    /// Fails if it is no regular expression.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        let regex =
            Regex::new(&format!("^(?:{pattern})$")).map_err(|error| topology(format!("pattern {pattern} cannot be read: {error}")))?;
        Ok(Self { text: pattern.into(), regex })
    }

    /// Whether it matches the whole name.
    pub fn matches(&self, topic: &str) -> bool {
        self.regex.is_match(topic)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Topology {
    /// Adds a source that reads the topics that match `pattern`, also those that come to be later.
    pub fn add_pattern_source(&mut self, name: &str, pattern: &str, reset: Option<OffsetReset>, make: SourceMaker) -> Result<(), Error> {
        let pattern = TopicPattern::new(pattern)?;
        self.check_new(name)?;
        if let Some(topic) = self.topics.iter().find(|topic| pattern.matches(topic)) {
            return Err(topology(format!("pattern {} matches topic {topic}, which another source reads: narrow it", pattern.as_str())));
        }
        self.patterns.push((pattern.clone(), reset));
        self.add(name, vec![], NodeKind::Source { topics: vec![], pattern: Some(pattern), make });
        Ok(())
    }

    /// The patterns that sources read, and where their topics begin without a committed offset.
    pub fn patterns(&self) -> &[(TopicPattern, Option<OffsetReset>)] {
        &self.patterns
    }
}
