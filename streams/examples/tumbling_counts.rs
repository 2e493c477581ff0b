//! Tumbling windows: clicks per page and minute, each update as it happens; a late click still counts within the grace.
//!
//! ```sh
//! cargo run --release -p millstream --example tumbling_counts
//! ```
use millstream::{Error, StreamsBuilder, TimeWindows, TopologyTestDriver};

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("clicks")
        .group_by_key()
        .windowed_by(TimeWindows::of_size_and_grace(60_000, 10_000))
        .count()
        .to_stream()
        .map(|page, count| (page.to_string(), *count))
        .to("counts");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    let clicks = driver.input_topic::<String, String>("clicks");
    for (page, second) in [("home", 1), ("home", 20), ("shop", 59), ("home", 61), ("home", 58), ("home", 75), ("home", 59)] {
        clicks.pipe(page.into(), "click".into(), second * 1_000)?;
    }
    // The click of second 58 came late, but within the grace; the one of second 59 came after second 70, when its window was closed.
    for count in driver.output_topic::<String, i64>("counts").read_records()? {
        println!("{:6} ms  {} = {}", count.timestamp, count.key, count.value);
    }
    println!("{} record too late", driver.dropped_records());
    Ok(())
}
