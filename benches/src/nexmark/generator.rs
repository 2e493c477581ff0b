//! The events of the NEXMark benchmark, as its specification (and Apache Beam's generator) has them, without chance.

use super::{
    events::{Auction, Bid, EVENTS, Event, Person},
    plain::Plain,
};
use crate::input::{Batch, mix};

/// Of 50 events the first is a person, the next three are auctions, all others bids.
const PERSONS: i64 = 1;
const AUCTIONS: i64 = 3;
const ROUND: i64 = 50;
/// The first id of persons and auctions.
const FIRST_ID: i64 = 1_000;
/// How many of the last persons are active, and how many auctions are open.
const ACTIVE_PERSONS: i64 = 1_000;
const OPEN_AUCTIONS: i64 = 100;
/// Bids and auctions may name a person or an auction that comes a little later.
const PERSON_LEAD: i64 = 10;
const AUCTION_LEAD: i64 = 10;
/// Of so many bids, all but one go to the hot auction (or come from the hot bidder); the same for auctions and their sellers.
const HOT_AUCTIONS: u64 = 2;
const HOT_BIDDERS: u64 = 4;
const HOT_SELLERS: u64 = 4;
/// Every so many ids there is another hot one.
const HOT_SPAN: i64 = 100;

const FIRST_CATEGORY: i64 = 10;
const CATEGORIES: u64 = 5;
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const FIRST_NAMES: [&str; 11] = ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];

/// Events by number.
///
/// **Law.** Event *n* is the same in every run, at *n* / `rate` seconds; times never go back.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    /// The time of the first event, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Events per second of event time.
    pub rate: i64,
}

impl Default for Generator {
    /// The 10,000 events per second of the specification.
    fn default() -> Self {
        Self { start_ms: 1_436_918_400_000, rate: 10_000 }
    }
}

impl Generator {
    /// The event of that number.
    pub fn event(&self, number: u64) -> Event {
        let mut chance = Chance(mix(number));
        let (number, date_time) = (number as i64, self.time(number as i64));
        match number % ROUND {
            place if place < PERSONS => Event::Person(person(number, date_time, &mut chance)),
            place if place < PERSONS + AUCTIONS => Event::Auction(self.auction(number, date_time, &mut chance)),
            _ => Event::Bid(bid(number, date_time, &mut chance)),
        }
    }

    /// Appends the event of that number as a record.
    pub fn add_to(&self, batch: &mut Batch, number: u64) {
        let event = self.event(number);
        let mut value = vec![];
        event.write(&mut value);
        batch.add(EVENTS, &event.key().to_be_bytes(), &value, event.date_time());
    }

    fn time(&self, number: i64) -> i64 {
        self.start_ms + number * 1_000 / self.rate
    }

    fn auction(&self, number: i64, date_time: i64, chance: &mut Chance) -> Auction {
        let seller = match chance.below(HOT_SELLERS) {
            0 => active_person(number, chance),
            _ => last_person(number) / HOT_SPAN * HOT_SPAN,
        };
        // About as many auctions are open as there are to be.
        let open_for = self.time(number + ROUND * OPEN_AUCTIONS / AUCTIONS) - date_time;
        let expires = date_time + 1 + chance.below((open_for * 2).max(1) as u64) as i64;
        let initial_bid = chance.price();
        Auction {
            id: FIRST_ID + last_auction(number),
            item: chance.text(20),
            description: chance.text(100),
            initial_bid,
            reserve: initial_bid + chance.price(),
            date_time,
            expires,
            seller: FIRST_ID + seller,
            category: FIRST_CATEGORY + chance.below(CATEGORIES) as i64,
            extra: chance.text(312),
        }
    }
}

