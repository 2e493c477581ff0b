//! How a topology is tested: without a broker, record by record, with the clock in the test's hands.
//!
//! ```sh
//! cargo run --release -p millstream --example testing_a_topology
//! ```
use millstream::{Error, Materialized, StreamsBuilder, TestDriverConfig, Topology, TopologyTestDriver, store::TimestampedKeyValueStore};

/// The program under test: how much each customer has spent; amounts that are not positive go elsewhere.
fn topology() -> Result<Topology, Error> {
    let builder = StreamsBuilder::new();
    let orders = builder.stream::<String, i64>("orders");
    orders.filter_not(|_, amount| *amount > 0).to("refused");
    orders
        .filter(|_, amount| *amount > 0)
        .group_by_key()
        .reduce_with(|sum, amount| sum + amount, Materialized::store("spent"))
        .to_stream()
        .to("totals");
    builder.build()
}

fn main() -> Result<(), Error> {
    let topology = topology()?;
    print!("{}", topology.describe());

    let driver = TopologyTestDriver::new(&topology, TestDriverConfig::default())?;
    let orders = driver.input_topic::<String, i64>("orders");
    orders.pipe("ann".into(), 30, 1_000)?;
    orders.pipe("bob".into(), -5, 2_000)?;
    orders.pipe("ann".into(), 12, 3_000)?;

    // What came out, in order, with times and headers.
    let totals = driver.output_topic::<String, i64>("totals");
    for total in totals.read_records()? {
        println!("{} has spent {} at {}", total.key, total.value, total.timestamp);
    }
    assert_eq!(driver.output_topic::<String, i64>("refused").read_key_values()?, [("bob".to_string(), -5)]);
    assert!(totals.read_record()?.is_none());

    // What is in the store.
    let spent: TimestampedKeyValueStore<String, i64> = driver.store("spent").expect("the program names its store");
    let ann = spent.get(&"ann".into())?.expect("ann has ordered");
    assert_eq!((ann.value, ann.timestamp), (42, 3_000));
    println!("the store holds {} for ann", ann.value);
    Ok(())
}
