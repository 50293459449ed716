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

/// A part of the schedule with one rate, or with one that rises to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// Unique within the run: the arrivals of two segments with one index would be the same.
    pub index: u32,
    /// The rate of all workers together.
    pub rate: ArrivalRate,
    /// For so many nanoseconds from the start the rate rises in a straight line, from 0 to `rate`; 0 for no ramp.
    pub ramp_ns: i64,
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
/// let segment = Segment { index: 0, rate, ramp_ns: 0, start_ns: 0, end: SegmentEnd::At(1_000_000_000) };
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
        let offset_ns = self.clock.advance_to(index, &self.segment);
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

/// How many requests a process has due, in the units of its rate: a schedule at a rate of one per second.
#[derive(Clone, Debug)]
enum Clock {
    /// Poisson at one rate: the gaps are divided by the rate one by one, as version 1 has it.
    Poisson {
        gaps: Stream,
        elapsed_s: f64,
    },
    /// Poisson below a ramp.
    PoissonRamp {
        gaps: Stream,
        due: f64,
    },
    Gamma {
        gaps: Stream,
        burstiness: f64,
        due: f64,
    },
    Constant,
}

impl Clock {
    fn new(seed: u64, process: ArrivalProcess, segment: &Segment) -> Self {
        let gaps = || {
            Stream::new(Key {
                seed,
                purpose: Purpose::Gaps,
                segment: segment.index,
                arrival: 0,
                salt: 0,
            })
        };
        match process {
            ArrivalProcess::Poisson if segment.ramp_ns > 0 => Self::PoissonRamp {
                gaps: gaps(),
                due: 0.0,
            },
            ArrivalProcess::Poisson => Self::Poisson {
                gaps: gaps(),
                elapsed_s: 0.0,
            },
            ArrivalProcess::Gamma { burstiness } => Self::Gamma {
                gaps: gaps(),
                burstiness,
                due: 0.0,
            },
            ArrivalProcess::Constant => Self::Constant,
        }
    }

    /// Arrival `index`, in nanoseconds after the segment's start; called once for each index, in order.
    ///
    /// The elapsed time is summed before it is rounded, so roundings do not add up: after hours the sum of doubles is
    /// still exact to about a nanosecond.
    fn advance_to(&mut self, index: u64, segment: &Segment) -> i64 {
        let rate = segment.rate.get();
        let nanos = match self {
            Self::Poisson { gaps, elapsed_s } => {
                *elapsed_s += gaps.exponential() / rate;
                *elapsed_s * NANOS_PER_SECOND
            }
            Self::PoissonRamp { gaps, due } => {
                *due += gaps.exponential();
                segment.when_due(*due)
            }
            Self::Gamma {
                gaps,
                burstiness,
                due,
            } => {
                // The first arrival stands at the start, so that a segment can go on where another one ended.
                if index > 0 {
                    *due += gaps.gamma(*burstiness);
                }
                segment.when_due(*due)
            }
            Self::Constant if segment.ramp_ns > 0 => segment.when_due(index as f64),
            Self::Constant => index as f64 * NANOS_PER_SECOND / rate,
        };
        libm::round(nanos) as i64
    }
}

impl Segment {
    /// When so many requests are due, in nanoseconds after the start: the inverse of the rate's integral.
    fn when_due(&self, due: f64) -> f64 {
        let (rate, ramp_s) = (self.rate.get(), self.ramp_ns.max(0) as f64 / NANOS_PER_SECOND);
        let by_the_ramp = rate * ramp_s / 2.0;
        let seconds = if due < by_the_ramp {
            libm::sqrt(2.0 * due * ramp_s / rate)
        } else {
            ramp_s + (due - by_the_ramp) / rate
        };
        seconds * NANOS_PER_SECOND
    }
}

/// The first gap of a schedule of gamma arrivals, in requests due: what lies between its begin and its first arrival.
///
/// A whole gap, not the rest of one, so that bursts are a little late; the warm-up takes that.
pub fn first_gap(seed: u64, burstiness: f64, segment: u32) -> f64 {
    Stream::new(Key {
        seed,
        purpose: Purpose::FirstGap,
        segment,
        arrival: 0,
        salt: 0,
    })
    .gamma(burstiness)
}

/// How many arrivals a segment has, over all workers; `u64::MAX` for one that is open.
pub fn count_arrivals(seed: u64, process: ArrivalProcess, segment: &Segment) -> u64 {
    match segment.end {
        SegmentEnd::At(_) => Arrivals::new(seed, process, segment, Share::ALL).count() as u64,
        SegmentEnd::Count(count) => count,
        SegmentEnd::Open => u64::MAX,
    }
}
