//! Percentiles: order statistics with failures as infinitely large, and the honesty that goes with them.

use std::{collections::BTreeMap, fmt};

use gipfel_model::{LatencyMetric, Outcome, RequestRecord, record::Latency, slo::Quantile};
use gipfel_statistics::{Batch, OrderStatistic, Sample, effective_sample_size, order_statistic_interval};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::support;

/// The percentiles that are given, in per cent.
const PERCENTS: [f64; 4] = [50.0, 90.0, 95.0, 99.0];

/// Values of so many nanoseconds of arrivals make one batch, when their correlation is looked at.
const BATCH_NS: i64 = 5_000_000_000;
/// The confidence of a percentile's interval.
const CONFIDENCE: f64 = 0.95;

/// What is measured of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Time to first token, from the scheduled arrival.
    Ttft,
    /// Time to first token, from the actual send.
    TtftFromSend,
    /// Time per output token after the first: (last − first) / (tokens − 1).
    Tpot,
    /// The largest gap between token-bearing chunks of each request.
    ItlMax,
    /// All gaps between token-bearing chunks of all requests.
    ItlPooled,
    /// From the scheduled arrival to the last token.
    E2e,
}

impl Metric {
    /// The metrics of single requests.
    pub(crate) const OF_REQUESTS: [Self; 5] = [
        Self::Ttft,
        Self::TtftFromSend,
        Self::Tpot,
        Self::ItlMax,
        Self::E2e,
    ];

    /// The name in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ttft => "TTFT",
            Self::TtftFromSend => "TTFT from send",
            Self::Tpot => "TPOT",
            Self::ItlMax => "ITL, largest of each request",
            Self::ItlPooled => "ITL, all gaps",
            Self::E2e => "E2E",
        }
    }
}

/// One percentile, with what it stands on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Percentile {
    /// Which one.
    pub quantile: Quantile,
    /// How many values there are, failures included.
    pub n: u64,
    /// How many independent values they are worth, since slow requests come in bursts; absent when nothing is known of
    /// their order.
    pub n_eff: Option<f64>,
    /// The lower end of the 95 % interval in milliseconds; absent when it is not known or lies beyond the sample.
    pub low_ms: Option<f64>,
    /// Its upper end.
    pub high_ms: Option<f64>,
    /// The value, or why there is none.
    pub figure: Figure,
}

/// A value in milliseconds, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Figure {
    /// The order statistic ⌈q·n⌉.
    Exact {
        /// In milliseconds.
        ms: f64,
    },
    /// Requests that were cancelled before they were decided leave this bound.
    AtLeast {
        /// In milliseconds.
        ms: f64,
    },
    /// So many requests failed that the percentile lies among them.
    Infinite,
    /// The sample is too small to say this of the server.
    Unsupported {
        /// The sample's own order statistic.
        observed: Box<Figure>,
        /// How many independent values are needed.
        needed: u64,
    },
    /// There is no value.
    Absent {
        /// Why.
        reason: String,
    },
}

impl Figure {
    pub(crate) fn absent(reason: &str) -> Self {
        Self::Absent {
            reason: reason.to_owned(),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact { ms } => write!(f, "{}", Milliseconds(*ms)),
            Self::AtLeast { ms } => write!(f, "≥ {}", Milliseconds(*ms)),
            Self::Infinite => f.write_str("∞"),
            Self::Unsupported { .. } | Self::Absent { .. } => f.write_str("–"),
        }
    }
}

struct Milliseconds(f64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.0.abs() < 1000.0);
        write!(f, "{:.decimals$}", self.0)
    }
}

/// One metric of a level.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricSummary {
    /// Which one.
    pub metric: Metric,
    /// How many values there are, failures included.
    pub n: u64,
    /// How many of them are infinite, because the request failed.
    pub infinite: u64,
    /// How many of them are not known, because the request was cancelled first.
    pub undecided: u64,
    /// p50, p90, p95 and p99.
    pub percentiles: Vec<Percentile>,
}

impl MetricSummary {
    /// One of the percentiles.
    pub fn percentile(&self, quantile: Quantile) -> Option<&Percentile> {
        self.percentiles
            .iter()
            .find(|percentile| percentile.quantile == quantile)
    }

