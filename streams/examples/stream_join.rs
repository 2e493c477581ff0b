//! Joins of two streams: an order and its payment, if they are at most five minutes apart. The left join tells of orders never paid.
//!
//! ```sh
//! cargo run --release -p millstream --example stream_join
//! ```
use millstream::{Error, JoinWindows, StreamsBuilder, TopologyTestDriver};

const MINUTE: i64 = 60_000;

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    let orders = builder.stream::<String, String>("orders");
    let payments = builder.stream::<String, i64>("payments");
    let windows = JoinWindows::of_time_difference_and_grace(5 * MINUTE, MINUTE);
    orders.join(&payments, |order, paid| format!("{order} paid with {paid}"), windows).to("paid");
    orders
        .left_join(&payments, |order, paid| paid.is_none().then(|| order.clone()), windows)
        .filter(|_, unpaid| unpaid.is_some())
        .to("unpaid");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    let (orders, payments) = (driver.input_topic::<String, String>("orders"), driver.input_topic::<String, i64>("payments"));
    orders.pipe("17".into(), "shoes".into(), 0)?;
    orders.pipe("18".into(), "hat".into(), MINUTE)?;
    payments.pipe("17".into(), 80, 3 * MINUTE)?;
    // A payment that comes too late for its order. It also moves time on: the window of order 18 is over, and so is its grace.
    payments.pipe("18".into(), 25, 20 * MINUTE)?;
    orders.pipe("19".into(), "coat".into(), 21 * MINUTE)?;

    for (order, what) in driver.output_topic::<String, String>("paid").read_key_values()? {
        println!("order {order}: {what}");
    }
    for (order, what) in driver.output_topic::<String, String>("unpaid").read_key_values()? {
        println!("order {order}: {what}, not paid in time");
    }
    Ok(())
}
