//! What is bid for some auctions? Their prices, by auction.

use millstream::StreamsBuilder;

use super::events::{bids, events};

pub(super) fn draw(builder: &StreamsBuilder) {
    bids(&events(builder)).filter(|auction, _| auction % 123 == 0).map_values(|bid| bid.price).to("q2");
}

#[cfg(test)]
mod tests {
    use crate::nexmark::small_run::SmallRun;

    #[test]
    fn one_auction_of_123_is_followed() {
        for run in SmallRun::all(super::draw) {
            let expected: Vec<_> = run.bids().filter(|bid| bid.auction % 123 == 0).map(|bid| (bid.auction, bid.price)).collect();
            assert!(!expected.is_empty());
            assert_eq!(run.records::<i64, i64>("q2"), expected);
        }
    }
}
