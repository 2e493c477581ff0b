//! The Rust side of `docs/from-java.md`: it compiles, and the page says the same.
#![allow(unused_variables, reason = "they show a value that a reader goes on with")]

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use millstream::{store::KeyValueStore, *};

const PAGE: &str = include_str!("../docs/from-java.md");
const SELF: &str = include_str!("from_java.rs");

/// The code between the first line of a kind and the next that ends it, without the indentation that all of it has.
fn dedented(code: &str) -> String {
    let indent = code.lines().filter(|line| !line.trim().is_empty()).map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    code.lines().map(|line| line.get(indent..).unwrap_or("").trim_end().to_string() + "\n").collect()
}

#[test]
fn the_page_shows_what_compiles_here() {
    let shown: Vec<_> = PAGE.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_string()).collect();
    let begin = concat!("// idiom ", "begins\n");
    let compiled: Vec<_> =
        SELF.split(begin).skip(1).map(|rest| dedented(rest.split(concat!("// idiom ", "ends")).next().unwrap().trim_end())).collect();
    assert_eq!(shown.len(), 20);
    assert_eq!(shown, compiled);
}

#[rustfmt::skip] // the page is narrower than the code
mod idioms {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn idiom_1() -> Outcome {
        // idiom begins
        let builder = StreamsBuilder::new();
        builder.stream::<Option<String>, String>("lines")
            .flat_map_values(|line| line.split_whitespace().map(String::from).collect::<Vec<_>>())
            .group_by(|_, word| word.clone())
            .count()
            .to_stream()
            .to("counts");
        let topology = builder.build()?;
        // idiom ends
        Ok(())
    }