    /// A metric of which nothing can be said.
    pub(crate) fn absent(metric: Metric, reason: &str) -> Self {
        Self::new(metric, [0; 3], |quantile| {
            Percentile::of_count(quantile, 0, Figure::absent(reason))
        })
    }

    fn new(
        metric: Metric,
        [n, infinite, undecided]: [u64; 3],
        percentile: impl FnMut(Quantile) -> Percentile,
    ) -> Self {
        let percentiles = PERCENTS
            .iter()
            .filter_map(|percent| Quantile::percent(*percent))
            .map(percentile)
            .collect();
        Self {
            metric,
            n,
            infinite,
            undecided,
            percentiles,
        }
    }
}

impl Percentile {
    /// Of values whose order is not known.
    fn of_count(quantile: Quantile, n: u64, figure: Figure) -> Self {
        Self {
            quantile,
            n,
            n_eff: None,
            low_ms: None,
            high_ms: None,
            figure: supported(quantile, n as f64, figure),
        }
    }
}

/// A metric over the measured requests; `unseen` more were scheduled, of which nothing is recorded. `timed` when the
/// requests stand at the times of their arrivals, so that bursts can be seen.
pub(crate) fn of_requests(
    metric: Metric,
    requests: &[RequestRecord],
    unseen: u64,
    timed: bool,
) -> MetricSummary {
    let mut sample = Censored::default();
    for request in requests {
        let at = request.scheduled_ns;
        match latency(metric, request) {
            Latency::Finite(nanos) => sample.push_finite(at, nanos),
            Latency::Infinite => sample.push_infinite(at),
            Latency::Undefined if request.outcome == Outcome::Shed => {
                sample.push_at_least(at, lower_bound(metric, request));
            }
            Latency::Undefined => {}
        }
    }
    (0..unseen).for_each(|_| sample.push_unseen());
    let n = sample.lower.len() as u64;
    let counts = [n, sample.lower.infinite() as u64, sample.undecided];
    MetricSummary::new(metric, counts, |quantile| {
        let figure = sample.at(quantile);
        if timed {
            sample.percentile(quantile, figure)
        } else {
            Percentile::of_count(quantile, n, figure)
        }
    })
}

/// The gaps of all requests, from the histograms of the ranks, in nanoseconds.
pub(crate) fn of_gaps(histogram: Option<&Histogram<u64>>) -> MetricSummary {
    let Some(histogram) = histogram.filter(|histogram| !histogram.is_empty()) else {
        return MetricSummary::absent(Metric::ItlPooled, "no gaps are recorded");
    };
    let n = histogram.len();
    MetricSummary::new(Metric::ItlPooled, [n, 0, 0], |quantile| {
        let nanos = histogram.value_at_quantile(quantile.get());
        let ms = nanos as f64 / 1e6;
        Percentile::of_count(quantile, n, Figure::Exact { ms })
    })
}

fn latency(metric: Metric, request: &RequestRecord) -> Latency {
    match metric {
        Metric::Ttft => request.latency(LatencyMetric::Ttft),
        Metric::TtftFromSend => request.ttft_from_send(),
        Metric::Tpot => request.latency(LatencyMetric::Tpot),
        Metric::ItlMax | Metric::ItlPooled => request.latency(LatencyMetric::Itl),
        Metric::E2e => request.latency(LatencyMetric::E2e),
    }
}

/// What a cancelled request has shown by then: its latency would have become at least this.
fn lower_bound(metric: Metric, request: &RequestRecord) -> i64 {
    match metric {
        Metric::Ttft | Metric::E2e => request.end_ns,
        Metric::TtftFromSend => request.send_ns.map_or(0, |send| request.end_ns - send),
        Metric::ItlMax | Metric::ItlPooled => request.itl_max_ns.unwrap_or(0),
        Metric::Tpot => {
            let gaps = i64::from(request.requested_output) - 1;
            request
                .first_token_ns
                .filter(|_| gaps > 0)
                .map_or(0, |first| (request.end_ns - first) / gaps)
        }
    }
}

/// A sample some of whose values are only known from below. It is kept twice: with these at their bounds, and with
/// these infinitely large. Where both agree, the order statistic is known in spite of them.
#[derive(Default)]
struct Censored {
    lower: Sample,
    upper: Sample,
    undecided: u64,
    /// The values at their bounds, each with its arrival.
    timed: Vec<(i64, OrderStatistic)>,
}

