//! Where a share that grows with x crosses a target.

/// Newton's method ends after this many steps; a well-posed fit takes about ten.
const MAX_STEPS: usize = 200;
/// A step is halved at most this often while it makes the fit worse.
const MAX_HALVINGS: usize = 60;
/// The fit has converged when a step promises less than this of log-likelihood, per trial.
const TOLERANCE: f64 = 1e-13;

/// The x at which a logistic curve of share versus ln x reaches `target`.
///
/// The curve `logit(share) = a + b·ln x` is fitted by maximum likelihood to the points `(x, events, trials)`; a point
/// weighs as much as its trials, which need not be whole numbers. Shares of 0 and 1 are allowed.
///
/// `None` when the points do not identify the curve:
/// - fewer than two different x have trials, or a point is no point (x not positive, more events than trials);
/// - the shares are separated: one x lies between all trials without event and all trials with one, so that every
///   steep enough curve fits and only an interval for the crossing is known;
/// - the fitted curve does not rise.
///
/// The crossing may lie outside the range of the points: whether to extrapolate is the caller's decision.
///
/// ```
/// use gipfel_statistics::logistic_crossing;
///
/// let points = [(10.0, 0.0, 1000.0), (20.0, 10.0, 1000.0), (40.0, 900.0, 1000.0)];
/// let crossing = logistic_crossing(&points, 0.05).expect("two partial shares identify the curve");
/// assert!(crossing > 20.0 && crossing < 40.0);
/// ```
pub fn logistic_crossing(points: &[(f64, f64, f64)], target: f64) -> Option<f64> {
    if !(target > 0.0 && target < 1.0) {
        return None;
    }
    let data = Standardised::new(points)?;
    if data.is_separated() {
        return None;
    }
    let (intercept, slope) = data.fit()?;
    let standardised = ((target / (1.0 - target)).ln() - intercept) / slope;
    let x = (data.center + standardised * data.scale).exp();
    (slope > 0.0 && x.is_finite() && x > 0.0).then_some(x)
}

struct Point {
    /// (ln x − center) / scale.
    position: f64,
    events: f64,
    trials: f64,
}

struct Standardised {
    points: Vec<Point>,
    center: f64,
    scale: f64,
}

impl Standardised {
    /// Checks the points and standardises ln x, which makes Newton's method indifferent to the unit of x.
    fn new(raw: &[(f64, f64, f64)]) -> Option<Self> {
        let sound = |&(x, events, trials): &(f64, f64, f64)| {
            x.is_finite() && x > 0.0 && events >= 0.0 && trials.is_finite() && events <= trials
        };
        if !raw.iter().all(sound) {
            return None;
        }
        let mut points: Vec<Point> = raw
            .iter()
            .filter(|(_, _, trials)| *trials > 0.0)
            .map(|&(x, events, trials)| Point {
                position: x.ln(),
                events,
                trials,
            })
            .collect();
        let least = points
            .iter()
            .map(|point| point.position)
            .fold(f64::INFINITY, f64::min);
        let most = points
            .iter()
            .map(|point| point.position)
            .fold(f64::NEG_INFINITY, f64::max);
        let (center, scale) = (f64::midpoint(least, most), (most - least) / 2.0);
        if !(scale > 0.0 && scale.is_finite()) {
            return None;
        }
        for point in &mut points {
            point.position = (point.position - center) / scale;
        }
        Some(Self {
            points,
            center,
            scale,
        })
    }

    /// Whether some position parts the events from the rest, in either direction; then the likelihood has no maximum.
    fn is_separated(&self) -> bool {
        let with_events = || self.points.iter().filter(|point| point.events > 0.0);
        let with_others = || self.points.iter().filter(|point| point.events < point.trials);
        greatest(with_others()) <= least(with_events()) || greatest(with_events()) <= least(with_others())
    }

