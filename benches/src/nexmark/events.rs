//! What happens on the auction house's site.

use millstream::{KStream, StreamsBuilder};

use super::plain::{Plain, data_with_plain_serde, plain};

plain! {
    /// Somebody registered.
    pub struct Person {
        pub id: i64,
        pub name: String,
        pub email: String,
        pub credit_card: String,
        pub city: String,
        pub state: String,
        pub date_time: i64,
        /// Padding: a person has about 200 bytes.
        pub extra: String,
    }

    /// Somebody offers something.
    pub struct Auction {
        pub id: i64,
        pub item: String,
        pub description: String,
        pub initial_bid: i64,
        pub reserve: i64,
        pub date_time: i64,
        pub expires: i64,
        pub seller: i64,
        pub category: i64,
        /// Padding: an auction has about 500 bytes.
        pub extra: String,
    }

    /// Somebody bids.
    pub struct Bid {
        pub auction: i64,
        pub bidder: i64,
        /// In cents.
        pub price: i64,
        pub date_time: i64,
        /// Padding: a bid has about 100 bytes.
        pub extra: String,
    }
}

/// Anything that happens. All is in one topic, under the id of its person or its auction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the three kinds say it all
pub enum Event {
    Person(Person),
    Auction(Auction),
    Bid(Bid),
}
data_with_plain_serde!(Event);

impl Event {
    /// Its key in the topic.
    pub fn key(&self) -> i64 {
        match self {
            Self::Person(person) => person.id,
            Self::Auction(auction) => auction.id,
            Self::Bid(bid) => bid.auction,
        }
    }

    /// When it happened, in milliseconds since the epoch.
    pub fn date_time(&self) -> i64 {
        match self {
            Self::Person(Person { date_time, .. }) | Self::Auction(Auction { date_time, .. }) | Self::Bid(Bid { date_time, .. }) => {
                *date_time
            }
        }
    }
}

impl Plain for Event {
    fn write(&self, bytes: &mut Vec<u8>) {
        let kind = match self {
            Self::Person(_) => 0,
            Self::Auction(_) => 1,
            Self::Bid(_) => 2,
        };
        bytes.push(kind);
        match self {
            Self::Person(person) => person.write(bytes),
            Self::Auction(auction) => auction.write(bytes),
            Self::Bid(bid) => bid.write(bytes),
        }
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        *bytes = rest;
        match kind {
            0 => Person::read(bytes).map(Self::Person),
            1 => Auction::read(bytes).map(Self::Auction),
            2 => Bid::read(bytes).map(Self::Bid),
            _ => None,
        }
    }
}

/// The topic of all events.
pub const EVENTS: &str = "events";

/// All that happens.
pub fn events(builder: &StreamsBuilder) -> KStream<i64, Event> {
    builder.stream(EVENTS)
}

/// Those who registered, by their id.
pub fn persons(events: &KStream<i64, Event>) -> KStream<i64, Person> {
    events.flat_map_values(|event| match event {
        Event::Person(person) => Some(person.clone()),
        _ => None,
    })
}

/// What is offered, by the auction's id.
pub fn auctions(events: &KStream<i64, Event>) -> KStream<i64, Auction> {
    events.flat_map_values(|event| match event {
        Event::Auction(auction) => Some(auction.clone()),
        _ => None,
    })
}

/// What is bid, by the auction's id.
pub fn bids(events: &KStream<i64, Event>) -> KStream<i64, Bid> {
    events.flat_map_values(|event| match event {
        Event::Bid(bid) => Some(bid.clone()),
        _ => None,
    })
}