fn person(number: i64, date_time: i64, chance: &mut Chance) -> Person {
    Person {
        id: FIRST_ID + last_person(number),
        name: format!("{} {}", chance.one_of(&FIRST_NAMES), chance.one_of(&LAST_NAMES)),
        email: format!("{}@{}.com", chance.text(7), chance.text(5)),
        credit_card: (0..4).map(|_| format!("{:04}", chance.below(10_000))).collect::<Vec<_>>().join(" "),
        city: chance.one_of(&CITIES).into(),
        state: chance.one_of(&STATES).into(),
        date_time,
        extra: chance.text(100),
    }
}

fn bid(number: i64, date_time: i64, chance: &mut Chance) -> Bid {
    let auction = match chance.below(HOT_AUCTIONS) {
        0 => open_auction(number, chance),
        _ => last_auction(number) / HOT_SPAN * HOT_SPAN,
    };
    let bidder = match chance.below(HOT_BIDDERS) {
        0 => active_person(number, chance),
        _ => last_person(number) / HOT_SPAN * HOT_SPAN + 1,
    };
    Bid { auction: FIRST_ID + auction, bidder: FIRST_ID + bidder, price: chance.price(), date_time, extra: chance.text(64) }
}

/// The newest person at an event, counted from 0.
fn last_person(number: i64) -> i64 {
    number / ROUND * PERSONS + (number % ROUND).min(PERSONS - 1)
}

/// The newest auction at an event, counted from 0; −1 before the first.
fn last_auction(number: i64) -> i64 {
    number / ROUND * AUCTIONS + (number % ROUND - PERSONS).min(AUCTIONS - 1)
}

fn active_person(number: i64, chance: &mut Chance) -> i64 {
    let persons = last_person(number) + 1;
    let active = persons.min(ACTIVE_PERSONS);
    persons - active + chance.below((active + PERSON_LEAD) as u64) as i64
}

fn open_auction(number: i64, chance: &mut Chance) -> i64 {
    let last = last_auction(number);
    let first = (last - OPEN_AUCTIONS).max(0);
    first + chance.below((last - first + 1 + AUCTION_LEAD) as u64) as i64
}

/// What looks like chance.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = mix(self.0);
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From 1 to a million dollars in cents; each power of ten is as likely as another.
    fn price(&mut self) -> i64 {
        let exponent = self.below(6_000_000) as f64 / 1e6;
        (10f64.powf(exponent) * 100.0).round() as i64
    }

    fn one_of(&mut self, names: &[&'static str]) -> &'static str {
        names[self.below(names.len() as u64) as usize]
    }

    /// Lower-case letters.
    fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length + 8);
        while text.len() < length {
            text.extend(self.next().to_le_bytes().map(|byte| (b'a' + byte % 26) as char));
        }
        text.truncate(length);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_auctions_and_bids_are_one_to_three_to_forty_six_and_ids_follow_each_other() {
        let events: Vec<_> = (0..5_000).map(|number| Generator::default().event(number)).collect();
        let persons: Vec<_> =
            events.iter().filter_map(|event| if let Event::Person(person) = event { Some(person.id) } else { None }).collect();
        let auctions: Vec<_> =
            events.iter().filter_map(|event| if let Event::Auction(auction) = event { Some(auction.id) } else { None }).collect();
        assert_eq!(persons, (1_000..1_100).collect::<Vec<_>>());
        assert_eq!(auctions, (1_000..1_300).collect::<Vec<_>>());
        assert!(events.windows(2).all(|pair| pair[0].date_time() <= pair[1].date_time()));
        assert_eq!(events[4_999].date_time() - events[0].date_time(), 499);
    }

    #[test]
    fn bids_go_to_auctions_that_are_open_or_come_soon() {
        for number in 100_000..101_000 {
            let Event::Bid(bid) = Generator::default().event(number) else { continue };
            let newest = FIRST_ID + last_auction(number as i64);
            assert!((newest - 2 * HOT_SPAN..=newest + AUCTION_LEAD).contains(&bid.auction), "{bid:?}, the newest is {newest}");
        }
    }
}
