//! What is the highest bid of each ten seconds? By the start of the window: first of each auction, then of all, so that only the best bids
//! change partition.

use std::cmp::Reverse;

use millstream::{StreamsBuilder, TimeWindows};

use super::{
    events::{bids, events},
    plain::plain,
};

const WINDOW: i64 = 10_000;

plain! {
    /// The highest bid.
    pub struct Highest {
        pub price: i64,
        pub date_time: i64,
        pub auction: i64,
        pub bidder: i64,
    }
}

/// The higher price; of two that are equal, the earlier bid.
fn higher(one: &Highest, other: &Highest) -> Highest {
    std::cmp::max_by_key(one, other, |bid| (bid.price, Reverse((bid.date_time, bid.auction, bid.bidder)))).clone()
}

pub(super) fn draw(builder: &StreamsBuilder) {
    bids(&events(builder))
        .map_values(|bid| Highest { price: bid.price, date_time: bid.date_time, auction: bid.auction, bidder: bid.bidder })
        .group_by_key()
        .windowed_by(TimeWindows::of_size_with_no_grace(WINDOW))
        .reduce(higher)
        .to_stream()
        .map(|auction, highest| (auction.window.start, highest.clone()))
        .group_by_key()
        .reduce(higher)
        .to_stream()
        .to("q7");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Highest, WINDOW};
    use crate::nexmark::small_run::SmallRun;

    #[test]
    fn a_window_has_its_highest_bid() {
        for run in SmallRun::all(super::draw) {
            let mut expected: BTreeMap<i64, Highest> = BTreeMap::new();
            for bid in run.bids() {
                let bid = Highest { price: bid.price, date_time: bid.date_time, auction: bid.auction, bidder: bid.bidder };
                let highest = expected.entry(bid.date_time / WINDOW * WINDOW).or_insert(bid.clone());
                if bid.price > highest.price {
                    *highest = bid;
                }
            }
            assert!(expected.len() > 1);
            assert_eq!(run.table::<i64, Highest>("q7"), expected);
        }
    }
}
