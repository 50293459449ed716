//! Rates, shares and estimates as they are written for people.

pub(crate) use gipfel_model::format_rate as rate;
use gipfel_model::{PeakEstimate, Stage, Validated, rate_decimals};

use crate::summary::LevelSummary;

/// A level's rate: as it was asked for, or of a search with the digits that say something.
pub(crate) fn level_rate(level: &LevelSummary) -> String {
    match level.stage {
        Stage::Level => level.rate.get().to_string(),
        Stage::Ramp | Stage::Bracket | Stage::Track => rate(level.rate.get()),
    }
}

/// The 90 % interval, with as many decimals as the peak itself: `24.9–26.0`.
pub(crate) fn interval(estimate: &PeakEstimate) -> String {
    let decimals = rate_decimals(estimate.peak_qps);
    format!("{:.decimals$}–{:.decimals$}", estimate.low, estimate.high)
}

/// An estimate in short: `25.2 req/s (90 % interval 24.9–26.0)`.
pub fn estimate(estimate: &PeakEstimate) -> String {
    format!(
        "{} req/s (90 % interval {})",
        rate(estimate.peak_qps),
        interval(estimate)
    )
}

/// An estimate with what is claimed of it: `25.2 req/s (80 % sure; 90 % interval 24.9–26.0)`.
pub(crate) fn sure(estimate: &PeakEstimate) -> String {
    format!(
        "{} req/s (80 % sure; 90 % interval {})",
        rate(estimate.peak_qps),
        interval(estimate)
    )
}

/// A rate that was held, in whole minutes: `24.8 req/s held for 10 min`.
pub(crate) fn held(validated: &Validated) -> String {
    format!(
        "{} req/s held for {:.0} min",
        rate(validated.qps),
        (validated.held_s / 60.0).floor()
    )
}

/// A share in per cent, with as many digits as say something: `0.12`, `3.1`, `25`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        value if value == 0.0 || value >= 9.95 => format!("{value:.0} %"),
        value if value >= 0.995 => format!("{value:.1} %"),
        value => format!("{value:.2} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_three_digits() {
        let check = |per_second: f64, expected: &str| assert_eq!(rate(per_second), expected);
        check(0.123_45, "0.123");
        check(0.9996, "1.00");
        check(2.345, "2.35");
        check(25.24, "25.2");
        check(99.96, "100");
        check(1234.5, "1234");
    }

    #[test]
    fn an_estimate_is_one_phrase() {
        let peak = PeakEstimate {
            peak_qps: 25.18,
            mean: 25.5,
            low: 24.94,
            high: 26.02,
            binding: "ttft p95 <= 500ms".parse().expect("an objective"),
            n_eff: 15.0,
        };
        assert_eq!(sure(&peak), "25.2 req/s (80 % sure; 90 % interval 24.9–26.0)");
        assert_eq!(estimate(&peak), "25.2 req/s (90 % interval 24.9–26.0)");
        let validated = Validated {
            qps: 24.8,
            held_s: 659.0,
        };
        assert_eq!(held(&validated), "24.8 req/s held for 10 min");
    }

    #[test]
    fn shares_say_what_they_can() {
        let check = |share: f64, expected: &str| assert_eq!(percent(share), expected);
        check(0.0, "0 %");
        check(0.0012, "0.12 %");
        check(0.031, "3.1 %");
        check(0.25, "25 %");
        check(1.0, "100 %");
    }
}
