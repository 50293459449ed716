//! Order statistics of any number of nanoseconds in the same small memory.

use hdrhistogram::Histogram;

/// Nanoseconds, counted in classes of at most a thousandth of their value, or of half a microsecond. An order statistic is the
/// upper end of its class, so it is never told too small; the largest value is exact. What failed lies beyond all others.
#[derive(Debug)]
pub(crate) struct Spread {
    finite: Histogram<u64>,
    infinite: u64,
    max_ns: i64,
}

impl Spread {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        let finite = Histogram::new_with_bounds(1_000, 3_600_000_000_000, 3);
        Self {
            finite: finite.expect("the bounds are valid constants"),
            infinite: 0,
            max_ns: 0,
        }
    }

    /// Adds a value; one below zero counts as zero.
    pub(crate) fn push(&mut self, nanos: i64) {
        self.finite.saturating_record(nanos.max(0).unsigned_abs());
        self.max_ns = self.max_ns.max(nanos);
    }

    /// Adds what has failed.
    pub(crate) fn push_infinite(&mut self) {
        self.infinite += 1;
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        (self.finite.len() + self.infinite) as usize
    }

    /// The value of this rank, counted from 1; absent where there is none, or one that failed.
    pub(crate) fn at_rank(&self, rank: usize) -> Option<i64> {
        let finite = self.finite.len();
        if rank == 0 || rank as u64 > finite {
            return None;
        }
        // In the middle of the rank's own share, so that no rounding moves it to another one.
        let quantile = (rank as f64 - 0.5) / finite as f64;
        let value = i64::try_from(self.finite.value_at_quantile(quantile)).unwrap_or(i64::MAX);
        Some(value.min(self.max_ns))
    }
}

#[cfg(test)]
mod tests {
    use gipfel_statistics::{OrderStatistic, Sample};

    use super::*;

    #[test]
    fn order_statistics_are_right_within_a_thousandth() {
        let mut spread = Spread::new();
        let mut sample = Sample::new();
        for number in 0_i64..20_000 {
            let nanos = number * number * 7 % 1_000_003 * (1 + number % 5_000);
            spread.push(nanos);
            sample.push_finite(nanos);
        }
        spread.push_infinite();
        sample.push_infinite();
        assert_eq!(spread.len(), 20_001);
        for rank in [1, 2, 500, 9_999, 19_000, 19_999, 20_000, 20_001] {
            let exact = sample.at_rank(rank).and_then(OrderStatistic::finite);
            let told = spread.at_rank(rank);
            let near = told.zip(exact).map_or(told == exact, |(told, exact)| {
                (exact..=exact + 1_000.max(exact / 1_000)).contains(&told)
            });
            assert!(near, "{rank}: {told:?}, not {exact:?}");
        }
        assert_eq!(
            spread.at_rank(20_000),
            sample.at_rank(20_000).and_then(OrderStatistic::finite),
            "the largest is exact"
        );
    }
}
