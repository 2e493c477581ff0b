//! Cogroup: one table from several streams, each with an aggregator of its own: what an account holds after payments and fees.
//!
//! ```sh
//! cargo run --release -p millstream --example cogroup
//! ```
use millstream::{Error, StreamsBuilder, TopologyTestDriver};

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    let payments = builder.stream::<String, i64>("payments").group_by_key();
    let fees = builder.stream::<String, String>("fees").group_by_key();
    payments
        .cogroup(|_, payment, balance: i64| balance + payment)
        .cogroup(&fees, |_, fee, balance| balance - if fee == "yearly" { 12 } else { 1 })
        .aggregate(|| 0)
        .to_stream()
        .to("balances");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    let (payments, fees) = (driver.input_topic::<String, i64>("payments"), driver.input_topic::<String, String>("fees"));
    payments.pipe("ann".into(), 100, 0)?;
    fees.pipe("ann".into(), "yearly".into(), 1)?;
    payments.pipe("bob".into(), 5, 2)?;
    fees.pipe("ann".into(), "monthly".into(), 3)?;
    for (account, balance) in driver.output_topic::<String, i64>("balances").read_key_values()? {
        println!("{account}: {balance}");
    }
    Ok(())
}
