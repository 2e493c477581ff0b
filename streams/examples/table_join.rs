//! Joins of two tables: a row for each user with the newest name and the newest address, kept up to date from both sides.
//!
//! ```sh
//! cargo run --release -p millstream --example table_join
//! ```
use millstream::{Error, StreamsBuilder, TopologyTestDriver};

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    let names = builder.table::<i64, String>("names");
    let cities = builder.table::<i64, String>("cities");
    names.left_join(&cities, |name, city| format!("{name} of {}", city.map_or("no fixed abode", String::as_str))).to_stream().to("users");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    // A null value deletes a row, so that changes of a table are read and written as `Option`.
    let (names, cities) = (driver.input_topic::<i64, Option<String>>("names"), driver.input_topic::<i64, Option<String>>("cities"));
    names.pipe(1, Some("Ann".into()), 0)?;
    cities.pipe(1, Some("Rome".into()), 10)?;
    cities.pipe(2, Some("Oslo".into()), 20)?;
    names.pipe(2, Some("Bob".into()), 30)?;
    cities.pipe(1, None, 40)?;
    names.pipe(1, None, 50)?;
    for row in driver.output_topic::<i64, Option<String>>("users").read_records()? {
        println!("{:2} ms  user {}: {}", row.timestamp, row.key, row.value.as_deref().unwrap_or("(deleted)"));
    }
    Ok(())
}
