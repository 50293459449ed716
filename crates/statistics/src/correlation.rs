//! What a sample of correlated events is worth.
//!
//! Violations of a latency limit come in bursts: a queue that has built up makes every request late until it is gone. A
//! share of them has then a larger variance than that of independent trials, by the variance inflation factor.

/// Events among trials of one batch: a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Batch {
    /// Trials with the event.
    pub events: f64,
    /// All trials.
    pub trials: f64,
}

impl Batch {
    /// The sum of batches.
    pub fn sum(batches: impl IntoIterator<Item = Self>) -> Self {
        batches.into_iter().fold(Self::default(), |sum, one| Self {
            events: sum.events + one.events,
            trials: sum.trials + one.trials,
        })
    }
}

/// How much larger the variance of the events' share is than with independent trials; at least 1.
///
/// The share is the ratio of two sums over batches, so its variance is estimated from the residuals
/// `eventsᵢ − share · trialsᵢ`: k/(k−1) · Σ residual² / trials² (batch means), multiplied by (1 + ρ)/(1 − ρ) for the
/// correlation ρ of consecutive residuals when that is positive. 1 when all or no trials have the event, since the batches
/// then tell nothing of the variance, and with fewer than two batches.
///
/// ```
/// use gipfel_statistics::{Batch, variance_inflation};
///
/// // Twenty events in one batch of ten: one burst.
/// let mut batches = [Batch { events: 0.0, trials: 100.0 }; 10];
/// batches[4].events = 20.0;
/// assert!(variance_inflation(&batches) > 15.0);
/// ```
pub fn variance_inflation(batches: &[Batch]) -> f64 {
    let total = Batch::sum(batches.iter().copied());
    let count = batches.iter().filter(|batch| batch.trials > 0.0).count();
    let share = total.events / total.trials;
    if count < 2 || !(share > 0.0 && share < 1.0) {
        return 1.0;
    }
    let residuals: Vec<f64> = batches
        .iter()
        .filter(|batch| batch.trials > 0.0)
        .map(|batch| batch.events - share * batch.trials)
        .collect();
    let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let count = count as f64;
    let variance = count / (count - 1.0) * squares / (total.trials * total.trials);
    let independent = share * (1.0 - share) / total.trials;
    let products: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let correlation = if squares > 0.0 {
        (products / squares).clamp(0.0, 0.9)
    } else {
        0.0
    };
    (variance / independent * (1.0 + correlation) / (1.0 - correlation)).max(1.0)
}

/// How many independent trials the batches are worth: trials over their variance inflation.
pub fn effective_sample_size(batches: &[Batch]) -> f64 {
    Batch::sum(batches.iter().copied()).trials / variance_inflation(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batches(events: &[u32], trials: u32) -> Vec<Batch> {
        events
            .iter()
            .map(|events| Batch {
                events: f64::from(*events),
                trials: f64::from(trials),
            })
            .collect()
    }

    #[test]
    fn even_batches_inflate_nothing() {
        let check = |events: &[u32], expected: f64| {
            let found = variance_inflation(&batches(events, 100));
            assert!(
                (found / expected - 1.0).abs() < 0.01,
                "{events:?}: {found}, expected {expected}"
            );
        };
        check(&[5, 5, 5, 5], 1.0);
        check(&[], 1.0);
        check(&[50], 1.0);
        check(&[0, 0, 0, 0], 1.0);
        check(&[100, 100, 100], 1.0);
        // Residuals ±50: variance 4/3 · 4 · 2500 / 400², independent 0.25 / 400; consecutive ones are opposite.
        check(&[100, 0, 100, 0], 133.3);
    }

    #[test]
    fn a_burst_over_batches_is_worth_less_than_scattered_ones() {
        let scattered = variance_inflation(&batches(&[0, 60, 0, 0, 60, 0, 0, 60, 0, 0], 100));
        let burst = variance_inflation(&batches(&[0, 0, 0, 60, 60, 60, 0, 0, 0, 0], 100));
        assert!(burst > 1.5 * scattered, "{burst} {scattered}");
    }

    #[test]
    fn a_sample_is_worth_its_trials_at_most() {
        assert!((effective_sample_size(&batches(&[0; 12], 50)) - 600.0).abs() < 1e-9);
        assert!(effective_sample_size(&batches(&[0, 0, 50, 50, 0, 0], 50)) < 6.0);
    }

    proptest! {
        #[test]
        fn inflation_is_a_factor_from_one(counts in prop::collection::vec((0_u32..200, 0_u32..200), 0..40)) {
            let batches: Vec<Batch> = counts
                .into_iter()
                .map(|(events, others)| Batch { events: f64::from(events), trials: f64::from(events + others) })
                .collect();
            let inflation = variance_inflation(&batches);
            prop_assert!(inflation.is_finite() && inflation >= 1.0);
        }
    }
}
