//! A sample whose failures count as infinitely large.

/// A value of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderStatistic {
    /// A measured value.
    Finite(i64),
    /// A failure: larger than every measured value.
    Infinite,
}

impl OrderStatistic {
    /// The value, if it is finite.
    pub fn finite(self) -> Option<i64> {
        match self {
            Self::Finite(value) => Some(value),
            Self::Infinite => None,
        }
    }
}

/// Finite values and a count of infinite ones. Every answer is exact: nothing is binned or interpolated.
///
/// ```
/// use gipfel_statistics::{OrderStatistic, Sample};
///
/// let mut sample: Sample = [30, 10, 20].into_iter().collect();
/// sample.push_infinite();
/// assert_eq!(sample.at_rank(2), Some(OrderStatistic::Finite(20)));
/// assert_eq!(sample.at_rank(4), Some(OrderStatistic::Infinite));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sample {
    finite: Vec<i64>,
    infinite: usize,
    /// How many values from the begin of `finite` are known to be in order.
    ordered: usize,
}

impl Sample {
    /// An empty sample.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a finite value.
    pub fn push_finite(&mut self, value: i64) {
        self.finite.push(value);
    }

    /// Adds an infinite value.
    pub fn push_infinite(&mut self) {
        self.infinite += 1;
    }

    /// How many values there are, the infinite ones included.
    pub fn len(&self) -> usize {
        self.finite.len() + self.infinite
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values are infinite.
    pub fn infinite(&self) -> usize {
        self.infinite
    }

    /// The `rank`-th smallest value, counted from 1; `None` if `rank` is 0 or greater than the number of values.
    ///
    /// The values are sorted when they are first asked for, so that further ranks cost nothing.
    pub fn at_rank(&mut self, rank: usize) -> Option<OrderStatistic> {
        if rank == 0 || rank > self.len() {
            return None;
        }
        if self.ordered < self.finite.len() {
            self.finite.sort_unstable();
            self.ordered = self.finite.len();
        }
        Some(
            self.finite
                .get(rank - 1)
                .map_or(OrderStatistic::Infinite, |value| OrderStatistic::Finite(*value)),
        )
    }

    /// The largest value.
    pub fn max(&self) -> Option<OrderStatistic> {
        if self.infinite > 0 {
            return Some(OrderStatistic::Infinite);
        }
        self.finite
            .iter()
            .max()
            .map(|value| OrderStatistic::Finite(*value))
    }

    /// The arithmetic mean; `None` for an empty sample and when any value is infinite.
    pub fn mean(&self) -> Option<f64> {
        if self.infinite > 0 || self.finite.is_empty() {
            return None;
        }
        let sum: i128 = self.finite.iter().map(|value| i128::from(*value)).sum();
        Some(sum as f64 / self.finite.len() as f64)
    }
}

impl Extend<i64> for Sample {
    fn extend<T: IntoIterator<Item = i64>>(&mut self, values: T) {
        self.finite.extend(values);
    }
}

impl FromIterator<i64> for Sample {
    fn from_iter<T: IntoIterator<Item = i64>>(values: T) -> Self {
        let mut sample = Self::new();
        sample.extend(values);
        sample
    }
}

#[cfg(test)]
mod tests {
    use super::{
        OrderStatistic::{Finite, Infinite},
        *,
    };
    use proptest::prelude::*;

    fn sample(finite: &[i64], infinite: usize) -> Sample {
        let mut sample: Sample = finite.iter().copied().collect();
        (0..infinite).for_each(|_| sample.push_infinite());
        sample
    }

    #[test]
    fn failures_are_the_largest_values() {
        let check = |rank, expected| assert_eq!(sample(&[5, -1, 3], 2).at_rank(rank), expected, "{rank}");
        check(0, None);
        check(1, Some(Finite(-1)));
        check(2, Some(Finite(3)));
        check(3, Some(Finite(5)));
        check(4, Some(Infinite));
        check(5, Some(Infinite));
        check(6, None);
        check(usize::MAX, None);
    }

    #[test]
    fn an_empty_sample_has_no_values() {
        let mut empty = Sample::new();
        assert!(empty.is_empty());
        assert_eq!(empty.at_rank(1), None);
        assert_eq!(empty.max(), None);
        assert_eq!(empty.mean(), None);
    }

    #[test]
    fn one_failure_makes_the_mean_and_the_maximum_infinite() {
        assert_eq!(sample(&[1, 2], 0).mean(), Some(1.5));
        assert_eq!(sample(&[1, 2], 0).max(), Some(Finite(2)));
        assert_eq!(sample(&[1, 2], 1).mean(), None);
        assert_eq!(sample(&[1, 2], 1).max(), Some(Infinite));
        assert_eq!(sample(&[i64::MAX, i64::MAX], 0).mean(), Some(i64::MAX as f64));
    }

    #[test]
    fn values_that_come_later_are_sorted_in() {
        let mut sample = sample(&[10, 30], 0);
        assert_eq!(sample.at_rank(2), Some(Finite(30)));
        sample.push_finite(20);
        assert_eq!(sample.at_rank(2), Some(Finite(20)));
        assert_eq!(sample.at_rank(3).and_then(OrderStatistic::finite), Some(30));
    }

    proptest! {
        #[test]
        fn a_rank_is_a_position_in_the_sorted_sample(
            finite in prop::collection::vec(any::<i64>(), 0..50),
            infinite in 0_usize..10,
            rank in 0_usize..70,
        ) {
            let mut sorted: Vec<OrderStatistic> = finite.iter().map(|value| Finite(*value)).collect();
            sorted.extend(std::iter::repeat_n(Infinite, infinite));
            sorted.sort();
            let expected = rank.checked_sub(1).and_then(|index| sorted.get(index)).copied();
            let mut sample = sample(&finite, infinite);
            prop_assert_eq!(sample.at_rank(rank), expected);
            prop_assert_eq!(sample.max(), sorted.last().copied());
            prop_assert_eq!(sample.len(), sorted.len());
        }
    }
}
