//! Joins by a foreign key: an order names its customer, and a change of the customer reaches all of their orders.
//!
//! ```sh
//! cargo run --release -p millstream --example foreign_key_join
//! ```
use millstream::{Error, StreamsBuilder, TopologyTestDriver};

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    // An order is "customer:thing".
    let orders = builder.table::<i64, String>("orders");
    let customers = builder.table::<String, String>("customers");
    orders
        .foreign_key_join(
            &customers,
            |_, order| order.split_once(':').map(|(customer, _)| customer.to_string()),
            |order, address| format!("{} to {address}", order.split_once(':').map_or("nothing", |(_, thing)| thing)),
        )
        .to_stream()
        .to("parcels");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    let orders = driver.input_topic::<i64, Option<String>>("orders");
    let customers = driver.input_topic::<String, Option<String>>("customers");
    customers.pipe("ann".into(), Some("Rome".into()), 0)?;
    orders.pipe(1, Some("ann:shoes".into()), 1)?;
    orders.pipe(2, Some("ann:hat".into()), 2)?;
    orders.pipe(3, Some("bob:coat".into()), 3)?;
    customers.pipe("ann".into(), Some("Oslo".into()), 4)?;
    customers.pipe("bob".into(), Some("Bern".into()), 5)?;
    orders.pipe(1, None, 6)?;
    for (order, parcel) in driver.output_topic::<i64, Option<String>>("parcels").read_key_values()? {
        println!("order {order}: {}", parcel.as_deref().unwrap_or("(deleted)"));
    }
    Ok(())
}
