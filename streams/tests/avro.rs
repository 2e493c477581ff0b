//! Avro against a tiny schema registry in this process.
//!
//! ```sh
//! cargo test --release --workspace --features millstream/avro --test avro
//! ```
#![allow(clippy::unwrap_used)]
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use millstream::{
    Consumed, DefaultSerde, ErrorKind, Produced, Serde, SerdeRef, StreamsBuilder, TopologyTestDriver,
    avro::{Avro, SchemaRegistry},
    data,
};

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Order {
    id: String,
    amount: i64,
}
data!(Order);

const OLD: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#;
const NEW: &str =
    r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"},{"name":"amount","type":"long","default":7}]}"#;

/// Schemas by subject, numbered from 1, and what was asked.
#[derive(Default)]
struct State {
    schemas: Vec<(String, String)>,
    asked: Vec<String>,
    authorization: Option<String>,
}

#[derive(Clone)]
struct Registry {
    url: String,
    state: Arc<Mutex<State>>,
}

impl Registry {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = Self { url: format!("http://{}", listener.local_addr().unwrap()), state: Arc::default() };
        let served = registry.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|connection| served.serve(connection)));
        registry
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    fn serve(&self, connection: TcpStream) {
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        let (mut request, mut length) = (String::new(), 0);
        reader.read_line(&mut request).unwrap();
        let mut state = self.state.lock().unwrap();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let Some((name, value)) = header.trim().split_once(": ") else { break };
            match name.to_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => state.authorization = Some(value.to_string()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = request.trim_end_matches(" HTTP/1.1\r\n").to_string();
        let (status, answer) = state.answer(&request, &body);
        state.asked.push(request);
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        (&connection).write_all((head + &answer).as_bytes()).unwrap();
    }
}