    #[test]
    fn idiom_2() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        let orders = builder.stream::<String, String>("orders");
        orders.filter(|_, order| !order.trim().is_empty())
            .map_values(|order| order.trim().to_string())
            .map(|_, order| (order.clone(), order.len() as i32))
            .select_key(|_, length| *length)
            .to("lengths");
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_3() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        let changes = builder.stream::<String, Option<String>>("changes");
        changes.map_values(|v| v.as_ref().map(|v| v.to_uppercase()))
            .to("upper"); // None stays a tombstone
        changes.flat_map_values(|v| v.clone())
            .to("values"); // here String, and no null any more
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_4() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        let parts = builder.stream::<String, i32>("numbers")
            .split_named(Named::new("n-"))
            .branch(|_, v| *v < 0, Branched::new().name("negative"))
            .default_branch(Branched::new().name("other"));
        parts["n-negative"].to("negative");
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_5() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        let a = builder.stream::<String, String>("a");
        let b = builder.stream::<String, String>("b");
        a.merge_named(Named::new("both"), &b)
            .peek(|_, v| println!("{v}"))
            .to("all");
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_6() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        builder.stream::<String, String>("clicks")
            .select_key(|_, page| page.clone())
            .repartition_with(Repartitioned::new().name("by-page").partitions(8))
            .to("clicks-by-page");
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_7() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        builder.stream::<String, String>("events").to_dynamic(
            |record, _| format!("events-{}", &record.value[..2]).into(),
            Produced::new().partitioner(|_, k: &String, _, n| Some(vec![k.len() as i32 % n])),
        );
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_8() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        builder.stream_with::<String, Order>(
            &["raw"],
            Consumed::with(String::default_serde(), Arc::new(OrderSerde)).name("orders").offset_reset(OffsetReset::Earliest),
        )
        .to_with("copy", Produced::with(String::default_serde(), Arc::new(OrderSerde)));
        // idiom ends
        builder.build()?;
        Ok(())
    }

    // idiom begins
    #[derive(Clone)]
    struct Order { id: String }
    millstream::data!(Order);

    struct OrderSerde;
    impl Serde<Order> for OrderSerde {
        fn serialize(&self, order: &Order) -> Result<Bytes, SerdeError> {
            Ok(Bytes::copy_from_slice(order.id.as_bytes()))
        }
        fn deserialize(&self, bytes: &Bytes) -> Result<Order, SerdeError> {
            let id = String::from_utf8(bytes.to_vec()).map_err(|error| SerdeError(error.to_string()))?;
            Ok(Order { id })
        }
    }
    // idiom ends

    #[test]
    fn idiom_10() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        builder.table_with::<String, String>(
            "users",
            Consumed::new(),
            Materialized::store("users-store").caching(false),
        );
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_11() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        builder.stream::<String, i64>("amounts")
            .group_by_key()
            .aggregate(|| 0, |_, amount, sum: i64| sum + amount)
            .to_stream().to("sums");
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_12() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        builder.table::<String, String>("cities-of-users")
            .group_by(|user, city| (city.clone(), user.clone()))
            .count()
            .to_stream().to("users-of-cities");
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_13() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        let clicks = builder.stream::<String, String>("clicks").group_by_key();
        clicks.windowed_by(TimeWindows::of_size_and_grace(300_000, 10_000).advance_by(60_000)).count();
        clicks.windowed_by(SlidingWindows::of_time_difference_with_no_grace(30_000)).count();
        clicks.windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(1_800_000)).count();
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_14() -> Outcome {
        let builder = StreamsBuilder::new();
        let clicks = builder.stream::<String, String>("clicks").group_by_key();
        // idiom begins
        let windows = TimeWindows::of_size_and_grace(60_000, 10_000);
        clicks.windowed_by(windows).count()
            .suppress(Suppressed::until_window_closes(StrictBufferConfig::unbounded()))
            .to_stream_with_key(|window, _| window.key.clone()).to("final");
        clicks.windowed_by(windows)
            .emit_strategy(EmitStrategy::OnWindowClose)
            .count();
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_15() -> Outcome {
        let builder = StreamsBuilder::new();
        let (orders, payments) = (builder.stream::<String, String>("orders"), builder.stream::<String, i64>("payments"));
        // idiom begins
        orders.left_join_with(&payments,
            |order, payment: Option<&i64>| format!("{order} {payment:?}"),
            JoinWindows::of_time_difference_and_grace(300_000, 60_000),
            StreamJoined::new().store_name("paid"))
            .to("paid-orders");
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_16() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        let names = builder.table::<i64, String>("names");
        let cities = builder.table::<i64, String>("cities");
        names.outer_join(&cities, |name, city| format!("{name:?} of {city:?}"))
            .to_stream().to("users");
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_17() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        let orders = builder.table::<i64, String>("orders"); // "customer:thing"
        let customers = builder.table::<String, String>("customers");
        orders.foreign_key_join(&customers,
            |_, order| order.split_once(':').map(|(customer, _)| customer.to_string()),
            |order, name| format!("{order} for {name}"))
            .to_stream().to("named-orders");
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_18() -> Outcome {
        let builder = StreamsBuilder::new();
        // idiom begins
        #[derive(Default)]
        struct Once(Option<KeyValueStore<String, String>>);
        impl Processor<String, String, String, String> for Once {
            fn init(&mut self, context: &mut ProcessorContext<'_, String, String>) -> Result<(), Error> {
                self.0 = Some(context.store("seen")?);
                context.schedule(60_000, PunctuationType::StreamTime)?; // calls `punctuate`
                Ok(())
            }
            fn process(&mut self, context: &mut ProcessorContext<'_, String, String>, record: Record<String, String>) -> Result<(), Error> {
                let seen = self.0.clone().expect("init comes first");
                match seen.put_if_absent(context, &record.key, &record.value)? {
                    None => context.forward(record),
                    Some(_) => Ok(()),
                }
            }
        }
        builder.add_state_store(KeyValueStore::<String, String>::persistent("seen"));
        builder.stream::<String, String>("in").process(Once::default, &["seen"]).to("out");
        // idiom ends
        builder.build()?;
        Ok(())
    }

    #[test]
    fn idiom_19() -> Outcome {
        // idiom begins
        let config = StreamsConfig {
            on_deserialization_error: OnError::Continue,
            on_processing_error: OnError::ask(|failure| match failure.error.kind() {
                ErrorKind::User => Response::resume().dead_letter(failure.dead_letter("dead")),
                _ => Response::fail(),
            }),
            dead_letter_topic: Some("dead".into()),
            ..StreamsConfig::new("my-application")
        };
        // idiom ends
        Ok(())
    }

    #[allow(dead_code)] // it wants a broker
    fn idiom_20() -> Outcome {
        let builder = StreamsBuilder::new();
        builder.stream::<String, String>("in").to("out");
        let topology = builder.build()?;
        // idiom begins
        let driver = TopologyTestDriver::new(&topology, Default::default())?;
        driver.input_topic::<String, String>("in").pipe("a".into(), "1".into(), 100)?;
        let out = driver.output_topic::<String, String>("out").read_key_values()?;

        let broker = millstream_broker::connect(Some("localhost:9092"), Path::new("data"))?;
        let streams = KafkaStreams::new(topology, StreamsConfig::new("my-application").exactly_once(), broker)?;
        streams.start()?;
        streams.close()?;
        // idiom ends
        Ok(())
    }
}
