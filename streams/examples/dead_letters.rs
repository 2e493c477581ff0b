//! Dead letters: a record that cannot be read, and one at which the program panics, go to a topic of their own, and the rest goes on.
//!
//! ```sh
//! cargo run --release -p millstream --example dead_letters
//! ```
use millstream::{Error, OnError, RawRecord, StreamsBuilder, TestDriverConfig, TopologyTestDriver};

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    builder.stream::<String, i64>("seconds").map_values(|seconds| 3_600 / seconds).to("per-hour");

    // The same three settings are in `StreamsConfig`, where an application runs on a broker.
    let mut config = TestDriverConfig::default();
    config.task.on_deserialization_error = OnError::Continue;
    config.task.on_processing_error = OnError::Continue;
    config.task.dead_letter_topic = Some("dead-letters".into());
    let driver = TopologyTestDriver::new(&builder.build()?, config)?;

    // Panics are caught; this keeps Rust from printing them as well.
    std::panic::set_hook(Box::new(|_| {}));
    let seconds = driver.input_topic::<String, i64>("seconds");
    seconds.pipe("a".into(), 60, 1)?;
    seconds.pipe("b".into(), 0, 2)?;
    driver.pipe_raw("seconds", RawRecord { key: Some("c".into()), value: Some("soon".into()), timestamp: 3, ..RawRecord::default() })?;
    seconds.pipe("d".into(), 1_800, 4)?;

    for (key, value) in driver.output_topic::<String, i64>("per-hour").read_key_values()? {
        println!("{key}: {value} per hour");
    }
    for letter in driver.output_topic::<String, Vec<u8>>("dead-letters").read_records()? {
        println!("dead: {} = {:?}", letter.key, letter.value);
        for header in letter.headers.to_vec() {
            let value = header.value.map_or("null".into(), |value| String::from_utf8_lossy(&value).into_owned());
            println!("    {} = {value}", header.name);
        }
    }
    println!("{} dropped", driver.dropped_records());
    Ok(())
}
