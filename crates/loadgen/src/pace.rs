//! From pieces of the schedule to segments that follow each other without a seam.

use gipfel_model::{ArrivalProcess, ArrivalRate};
use gipfel_workload::{Arrivals, Segment, SegmentEnd, Share, count_arrivals, first_gap};

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
/// A Poisson process has no memory, so that it may begin anew with each of them. Others do not: the first constant arrival
/// of a piece comes one gap after the last one of the piece before, and the first gamma arrival when the gap that was drawn
/// in the piece before is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    seed: u64,
    process: ArrivalProcess,
    state: State,
}

/// What the next piece must know of the one before.
#[derive(Clone, Copy, Debug)]
enum State {
    Fresh,
    /// When the last arrival was; not rounded, so that no error grows over many pieces.
    LastArrival {
        at_ns: f64,
    },
    /// How many requests will be due from the piece's end to the next arrival: a time at a rate of one per second.
    NextArrival {
        due: f64,
    },
}

/// A rate over a span of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) rate: ArrivalRate,
    pub(crate) span: (i64, i64),
    /// Whether the rate rises in a straight line from 0, over all of the span.
    pub(crate) ramp: bool,
}

impl Pace {
    /// The pace of a schedule that begins.
    pub(crate) fn new(seed: u64, process: ArrivalProcess) -> Self {
        Self {
            seed,
            process,
            state: State::Fresh,
        }
    }

    /// The segment that offers the rate over the span; none if no arrival falls into it.
    pub(crate) fn segment(&mut self, index: u32, stretch: Stretch) -> Option<Segment> {
        let (from, to) = stretch.span;
        let first_ns = self.first_ns(index, stretch);
        let segment = segment_from(index, stretch, first_ns.round() as i64);
        if segment.start_ns >= to {
            if let State::NextArrival { due } = &mut self.state {
                *due -= (to - from) as f64 / 1e9 * stretch.rate.get();
            }
            return None;
        }
        self.state = self.state_after(&segment, first_ns, to);
        Some(segment)
    }

    /// When the window ends that begins with the stretch and holds exactly so many requests: with the next one.
    pub(crate) fn end_of_count(&self, index: u32, stretch: Stretch, requests: u32) -> i64 {
        let first_ns = self.first_ns(index, stretch);
        let open = Segment {
            end: SegmentEnd::Open,
            ..segment_from(index, stretch, first_ns.round() as i64)
        };
        let mut arrivals = Arrivals::new(self.seed, self.process, &open, Share::ALL);
        let next = arrivals.nth(requests as usize);
        next.map_or(stretch.span.1, |arrival| arrival.scheduled_ns)
    }

    fn first_ns(&self, index: u32, stretch: Stretch) -> f64 {
        let (from, gap_ns) = (stretch.span.0 as f64, 1e9 / stretch.rate.get());
        match (self.process, self.state) {
            _ if stretch.ramp => from,
            (ArrivalProcess::Constant, State::LastArrival { at_ns }) => (at_ns + gap_ns).max(from),
            (ArrivalProcess::Gamma { .. }, State::NextArrival { due }) => from + due.max(0.0) * gap_ns,
            (ArrivalProcess::Gamma { burstiness }, _) => {
                from + first_gap(self.seed, burstiness, index) * gap_ns
            }
            _ => from,
        }
    }

    fn state_after(&self, segment: &Segment, first_ns: f64, to: i64) -> State {
        let arrivals = |segment: &Segment| Arrivals::new(self.seed, self.process, segment, Share::ALL);
        match self.process {
            ArrivalProcess::Poisson => State::Fresh,
            ArrivalProcess::Constant if segment.ramp_ns > 0 => {
                let last = arrivals(segment).last();
                last.map_or(State::Fresh, |last| State::LastArrival {
                    at_ns: last.scheduled_ns as f64,
                })
            }
            ArrivalProcess::Constant => {
                let count = count_arrivals(self.seed, self.process, segment);
                State::LastArrival {
                    at_ns: first_ns + (count - 1) as f64 * 1e9 / segment.rate.get(),
                }
            }
            ArrivalProcess::Gamma { .. } => {
                let open = Segment {
                    end: SegmentEnd::Open,
                    ..*segment
                };
                let next = arrivals(&open).find(|arrival| arrival.scheduled_ns >= to);
                next.map_or(State::Fresh, |next| State::NextArrival {
                    due: (next.scheduled_ns - to) as f64 / 1e9 * segment.rate.get(),
                })
            }
        }
    }
}

