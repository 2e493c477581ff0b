//! What Kafka Streams 4.3.1 answered to random scripts; `StoreAnswers.java` wrote `kafka.txt`.

use super::script::Store;

#[test]
fn every_store_answers_as_kafka_streams_does() {
    let recorded = include_str!("kafka.txt");
    let mut store = None;
    let (mut answered, mut wrong, mut head) = (0, Vec::new(), "");
    for line in recorded.lines() {
        if line.starts_with("store ") {
            head = line;
            store = Some(Store::open(line, None).expect("memory opens"));
            continue;
        }
        let (operation, expected) = line.split_once(" |").expect("an operation has an answer");
        let answer = store.as_mut().expect("a script begins with its store").answer(operation).expect("memory answers");
        answered += 1;
        if answer != expected {
            wrong.push(format!("{head}: {operation}\n  kafka: {expected}\n  here:  {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {answered} answers differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert!(answered > 1_000, "only {answered} answers were recorded");
}