impl Censored {
    fn push_finite(&mut self, at: i64, nanos: i64) {
        self.lower.push_finite(nanos);
        self.upper.push_finite(nanos);
        self.timed.push((at, OrderStatistic::Finite(nanos)));
    }

    fn push_infinite(&mut self, at: i64) {
        self.lower.push_infinite();
        self.upper.push_infinite();
        self.timed.push((at, OrderStatistic::Infinite));
    }

    fn push_at_least(&mut self, at: i64, nanos: i64) {
        self.push_unknown(nanos);
        self.timed.push((at, OrderStatistic::Finite(nanos)));
    }

    fn push_unseen(&mut self) {
        self.push_unknown(0);
    }

    fn push_unknown(&mut self, least_nanos: i64) {
        self.lower.push_finite(least_nanos);
        self.upper.push_infinite();
        self.undecided += 1;
    }

    fn at(&mut self, quantile: Quantile) -> Figure {
        let rank = quantile.rank(self.lower.len());
        match (self.lower.at_rank(rank), self.upper.at_rank(rank)) {
            (Some(OrderStatistic::Infinite), _) => Figure::Infinite,
            (Some(lower), Some(upper)) if lower == upper => exact(lower),
            (Some(OrderStatistic::Finite(nanos)), _) if nanos > 0 => Figure::AtLeast {
                ms: nanos as f64 / 1e6,
            },
            (Some(_), _) => Figure::absent("too many requests are undecided"),
            (None, _) => Figure::absent("no measured request has a value"),
        }
    }

    /// A percentile with what its sample is worth.
    fn percentile(&mut self, quantile: Quantile, figure: Figure) -> Percentile {
        let n = self.lower.len();
        let n_eff = self.worth(quantile);
        let figure = supported(quantile, n_eff, figure);
        let known = matches!(figure, Figure::Exact { .. });
        let (low, high) = order_statistic_interval(n_eff, quantile.get(), CONFIDENCE)
            .filter(|_| known)
            .unwrap_or_default();
        let mut at_share = |share: Option<f64>| {
            let rank = ((share? * n as f64).ceil() as usize).clamp(1, n);
            let nanos = self.upper.at_rank(rank)?.finite()?;
            Some(nanos as f64 / 1e6)
        };
        Percentile {
            quantile,
            n: n as u64,
            n_eff: Some(n_eff),
            low_ms: at_share(low),
            high_ms: at_share(high),
            figure,
        }
    }

    /// How many independent values the sample is worth where it concerns this quantile: the values beyond it come in
    /// bursts.
    fn worth(&mut self, quantile: Quantile) -> f64 {
        let n = self.lower.len();
        let Some(value) = self.lower.at_rank(quantile.rank(n)) else {
            return 0.0;
        };
        let is_beyond = |one: OrderStatistic| match value {
            OrderStatistic::Finite(_) => one > value,
            OrderStatistic::Infinite => one == value,
        };
        let first = self.timed.iter().map(|(at, _)| *at).min().unwrap_or(0);
        let mut batches: BTreeMap<i64, Batch> = BTreeMap::new();
        for (at, one) in &self.timed {
            let batch = batches.entry((at - first) / BATCH_NS).or_default();
            batch.trials += 1.0;
            batch.events += f64::from(u8::from(is_beyond(*one)));
        }
        let batches: Vec<Batch> = batches.into_values().collect();
        let seen = self.timed.len() as f64;
        if seen > 0.0 {
            effective_sample_size(&batches) * n as f64 / seen
        } else {
            n as f64
        }
    }
}

fn exact(statistic: OrderStatistic) -> Figure {
    match statistic {
        OrderStatistic::Finite(nanos) => Figure::Exact {
            ms: nanos as f64 / 1e6,
        },
        OrderStatistic::Infinite => Figure::Infinite,
    }
}

