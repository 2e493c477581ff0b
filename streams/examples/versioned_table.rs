//! A versioned table remembers what was true when: a price that arrives late takes its place in the past and leaves the present alone.
//!
//! ```sh
//! cargo run --release -p millstream --example versioned_table
//! ```
use millstream::{Consumed, Error, Materialized, StreamsBuilder, TopologyTestDriver, store::VersionedKeyValueStore};

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    let prices = builder.table_with::<String, i64>("prices", Consumed::new(), Materialized::store("price-history").versioned(86_400_000));
    let stock = builder.table::<String, i64>("stock");
    prices.join(&stock, |price, pieces| price * pieces).to_stream().to("worth");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    let (prices, stock) = (driver.input_topic::<String, Option<i64>>("prices"), driver.input_topic::<String, i64>("stock"));
    stock.pipe("hat".into(), 10, 0)?;
    prices.pipe("hat".into(), Some(20), 1_000)?;
    prices.pipe("hat".into(), Some(30), 3_000)?;
    // Late: it was valid from 2,000 to 3,000 and is not the newest, so that the join does not hear of it.
    prices.pipe("hat".into(), Some(25), 2_000)?;

    for (thing, worth) in driver.output_topic::<String, Option<i64>>("worth").read_key_values()? {
        println!("{thing}s in stock are worth {}", worth.unwrap_or_default());
    }
    let history: VersionedKeyValueStore<String, i64> = driver.store("price-history").expect("the program names its store");
    for time in [500, 1_500, 2_500, 3_500] {
        println!("price at {time}: {:?}", history.get_as_of(&"hat".into(), time)?.map(|version| version.value));
    }
    Ok(())
}
