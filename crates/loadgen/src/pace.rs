//! From pieces of the schedule to segments that follow each other without a seam.

use gipfel_model::{ArrivalProcess, ArrivalRate};
use gipfel_workload::{Segment, SegmentEnd, count_arrivals};

/// The numbers of a level's segments begin at its own number times this: the 17,280 steps of five seconds of a whole day
/// fit into the 31 bits that a request's number leaves, and so do two hours of a level in pieces of 100 ms.
const SEGMENTS_PER_LEVEL: u32 = 1 << 16;

/// The number of a level's `nth` segment; unique in the run, and absent when the numbers are used up.
pub(crate) fn segment_index(level: u32, nth: u32) -> Option<u32> {
    let index = level.checked_mul(SEGMENTS_PER_LEVEL)?.checked_add(nth)?;
    (nth < SEGMENTS_PER_LEVEL && i32::try_from(index).is_ok()).then_some(index)
}

/// Cuts the schedule into segments.
///
/// A Poisson process has no memory, so that it may begin anew with each of them. Constant arrivals do not: the first one
/// of a piece comes one gap after the last one of the piece before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    seed: u64,
    process: ArrivalProcess,
    /// Not rounded, so that no error grows over many pieces.
    last_arrival_ns: Option<f64>,
}

impl Pace {
    /// The pace of a schedule that begins.
    pub(crate) fn new(seed: u64, process: ArrivalProcess) -> Self {
        Self {
            seed,
            process,
            last_arrival_ns: None,
        }
    }

    /// The segment that offers `rate` over the span; none if no constant arrival falls into it.
    pub(crate) fn segment(&mut self, index: u32, rate: ArrivalRate, span: (i64, i64)) -> Option<Segment> {
        let (from, to) = span;
        let gap_ns = 1e9 / rate.get();
        let first_ns = match (self.process, self.last_arrival_ns) {
            (ArrivalProcess::Constant, Some(last)) => (last + gap_ns).max(from as f64),
            _ => from as f64,
        };
        let start_ns = first_ns.round() as i64;
        if start_ns >= to {
            return None;
        }
        let segment = Segment {
            index,
            rate,
            start_ns,
            end: SegmentEnd::At(to),
        };
        if self.process == ArrivalProcess::Constant {
            let arrivals = count_arrivals(self.seed, self.process, &segment);
            self.last_arrival_ns = Some(first_ns + (arrivals - 1) as f64 * gap_ns);
        }
        Some(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_workload::{Arrivals, Share};

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn numbers_are_unique_and_fit() {
        let check = |level, nth, expected: Option<u32>| assert_eq!(segment_index(level, nth), expected);
        check(0, 0, Some(0));
        check(1, 2, Some(65_538));
        check(0, 65_535, Some(65_535));
        check(0, 65_536, None);
        check(17_280, 65_535, Some(1_132_527_615));
        check(32_767, 65_535, Some(i32::MAX as u32));
        check(32_768, 0, None);
    }

    #[test]
    fn constant_arrivals_go_on_over_seams() {
        let rate = ArrivalRate::per_second(3.0).expect("a rate");
        let mut pace = Pace::new(1, ArrivalProcess::Constant);
        let mut scheduled = Vec::new();
        for piece in 0..40 {
            let span = (piece * SECOND / 4, (piece + 1) * SECOND / 4);
            if let Some(segment) = pace.segment(piece as u32, rate, span) {
                let arrivals = Arrivals::new(1, ArrivalProcess::Constant, &segment, Share::ALL);
                scheduled.extend(arrivals.map(|arrival| arrival.scheduled_ns));
            }
        }
        assert_eq!(scheduled.len(), 30);
        for pair in scheduled.windows(2) {
            assert!((pair[1] - pair[0] - SECOND / 3).abs() <= 1, "{pair:?}");
        }
    }

    #[test]
    fn poisson_arrivals_begin_anew() {
        let rate = ArrivalRate::per_second(100.0).expect("a rate");
        let mut pace = Pace::new(1, ArrivalProcess::Poisson);
        for piece in 0..4 {
            let span = (i64::from(piece) * SECOND, i64::from(piece + 1) * SECOND);
            let segment = pace.segment(piece, rate, span).expect("a segment");
            assert_eq!((segment.start_ns, segment.end), (span.0, SegmentEnd::At(span.1)));
        }
    }
}
