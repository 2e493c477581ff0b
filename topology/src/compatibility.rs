//! What becomes of Kafka Streams' defects.

/// Whether results that Kafka Streams 4.3 loses or doubles are lost and doubled here, too: one switch for a whole application.
///
/// | where | [`Kafka`](Self::Kafka) | [`Sound`](Self::Sound) |
/// | --- | --- | --- |
/// | windows and sessions that are emitted on close (KIP-825), when time jumps | the record that closes them is stored first, and the store hides at once what is older than its retention: such results are never emitted, nor counted as dropped | they are emitted before that record is stored, whatever the emit interval |
/// | what is exactly at the edge of a window or session store's retention | is hidden, in memory always (tumbling windows without grace are never emitted on close), on disk unless it is ordered by time: a join loses pairs, a session that still takes records is not found and begins again beside itself | is there |
/// | a record without a key in a left join with a table with grace | stops the task | is given out alone at once, as in the join without grace; in both modes, an inner join drops it |
/// | a session of one instant that gets another record of that instant | its old value is not retracted: tables below count it twice | it is retracted |
/// | the old value of an aggregate's first record, without the record cache | is the initializer's value, which tables below subtract although nobody has added it | is none, as with the cache |
/// | an out-of-order record of an outer side whose window has passed, but not its grace | is given out alone at once, and again with the partner that comes in time | waits for its grace, as others do |
/// | `suppress` until sliding windows or sessions close, at the very end of the grace | results leave one millisecond before the aggregation closes: a second final may follow | leave with the close |
///
/// What fails in Kafka Streams by accident, without a rule, fails in neither mode: a cached session store in memory whose gap is above a
/// minute, and topologies that its optimizer cannot write.
///
/// **Why [`Sound`](Self::Sound) is the default.** A program that means what its text says is what this library is for, and no
/// text says that a result be lost when time jumps. Every difference is one of the rows above: where Kafka Streams gives each result once,
/// both modes agree record by record, so who comes from the JVM finds no other results, only those that were missing, and none of those
/// that were too many. Who runs beside a JVM, or compares with one, sets [`Kafka`](Self::Kafka): with it the certificate's golden
/// scenarios, the defects included, are met one by one. To change the mode of a running application is safe: no stored byte depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// As Kafka Streams 4.3.1, defects included.
    Kafka,
    /// Each result once.
    #[default]
    Sound,
}

impl Compatibility {
    /// Whether it is [`Sound`](Self::Sound).
    pub fn is_sound(self) -> bool {
        self == Self::Sound
    }

    /// How long a windowed store keeps rows that are to be kept so long: with the last millisecond, or without.
    pub(crate) fn retention(self, retention_ms: i64) -> i64 {
        retention_ms.saturating_add(i64::from(self.is_sound()))
    }
}
