//! What does an auction bring on average, in each category? Of an auction that is still open the best bid so far counts.

use millstream::StreamsBuilder;

use super::{events::events, plain::plain, winning::sales};

plain! {
    /// What is needed for an average that changes.
    pub struct Prices {
        pub sum: i64,
        pub count: i64,
    }
}

pub(super) fn draw(builder: &StreamsBuilder) {
    sales(&events(builder))
        .group_by(|_, sale| (sale.category, sale.price))
        .aggregate(
            Prices::default,
            |_, price, prices| Prices { sum: prices.sum + price, count: prices.count + 1 },
            |_, price, prices| Prices { sum: prices.sum - price, count: prices.count - 1 },
        )
        .to_stream()
        .flat_map_values(|prices| prices.as_ref().and_then(|prices| prices.sum.checked_div(prices.count)))
        .to("q4");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::nexmark::{small_run::SmallRun, winning::tests::naive_sales};

    #[test]
    fn a_category_has_the_mean_of_its_auctions_best_bids() {
        for run in SmallRun::all(super::draw) {
            let mut prices: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for sale in naive_sales(run.events()).into_values() {
                prices.entry(sale.category).or_default().push(sale.price);
            }
            let expected: BTreeMap<_, _> =
                prices.into_iter().map(|(category, prices)| (category, prices.iter().sum::<i64>() / prices.len() as i64)).collect();
            assert_eq!(expected.len(), 5);
            assert_eq!(run.table::<i64, i64>("q4"), expected);
        }
    }
}
