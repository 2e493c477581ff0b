//! Sliding windows: three failed logins within ten seconds of each other raise an alarm, wherever a minute begins.
//!
//! ```sh
//! cargo run --release -p millstream --example sliding
//! ```
use millstream::{Error, SlidingWindows, StreamsBuilder, TopologyTestDriver};

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("failed-logins")
        .group_by_key()
        .windowed_by(SlidingWindows::of_time_difference_and_grace(10_000, 5_000))
        .count()
        .to_stream()
        .filter(|_, count| count.is_some_and(|count| count >= 3))
        .map(|user, count| (user.to_string(), *count))
        .to("alarms");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    let logins = driver.input_topic::<String, String>("failed-logins");
    for (user, second) in [("ann", 10), ("bob", 12), ("ann", 16), ("ann", 19), ("bob", 30), ("ann", 40)] {
        logins.pipe(user.into(), "wrong password".into(), second * 1_000)?;
    }
    for (window, count) in driver.output_topic::<String, i64>("alarms").read_key_values()? {
        println!("alarm {window}: {count} failures");
    }
    Ok(())
}
