//! One level over time, in a bounded number of points.

use std::collections::BTreeMap;

use gipfel_model::{
    LatencyMetric, LevelRecord, RequestRecord, ScrapeRecord,
    record::{Decision, Latency},
};

use super::facts::Place;
use crate::flight::{self, Flight};

/// Moments of the requests in flight, and looks at the server that are drawn.
const MOST_MOMENTS: usize = 240;
/// Stretches of a level of many requests.
const STRETCHES: usize = 200;

/// A level over time; seconds count from its begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series {
    pub(crate) length_s: f64,
    pub(crate) warmup_s: f64,
    pub(crate) measured_s: f64,
    pub(crate) ttft: Ttft,
    /// Requests in flight by the client's count.
    pub(crate) in_flight: Vec<(f64, f64)>,
    /// Requests that the server works on.
    pub(crate) running: Vec<(f64, f64)>,
    /// Requests in the server's queue.
    pub(crate) waiting: Vec<(f64, f64)>,
    /// Share of the KV cache in use, 0 to 1.
    pub(crate) kv_cache: Vec<(f64, f64)>,
}

/// TTFT by the time of the scheduled arrival, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ttft {
    /// Every request.
    Dots(Vec<Dot>),
    /// Too many requests to draw each.
    Stretches(Vec<Stretch>),
}

impl Default for Ttft {
    fn default() -> Self {
        Self::Dots(Vec::new())
    }
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dot {
    pub(crate) at_s: f64,
    /// Absent when no first token came.
    pub(crate) ms: Option<f64>,
    /// Whether it violates the objective in focus.
    pub(crate) violates: bool,
}

/// The requests of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    pub(crate) at_s: f64,
    pub(crate) median_ms: f64,
    pub(crate) p95_ms: f64,
    /// Requests without a first token.
    pub(crate) without: usize,
}

pub(crate) fn of_level(
    record: &LevelRecord,
    length_s: f64,
    requests: &[RequestRecord],
    scrapes: &[ScrapeRecord],
    flights: &[Flight],
    place: &Place<'_>,
) -> Series {
    let seconds = |at_ns: i64| (at_ns - record.start_ns) as f64 / 1e9;
    let to = record.start_ns + (length_s * 1e9) as i64;
    let dots: Vec<Dot> = requests
        .iter()
        .map(|request| Dot {
            at_s: seconds(request.scheduled_ns),
            ms: first_token_ms(request),
            violates: place
                .focus
                .is_some_and(|slo| request.decide(slo) == Decision::Violated),
        })
        .collect();
    let of_gauge = |gauge: fn(&ScrapeRecord) -> Option<f64>, over_endpoints: fn(&[f64]) -> f64| {
        let values = gauge_by_time(scrapes, gauge, over_endpoints);
        thinned(
            values
                .into_iter()
                .map(|(at_ns, value)| (seconds(at_ns), value))
                .collect(),
        )
    };
    Series {
        length_s,
        warmup_s: record.warmup_ns as f64 / 1e9,
        measured_s: record.measured_ns as f64 / 1e9,
        ttft: if dots.len() > place.most_dots {
            Ttft::Stretches(stretches(&dots, length_s))
        } else {
            Ttft::Dots(dots)
        },
        in_flight: flight::in_flight_at(flights, (record.start_ns, to), MOST_MOMENTS)
            .into_iter()
            .map(|(at_ns, value)| (seconds(at_ns), value))
            .collect(),
        running: of_gauge(|scrape| scrape.requests_running, sum),
        waiting: of_gauge(|scrape| scrape.requests_waiting, sum),
        kv_cache: of_gauge(|scrape| scrape.kv_cache_usage, largest),
    }
}

fn first_token_ms(request: &RequestRecord) -> Option<f64> {
    match request.latency(LatencyMetric::Ttft) {
        Latency::Finite(nanos) => Some(nanos as f64 / 1e6),
        Latency::Infinite | Latency::Undefined => None,
    }
}

/// A gauge by time: the n-th looks of the first rank at each endpoint count as one, since they are taken together.
fn gauge_by_time(
    scrapes: &[ScrapeRecord],
    gauge: fn(&ScrapeRecord) -> Option<f64>,
    over_endpoints: fn(&[f64]) -> f64,
) -> Vec<(i64, f64)> {
    let Some(rank) = scrapes.first().map(|scrape| scrape.rank) else {
        return Vec::new();
    };
    let mut looks: Vec<(i64, Vec<f64>)> = Vec::new();
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    for scrape in scrapes.iter().filter(|scrape| scrape.rank == rank) {
        let Some(value) = gauge(scrape) else { continue };
        let number = seen.entry(scrape.endpoint).or_default();
        match looks.get_mut(*number) {
            Some((_, values)) => values.push(value),
            None => looks.push((scrape.at_ns, vec![value])),
        }
        *number += 1;
    }
    looks
        .into_iter()
        .map(|(at_ns, values)| (at_ns, over_endpoints(&values)))
        .collect()
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// At most [`MOST_MOMENTS`] of the points, evenly chosen.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(MOST_MOMENTS).max(1);
    points.into_iter().step_by(step).collect()
}

fn stretches(dots: &[Dot], length_s: f64) -> Vec<Stretch> {
    let width = (length_s / STRETCHES as f64).max(1e-3);
    let mut by_stretch: Vec<(Vec<f64>, usize)> = vec![(Vec::new(), 0); STRETCHES];
    for dot in dots {
        let index = ((dot.at_s / width).max(0.0) as usize).min(STRETCHES - 1);
        match dot.ms {
            Some(ms) => by_stretch[index].0.push(ms),
            None => by_stretch[index].1 += 1,
        }
    }
    by_stretch
        .into_iter()
        .enumerate()
        .filter(|(_, (values, _))| !values.is_empty())
        .map(|(index, (mut values, without))| {
            values.sort_by(f64::total_cmp);
            let rank = |share: f64| values[((share * values.len() as f64).ceil() as usize).max(1) - 1];
            Stretch {
                at_s: (index as f64 + 0.5) * width,
                median_ms: rank(0.5),
                p95_ms: rank(0.95),
                without,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_requests_become_a_bounded_number_of_stretches() {
        let dots: Vec<Dot> = (0..10_000)
            .map(|index| Dot {
                at_s: f64::from(index) / 100.0,
                ms: (index % 100 != 0).then_some(f64::from(index % 50)),
                violates: false,
            })
            .collect();
        let found = stretches(&dots, 100.0);
        assert_eq!(found.len(), STRETCHES);
        assert!(found.iter().all(|stretch| stretch.median_ms <= stretch.p95_ms));
        assert_eq!(found.iter().map(|stretch| stretch.without).sum::<usize>(), 100);
    }

    #[test]
    fn looks_at_several_endpoints_are_one() {
        let scrape = |endpoint, at_ns, running| ScrapeRecord {
            endpoint,
            at_ns,
            requests_running: Some(running),
            ..ScrapeRecord::default()
        };
        let scrapes = [
            scrape(0, 1, 3.0),
            scrape(1, 2, 4.0),
            scrape(0, 11, 5.0),
            scrape(1, 12, 6.0),
        ];
        let found = gauge_by_time(&scrapes, |scrape| scrape.requests_running, sum);
        assert_eq!(found, [(1, 7.0), (11, 11.0)]);
    }

    #[test]
    fn points_are_thinned_evenly() {
        let points: Vec<(f64, f64)> = (0..1000).map(|index| (f64::from(index), 0.0)).collect();
        let found = thinned(points);
        assert_eq!((found.len(), found[1].0), (200, 5.0));
    }
}
