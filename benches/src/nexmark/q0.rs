//! What does it cost to do nothing? All events, as they are.

use millstream::StreamsBuilder;

use super::events::events;

pub(super) fn draw(builder: &StreamsBuilder) {
    events(builder).to("q0");
}

#[cfg(test)]
mod tests {
    use crate::nexmark::{events::Event, small_run::SmallRun};

    #[test]
    fn every_event_comes_out_as_it_went_in() {
        for run in SmallRun::all(super::draw) {
            let expected: Vec<_> = run.events().iter().map(|event| (event.key(), event.clone())).collect();
            assert_eq!(run.records::<i64, Event>("q0"), expected);
        }
    }
}
