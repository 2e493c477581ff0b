//! A processor of one's own, with a store and a punctuator: every device that has been silent for a minute is reported, once.
//!
//! ```sh
//! cargo run --release -p millstream --example custom_processor
//! ```
use millstream::{
    Error, Processor, ProcessorContext, PunctuationType, Record, Schedule, StreamsBuilder, TopologyTestDriver, store::KeyValueStore,
};

/// When each device was last heard of.
type LastSeen = KeyValueStore<String, i64>;

#[derive(Default)]
struct Watch {
    last_seen: Option<LastSeen>,
}

impl Watch {
    fn last_seen(&self) -> LastSeen {
        self.last_seen.clone().expect("init comes first")
    }
}

impl Processor<String, String, String, String> for Watch {
    fn init(&mut self, context: &mut ProcessorContext<'_, String, String>) -> Result<(), Error> {
        self.last_seen = Some(context.store("last-seen")?);
        context.schedule(10_000, PunctuationType::WallClockTime)?;
        Ok(())
    }

    fn process(&mut self, context: &mut ProcessorContext<'_, String, String>, record: Record<String, String>) -> Result<(), Error> {
        let now = context.wall_clock();
        // The context dereferences to the task's, which stores are written with.
        self.last_seen().put(context, &record.key, Some(&now))
    }

    fn punctuate(&mut self, context: &mut ProcessorContext<'_, String, String>, _: &Schedule, now: i64) -> Result<(), Error> {
        for entry in self.last_seen().all()? {
            let (device, seen) = entry?;
            if now - seen >= 60_000 {
                self.last_seen().delete(context, &device)?;
                context.forward(Record::new(device, format!("silent since {} s", seen / 1_000), now))?;
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let builder = StreamsBuilder::new();
    builder.add_state_store(LastSeen::in_memory("last-seen"));
    builder.stream::<String, String>("heartbeats").process(Watch::default, &["last-seen"]).to("alarms");

    let driver = TopologyTestDriver::new(&builder.build()?, Default::default())?;
    let heartbeats = driver.input_topic::<String, String>("heartbeats");
    heartbeats.pipe("pump".into(), "ok".into(), 0)?;
    heartbeats.pipe("lamp".into(), "ok".into(), 0)?;
    driver.advance_wall_clock_ms(30_000)?;
    heartbeats.pipe("lamp".into(), "ok".into(), 30_000)?;
    driver.advance_wall_clock_ms(40_000)?;
    driver.advance_wall_clock_ms(30_000)?;
    for alarm in driver.output_topic::<String, String>("alarms").read_records()? {
        println!("at {} s: {} {}", alarm.timestamp / 1_000, alarm.key, alarm.value);
    }
    Ok(())
}
