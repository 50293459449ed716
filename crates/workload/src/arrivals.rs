//! When requests are sent.

use gipfel_model::{ArrivalProcess, ArrivalRate};

use crate::stream::{Key, Purpose, Stream};

const NANOS_PER_SECOND: f64 = 1e9;

/// Where a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentEnd {
    /// Before this time, in nanoseconds after the run's anchor.
    At(i64),
    /// After this many arrivals, those of all workers together.
    Count(u64),
    /// When its reader stops reading.
    Open,
}

/// A part of the schedule with one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// Unique within the run: the arrivals of two segments with one index would be the same.
    pub index: u32,
    /// The rate of all workers together.
    pub rate: ArrivalRate,
    /// The start, in nanoseconds after the run's anchor.
    pub start_ns: i64,
    /// The end.
    pub end: SegmentEnd,
}

/// The arrivals of one worker: those whose index modulo `of` is `worker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The worker, from 0.
    pub worker: u32,
    /// How many workers there are; 0 counts as 1.
    pub of: u32,
}

impl Share {
    /// All arrivals.
    pub const ALL: Self = Self { worker: 0, of: 1 };

    fn takes(self, index: u64) -> bool {
        index % u64::from(self.of.max(1)) == u64::from(self.worker)
    }
}

/// A point of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The index within the segment, over all workers.
    pub index: u64,
    /// In nanoseconds after the run's anchor.
    pub scheduled_ns: i64,
}

/// The arrivals of a segment that fall to one worker, in order.
///
/// ```
/// use gipfel_model::{ArrivalProcess, ArrivalRate};
/// use gipfel_workload::{Arrivals, Segment, SegmentEnd, Share};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rate = ArrivalRate::per_second(4.0)?;
/// let segment = Segment { index: 0, rate, start_ns: 0, end: SegmentEnd::At(1_000_000_000) };
/// let share = Share { worker: 1, of: 2 };
/// let scheduled: Vec<i64> = Arrivals::new(42, ArrivalProcess::Constant, &segment, share)
///     .map(|arrival| arrival.scheduled_ns)
///     .collect();
/// assert_eq!(scheduled, [250_000_000, 750_000_000]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Arrivals {
    segment: Segment,
    share: Share,
    clock: Clock,
    next_index: u64,
}

impl Arrivals {
    /// The arrivals of `segment` that fall to `share`.
    pub fn new(seed: u64, process: ArrivalProcess, segment: &Segment, share: Share) -> Self {
        Self {
            segment: *segment,
            share,
            clock: Clock::new(seed, process, segment),
            next_index: 0,
        }
    }

    /// The next arrival, whoever takes it.
    fn advance(&mut self) -> Option<Arrival> {
        let index = self.next_index;
        if matches!(self.segment.end, SegmentEnd::Count(count) if index >= count) {
            return None;
        }
        let offset_ns = self.clock.advance_to(index, self.segment.rate);
        // A schedule that reaches the end of the clock ends there.
        let scheduled_ns = self
            .segment
            .start_ns
            .checked_add(offset_ns)
            .filter(|at| *at < i64::MAX)?;
        if matches!(self.segment.end, SegmentEnd::At(end) if scheduled_ns >= end) {
            return None;
        }
        self.next_index += 1;
        Some(Arrival { index, scheduled_ns })
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            let arrival = self.advance()?;
            if self.share.takes(arrival.index) {
                return Some(arrival);
            }
        }
    }
}

/// The time that a process has reached.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each segment, and it stays where it is"
)]
enum Clock {
    Poisson { gaps: Stream, elapsed_s: f64 },
    Constant,
}

impl Clock {
    fn new(seed: u64, process: ArrivalProcess, segment: &Segment) -> Self {
        match process {
            ArrivalProcess::Poisson => {
                let purpose = Purpose::Gaps;
                let key = Key {
                    seed,
                    purpose,
                    segment: segment.index,
                    arrival: 0,
                    salt: 0,
                };
                Self::Poisson {
                    gaps: Stream::new(key),
                    elapsed_s: 0.0,
                }
            }
            ArrivalProcess::Constant => Self::Constant,
        }
    }

    /// Arrival `index`, in nanoseconds after the segment's start; called once for each index, in order.
    ///
    /// The elapsed time is summed before it is rounded, so roundings do not add up: after hours the sum of doubles is
    /// still exact to about a nanosecond.
    fn advance_to(&mut self, index: u64, rate: ArrivalRate) -> i64 {
        let nanos = match self {
            Self::Poisson { gaps, elapsed_s } => {
                *elapsed_s += gaps.exponential() / rate.get();
                *elapsed_s * NANOS_PER_SECOND
            }
            Self::Constant => index as f64 * NANOS_PER_SECOND / rate.get(),
        };
        libm::round(nanos) as i64
    }
}

/// How many arrivals a segment has, over all workers; `u64::MAX` for one that is open.
pub fn count_arrivals(seed: u64, process: ArrivalProcess, segment: &Segment) -> u64 {
    match segment.end {
        SegmentEnd::At(_) => Arrivals::new(seed, process, segment, Share::ALL).count() as u64,
        SegmentEnd::Count(count) => count,
        SegmentEnd::Open => u64::MAX,
    }
}
