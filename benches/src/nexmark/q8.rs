//! Who registered and began to sell within the same ten seconds? By person.

use millstream::{JoinWindows, StreamsBuilder};

use super::{
    events::{auctions, events, persons},
    plain::plain,
};

const WINDOW: i64 = 10_000;

plain! {
    /// Somebody registered.
    pub struct Newcomer {
        pub name: String,
        pub window: i64,
    }

    /// Somebody sells.
    pub struct Offer {
        pub auction: i64,
        pub window: i64,
    }

    /// A newcomer who sells.
    pub struct NewSeller {
        pub name: String,
        pub window: i64,
        pub auction: i64,
    }
}

pub(super) fn draw(builder: &StreamsBuilder) {
    let events = events(builder);
    let newcomers = persons(&events).map_values(|person| Newcomer { name: person.name.clone(), window: person.date_time / WINDOW });
    let offers = auctions(&events).map(|_, auction| (auction.seller, Offer { auction: auction.id, window: auction.date_time / WINDOW }));

    newcomers
        .join(
            &offers,
            |newcomer, offer| {
                let name = newcomer.name.clone();
                (newcomer.window == offer.window).then_some(NewSeller { name, window: newcomer.window, auction: offer.auction })
            },
            // Whatever is in the same window is not further apart.
            JoinWindows::of_time_difference_with_no_grace(WINDOW),
        )
        .flat_map_values(Option::clone)
        .to("q8");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{NewSeller, WINDOW};
    use crate::nexmark::small_run::SmallRun;

    #[test]
    fn a_newcomer_comes_out_with_each_auction_of_the_same_window() {
        for run in SmallRun::all(super::draw) {
            let newcomers: BTreeMap<_, _> = run.persons().map(|person| (person.id, person)).collect();
            let new_seller = |auction: &crate::nexmark::events::Auction| {
                let newcomer = newcomers.get(&auction.seller)?;
                let window = auction.date_time / WINDOW;
                let name = newcomer.name.clone();
                (newcomer.date_time / WINDOW == window).then_some((auction.seller, NewSeller { name, window, auction: auction.id }))
            };
            let mut expected: Vec<_> = run.auctions().filter_map(new_seller).collect();
            let mut found = run.records::<i64, NewSeller>("q8");
            expected.sort_by_key(|(_, seller)| seller.auction);
            found.sort_by_key(|(_, seller)| seller.auction);
            assert!(!expected.is_empty() && expected.len() < run.auctions().count());
            assert_eq!(found, expected);
        }
    }
}
