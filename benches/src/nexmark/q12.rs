//! How often does somebody bid in ten seconds by the clock on the wall, whenever it happened?

use std::time::{SystemTime, UNIX_EPOCH};

use millstream::{Consumed, Error, Record, StreamsBuilder, TimeWindows, TimestampExtractor};

use super::events::{EVENTS, Event, bids};

/// The time at which a record is read.
struct WallClock;

impl<K, V> TimestampExtractor<K, V> for WallClock {
    fn extract(&self, _: &Record<K, V>, _: i64) -> Result<i64, Error> {
        Ok(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64))
    }
}

pub(super) fn draw(builder: &StreamsBuilder) {
    let events = builder.stream_with::<i64, Event>(&[EVENTS], Consumed::new().timestamp_extractor(WallClock));
    bids(&events)
        .map(|_, bid| (bid.bidder, ()))
        .group_by_key()
        .windowed_by(TimeWindows::of_size_with_no_grace(10_000))
        .count()
        .to_stream()
        .to("q12");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use millstream::{TimestampExtractor, Windowed};

    use super::WallClock;
    use crate::nexmark::small_run::SmallRun;

    fn now() -> i64 {
        WallClock.extract(&millstream::Record::new((), (), 0), -1).unwrap()
    }

    #[test]
    fn bids_are_counted_when_they_are_read() {
        let began = now();
        for run in SmallRun::all(super::draw) {
            let mut expected: BTreeMap<i64, i64> = BTreeMap::new();
            run.bids().for_each(|bid| *expected.entry(bid.bidder).or_default() += 1);
            let mut found: BTreeMap<i64, i64> = BTreeMap::new();
            for (bidder, count) in run.table::<Windowed<i64>, i64>("q12") {
                assert!((began - 10_000..=now()).contains(&bidder.window.start) && bidder.window.start % 10_000 == 0, "{bidder}");
                *found.entry(bidder.key).or_default() += count;
            }
            assert_eq!(found, expected);
        }
    }
}