fn segment_from(index: u32, stretch: Stretch, start_ns: i64) -> Segment {
    let Stretch {
        rate,
        span: (from, to),
        ramp,
    } = stretch;
    Segment {
        index,
        rate,
        ramp_ns: if ramp { to - from } else { 0 },
        start_ns,
        end: SegmentEnd::At(to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn flat(per_second: f64, span: (i64, i64)) -> Stretch {
        Stretch {
            rate: ArrivalRate::per_second(per_second).expect("a rate"),
            span,
            ramp: false,
        }
    }

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
        let mut pace = Pace::new(1, ArrivalProcess::Constant);
        let mut scheduled = Vec::new();
        for piece in 0..40 {
            let span = (piece * SECOND / 4, (piece + 1) * SECOND / 4);
            if let Some(segment) = pace.segment(piece as u32, flat(3.0, span)) {
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
        let mut pace = Pace::new(1, ArrivalProcess::Poisson);
        for piece in 0..4 {
            let span = (i64::from(piece) * SECOND, i64::from(piece + 1) * SECOND);
            let segment = pace.segment(piece, flat(100.0, span)).expect("a segment");
            assert_eq!((segment.start_ns, segment.end), (span.0, SegmentEnd::At(span.1)));
        }
    }

    #[test]
    fn gamma_arrivals_go_on_over_seams() {
        // Bursts of many requests with long breaks: pieces that began anew would offer far more than asked for.
        let process = ArrivalProcess::Gamma { burstiness: 0.1 };
        let mut pace = Pace::new(1, process);
        let mut counts = Vec::new();
        for piece in 0..20_000 {
            let span = (piece * SECOND, (piece + 1) * SECOND);
            let segment = pace.segment(piece as u32, flat(5.0, span));
            let count = segment.map_or(0, |segment| {
                assert!((span.0..span.1).contains(&segment.start_ns));
                count_arrivals(1, process, &segment)
            });
            counts.push(count as f64);
        }
        let hundreds: Vec<f64> = counts.chunks(100).map(|chunk| chunk.iter().sum()).collect();
        let mean = hundreds.iter().sum::<f64>() / hundreds.len() as f64;
        let variance =
            hundreds.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / hundreds.len() as f64;
        assert!((mean - 500.0).abs() < 20.0, "{mean}");
        // The variance of a count over its mean is about 1 / burstiness, whatever the pieces.
        assert!((6.0..14.0).contains(&(variance / mean)), "{}", variance / mean);
    }

    #[test]
    fn a_counted_window_ends_with_the_next_request() {
        for process in [
            ArrivalProcess::Poisson,
            ArrivalProcess::Constant,
            ArrivalProcess::Gamma { burstiness: 0.5 },
        ] {
            let mut pace = Pace::new(7, process);
            pace.segment(0, flat(20.0, (0, SECOND)));
            let window = |to| flat(20.0, (SECOND, to));
            let to = pace.end_of_count(1, window(2 * SECOND), 50);
            let segment = pace.segment(1, window(to)).expect("a segment");
            assert_eq!(count_arrivals(7, process, &segment), 50, "{process}");
        }
    }

    #[test]
    fn a_ramp_begins_with_its_span() {
        let process = ArrivalProcess::Constant;
        let mut pace = Pace::new(1, process);
        let ramp = Stretch {
            ramp: true,
            ..flat(10.0, (SECOND, 11 * SECOND))
        };
        let segment = pace.segment(0, ramp).expect("a segment");
        assert_eq!((segment.start_ns, segment.ramp_ns), (SECOND, 10 * SECOND));
        assert_eq!(count_arrivals(1, process, &segment), 50);
        let next = pace
            .segment(1, flat(10.0, (11 * SECOND, 12 * SECOND)))
            .expect("a segment");
        let gap = next.start_ns - 11 * SECOND;
        assert!((0..SECOND / 10).contains(&gap), "{gap}");
    }
}
