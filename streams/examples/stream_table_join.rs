//! Joins of a stream with tables: an order gets the newest price of its thing, and the name of its country, which every task has.
//!
//! ```sh
//! cargo run --release -p millstream --example stream_table_join
//! ```
use millstream::{Error, StreamsBuilder, TopologyTestDriver};

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    let prices = builder.table::<String, i64>("prices");
    let countries = builder.global_table::<String, String>("countries");
    // Orders are keyed by the thing; the value is the country. A table is joined by the key, a global table by any.
    builder
        .stream::<String, String>("orders")
        .join_global(&countries, |_, country| country.clone(), |_, name| name.clone())
        .left_join_table(&prices, |country, price| match price {
            Some(price) => format!("{price} to {country}"),
            None => format!("no price yet, to {country}"),
        })
        .to("offers");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    driver.input_topic::<String, String>("countries").pipe("it".into(), "Italy".into(), 0)?;
    let orders = driver.input_topic::<String, String>("orders");
    let prices = driver.input_topic::<String, i64>("prices");
    orders.pipe("hat".into(), "it".into(), 1)?;
    prices.pipe("hat".into(), 20, 2)?;
    orders.pipe("hat".into(), "it".into(), 3)?;
    // A change of the table alone gives no result.
    prices.pipe("hat".into(), 25, 4)?;
    orders.pipe("hat".into(), "atlantis".into(), 5)?;
    for (thing, offer) in driver.output_topic::<String, String>("offers").read_key_values()? {
        println!("{thing}: {offer}");
    }
    println!("{} order to nowhere", driver.dropped_records());
    Ok(())
}
