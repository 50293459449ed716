//! A timer queue for two fixed delays.

use std::collections::VecDeque;

/// What is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due<T> {
    /// In nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// What.
    pub what: T,
}

/// Entries in the order of their times.
///
/// Each of the two rows is fed with times that never go back, so that no entry is ever moved: the first token of a
/// request is due a fixed time after the request, each further one a fixed time after the token before, and tokens are
/// taken out in order.
#[derive(Debug)]
pub struct Timers<T> {
    first: VecDeque<Due<T>>,
    further: VecDeque<Due<T>>,
}

impl<T: Copy> Timers<T> {
    /// An empty queue with room for so many entries of each kind.
    pub fn with_capacity(entries: usize) -> Self {
        Self {
            first: VecDeque::with_capacity(entries),
            further: VecDeque::with_capacity(entries),
        }
    }

    /// A first token is due.
    pub fn push_first(&mut self, at_ns: u64, what: T) {
        self.first.push_back(Due { at_ns, what });
    }

    /// A further token is due.
    pub fn push_further(&mut self, at_ns: u64, what: T) {
        self.further.push_back(Due { at_ns, what });
    }

    /// When the next entry is due.
    pub fn next_ns(&self) -> Option<u64> {
        let time = |row: &VecDeque<Due<T>>| row.front().map(|due| due.at_ns);
        match (time(&self.first), time(&self.further)) {
            (Some(first), Some(further)) => Some(first.min(further)),
            (first, further) => first.or(further),
        }
    }

    /// Takes out what is due at `now_ns`, the earliest first.
    pub fn pop(&mut self, now_ns: u64) -> Option<Due<T>> {
        let next_ns = self.next_ns().filter(|next_ns| *next_ns <= now_ns)?;
        let row = match self.first.front() {
            Some(due) if due.at_ns == next_ns => &mut self.first,
            _ => &mut self.further,
        };
        row.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_leave_in_the_order_of_their_times() {
        let check = |first: &[u64], further: &[u64], now_ns, expected: &[u64], next| {
            let mut timers = Timers::with_capacity(1);
            for at_ns in first {
                timers.push_first(*at_ns, ());
            }
            for at_ns in further {
                timers.push_further(*at_ns, ());
            }
            let popped: Vec<u64> = std::iter::from_fn(|| timers.pop(now_ns).map(|due| due.at_ns)).collect();
            assert_eq!(popped, expected);
            assert_eq!(timers.next_ns(), next);
        };
        check(&[], &[], 9, &[], None);
        check(&[2, 5], &[1, 3, 7], 5, &[1, 2, 3, 5], Some(7));
        check(&[2, 5], &[], 4, &[2], Some(5));
        check(&[8], &[8], 8, &[8, 8], None);
    }
}
