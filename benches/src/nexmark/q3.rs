//! Who sells in category 10, and lives in Oregon, Idaho or California? By auction, as a table: whichever comes first, the auction or its
//! seller.

use millstream::StreamsBuilder;

use super::{
    events::{auctions, events, persons},
    plain::plain,
};

plain! {
    /// A seller nearby.
    pub struct Seller {
        pub name: String,
        pub city: String,
        pub state: String,
    }
}

pub(super) fn draw(builder: &StreamsBuilder) {
    let events = events(builder);
    let nearby = persons(&events)
        .filter(|_, person| matches!(&*person.state, "OR" | "ID" | "CA"))
        .map_values(|person| Seller { name: person.name.clone(), city: person.city.clone(), state: person.state.clone() })
        .to_table();
    let sellers = auctions(&events).filter(|_, auction| auction.category == 10).map_values(|auction| auction.seller).to_table();

    sellers.foreign_key_join(&nearby, |_, seller| *seller, |_, seller| seller.clone()).to_stream().to("q3");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Seller;
    use crate::nexmark::small_run::SmallRun;

    #[test]
    fn every_auction_of_the_category_has_its_seller_if_that_one_lives_nearby() {
        for run in SmallRun::all(super::draw) {
            let nearby: BTreeMap<_, _> = run
                .persons()
                .filter(|person| ["OR", "ID", "CA"].contains(&&*person.state))
                .map(|p| (p.id, Seller { name: p.name.clone(), city: p.city.clone(), state: p.state.clone() }))
                .collect();
            let expected: BTreeMap<_, _> = run
                .auctions()
                .filter(|auction| auction.category == 10)
                .filter_map(|auction| Some((auction.id, nearby.get(&auction.seller)?.clone())))
                .collect();
            assert!(!expected.is_empty());
            assert_eq!(run.table::<i64, Seller>("q3"), expected);
        }
    }
}
