//! Latency objectives.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    deployment::names,
    units::{Fraction, format_duration, parse_duration},
};

names! {
    /// A latency of a request; the formulas stand at [`crate::record::RequestRecord::latency`].
    LatencyMetric {
        /// Time to first token, from the scheduled arrival.
        Ttft = "ttft",
        /// Time per output token after the first.
        Tpot = "tpot",
        /// The request's largest gap between token-bearing chunks.
        Itl = "itl",
        /// From the scheduled arrival to the last token.
        E2e = "e2e",
    }
}

/// A quantile strictly between 0 and 1, in hundred-thousandths, so that p99.9 is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantile(u32);

impl Quantile {
    /// The 50th percentile.
    pub const MEDIAN: Self = Self(50_000);

    /// The 99th percentile.
    pub const P99: Self = Self(99_000);

    /// The 95th percentile.
    pub const P95: Self = Self(95_000);

    /// A percentile such as 95 or 99.9.
    pub fn percent(percent: f64) -> Option<Self> {
        let parts = (percent * 1000.0).round();
        (parts > 0.0 && parts < 100_000.0 && (parts / 1000.0 - percent).abs() < 1e-9)
            .then_some(Self(parts as u32))
    }

    /// q, between 0 and 1.
    pub fn get(self) -> f64 {
        f64::from(self.0) / 100_000.0
    }

    /// The order statistic's rank ⌈q·n⌉, from 1 to n; 0 for an empty sample. Exact, in integers.
    pub fn rank(self, n: usize) -> usize {
        (n as u128 * u128::from(self.0)).div_ceil(100_000) as usize
    }

    /// The largest number of violations among `n` that still leaves the ⌈q·n⌉-th value within the limit.
    pub fn allowed_violations(self, n: usize) -> usize {
        n - self.rank(n)
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", f64::from(self.0) / 1000.0)
    }
}

impl FromStr for Quantile {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        text.strip_prefix('p')
            .and_then(|number| number.parse().ok())
            .and_then(Self::percent)
            .ok_or_else(|| SloError::Quantile(text.to_owned()))
    }
}

impl TryFrom<String> for Quantile {
    type Error = SloError;

    fn try_from(text: String) -> Result<Self, SloError> {
        text.parse()
    }
}

impl From<Quantile> for String {
    fn from(quantile: Quantile) -> String {
        quantile.to_string()
    }
}

/// A text that is no objective.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SloError {
    /// The whole has another form.
    #[error("an objective reads `ttft p95 <= 500ms` or `error_rate <= 1%`, found `{0}`")]
    Form(String),
    /// The metric is unknown.
    #[error("the metric `{0}` is none of ttft, tpot, itl, e2e, error_rate")]
    Metric(String),
    /// The quantile is unknown.
    #[error("a percentile reads `p50`, `p95` or `p99.9`, found `{0}`")]
    Quantile(String),
    /// The limit has no unit, or is none.
    #[error("the limit `{0}` is no duration with a unit, such as `500ms` or `1.5s`")]
    Limit(String),
    /// The limit of an error rate is none.
    #[error("the limit `{0}` is no share, such as `1%` or `0.01`")]
    Share(String),
}

/// A service-level objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Slo {
    /// A quantile of a latency stays within a limit.
    Latency {
        /// What is measured.
        metric: LatencyMetric,
        /// The quantile.
        quantile: Quantile,
        /// The limit, included.
        limit: Duration,
    },
    /// The share of requests that fail stays within a limit.
    ErrorRate {
        /// The limit, included.
        limit: Fraction,
    },
}

impl Slo {
    /// The share of requests that may violate this objective: 1 − q, or the error rate's limit.
    pub fn allowed_share(&self) -> f64 {
        match self {
            Self::Latency { quantile, .. } => 1.0 - quantile.get(),
            Self::ErrorRate { limit } => limit.get(),
        }
    }

