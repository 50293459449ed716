//! The numbers of the run's requests, each of which takes one prompt of the pool.

use gipfel_model::{ArrivalProcess, WorkloadSpec};
use gipfel_workload::{Arrivals, Segment, SegmentEnd, Share, count_arrivals};

use crate::stop::StopReason;

/// Numbers the requests of the schedule in the order of its segments.
///
/// What a cut leaves of a segment gives its numbers back, so that a tail that is nearly never sent to its end does not
/// use prompts up. Without a pool nothing is counted.
#[derive(Debug)]
pub(crate) struct Numbers {
    seed: u64,
    process: ArrivalProcess,
    /// How many prompts the pool has.
    pool: Option<u64>,
    next: u64,
    /// The segments since the last cut, each with the number of its first request.
    segments: Vec<(Segment, u64)>,
}

impl Numbers {
    /// The numbers of a run whose earlier processes have used those below `first`.
    pub(crate) fn new(workload: &WorkloadSpec, pool: Option<u64>, first: u64) -> Self {
        Self {
            seed: workload.seed,
            process: workload.arrivals,
            pool,
            next: first,
            segments: Vec::new(),
        }
    }

    /// The number of the segment's first request; the others follow it.
    ///
    /// One that is `cut` before its end, as the tail of a listed level is, may ask for more than there is.
    pub(crate) fn take(&mut self, segment: &Segment, cut: bool) -> Result<u64, StopReason> {
        let Some(pool) = self.pool else { return Ok(0) };
        let first = self.next;
        self.next += count_arrivals(self.seed, self.process, segment);
        if self.next > pool && !cut {
            return Err(StopReason::Failed(format!(
                "the data set is used up: {} of its {pool} prompts are sent, the next piece of the load needs {} \
                 more, and none is sent twice; give more prompts, lower or fewer rates, or less time",
                first.min(pool),
                self.next - first
            )));
        }
        self.segments.push((*segment, first));
        Ok(first)
    }

    /// Nothing that is scheduled from `now_ns` on was sent, or will be.
    pub(crate) fn cut(&mut self, now_ns: i64) {
        let over = |segment: &Segment| matches!(segment.end, SegmentEnd::At(end_ns) if end_ns <= now_ns);
        let open = self.segments.iter().find(|(segment, _)| !over(segment));
        if let Some((segment, first)) = open {
            let arrivals = Arrivals::new(self.seed, self.process, segment, Share::ALL);
            let sent = arrivals.take_while(|arrival| arrival.scheduled_ns < now_ns);
            self.next = first + sent.count() as u64;
        }
        self.segments.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_model::{ArrivalRate, LengthDistribution, PromptSource};

    const SECOND: i64 = 1_000_000_000;

    fn segment(index: u32, from_s: i64, to_s: i64) -> Segment {
        Segment {
            index,
            rate: ArrivalRate::per_second(10.0).expect("a rate"),
            ramp_ns: 0,
            start_ns: from_s * SECOND,
            end: SegmentEnd::At(to_s * SECOND),
        }
    }

    fn numbers(pool: Option<u64>) -> Numbers {
        let length = LengthDistribution::Fixed { value: 1 };
        let workload = WorkloadSpec {
            prompts: PromptSource::default(),
            arrivals: ArrivalProcess::Constant,
            input_length: length,
            output_length: length,
            seed: 1,
            requests: gipfel_model::RequestForm::default(),
        };
        Numbers::new(&workload, pool, 7)
    }

    #[test]
    fn no_number_is_given_twice_and_a_cut_gives_back_what_was_not_sent() {
        let mut numbers = numbers(Some(1_000));
        let mut take = |index, from, to, cut| numbers.take(&segment(index, from, to), cut).ok();
        assert_eq!(take(0, 0, 10, false), Some(7));
        assert_eq!(take(1, 10, 20, false), Some(107));
        assert_eq!(take(2, 20, 320, true), Some(207));
        numbers.cut(25 * SECOND);
        assert_eq!(numbers.take(&segment(3, 30, 40), false).ok(), Some(257));
        // An early rejection leaves whole segments unsent.
        numbers.take(&segment(4, 40, 50), false).expect("enough");
        numbers.cut(35 * SECOND);
        assert_eq!(numbers.take(&segment(5, 50, 60), false).ok(), Some(307));
    }

    #[test]
    fn a_pool_that_is_used_up_ends_the_run() {
        let mut numbers = numbers(Some(150));
        numbers.take(&segment(0, 0, 10), false).expect("enough");
        let refused = numbers.take(&segment(1, 10, 20), false);
        let Err(StopReason::Failed(message)) = refused else {
            panic!("{refused:?}");
        };
        insta::assert_snapshot!(message, @"the data set is used up: 107 of its 150 prompts are sent, the next piece of the load needs 100 more, and none is sent twice; give more prompts, lower or fewer rates, or less time");
    }

    #[test]
    fn without_a_pool_nothing_is_counted() {
        let mut numbers = numbers(None);
        assert_eq!(numbers.take(&segment(0, 0, 10), false).ok(), Some(0));
        assert_eq!(numbers.take(&segment(1, 10, 20), false).ok(), Some(0));
    }
}
