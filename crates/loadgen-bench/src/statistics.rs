//! Order statistics, the distance to an exponential distribution, and the middle of repeats.

/// The percentile of sorted values as the order statistic ⌈q·n⌉, with `q` in thousandths; nothing of nothing.
pub fn percentile<T: Copy>(sorted: &[T], thousandths: usize) -> Option<T> {
    let rank = (sorted.len() * thousandths).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied()
}

/// The Kolmogorov–Smirnov distance of gaps, in seconds, to the exponential distribution of a rate.
pub fn distance_to_exponential(gaps: &mut [f64], rate: f64) -> f64 {
    gaps.sort_by(f64::total_cmp);
    let n = gaps.len() as f64;
    let at = |(index, gap): (usize, &f64)| {
        let expected = 1.0 - (-rate * gap).exp();
        let (below, above) = (index as f64 / n, (index + 1) as f64 / n);
        (expected - below).abs().max((above - expected).abs())
    };
    gaps.iter().enumerate().map(at).fold(0.0, f64::max)
}

/// The middle one of some values, the lower one of two middles; nothing of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_order_statistics() {
        let check = |n: u32, thousandths, expected| {
            let sorted: Vec<u32> = (1..=n).collect();
            assert_eq!(percentile(&sorted, thousandths), expected, "{n} {thousandths}");
        };
        check(0, 500, None);
        check(1, 0, Some(1));
        check(4, 500, Some(2));
        check(5, 500, Some(3));
        check(100, 990, Some(99));
        check(101, 990, Some(100));
        check(100, 1000, Some(100));
    }

    #[test]
    fn the_distance_is_that_of_the_worst_place() {
        let check = |gaps: &[f64], rate, expected: f64| {
            let found = distance_to_exponential(&mut gaps.to_vec(), rate);
            assert!((found - expected).abs() < 1e-12, "{gaps:?}: {found}");
        };
        check(&[], 1.0, 0.0);
        // One gap of the median's length: half of the distribution on either side.
        check(&[2f64.ln()], 1.0, 0.5);
        // All at once: everything lies below what is expected.
        check(&[0.0, 0.0], 5.0, 1.0);
        // Quantiles 1/4 and 3/4 are as near as two gaps can be.
        check(&[(4f64 / 3.0).ln(), 4f64.ln()], 1.0, 0.25);
        // The same in another order and for another rate.
        check(&[4f64.ln() / 10.0, (4f64 / 3.0).ln() / 10.0], 10.0, 0.25);
    }

    #[test]
    fn the_median_is_a_value_that_was_seen() {
        let check = |values: &[f64], expected| assert_eq!(median(values), expected, "{values:?}");
        check(&[], None);
        check(&[3.0, 1.0, 2.0], Some(2.0));
        check(&[4.0, 1.0], Some(1.0));
    }
}