    /// The largest number of violations among `n` requests with which the objective is met.
    pub fn allowed_violations(&self, n: usize) -> usize {
        match self {
            Self::Latency { quantile, .. } => quantile.allowed_violations(n),
            // One part in 10⁹ forgives the rounding of a share such as 0.07 × 100.
            Self::ErrorRate { limit } => (limit.get() * n as f64 * (1.0 + 1e-9)).floor() as usize,
        }
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency {
                metric,
                quantile,
                limit,
            } => {
                write!(f, "{metric} {quantile} <= {}", format_duration(*limit))
            }
            Self::ErrorRate { limit } => {
                // Written from the rounded value, so that 0.07 reads 7% and not 7.000000000000001%.
                write!(f, "error_rate <= {}%", (limit.get() * 1e11).round() / 1e9)
            }
        }
    }
}

impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let form = || SloError::Form(text.to_owned());
        let (left, limit) = text.split_once("<=").ok_or_else(form)?;
        let (left, limit) = (left.trim(), limit.trim());
        if left == "error_rate" {
            return Ok(Self::ErrorRate {
                limit: parse_share(limit)?,
            });
        }
        let mut words = left.split_whitespace();
        let metric = words.next().ok_or_else(form)?;
        let metric = metric.parse().map_err(|_| SloError::Metric(metric.to_owned()))?;
        let quantile = words.next().ok_or_else(form)?.parse()?;
        if words.next().is_some() {
            return Err(form());
        }
        let limit = match parse_duration(limit) {
            Ok(limit) if !limit.is_zero() => limit,
            _ => return Err(SloError::Limit(limit.to_owned())),
        };
        Ok(Self::Latency {
            metric,
            quantile,
            limit,
        })
    }
}

fn parse_share(text: &str) -> Result<Fraction, SloError> {
    let fault = || SloError::Share(text.to_owned());
    let (number, divisor) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let number: f64 = number.trim().parse().map_err(|_| fault())?;
    Fraction::try_new(number / divisor).map_err(|_| fault())
}

impl TryFrom<String> for Slo {
    type Error = SloError;

    fn try_from(text: String) -> Result<Self, SloError> {
        text.parse()
    }
}

impl From<Slo> for String {
    fn from(slo: Slo) -> String {
        slo.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_and_written() {
        let check = |text: &str, expected: &str| {
            let found = match text.parse::<Slo>() {
                Ok(slo) => slo.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected);
        };
        check("ttft p95 <= 500ms", "ttft p95 <= 500ms");
        check("  ttft   p99.9<=1.5s", "ttft p99.9 <= 1.5s");
        check("itl p50 <= 30ms", "itl p50 <= 30ms");
        check("error_rate <= 1%", "error_rate <= 1%");
        check("error_rate <= 0.07", "error_rate <= 7%");
        check(
            "ttft p95 < 500ms",
            "an objective reads `ttft p95 <= 500ms` or `error_rate <= 1%`, found `ttft p95 < 500ms`",
        );
        check(
            "ttfb p95 <= 500ms",
            "the metric `ttfb` is none of ttft, tpot, itl, e2e, error_rate",
        );
        check(
            "ttft 95 <= 500ms",
            "a percentile reads `p50`, `p95` or `p99.9`, found `95`",
        );
        check(
            "ttft p100 <= 500ms",
            "a percentile reads `p50`, `p95` or `p99.9`, found `p100`",
        );
        check(
            "ttft p95 <= 500",
            "the limit `500` is no duration with a unit, such as `500ms` or `1.5s`",
        );
        check(
            "ttft p95 <= 0",
            "the limit `0` is no duration with a unit, such as `500ms` or `1.5s`",
        );
        check(
            "error_rate <= 120%",
            "the limit `120%` is no share, such as `1%` or `0.01`",
        );
    }

    #[test]
    fn the_rank_is_the_ceiling() {
        let check = |n, rank| assert_eq!(Quantile::P95.rank(n), rank, "{n}");
        check(0, 0);
        check(1, 1);
        check(19, 19);
        check(20, 19);
        check(21, 20);
        check(100, 95);
        check(101, 96);
        assert_eq!(Quantile::P95.allowed_violations(100), 5);
        assert_eq!(Quantile::P95.allowed_violations(99), 4);
    }

    #[test]
    fn an_error_rate_allows_its_share() {
        let slo: Slo = "error_rate <= 7%".parse().expect("an objective");
        assert_eq!(slo.allowed_violations(100), 7);
        assert_eq!(slo.allowed_violations(99), 6);
    }
}
