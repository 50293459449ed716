//! When a sample supports a statement on its tail.

/// So many values must be allowed beyond a percentile: the absence of fewer is no evidence.
const MIN_BEYOND: usize = 5;

/// Whether a sample supports a statement that allows so many of its values to lie beyond.
pub(crate) fn is_supported(allowed: usize) -> bool {
    allowed >= MIN_BEYOND
}

/// The smallest sample that supports a statement which allows a share of the values to lie beyond, and `allowed(n)`
/// of `n` values.
pub(crate) fn needed(share: f64, allowed: impl Fn(usize) -> usize) -> u64 {
    // The quotient of doubles may be off by one; the count of allowed values is exact.
    let quotient = (MIN_BEYOND as f64 / share).round() as usize;
    let smallest = (quotient.saturating_sub(1)..=quotient).find(|n| is_supported(allowed(*n)));
    smallest.unwrap_or(quotient.saturating_add(1)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use gipfel_model::slo::Quantile;

    #[test]
    fn the_needed_sample_is_the_smallest() {
        for (percent, expected) in [
            (50.0, 10),
            (90.0, 50),
            (95.0, 100),
            (99.0, 500),
            (99.9, 5000),
            (33.3, 8),
        ] {
            let quantile = Quantile::percent(percent).expect("a percentile");
            let found = needed(1.0 - quantile.get(), |n| quantile.allowed_violations(n));
            assert_eq!(found, expected, "{percent}");
        }
    }
}
