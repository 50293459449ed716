//! Gaussian noise with the same bits on every platform.

use std::f64::consts::TAU;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// Standard normal numbers by the Box–Muller transform on a ChaCha stream.
#[derive(Clone, Debug)]
pub(crate) struct GaussianNoise {
    stream: ChaCha8Rng,
    spare: Option<f64>,
}

impl GaussianNoise {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            stream: ChaCha8Rng::seed_from_u64(seed),
            spare: None,
        }
    }

    pub(crate) fn draw(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = libm::sqrt(-2.0 * libm::log(self.uniform()));
        let angle = TAU * self.uniform();
        self.spare = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }

    /// Strictly between 0 and 1.
    fn uniform(&mut self) -> f64 {
        ((self.stream.next_u64() >> 12) as f64 + 0.5) * (1.0 / (1_u64 << 52) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_is_standard_normal() {
        let mut noise = GaussianNoise::new(7);
        let count = 100_000;
        let draws: Vec<f64> = (0..count).map(|_| noise.draw()).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(count);
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(count);
        let beyond = draws.iter().filter(|x| x.abs() > 1.959_964).count() as f64 / f64::from(count);
        // Four standard errors each.
        assert!(mean.abs() < 0.013, "{mean}");
        assert!((variance - 1.0).abs() < 0.018, "{variance}");
        assert!((beyond - 0.05).abs() < 0.003, "{beyond}");
    }
}
