//! Which levels of two results were offered at nearly equal rates.

use gipfel_model::Stage;

use crate::summary::{LevelSummary, RunSummary};

/// Rates within this share of each other count as equal: near the knee one per cent of rate is some ten per cent of
/// latency.
const TOLERANCE: f64 = 0.01;

/// A level, by its run's and its own place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) run: usize,
    pub(super) level: usize,
    rate: f64,
    requests: u64,
}

/// Levels of nearly equal rate on both sides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CommonRate {
    pub(super) a: Vec<Place>,
    pub(super) b: Vec<Place>,
}

impl CommonRate {
    /// The mean rate of places, weighted by their requests.
    pub(super) fn mean_rate(places: &[Place]) -> f64 {
        let requests: u64 = places.iter().map(|place| place.requests).sum();
        let sum: f64 = places
            .iter()
            .map(|place| place.rate * place.requests as f64)
            .sum();
        sum / requests as f64
    }

    /// The requests of the side that has fewer, and those of both.
    fn support(&self) -> (u64, u64) {
        let sum = |places: &[Place]| places.iter().map(|place| place.requests).sum::<u64>();
        let (a, b) = (sum(&self.a), sum(&self.b));
        (a.min(b), a + b)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let shares = |mine: &[Place], theirs: &[Place]| mine.iter().any(|place| theirs.contains(place));
        shares(&self.a, &other.a) || shares(&self.b, &other.b)
    }
}

/// The rates that both were offered, ascending. Where rates lie so close that several pairings are possible, the one with
/// the most requests is taken.
pub(super) fn common(a: &[RunSummary], b: &[RunSummary]) -> Vec<CommonRate> {
    pair(&places(a), &places(b))
}

fn places(runs: &[RunSummary]) -> Vec<Place> {
    let mut places = Vec::new();
    for (run, summary) in runs.iter().enumerate() {
        for (level, summary) in summary
            .levels
            .iter()
            .enumerate()
            .filter(|(_, level)| is_measured(level))
        {
            places.push(Place {
                run,
                level,
                rate: summary.rate.get(),
                requests: summary.requests.measured,
            });
        }
    }
    places
}

fn is_measured(level: &LevelSummary) -> bool {
    level.stage != Stage::Ramp && level.has_figures() && level.requests.measured > 0
}

fn pair(a: &[Place], b: &[Place]) -> Vec<CommonRate> {
    let mut candidates: Vec<CommonRate> = a
        .iter()
        .chain(b)
        .map(|lowest| {
            let within = |places: &[Place]| {
                let close =
                    |place: &&Place| (lowest.rate..=lowest.rate * (1.0 + TOLERANCE)).contains(&place.rate);
                places.iter().filter(close).copied().collect()
            };
            CommonRate {
                a: within(a),
                b: within(b),
            }
        })
        .filter(|common| common.support().0 > 0)
        .collect();
    candidates.sort_by_key(|common| std::cmp::Reverse(common.support()));
    let mut chosen: Vec<CommonRate> = Vec::new();
    for candidate in candidates {
        if !chosen.iter().any(|other| other.overlaps(&candidate)) {
            chosen.push(candidate);
        }
    }
    chosen.sort_by(|one, other| one.a[0].rate.total_cmp(&other.a[0].rate));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &[(f64, u64)], b: &[(f64, u64)], expected: &[(&[f64], &[f64])]) {
        let places = |rates: &[(f64, u64)]| -> Vec<Place> {
            rates
                .iter()
                .enumerate()
                .map(|(level, (rate, requests))| Place {
                    run: 0,
                    level,
                    rate: *rate,
                    requests: *requests,
                })
                .collect()
        };
        let found: Vec<(Vec<f64>, Vec<f64>)> = pair(&places(a), &places(b))
            .into_iter()
            .map(|common| {
                let rates = |places: Vec<Place>| places.iter().map(|place| place.rate).collect();
                (rates(common.a), rates(common.b))
            })
            .collect();
        let expected: Vec<(Vec<f64>, Vec<f64>)> =
            expected.iter().map(|(a, b)| (a.to_vec(), b.to_vec())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn listed_rates_meet_where_they_are_equal() {
        check(
            &[(10.0, 600), (20.0, 1200), (40.0, 2400)],
            &[(5.0, 300), (20.0, 1200), (10.0, 600), (30.0, 1800)],
            &[(&[10.0], &[10.0]), (&[20.0], &[20.0])],
        );
        check(&[(10.0, 600)], &[(11.0, 600)], &[]);
        check(&[], &[(11.0, 600)], &[]);
        check(&[(10.0, 0)], &[(10.0, 600)], &[]);
    }

    #[test]
    fn blocks_near_the_knee_are_pooled_within_one_per_cent() {
        check(
            &[(25.0, 2500), (25.2, 2500), (24.0, 2500)],
            &[(25.1, 2500), (25.6, 2500)],
            &[(&[25.0, 25.2], &[25.1])],
        );
        // The pairing that takes most in wins over the one that begins lowest.
        check(
            &[(25.0, 100), (25.24, 2500)],
            &[(25.2, 50), (25.4, 2500)],
            &[(&[25.24], &[25.2, 25.4])],
        );
    }
}
