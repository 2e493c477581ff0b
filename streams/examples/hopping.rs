//! Hopping windows: the highest temperature of the last ten minutes, renewed every five. Each reading falls into two windows.
//!
//! ```sh
//! cargo run --release -p millstream --example hopping
//! ```
use millstream::{Error, StreamsBuilder, TimeWindows, TopologyTestDriver};

const MINUTE: i64 = 60_000;

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, f64>("temperatures")
        .group_by_key()
        .windowed_by(TimeWindows::of_size_with_no_grace(10 * MINUTE).advance_by(5 * MINUTE))
        .aggregate(|| f64::MIN, |_, reading, highest| highest.max(*reading))
        .to_stream()
        .map(|sensor, highest| (format!("{} from minute {}", sensor.key, sensor.window.start / MINUTE), *highest))
        .to("highest");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    let temperatures = driver.input_topic::<String, f64>("temperatures");
    for (minute, reading) in [(1, 20.5), (6, 22.0), (11, 21.0), (16, 19.5)] {
        temperatures.pipe("roof".into(), reading, minute * MINUTE)?;
    }
    for (window, highest) in driver.output_topic::<String, f64>("highest").read_key_values()? {
        println!("{window}: {highest} °C");
    }
    Ok(())
}