    /// Intercept and slope of greatest likelihood.
    fn fit(&self) -> Option<(f64, f64)> {
        let trials: f64 = self.points.iter().map(|point| point.trials).sum();
        let mut best = (0.0, 0.0);
        let mut likelihood = self.log_likelihood(best);
        for _ in 0..MAX_STEPS {
            let (step, gain) = self.newton_step(best)?;
            if gain <= TOLERANCE * trials {
                return Some(best);
            }
            let Some((better, value)) = self.line_search(best, step, likelihood) else {
                // Rounding hides what is left to gain.
                return (gain <= 1e-6 * trials).then_some(best);
            };
            (best, likelihood) = (better, value);
        }
        None
    }

    /// The step, and what it would gain if the log-likelihood were a parabola.
    fn newton_step(&self, (intercept, slope): (f64, f64)) -> Option<((f64, f64), f64)> {
        let (mut gradient_0, mut gradient_1) = (0.0, 0.0);
        let (mut information_00, mut information_01, mut information_11) = (0.0, 0.0, 0.0);
        for point in &self.points {
            let share = 1.0 / (1.0 + (-(intercept + slope * point.position)).exp());
            let residual = point.events - point.trials * share;
            let weight = point.trials * share * (1.0 - share);
            gradient_0 += residual;
            gradient_1 += residual * point.position;
            information_00 += weight;
            information_01 += weight * point.position;
            information_11 += weight * point.position * point.position;
        }
        let determinant = information_00 * information_11 - information_01 * information_01;
        let step_0 = (information_11 * gradient_0 - information_01 * gradient_1) / determinant;
        let step_1 = (information_00 * gradient_1 - information_01 * gradient_0) / determinant;
        let gain = f64::midpoint(step_0 * gradient_0, step_1 * gradient_1);
        (gain.is_finite()).then_some(((step_0, step_1), gain))
    }

    fn line_search(&self, from: (f64, f64), step: (f64, f64), likelihood: f64) -> Option<((f64, f64), f64)> {
        let mut fraction = 1.0;
        for _ in 0..MAX_HALVINGS {
            let candidate = (from.0 + fraction * step.0, from.1 + fraction * step.1);
            let value = self.log_likelihood(candidate);
            if value > likelihood {
                return Some((candidate, value));
            }
            fraction /= 2.0;
        }
        None
    }

    fn log_likelihood(&self, (intercept, slope): (f64, f64)) -> f64 {
        let of_point = |point: &Point| {
            let logit = intercept + slope * point.position;
            // ln(1 + e^logit) without overflow.
            let log_odds_sum = logit.max(0.0) + (-logit.abs()).exp().ln_1p();
            point.events * logit - point.trials * log_odds_sum
        };
        self.points.iter().map(of_point).sum()
    }
}

fn greatest<'a>(points: impl Iterator<Item = &'a Point>) -> f64 {
    points
        .map(|point| point.position)
        .fold(f64::NEG_INFINITY, f64::max)
}

