//! What do the last ten auctions of each seller bring on average? The last are those that expire last; of one that is still open the best bid
//! so far counts.

use millstream::StreamsBuilder;

use super::{events::events, plain::plain, winning::sales};

plain! {
    /// An auction of a seller.
    pub struct Sold {
        pub expires: i64,
        pub auction: i64,
        pub price: i64,
    }

    /// The last auctions of a seller, by when they expire.
    pub struct LastSold {
        pub auctions: Vec<Sold>,
    }
}

impl LastSold {
    const MOST: usize = 10;

    fn place(&self, sold: &Sold) -> Result<usize, usize> {
        self.auctions.binary_search_by_key(&(sold.expires, sold.auction), |sold| (sold.expires, sold.auction))
    }

    fn with(mut self, sold: &Sold) -> Self {
        if let Err(place) = self.place(sold) {
            self.auctions.insert(place, sold.clone());
        }
        if self.auctions.len() > Self::MOST {
            self.auctions.remove(0);
        }
        self
    }

    /// An auction leaves only to come back with a better price, so that none is missed that was among the last before.
    fn without(mut self, sold: &Sold) -> Self {
        if let Ok(place) = self.place(sold) {
            self.auctions.remove(place);
        }
        self
    }

    fn mean(&self) -> Option<i64> {
        self.auctions.iter().map(|sold| sold.price).sum::<i64>().checked_div(self.auctions.len() as i64)
    }
}

pub(super) fn draw(builder: &StreamsBuilder) {
    sales(&events(builder))
        .group_by(|auction, sale| (sale.seller, Sold { expires: sale.expires, auction: *auction, price: sale.price }))
        .aggregate(LastSold::default, |_, sold, last| last.with(sold), |_, sold, last| last.without(sold))
        .to_stream()
        .flat_map_values(|last| last.as_ref().and_then(LastSold::mean))
        .to("q6");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::nexmark::{small_run::SmallRun, winning::tests::naive_sales};

    #[test]
    fn a_seller_has_the_mean_of_the_last_ten_auctions() {
        for run in SmallRun::all(super::draw) {
            let mut sold: BTreeMap<i64, Vec<(i64, i64, i64)>> = BTreeMap::new();
            for (auction, sale) in naive_sales(run.events()) {
                sold.entry(sale.seller).or_default().push((sale.expires, auction, sale.price));
            }
            let mean = |mut sold: Vec<(i64, i64, i64)>| {
                sold.sort_unstable();
                let last = &sold[sold.len().saturating_sub(10)..];
                last.iter().map(|(.., price)| price).sum::<i64>() / last.len() as i64
            };
            assert!(sold.values().any(|sold| sold.len() > 10));
            let expected: BTreeMap<_, _> = sold.into_iter().map(|(seller, sold)| (seller, mean(sold))).collect();
            assert_eq!(run.table::<i64, i64>("q6"), expected);
        }
    }
}
