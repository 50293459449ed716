//! What is measured of an experiment, in the figures of one line.

use gipfel_model::{LatencyMetric, PeakEstimate, Progress, Quantile, RunState, Slo, Verdict, format_rate};
use serde::Serialize;

/// So long a level must have gone on before the rate of its completed requests says anything, in seconds.
const SETTLED_S: f64 = 3.0;

/// How TTFT p95 stands to its objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Margin {
    /// Well within.
    Within,
    /// Within a fifth of the limit.
    Near,
    /// Above.
    Above,
}

/// The figures of one line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// The rate that is offered now, in requests per second.
    pub(crate) rate: Option<f64>,
    /// TTFT p95 of the present window, or of the last one.
    pub(crate) ttft_p95_ms: Option<f64>,
    /// The present window has none yet, so it is that of the last one.
    pub(crate) ttft_p95_is_of_last_level: bool,
    /// Its limit, where the objectives name one.
    pub(crate) ttft_p95_limit_ms: Option<f64>,
    /// Requests completed per second of the present level, or of the last one.
    pub(crate) completed_qps: Option<f64>,
    /// The peak so far, in words: an estimate with its interval, a bracket, or the highest rate that passes.
    pub(crate) peak: Option<String>,
    /// The estimate, once a search has one.
    pub(crate) estimate: Option<PeakEstimate>,
    /// How long it may take still, in seconds.
    pub(crate) left_s: Option<f64>,
}

impl Figures {
    pub(crate) fn of(progress: &Progress, slos: &[Slo]) -> Self {
        let current = progress.current.as_ref();
        let goes_on = progress.state == RunState::Running;
        // Of a run that is over the last level says nothing of the answer.
        let last = progress.levels.last().filter(|_| goes_on);
        let ttft = current.and_then(|current| current.ttft_p95_ms);
        let completed = current
            .filter(|current| current.elapsed_s >= SETTLED_S)
            .map(|current| current.ended.saturating_sub(current.failed) as f64 / current.elapsed_s);
        let estimate = progress
            .search
            .as_ref()
            .and_then(|search| search.estimate.clone());
        Self {
            rate: current.map(|current| current.rate.get()),
            ttft_p95_ms: ttft.or_else(|| last.and_then(|last| last.ttft_p95_ms)),
            ttft_p95_is_of_last_level: ttft.is_none(),
            ttft_p95_limit_ms: ttft_p95_limit(slos),
            completed_qps: completed.or_else(|| last.map(|last| last.completed_rate)),
            peak: peak(progress, estimate.as_ref()),
            left_s: left(progress).filter(|_| goes_on),
            estimate,
        }
    }

    /// How TTFT p95 of the present window stands to its objective; absent without either.
    pub(crate) fn margin(&self) -> Option<Margin> {
        if self.ttft_p95_is_of_last_level {
            return None;
        }
        let (value, limit) = (self.ttft_p95_ms?, self.ttft_p95_limit_ms?);
        Some(if value > limit {
            Margin::Above
        } else if value > 0.8 * limit {
            Margin::Near
        } else {
            Margin::Within
        })
    }
}

/// The strictest limit of TTFT p95.
fn ttft_p95_limit(slos: &[Slo]) -> Option<f64> {
    let limits = slos.iter().filter_map(|slo| match slo {
        Slo::Latency {
            metric: LatencyMetric::Ttft,
            quantile,
            limit,
        } if *quantile == Quantile::P95 => Some(limit.as_secs_f64() * 1000.0),
        _ => None,
    });
    limits.reduce(f64::min)
}

fn peak(progress: &Progress, estimate: Option<&PeakEstimate>) -> Option<String> {
    if let Some(estimate) = estimate {
        let (low, high) = (format_rate(estimate.low), format_rate(estimate.high));
        return Some(format!("{} ({low}–{high})", format_rate(estimate.peak_qps)));
    }
    if let Some((low, high)) = progress.search.as_ref().and_then(|search| search.bracket) {
        return Some(format!("{}–{}", format_rate(low), format_rate(high)));
    }
    let passing = progress
        .levels
        .iter()
        .filter(|level| level.verdict == Some(Verdict::Accept));
    let highest = passing.map(|level| level.rate.get()).reduce(f64::max);
    highest.map(|rate| format!("≥ {}", format_rate(rate)))
}

/// A search may take the rest of its budget; listed levels take as long as the present one for each that is left.
fn left(progress: &Progress) -> Option<f64> {
    if let Some(search) = &progress.search {
        return Some((search.budget_s - search.elapsed_s).max(0.0));
    }
    let (current, planned) = (progress.current.as_ref()?, progress.planned_levels?);
    let over = u32::try_from(progress.levels.len()).unwrap_or(u32::MAX);
    let later = planned.saturating_sub(over).saturating_sub(1);
    Some((current.planned_s - current.elapsed_s).max(0.0) + f64::from(later) * current.planned_s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples;

    fn slos(texts: &[&str]) -> Vec<Slo> {
        texts
            .iter()
            .map(|text| text.parse().expect("an objective"))
            .collect()
    }

    #[test]
    fn the_margin_is_that_of_ttft_p95() {
        let check = |ttft_ms, texts: &[&str], expected| {
            let progress = samples::level(20.0, 30.0, Some(ttft_ms));
            let figures = Figures::of(&progress, &slos(texts));
            assert_eq!(figures.margin(), expected, "{ttft_ms} {texts:?}");
        };
        check(100.0, &["ttft p95 <= 200ms"], Some(Margin::Within));
        check(161.0, &["ttft p95 <= 200ms"], Some(Margin::Near));
        check(200.1, &["ttft p95 <= 200ms"], Some(Margin::Above));
        check(
            150.0,
            &["ttft p95 <= 1s", "ttft p95 <= 140ms"],
            Some(Margin::Above),
        );
        check(100.0, &["ttft p50 <= 50ms"], None);
        check(100.0, &["error_rate <= 1%"], None);
        let last = Figures::of(&samples::level(32.0, 30.0, None), &slos(&["ttft p95 <= 50ms"]));
        assert_eq!(
            (last.ttft_p95_ms, last.margin()),
            (Some(88.0), None),
            "of the last level"
        );
    }

    #[test]
    fn listed_levels_have_a_rate_that_passes_and_an_end() {
        let figures = Figures::of(&samples::level(32.0, 30.0, None), &[]);
        assert_eq!(figures.peak.as_deref(), Some("≥ 24.0"));
        assert_eq!(figures.left_s, Some(60.0 + 2.0 * 90.0));
        assert_eq!(figures.completed_qps, Some(31.0));
        let young = Figures::of(&samples::level(32.0, 1.0, None), &[]);
        assert_eq!(young.completed_qps, Some(23.9), "of the level before");
    }

    #[test]
    fn a_search_has_a_bracket_and_then_an_estimate() {
        let figures = Figures::of(&samples::search(None), &[]);
        assert_eq!(figures.peak.as_deref(), Some("20.1–27.2"));
        let figures = Figures::of(&samples::search(Some(25.3)), &[]);
        assert_eq!(figures.peak.as_deref(), Some("25.3 (24.1–26.4)"));
        assert_eq!(figures.left_s, Some(492.0));
    }
}