/// Marks a figure that its sample does not support.
fn supported(quantile: Quantile, n_eff: f64, figure: Figure) -> Figure {
    // The worth of independent values is their number but for rounding.
    let allowed = quantile.allowed_violations((n_eff * (1.0 + 1e-9)) as usize);
    if matches!(figure, Figure::Absent { .. }) || support::is_supported(allowed) {
        return figure;
    }
    Figure::Unsupported {
        observed: Box::new(figure),
        needed: support::needed(1.0 - quantile.get(), |n| quantile.allowed_violations(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{MS, request};

    fn p(percent: f64) -> Quantile {
        Quantile::percent(percent).expect("a percentile")
    }

    fn check(requests: &[RequestRecord], unseen: u64, metric: Metric, expected: [&str; 4]) {
        let summary = of_requests(metric, requests, unseen, true);
        let found: Vec<String> = summary
            .percentiles
            .iter()
            .map(|percentile| percentile.figure.to_string())
            .collect();
        assert_eq!(found, expected, "{metric:?}");
    }

    /// Requests of 1 to `n` ms until the first token, of which the last `other` end in another way.
    fn requests(n: u32, other: u32, outcome: Outcome) -> Vec<RequestRecord> {
        (1..=n)
            .map(|number| RequestRecord {
                outcome: if number > n - other { outcome } else { Outcome::Ok },
                first_token_ns: Some(i64::from(number) * MS),
                ..request(0, number)
            })
            .collect()
    }

    #[test]
    fn a_percentile_is_an_order_statistic() {
        check(
            &requests(500, 0, Outcome::Ok),
            0,
            Metric::Ttft,
            ["250.0", "450.0", "475.0", "495.0"],
        );
        check(
            &requests(100, 0, Outcome::Ok),
            0,
            Metric::Ttft,
            ["50.0", "90.0", "95.0", "–"],
        );
        check(
            &requests(101, 0, Outcome::Ok),
            0,
            Metric::Ttft,
            ["51.0", "91.0", "96.0", "–"],
        );
        check(
            &requests(9, 0, Outcome::Ok),
            0,
            Metric::Ttft,
            ["–", "–", "–", "–"],
        );
        check(&[], 0, Metric::Ttft, ["–"; 4]);
    }

    #[test]
    fn failures_are_infinite() {
        check(
            &requests(100, 5, Outcome::StreamCut),
            0,
            Metric::Ttft,
            ["50.0", "90.0", "95.0", "–"],
        );
        check(
            &requests(100, 6, Outcome::StreamCut),
            0,
            Metric::Ttft,
            ["50.0", "90.0", "∞", "–"],
        );
        check(
            &requests(100, 6, Outcome::StreamCut),
            0,
            Metric::E2e,
            ["400.0", "400.0", "∞", "–"],
        );
    }

    #[test]
    fn cancelled_requests_leave_a_bound() {
        let shed: Vec<RequestRecord> = requests(100, 6, Outcome::Shed)
            .into_iter()
            .map(|request| match request.outcome {
                Outcome::Shed => RequestRecord {
                    first_token_ns: None,
                    end_ns: 700 * MS,
                    ..request
                },
                _ => request,
            })
            .collect();
        check(&shed, 0, Metric::Ttft, ["50.0", "90.0", "≥ 700.0", "–"]);
        check(&shed, 0, Metric::TtftFromSend, ["49.0", "89.0", "≥ 699.0", "–"]);
        check(&shed, 0, Metric::ItlMax, ["50.0", "50.0", "≥ 50.0", "–"]);
        // A hundred more were scheduled and never recorded.
        check(&shed, 100, Metric::Ttft, ["–", "≥ 80.0", "≥ 90.0", "–"]);
    }

    #[test]
    fn an_undefined_metric_is_no_value() {
        let mut requests = requests(100, 0, Outcome::Ok);
        for request in &mut requests[..50] {
            request.output_tokens = Some(1);
        }
        assert_eq!(of_requests(Metric::Tpot, &requests, 0, true).n, 50);
    }

    #[test]
    fn gaps_are_pooled() {
        let mut histogram = Histogram::<u64>::new(3).expect("a histogram");
        (1..=1000).for_each(|ms| histogram.record(ms * 1_000_000).expect("a gap"));
        let summary = of_gaps(Some(&histogram));
        let figure = |percent| {
            summary
                .percentile(p(percent))
                .expect("a percentile")
                .figure
                .to_string()
        };
        assert_eq!((summary.n, figure(50.0)), (1000, "500.2".to_owned()));
        assert_eq!(
            of_gaps(None).percentiles[0].figure,
            Figure::absent("no gaps are recorded")
        );
    }
}
