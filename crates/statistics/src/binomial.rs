//! Intervals of a binomial share and of a quantile.

use statrs::function::beta::inv_beta_reg;

/// The Clopper–Pearson interval of a share: `events` of `trials`, neither of which need be whole numbers.
///
/// For effective sample sizes the counts are fractions; the interval is then the one that interpolates between whole
/// counts, by the same beta quantiles. `None` without trials or when the arguments are no counts.
///
/// ```
/// use gipfel_statistics::clopper_pearson;
///
/// let (low, high) = clopper_pearson(0.0, 59.0, 0.90).expect("59 trials");
/// assert_eq!(low, 0.0);
/// assert!((high - 0.0495).abs() < 0.0005, "59 trials without event exclude 5 % with 95 % confidence");
/// ```
pub fn clopper_pearson(events: f64, trials: f64, confidence: f64) -> Option<(f64, f64)> {
    let sound = trials > 0.0 && (0.0..=trials).contains(&events) && (0.0..1.0).contains(&confidence);
    if !sound {
        return None;
    }
    let tail = (1.0 - confidence) / 2.0;
    let low = if events <= 0.0 {
        0.0
    } else {
        inv_beta_reg(events, trials - events + 1.0, tail)
    };
    let high = if events >= trials {
        1.0
    } else {
        inv_beta_reg(events + 1.0, trials - events, 1.0 - tail)
    };
    Some((low, high))
}

/// The ranks, as shares of the ordered sample between 0 and 1, between which the q-quantile lies with `confidence`: the
/// Clopper–Pearson interval of the share below it, on the effective sample size.
///
/// An end that the sample does not hold is `None`: a p99 of 50 independent values has no upper end. The whole interval is
/// `None` when not even one value is expected beyond the quantile on its narrower side.
pub fn order_statistic_interval(n_eff: f64, q: f64, confidence: f64) -> Option<(Option<f64>, Option<f64>)> {
    if !(n_eff > 0.0 && q > 0.0 && q < 1.0) {
        return None;
    }
    let (low, high) = clopper_pearson(q * n_eff, n_eff, confidence)?;
    let held = |share: f64| {
        let beyond = share.min(1.0 - share) * n_eff;
        (beyond >= 0.5).then_some(share)
    };
    let ends = (held(low), held(high));
    (ends != (None, None)).then_some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_interval_is_the_textbook_one() {
        let check = |events: f64, trials: f64, confidence, expected: (f64, f64)| {
            let (low, high) = clopper_pearson(events, trials, confidence).expect("counts");
            let close = (low - expected.0).abs() < 5e-4 && (high - expected.1).abs() < 5e-4;
            assert!(close, "{events} of {trials}: {low} {high}, expected {expected:?}");
        };
        check(0.0, 10.0, 0.95, (0.0, 0.3085));
        check(10.0, 10.0, 0.95, (0.6915, 1.0));
        check(1.0, 20.0, 0.95, (0.0013, 0.2487));
        check(5.0, 100.0, 0.95, (0.0164, 0.1128));
        check(50.0, 100.0, 0.90, (0.4136, 0.5864));
    }

    #[test]
    fn what_are_no_counts_has_no_interval() {
        for (events, trials, confidence) in [
            (0.0, 0.0, 0.9),
            (-1.0, 5.0, 0.9),
            (6.0, 5.0, 0.9),
            (f64::NAN, 5.0, 0.9),
            (1.0, f64::NAN, 0.9),
            (1.0, 5.0, 1.0),
        ] {
            assert_eq!(
                clopper_pearson(events, trials, confidence),
                None,
                "{events} {trials}"
            );
        }
    }

    #[test]
    fn a_quantile_beyond_the_sample_has_no_end_there() {
        let (low, high) = order_statistic_interval(1000.0, 0.95, 0.95).expect("an interval");
        assert!((low.expect("an end") - 0.934).abs() < 0.002);
        assert!((high.expect("an end") - 0.963).abs() < 0.002);
        let (low, high) = order_statistic_interval(50.0, 0.99, 0.95).expect("a lower end");
        assert!(low.is_some() && high.is_none());
        assert_eq!(order_statistic_interval(0.0, 0.95, 0.95), None);
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_share_and_narrows(events in 0.0_f64..1.0, trials in 0.5_f64..1e5, confidence in 0.5_f64..0.999) {
            let events = events * trials;
            let (low, high) = clopper_pearson(events, trials, confidence).expect("counts");
            let share = events / trials;
            prop_assert!(low <= share + 1e-9 && share <= high + 1e-9, "{low} {share} {high}");
            let (wider_low, wider_high) = clopper_pearson(events / 2.0, trials / 2.0, confidence).expect("counts");
            prop_assert!(wider_low <= low + 1e-9 && high <= wider_high + 1e-9);
        }
    }
}
