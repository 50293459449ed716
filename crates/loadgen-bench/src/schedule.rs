//! Arrivals of the bare client.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SECOND_NS: f64 = 1e9;

/// Poisson arrivals of a rate within a span, in nanoseconds after its begin.
pub fn poisson(per_second: f64, span_ns: u64, seed: u64) -> Vec<u64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let expected = per_second * span_ns as f64 / SECOND_NS;
    let mut arrivals = Vec::with_capacity((expected + 6.0 * expected.sqrt()) as usize + 1);
    let mut at = 0.0;
    loop {
        // From (0, 1], so that the logarithm is finite.
        let uniform = ((random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        at -= uniform.ln() / per_second * SECOND_NS;
        if at >= span_ns as f64 {
            return arrivals;
        }
        arrivals.push(at as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::distance_to_exponential;

    #[test]
    fn gaps_are_exponential() {
        let check = |rate: f64, seconds: u64, seed| {
            let arrivals = poisson(rate, seconds * 1_000_000_000, seed);
            let expected = rate * seconds as f64;
            let deviation = (arrivals.len() as f64 - expected) / expected.sqrt();
            assert!(deviation.abs() < 4.0, "{rate}: {deviation}");
            let mut gaps: Vec<f64> = arrivals
                .windows(2)
                .map(|pair| (pair[1] - pair[0]) as f64 / SECOND_NS)
                .collect();
            let distance = distance_to_exponential(&mut gaps, rate);
            assert!(distance * expected.sqrt() < 1.95, "{rate}: {distance}");
        };
        check(5000.0, 4, 1);
        check(10.0, 300, 2);
    }

    #[test]
    fn a_seed_fixes_the_schedule() {
        let schedule = |seed| poisson(100.0, 1_000_000_000, seed);
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7), schedule(8));
    }
}
