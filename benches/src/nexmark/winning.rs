//! The best bid of each auction so far, among those that came before it expired.

use millstream::{KStream, KTable};

use super::{
    events::{Event, auctions, bids},
    plain::plain,
};

plain! {
    /// What a bid needs to know of its auction.
    pub struct Lot {
        pub category: i64,
        pub seller: i64,
        pub expires: i64,
    }

    /// The best bid of an auction.
    pub struct Sale {
        pub category: i64,
        pub seller: i64,
        pub expires: i64,
        pub price: i64,
    }
}

impl Lot {
    fn sold(&self, price: i64) -> Sale {
        Sale { category: self.category, seller: self.seller, expires: self.expires, price }
    }
}

/// The sales by auction. One that is still open has its best bid so far.
pub(super) fn sales(events: &KStream<i64, Event>) -> KTable<i64, Sale> {
    let lots = auctions(events)
        .map_values(|auction| Lot { category: auction.category, seller: auction.seller, expires: auction.expires })
        .to_table();
    bids(events)
        .join_table(&lots, |bid, lot| (bid.date_time <= lot.expires).then(|| lot.sold(bid.price)))
        .flat_map_values(Option::clone)
        .group_by_key()
        .reduce(|best, sale| if sale.price > best.price { sale.clone() } else { best.clone() })
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::Sale;
    use crate::nexmark::events::Event;

    /// The same, event by event.
    pub fn naive_sales(events: &[Event]) -> BTreeMap<i64, Sale> {
        let (mut lots, mut sales) = (BTreeMap::new(), BTreeMap::<i64, Sale>::new());
        for event in events {
            match event {
                Event::Auction(auction) => drop(lots.insert(auction.id, auction)),
                Event::Bid(bid) => {
                    let Some(lot) = lots.get(&bid.auction).filter(|lot| bid.date_time <= lot.expires) else { continue };
                    if sales.get(&bid.auction).is_none_or(|best| bid.price > best.price) {
                        let sale = Sale { category: lot.category, seller: lot.seller, expires: lot.expires, price: bid.price };
                        sales.insert(bid.auction, sale);
                    }
                }
                Event::Person(_) => {}
            }
        }
        sales
    }
}
