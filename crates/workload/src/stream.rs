//! Random numbers that can be addressed: by seed, segment, arrival and purpose.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// What a stream is used for; different purposes never share numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Gaps = 1,
    InputLength = 2,
    OutputLength = 3,
    Words = 4,
    Nonces = 5,
    FirstGap = 6,
    Shuffle = 7,
    Mix = 8,
    Lines = 9,
    Endpoints = 16,
}

/// The address of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) seed: u64,
    pub(crate) purpose: Purpose,
    pub(crate) segment: u32,
    pub(crate) arrival: u64,
    pub(crate) salt: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    pub(crate) fn new(key: Key) -> Self {
        let mut bytes = [0; 32];
        bytes[0..8].copy_from_slice(&key.seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&key.arrival.to_le_bytes());
        bytes[16..20].copy_from_slice(&key.segment.to_le_bytes());
        bytes[20..24].copy_from_slice(&(key.purpose as u32).to_le_bytes());
        bytes[24..32].copy_from_slice(&key.salt.to_le_bytes());
        Self(ChaCha8Rng::from_seed(bytes))
    }

    pub(crate) fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in (0, 1], so that its logarithm is finite.
    pub(crate) fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        ((self.next_u64() >> 11) + 1) as f64 * STEP
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -libm::log(self.unit())
    }

    /// Normal with mean 0 and standard deviation 1, by the cosine half of Box and Muller's transform.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(self.unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// Gamma with this shape and mean 1, by the method of Marsaglia and Tsang (2000).
    ///
    /// A shape below 1 is drawn as one more, times a power of a uniform number.
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let raised = self.standard_gamma(shape + 1.0);
            return raised * libm::pow(self.unit(), 1.0 / shape) / shape;
        }
        self.standard_gamma(shape) / shape
    }

    /// Gamma with this shape, from 1, and scale 1.
    fn standard_gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let z = self.normal();
            let root = 1.0 + c * z;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            if libm::log(self.unit()) < 0.5 * z * z + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }

    /// A whole number below `bound`, which is at least 1, to within 2⁻³².
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.between(0, bound.saturating_sub(1))
    }

    /// Uniform over the whole numbers from `min` to `max`, to within 2⁻³².
    pub(crate) fn between(&mut self, min: u32, max: u32) -> u32 {
        let values = u128::from(max.saturating_sub(min)) + 1;
        min + ((u128::from(self.next_u64()) * values) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64) -> Stream {
        let purpose = Purpose::Gaps;
        Stream::new(Key {
            seed,
            purpose,
            segment: 0,
            arrival: 0,
            salt: 0,
        })
    }

    #[test]
    fn the_exponential_has_its_distribution() {
        let mut stream = stream(1);
        let mut values: Vec<f64> = (0..100_000).map(|_| stream.exponential()).collect();
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        let distance = values
            .iter()
            .enumerate()
            .map(|(index, value)| (1.0 - (-value).exp() - (index as f64 + 0.5) / n).abs())
            .fold(0.0, f64::max);
        // Kolmogorov and Smirnov's bound at one in a thousand.
        assert!(distance < 1.95 / n.sqrt(), "{distance}");
    }

    #[test]
    fn the_normal_has_its_moments() {
        let mut stream = stream(2);
        let values: Vec<f64> = (0..100_000).map(|_| stream.normal()).collect();
        let moment = |power| values.iter().map(|value| value.powi(power)).sum::<f64>() / values.len() as f64;
        // Four standard errors each.
        assert!(moment(1).abs() < 0.013, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.018, "{}", moment(2));
        assert!(moment(3).abs() < 0.05, "{}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.125, "{}", moment(4));
    }

    #[test]
    fn the_gamma_has_its_moments() {
        // Mean 1 and variance 1 / shape; the bounds are five standard errors, by the fourth moment of the distribution.
        let check = |shape: f64| {
            let mut stream = stream(4);
            let n = 200_000.0;
            let values: Vec<f64> = (0..200_000).map(|_| stream.gamma(shape)).collect();
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
            let expected = 1.0 / shape;
            assert!(
                (mean - 1.0).abs() < 5.0 * (expected / n).sqrt(),
                "{shape}: mean {mean}"
            );
            let fourth = (3.0 + 6.0 / shape) * expected * expected;
            let error = ((fourth - expected * expected) / n).sqrt();
            assert!(
                (variance - expected).abs() < 5.0 * error,
                "{shape}: variance {variance}"
            );
            assert!(values.iter().all(|value| *value >= 0.0 && value.is_finite()));
        };
        for shape in [0.1, 0.25, 0.5, 0.9, 1.0, 2.0, 10.0, 100.0] {
            check(shape);
        }
    }

    #[test]
    fn a_gamma_of_shape_one_is_an_exponential() {
        let mut stream = stream(5);
        let mut values: Vec<f64> = (0..100_000).map(|_| stream.gamma(1.0)).collect();
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        let distance = values
            .iter()
            .enumerate()
            .map(|(index, value)| (1.0 - (-value).exp() - (index as f64 + 0.5) / n).abs())
            .fold(0.0, f64::max);
        assert!(distance < 1.95 / n.sqrt(), "{distance}");
    }

    #[test]
    fn whole_numbers_reach_both_ends() {
        let mut stream = stream(3);
        let mut counts = [0_u32; 5];
        for _ in 0..50_000 {
            counts[stream.between(10, 14) as usize - 10] += 1;
        }
        assert!(
            counts.iter().all(|count| (9_600..10_400).contains(count)),
            "{counts:?}"
        );
        assert_eq!(stream.between(7, 7), 7);
        stream.between(0, u32::MAX);
    }

    #[test]
    fn every_part_of_a_key_counts() {
        let key = Key {
            seed: 1,
            purpose: Purpose::Gaps,
            segment: 1,
            arrival: 1,
            salt: 1,
        };
        let keys = [
            key,
            Key { seed: 2, ..key },
            Key {
                purpose: Purpose::Words,
                ..key
            },
            Key { segment: 2, ..key },
            Key { arrival: 2, ..key },
            Key { salt: 2, ..key },
        ];
        let first = keys.map(|key| Stream::new(key).next_u64());
        for (index, one) in first.iter().enumerate() {
            assert!(!first[index + 1..].contains(one), "{index}");
        }
    }
}