fn least<'a>(points: impl Iterator<Item = &'a Point>) -> f64 {
    points.map(|point| point.position).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(points: &[(f64, f64, f64)], target: f64, expected: Option<f64>) {
        let found = logistic_crossing(points, target);
        let close = match (found, expected) {
            (Some(found), Some(expected)) => (found / expected - 1.0).abs() < 1e-6,
            (None, None) => true,
            _ => false,
        };
        assert!(close, "found {found:?}, expected {expected:?} for {points:?}");
    }

    /// Points exactly on the curve that crosses `target` at `crossing` with `slope`.
    fn on_curve(crossing: f64, slope: f64, target: f64, rates: &[f64], trials: f64) -> Vec<(f64, f64, f64)> {
        let intercept = (target / (1.0 - target)).ln();
        rates
            .iter()
            .map(|rate| {
                let logit = intercept + slope * (rate / crossing).ln();
                (*rate, trials / (1.0 + (-logit).exp()), trials)
            })
            .collect()
    }

    #[test]
    fn two_partial_shares_are_met_exactly() {
        // logit(0.1) and logit(0.9) lie symmetric about logit(0.5), at the geometric mean.
        let points = [(10.0, 10.0, 100.0), (40.0, 90.0, 100.0)];
        check(&points, 0.5, Some(20.0));
        check(&points, 0.1, Some(10.0));
        check(&points, 0.9, Some(40.0));
    }

    #[test]
    fn shares_of_zero_and_one_take_part() {
        let partial = [(20.0, 10.0, 1000.0), (24.0, 700.0, 1000.0)];
        let alone = logistic_crossing(&partial, 0.05).expect("identified");
        let mut points = partial.to_vec();
        points.extend([
            (5.0, 0.0, 300.0),
            (10.0, 0.0, 600.0),
            (40.0, 2400.0, 2400.0),
            (80.0, 100.0, 100.0),
        ]);
        let together = logistic_crossing(&points, 0.05).expect("identified");
        assert!((together / alone - 1.0).abs() < 0.01, "{alone} {together}");
    }

    #[test]
    fn what_is_not_identified_has_no_crossing() {
        check(&[], 0.05, None);
        check(&[(10.0, 5.0, 100.0)], 0.05, None);
        check(&[(10.0, 5.0, 100.0), (10.0, 6.0, 100.0)], 0.05, None);
        check(&[(10.0, 5.0, 100.0), (20.0, 0.0, 0.0)], 0.05, None);
        // Nothing but zeros, nothing but ones, a clean step, a step through one partial share.
        check(&[(10.0, 0.0, 100.0), (20.0, 0.0, 100.0)], 0.05, None);
        check(&[(10.0, 100.0, 100.0), (20.0, 100.0, 100.0)], 0.05, None);
        check(&[(10.0, 0.0, 100.0), (20.0, 100.0, 100.0)], 0.05, None);
        check(
            &[(10.0, 0.0, 100.0), (20.0, 30.0, 100.0), (40.0, 100.0, 100.0)],
            0.05,
            None,
        );
        // Flat and falling.
        check(&[(10.0, 5.0, 100.0), (20.0, 5.0, 100.0)], 0.05, None);
        check(&[(10.0, 50.0, 100.0), (20.0, 5.0, 100.0)], 0.05, None);
    }

    #[test]
    fn what_is_no_point_or_no_target_is_refused() {
        let partial = [(10.0, 10.0, 100.0), (40.0, 90.0, 100.0)];
        for target in [0.0, 1.0, -1.0, f64::NAN] {
            check(&partial, target, None);
        }
        for wrong in [
            (0.0, 1.0, 10.0),
            (-1.0, 1.0, 10.0),
            (f64::NAN, 1.0, 10.0),
            (20.0, 11.0, 10.0),
            (20.0, -1.0, 10.0),
            (20.0, f64::NAN, 10.0),
            (20.0, 1.0, f64::INFINITY),
        ] {
            check(&[partial[0], wrong, partial[1]], 0.5, None);
        }
    }

    #[test]
    fn repeated_levels_pool() {
        let pooled = [(10.0, 10.0, 200.0), (40.0, 150.0, 200.0)];
        let repeated = [
            (10.0, 2.0, 100.0),
            (40.0, 70.0, 100.0),
            (10.0, 8.0, 100.0),
            (40.0, 80.0, 100.0),
        ];
        check(&repeated, 0.05, logistic_crossing(&pooled, 0.05));
    }

    proptest! {
        #[test]
        fn a_curve_is_recovered(
            crossing in 0.1_f64..2000.0,
            slope in 0.5_f64..130.0,
            target in 0.001_f64..0.5,
            spread in 1.005_f64..1.3,
            trials in 10.0_f64..1e5,
        ) {
            let rates: Vec<f64> = (-3..=3).map(|step| crossing * spread.powi(step)).collect();
            check(&on_curve(crossing, slope, target, &rates, trials), target, Some(crossing));
        }

        #[test]
        fn counts_never_panic_and_a_crossing_is_a_rate(
            points in prop::collection::vec((0.1_f64..1e4, 0_u32..500, 0_u32..500), 0..12),
            target in 0.001_f64..0.999,
        ) {
            let points: Vec<_> = points
                .into_iter()
                .map(|(x, events, others)| (x, f64::from(events), f64::from(events + others)))
                .collect();
            if let Some(crossing) = logistic_crossing(&points, target) {
                prop_assert!(crossing.is_finite() && crossing > 0.0);
            }
        }
    }
}
