//! Sessions: visits to a site, ended by half an hour of silence. A late click joins two visits: both are deleted, and one takes their place.
//!
//! ```sh
//! cargo run --release -p millstream --example sessions
//! ```
use millstream::{Error, SessionWindows, StreamsBuilder, TopologyTestDriver};

const MINUTE: i64 = 60_000;

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("clicks")
        .group_by_key()
        .windowed_by(SessionWindows::of_inactivity_gap_and_grace(30 * MINUTE, 60 * MINUTE))
        .aggregate(String::new, |_, page, path| format!("{path}/{page}"), |_, first, second| format!("{first}{second}"))
        .to_stream()
        .map(|user, path| (format!("{} {}-{}", user.key, user.window.start / MINUTE, user.window.end / MINUTE), path.clone()))
        .to("visits");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    let clicks = driver.input_topic::<String, String>("clicks");
    for (minute, page) in [(0, "home"), (10, "shop"), (60, "help"), (35, "cart")] {
        clicks.pipe("ann".into(), page.into(), minute * MINUTE)?;
    }
    for (visit, path) in driver.output_topic::<String, Option<String>>("visits").read_key_values()? {
        println!("{visit}: {}", path.as_deref().unwrap_or("(deleted)"));
    }
    Ok(())
}
