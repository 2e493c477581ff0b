//! What are the bids in euros?

use millstream::StreamsBuilder;

use super::events::{Bid, bids, events};

/// Cents of a dollar.
const EURO: i64 = 89;

pub(super) fn draw(builder: &StreamsBuilder) {
    bids(&events(builder)).map_values(|bid| Bid { price: bid.price * EURO / 100, ..bid.clone() }).to("q1");
}

#[cfg(test)]
mod tests {
    use crate::nexmark::{events::Bid, small_run::SmallRun};

    #[test]
    fn every_bid_has_its_price_in_euros() {
        for run in SmallRun::all(super::draw) {
            let expected: Vec<_> = run.bids().map(|bid| (bid.auction, Bid { price: bid.price * 89 / 100, ..bid.clone() })).collect();
            assert_eq!(run.records::<i64, Bid>("q1"), expected);
        }
    }
}
