//! **Law.** Windows that have closed are emitted once (KIP-825), when a record moves on the time up to which windows are closed: as Kafka
//! Streams does it after that record, if the clock has reached the next turn; soundly before it, because its time may hide them. Up to where
//! they were emitted is remembered with the committed offsets.

use std::sync::Arc;

use millstream_topology::TaskContext;

use crate::EmitStrategy;

pub(crate) struct EmitFinal {
    /// The store: it names what is remembered.
    name: Arc<str>,
    /// Up to where windows were closed when some were last emitted; −1: none were.
    pub last: i64,
    next_turn: i64,
}

impl EmitFinal {
    pub fn of(emit: EmitStrategy, store: &Arc<str>) -> Option<Self> {
        (emit == EmitStrategy::OnWindowClose).then(|| Self { name: store.clone(), last: -1, next_turn: 0 })
    }

    pub fn init(&mut self, context: &TaskContext) {
        self.last = context.processor_metadata(&self.name).unwrap_or(-1);
    }

    /// Whether windows that closed by then are to be emitted now.
    pub fn is_due(&mut self, context: &TaskContext, closed: i64) -> bool {
        let now = context.wall_clock();
        if !context.config.compatibility.is_sound() && now < self.next_turn {
            return false;
        }
        self.next_turn = now + context.config.emit_interval_ms;
        self.last == -1 || self.last < closed
    }

    /// Remembers up to where windows were emitted.
    pub fn done(&mut self, context: &mut TaskContext, closed: i64) {
        self.last = closed;
        context.set_processor_metadata(&self.name, closed);
    }
}
