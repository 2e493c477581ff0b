//! Which queue's turn it is.

/// **Law.** It is the turn of the queue whose head has the lowest timestamp. Which of equals goes first is no promise, but it is what
/// Kafka Streams does: the order of its binary heap, into which queues come when they get their first record.
#[derive(Default)]
pub(super) struct Turns(Vec<(i64, usize)>);

impl Turns {
    /// Adds a queue that has a head, with the head's timestamp.
    pub fn offer(&mut self, timestamp: i64, queue: usize) {
        let mut at = self.0.len();
        self.0.push((timestamp, queue));
        while at > 0 && timestamp < self.0[(at - 1) / 2].0 {
            self.0.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    /// Takes the queue whose turn it is.
    pub fn take(&mut self) -> Option<usize> {
        let last = self.0.pop()?;
        let Some(first) = self.0.first_mut() else { return Some(last.1) };
        let first = std::mem::replace(first, last);
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let Some(lower) = self.0.get(left).map(|entry| entry.0) else { break };
            let child = if self.0.get(right).is_some_and(|entry| entry.0 < lower) { right } else { left };
            if self.0[at].0 <= self.0[child].0 {
                break;
            }
            self.0.swap(at, child);
            at = child;
        }
        Some(first.1)
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    fn order(offers: &[(i64, usize)]) -> Vec<usize> {
        let mut turns = Turns::default();
        offers.iter().for_each(|&(timestamp, queue)| turns.offer(timestamp, queue));
        std::iter::from_fn(|| turns.take()).collect()
    }

    #[test]
    fn the_lowest_timestamp_goes_first() {
        assert_eq!(order(&[(3, 0), (1, 1), (2, 2), (0, 3)]), [3, 1, 2, 0]);
    }

    #[test]
    fn equals_go_in_the_order_of_a_java_priority_queue() {
        assert_eq!(order(&[(5, 0), (5, 1), (5, 2), (5, 3), (5, 4)]), [0, 4, 3, 2, 1]);
    }
}
