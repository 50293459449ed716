//! The gaps between tokens of each level, put together from the workers' histograms.

use std::collections::BTreeMap;

use hdrhistogram::serialization::{Serializer, V2Serializer};

use crate::messages::{Gaps, no_gaps};

/// The histograms that the workers of this process have handed over.
#[derive(Debug)]
pub(crate) struct GapsBook {
    workers: usize,
    levels: BTreeMap<u32, Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    told: bool,
    workers: BTreeMap<usize, (Gaps, bool)>,
}

impl GapsBook {
    /// A book for so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            levels: BTreeMap::new(),
        }
    }

    /// Enters a worker's histogram of a level in place of its earlier one. Brings the level's once all workers have
    /// handed over theirs, and again once nothing can be added by any of them.
    pub(crate) fn enter(&mut self, worker: usize, level: u32, gaps: Gaps, last: bool) -> Option<Vec<u8>> {
        let shares = self.levels.entry(level).or_default();
        shares.workers.insert(worker, (gaps, last));
        if shares.workers.len() < self.workers {
            return None;
        }
        let last = shares.workers.values().all(|(_, last)| *last);
        if shares.told && !last {
            return None;
        }
        shares.told = true;
        let sum = serialized(shares.workers.values().map(|(gaps, _)| gaps));
        if last {
            self.levels.remove(&level);
        }
        Some(sum)
    }
}

fn serialized<'a>(parts: impl Iterator<Item = &'a Gaps>) -> Vec<u8> {
    let mut sum = no_gaps();
    for part in parts {
        // All have the same bounds, so that nothing can be out of range.
        let _ = sum.add(part);
    }
    let mut histogram = Vec::new();
    // Writing to memory cannot fail; no histogram is the honest remainder if it ever did.
    let _ = V2Serializer::new().serialize(&sum, &mut histogram);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;

    fn gaps(count: u64) -> Gaps {
        let mut gaps = no_gaps();
        gaps.saturating_record_n(5_000_000, count);
        gaps
    }

    #[test]
    fn a_level_is_told_when_everybody_has_spoken_and_when_it_is_over() {
        let mut book = GapsBook::new(2);
        let mut check = |worker, count, last, expected: Option<u64>| {
            let sum = book.enter(worker, 7, gaps(count), last);
            let len = |bytes: Vec<u8>| {
                let sum: Gaps = Deserializer::new()
                    .deserialize(&mut &bytes[..])
                    .expect("a histogram");
                sum.len()
            };
            assert_eq!(sum.map(len), expected);
        };
        check(0, 3, false, None);
        check(1, 4, false, Some(7));
        check(0, 5, true, None);
        check(1, 6, true, Some(11));
        // Another begin of the same level is another level to the book.
        check(0, 1, true, None);
    }
}
