//! The prompts of a run in the order in which they are used.

use super::Entry;
use crate::stream::{Key, Purpose, Stream};

/// Entries of one or more data sets in the order of their use, which the seed decides.
///
/// The entries of each set are shuffled; each place of the order takes the next one of a set that is drawn by the shares.
/// The order ends where a set that is drawn has no entry left, so that the shares hold to the end and nothing is used
/// twice.
#[derive(Clone, Debug)]
pub struct Pool {
    entries: Vec<Entry>,
    order: Vec<u32>,
}

impl Pool {
    /// Shuffles and mixes data sets with their shares, which add up to 1; at most `most` entries, if given.
    pub fn mix(seed: u64, sets: Vec<(Vec<Entry>, f64)>, most: Option<u32>) -> Self {
        let mut entries = Vec::new();
        let mut queues = Vec::new();
        for (number, (set, share)) in (0..).zip(sets) {
            let first = entries.len() as u32;
            let mut queue: Vec<u32> = (first..first + set.len() as u32).collect();
            shuffle(&mut queue, &mut stream(seed, Purpose::Shuffle, number));
            entries.extend(set);
            queues.push((queue.into_iter(), share));
        }
        let mut order = Vec::new();
        let mut draws = stream(seed, Purpose::Mix, 0);
        while most.is_none_or(|most| order.len() < most as usize) {
            let mut drawn = if queues.len() > 1 { draws.unit() } else { 0.0 };
            let last = queues.len().saturating_sub(1);
            let chosen = queues.iter_mut().enumerate().find(|(number, (_, share))| {
                let found = drawn <= *share || *number == last;
                drawn -= *share;
                found
            });
            match chosen.and_then(|(_, (queue, _))| queue.next()) {
                Some(entry) => order.push(entry),
                None => break,
            }
        }
        Self { entries, order }
    }

    /// How many prompts there are.
    pub fn len(&self) -> u64 {
        self.order.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The prompt of the run's request of this number, from 0; absent when they are used up.
    pub fn get(&self, request: u64) -> Option<&Entry> {
        let index = self.order.get(usize::try_from(request).ok()?)?;
        self.entries.get(*index as usize)
    }
}

fn stream(seed: u64, purpose: Purpose, set: u32) -> Stream {
    Stream::new(Key {
        seed,
        purpose,
        segment: set,
        arrival: 0,
        salt: 0,
    })
}

/// Fisher and Yates's shuffle, from the end.
fn shuffle(items: &mut [u32], stream: &mut Stream) {
    for last in (1..items.len()).rev() {
        items.swap(last, stream.below(last as u32 + 1) as usize);
    }
}