impl State {
    fn answer(&mut self, request: &str, body: &[u8]) -> (&'static str, String) {
        let (method, path) = request.split_once(' ').unwrap();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, &parts[..]) {
            ("GET", ["schemas", "ids", id]) => match self.schemas.get(id.parse::<usize>().unwrap() - 1) {
                Some((_, schema)) => ("200 OK", serde_json::json!({ "schema": schema }).to_string()),
                None => ("404 Not Found", r#"{"error_code":40403,"message":"Schema not found"}"#.into()),
            },
            ("POST", ["subjects", subject, rest @ ..]) => {
                let body: serde_json::Value = serde_json::from_slice(body).unwrap();
                let entry = (subject.to_string(), body["schema"].as_str().unwrap().to_string());
                let at = self.schemas.iter().position(|known| *known == entry);
                if at.is_none() && rest.is_empty() {
                    return ("404 Not Found", r#"{"error_code":40401,"message":"Subject not found"}"#.into());
                }
                let at = at.unwrap_or_else(|| {
                    self.schemas.push(entry);
                    self.schemas.len() - 1
                });
                ("200 OK", serde_json::json!({ "id": at + 1 }).to_string())
            }
            _ => ("405 Method Not Allowed", "what?".into()),
        }
    }
}

fn orders(registry: &Registry) -> SerdeRef<Order> {
    Avro::new(&SchemaRegistry::new(&registry.url), "orders-value", NEW).unwrap().serde()
}

fn order(id: &str, amount: i64) -> Order {
    Order { id: id.into(), amount }
}

#[test]
fn a_value_is_a_zero_the_number_of_its_schema_and_its_body() {
    let registry = Registry::start();
    let bytes = orders(&registry).serialize(&order("ab", 3)).unwrap();
    assert_eq!(bytes.as_ref(), [0, 0, 0, 0, 1, 4, b'a', b'b', 6]);
    assert_eq!(orders(&registry).deserialize(&bytes).unwrap(), order("ab", 3));
}

#[test]
fn what_an_older_schema_wrote_is_read_by_the_newer_one() {
    let registry = Registry::start();
    let client = SchemaRegistry::new(&registry.url);
    assert_eq!(client.register("orders-value", OLD).unwrap(), 1);
    let read = orders(&registry).deserialize(&Bytes::from_static(&[0, 0, 0, 0, 1, 4, b'a', b'b'])).unwrap();
    assert_eq!(read, order("ab", 7));
}

#[test]
fn a_registry_is_asked_once_for_each_schema_that_fits_the_cache() {
    let registry = Registry::start();
    let client = SchemaRegistry::new(&registry.url).capacity(1).basic_auth("me", "secret");
    let serde = Avro::<Order>::new(&client, "a/b-value", NEW).unwrap().serde();
    for amount in 0..3 {
        serde.deserialize(&serde.serialize(&order("x", amount)).unwrap()).unwrap();
    }
    assert_eq!(registry.asked(), ["POST /subjects/a%2Fb-value/versions", "GET /schemas/ids/1"]);
    assert_eq!(registry.state.lock().unwrap().authorization.as_deref(), Some("Basic bWU6c2VjcmV0"));
    // Another schema takes the only place.
    client.register("other", OLD).unwrap();
    client.schema(2).unwrap();
    client.schema(1).unwrap();
    assert_eq!(registry.asked(), ["POST /subjects/other/versions", "GET /schemas/ids/2", "GET /schemas/ids/1"]);
}

#[test]
fn errors_name_the_type_and_what_was_found() {
    let registry = Registry::start();
    let error = |bytes: &'static [u8]| orders(&registry).deserialize(&Bytes::from_static(bytes)).unwrap_err().to_string();
    assert_eq!(error(&[0, 0]), "avro::Order from Avro: 2 bytes, which are too few for the number of a schema");
    assert_eq!(error(b"{\"id\":1}"), "avro::Order from Avro: byte 0x7b where 0x00 begins a value with the number of its schema");
    assert!(error(&[0, 0, 0, 0, 9, 0]).contains("Schema not found (error 40403)"), "{}", error(&[0, 0, 0, 0, 9, 0]));
    let strict = Avro::<Order>::new(&SchemaRegistry::new(&registry.url), "orders-value", NEW).unwrap().only_registered();
    let text = strict.serialize(&order("a", 1)).unwrap_err().to_string();
    assert!(text.contains("Subject not found (error 40401): register the schema"), "{text}");
    orders(&registry).serialize(&order("a", 1)).unwrap();
    strict.serialize(&order("a", 1)).unwrap();
    assert!(Avro::<Order>::new(&SchemaRegistry::new(&registry.url), "x", "{").err().unwrap().to_string().contains("avro::Order"));
}

#[test]
fn a_registry_that_does_not_answer_is_an_error_at_the_deadline() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = SchemaRegistry::new(format!("http://{}", silent.local_addr().unwrap())).deadline(Duration::from_millis(200));
    let began = Instant::now();
    let text = client.register("orders-value", NEW).unwrap_err().to_string();
    assert!(text.contains("is it there"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_topology_reads_and_writes_avro() {
    let registry = Registry::start();
    let builder = StreamsBuilder::new();
    let text = String::default_serde;
    builder
        .stream_with::<String, Order>(&["orders"], Consumed::with(text(), orders(&registry)))
        .map_values(|order| Order { amount: order.amount * 2, ..order.clone() })
        .to_with("twice", Produced::with(text(), orders(&registry)));
    let driver = TopologyTestDriver::new(&builder.build().unwrap(), Default::default()).unwrap();
    driver.input_topic_with::<String, Order>("orders", text(), orders(&registry)).pipe("k".into(), order("a", 4), 0).unwrap();
    let twice = driver.output_topic_with::<String, Order>("twice", text(), orders(&registry));
    assert_eq!(twice.read_values().unwrap(), [order("a", 8)]);
    let error = driver.input_topic::<String, String>("orders").pipe("k".into(), "no Avro".into(), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialization);
    assert!(error.to_string().contains("avro::Order from Avro"), "{error}");
}
