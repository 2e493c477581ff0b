//! How often does somebody bid before they rest for ten seconds? By bidder and session.

use millstream::{SessionWindows, StreamsBuilder};

use super::events::{bids, events};

pub(super) fn draw(builder: &StreamsBuilder) {
    bids(&events(builder))
        // Of a bid nothing but its bidder has to change partition.
        .map(|_, bid| (bid.bidder, ()))
        .group_by_key()
        .windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(10_000))
        .count()
        .to_stream()
        .to("q11");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use millstream::{DefaultSerde, SessionWindowedSerde, Windowed};

    use crate::nexmark::small_run::SmallRun;

    #[test]
    fn a_bidders_bids_are_counted_until_ten_seconds_pass_without_one() {
        for run in SmallRun::all(super::draw) {
            let mut open: BTreeMap<i64, (i64, i64, i64)> = BTreeMap::new();
            let mut expected = BTreeMap::new();
            let mut close = |bidder, (start, end, count)| assert!(expected.insert(Windowed::new(bidder, start, end), count).is_none());
            for bid in run.bids() {
                let visit = open.entry(bid.bidder).or_insert((bid.date_time, bid.date_time, 0));
                if bid.date_time - visit.1 > 10_000 {
                    close(bid.bidder, std::mem::replace(visit, (bid.date_time, bid.date_time, 0)));
                }
                *visit = (visit.0, bid.date_time, visit.2 + 1);
            }
            open.into_iter().for_each(|(bidder, visit)| close(bidder, visit));
            let sessions = SessionWindowedSerde::new(i64::default_serde());
            assert!(expected.values().any(|count| *count > 1));
            assert_eq!(run.table_with::<Windowed<i64>, i64>("q11", &sessions), expected);
        }
    }
}
