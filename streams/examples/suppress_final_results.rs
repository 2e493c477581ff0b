//! `suppress`: one result per window, when it is final, instead of one per update.
//!
//! ```sh
//! cargo run --release -p millstream --example suppress_final_results
//! ```
use millstream::{Error, StreamsBuilder, StrictBufferConfig, Suppressed, TimeWindows, TopologyTestDriver};

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    let counts =
        builder.stream::<String, String>("clicks").group_by_key().windowed_by(TimeWindows::of_size_and_grace(60_000, 10_000)).count();
    counts.to_stream().map(|page, count| (page.to_string(), *count)).to("updates");
    counts
        .suppress(Suppressed::until_window_closes(StrictBufferConfig::unbounded()))
        .to_stream()
        .map(|page, count| (page.to_string(), *count))
        .to("final");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    let clicks = driver.input_topic::<String, String>("clicks");
    for second in [1, 30, 59, 65, 69] {
        clicks.pipe("home".into(), "click".into(), second * 1_000)?;
    }
    let is_final = driver.output_topic::<String, i64>("final");
    let updates = driver.output_topic::<String, i64>("updates").read_records()?;
    println!("{} updates, {} final results", updates.len(), is_final.read_records()?.len());

    // Only a record can say that time has passed: stream time reaches 70 s, and the first window is closed.
    clicks.pipe("shop".into(), "click".into(), 70_000)?;
    for (window, count) in is_final.read_key_values()? {
        println!("final: {window} = {count}");
    }
    Ok(())
}
