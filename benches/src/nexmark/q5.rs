//! Which auctions got the most bids of the last ten seconds? Every two seconds anew; by the start of the window.

use millstream::{StreamsBuilder, TimeWindows};

use super::{
    events::{bids, events},
    plain::plain,
};

const SECOND: i64 = 1_000;

plain! {
    /// An auction and how many bids it got.
    pub struct Counted {
        pub auction: i64,
        pub bids: i64,
    }

    /// The auctions that got the most bids: all of them, in the order of their ids.
    pub struct Hottest {
        pub bids: i64,
        pub auctions: Vec<i64>,
    }
}

impl Hottest {
    /// Counts only grow, so that none has to be taken back.
    fn or(mut self, counted: &Counted) -> Self {
        if counted.bids > self.bids {
            return Self { bids: counted.bids, auctions: vec![counted.auction] };
        }
        if counted.bids == self.bids
            && let Err(place) = self.auctions.binary_search(&counted.auction)
        {
            self.auctions.insert(place, counted.auction);
        }
        self
    }
}

pub(super) fn draw(builder: &StreamsBuilder) {
    bids(&events(builder))
        .group_by_key()
        .windowed_by(TimeWindows::of_size_with_no_grace(10 * SECOND).advance_by(2 * SECOND))
        .count()
        .to_stream()
        .map(|auction, bids| (auction.window.start, Counted { auction: auction.key, bids: bids.unwrap_or_default() }))
        .group_by_key()
        .aggregate(Hottest::default, |_, counted, hottest| hottest.or(counted))
        .to_stream()
        .to("q5");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Hottest;
    use crate::nexmark::small_run::SmallRun;

    #[test]
    fn a_window_has_the_auctions_with_the_most_bids_in_it() {
        for run in SmallRun::all(super::draw) {
            let mut counts: BTreeMap<i64, BTreeMap<i64, i64>> = BTreeMap::new();
            for bid in run.bids() {
                let last = bid.date_time / 2_000 * 2_000;
                for start in (0..5).map(|back| last - back * 2_000) {
                    *counts.entry(start).or_default().entry(bid.auction).or_default() += 1;
                }
            }
            let hottest = |counts: BTreeMap<i64, i64>| {
                let bids = counts.values().copied().max().unwrap_or_default();
                Hottest { bids, auctions: counts.into_iter().filter(|(_, count)| *count == bids).map(|(auction, _)| auction).collect() }
            };
            let expected: BTreeMap<_, _> = counts.into_iter().map(|(start, counts)| (start, hottest(counts))).collect();
            assert!(expected.len() > 5);
            assert_eq!(run.table::<i64, Hottest>("q5"), expected);
        }
    }
}
