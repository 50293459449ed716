//! Latencies of two results at equal rate.

use gipfel_model::slo::Quantile;
use serde::Serialize;

use super::{CompareError, load::Side, rates::CommonRate};
use crate::figures::{self, Figure, Metric, Percentile};

/// What is compared, and at which percentiles.
const METRICS: [Metric; 3] = [Metric::Ttft, Metric::Tpot, Metric::E2e];
const PERCENTS: [f64; 2] = [50.0, 95.0];

/// The latencies at a rate that was offered to both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencyAtRate {
    /// What A was offered, in requests per second.
    pub a_rate: f64,
    /// What B was offered; it differs from A's by one per cent at most.
    pub b_rate: f64,
    /// A's measured requests.
    pub a_requests: u64,
    /// B's measured requests.
    pub b_requests: u64,
    /// The percentiles of each metric.
    pub latencies: Vec<LatencyPair>,
}

/// One percentile of one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencyPair {
    /// The metric.
    pub metric: Metric,
    /// A's percentile, with its 95 % interval.
    pub a: Percentile,
    /// B's percentile.
    pub b: Percentile,
}

impl LatencyAtRate {
    /// Whether at least one of the two has a figure; where both were overloaded, there is nothing to compare.
    fn has_figures(&self) -> bool {
        let is_known =
            |percentile: &Percentile| matches!(percentile.figure, Figure::Exact { .. } | Figure::Infinite);
        self.latencies
            .iter()
            .any(|pair| is_known(&pair.a) || is_known(&pair.b))
    }
}

impl LatencyPair {
    /// Whether the intervals of both are known and leave a gap between them.
    pub fn is_apart(&self) -> bool {
        let below = |one: &Percentile, other: &Percentile| {
            one.high_ms
                .zip(other.low_ms)
                .is_some_and(|(high, low)| high < low)
        };
        below(&self.a, &self.b) || below(&self.b, &self.a)
    }
}

pub(super) async fn compare(
    [a, b]: &[Side<'_>; 2],
    rates: &[CommonRate],
) -> Result<Vec<LatencyAtRate>, CompareError> {
    let mut compared = Vec::with_capacity(rates.len());
    for rate in rates {
        let (a_requests, a_unseen) = a.requests(&rate.a).await?;
        let (b_requests, b_unseen) = b.requests(&rate.b).await?;
        let mut latencies = Vec::new();
        for metric in METRICS {
            let of_a = figures::of_requests(metric, &a_requests, a_unseen, a.is_timed());
            let of_b = figures::of_requests(metric, &b_requests, b_unseen, b.is_timed());
            for quantile in PERCENTS.into_iter().filter_map(Quantile::percent) {
                if let (Some(a), Some(b)) = (of_a.percentile(quantile), of_b.percentile(quantile)) {
                    latencies.push(LatencyPair {
                        metric,
                        a: a.clone(),
                        b: b.clone(),
                    });
                }
            }
        }
        compared.push(LatencyAtRate {
            a_rate: CommonRate::mean_rate(&rate.a),
            b_rate: CommonRate::mean_rate(&rate.b),
            a_requests: a_requests.len() as u64 + a_unseen,
            b_requests: b_requests.len() as u64 + b_unseen,
            latencies,
        });
    }
    compared.retain(LatencyAtRate::has_figures);
    Ok(compared)
}
