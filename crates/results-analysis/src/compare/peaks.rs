//! The difference of two peaks.

use gipfel_model::PeakEstimate;
use serde::Serialize;

use super::PeakOfRuns;
use crate::{shown, summary::RunSummary};

/// The 95th percentile of Student's t for 1, 2, … degrees of freedom; that of the normal distribution beyond.
const STUDENT_95: [f64; 30] = [
    6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753,
    1.746, 1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697,
];
const NORMAL_95: f64 = 1.645;

/// How B stands to A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The interval of the difference holds zero.
    NoDifference,
    /// B is higher, beyond noise.
    Better,
    /// B is lower, beyond noise.
    Worse,
    /// One of them has no answer.
    Unresolved,
}

/// The peaks, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeakComparison {
    /// How B stands to A.
    pub outcome: Outcome,
    /// The difference; absent when one of them has no estimate. Beside an unresolved outcome it is what is known so far.
    pub difference: Option<Difference>,
    /// The outcome as a sentence.
    pub sentence: String,
    #[serde(skip)]
    pub(super) a: Option<PeakOfRuns>,
    #[serde(skip)]
    pub(super) b: Option<PeakOfRuns>,
}

/// B less A, with 90 % intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// In per cent of A.
    pub percent: f64,
    /// The lower end of its interval.
    pub low_percent: f64,
    /// Its upper end.
    pub high_percent: f64,
    /// In requests per second.
    pub per_second: f64,
    /// The lower end of its interval.
    pub low_per_second: f64,
    /// Its upper end.
    pub high_per_second: f64,
    /// The standard deviation between repeats that their own uncertainty does not explain, in per cent; absent without
    /// repeats.
    pub between_runs_percent: Option<f64>,
}

impl Difference {
    /// Whether it is more than noise.
    pub fn is_beyond_noise(&self) -> bool {
        self.low_percent > 0.0 || self.high_percent < 0.0
    }
}

pub(super) fn compare(a: &[RunSummary], b: &[RunSummary]) -> PeakComparison {
    let answers = [answered(a), answered(b)];
    // What is known so far of those that have no answer is better than nothing, and said to be no answer.
    let known = [estimates(a), estimates(b)];
    let is_resolved = answers.iter().all(|answers| !answers.is_empty());
    let used = if is_resolved { &answers } else { &known };
    let difference = difference(&used[0], &used[1]);
    let (outcome, sentence) = match (nothing_passes(a), nothing_passes(b), difference) {
        (true, true, _) => (
            Outcome::Unresolved,
            "no answer: neither meets its objectives at any rate that was offered".to_owned(),
        ),
        (false, true, _) if !answers[0].is_empty() => (
            Outcome::Worse,
            "B is worse: it meets the objectives at no rate that was offered, and A does".to_owned(),
        ),
        (true, false, _) if !answers[1].is_empty() => (
            Outcome::Better,
            "B is better: it meets the objectives, and A does at no rate that was offered".to_owned(),
        ),
        (_, _, Some(difference)) if is_resolved => {
            judged(&difference, &used.each_ref().map(|peaks| pooled_mean(peaks)))
        }
        (_, _, difference) => (Outcome::Unresolved, unresolved(a, b, difference.as_ref())),
    };
    PeakComparison {
        outcome,
        sentence,
        difference,
        a: together(&answers[0]),
        b: together(&answers[1]),
    }
}

fn judged(difference: &Difference, [a, b]: &[f64; 2]) -> (Outcome, String) {
    let rates = format!("{} against {} req/s", shown::rate(*b), shown::rate(*a));
    if !difference.is_beyond_noise() {
        let sentence = format!(
            "no difference: {} % (90 % interval {} to {} %), {rates}",
            signed(difference.percent),
            signed(difference.low_percent),
            signed(difference.high_percent)
        );
        return (Outcome::NoDifference, sentence);
    }
    let (outcome, word) = if difference.percent < 0.0 {
        (Outcome::Worse, "lower")
    } else {
        (Outcome::Better, "higher")
    };
    // Of a lower B the ends change places with their signs.
    let ends = |low: f64, high: f64| (low.abs().min(high.abs()), low.abs().max(high.abs()));
    let (low, high) = ends(difference.low_percent, difference.high_percent);
    let (least, most) = ends(difference.low_per_second, difference.high_per_second);
    let sentence = format!(
        "B is {word} by {:.1} % (90 % interval {low:.1} to {high:.1} %): {rates}, {word} by {} ({} to {}) req/s",
        difference.percent.abs(),
        shown::rate(difference.per_second.abs()),
        shown::rate(least),
        shown::rate(most),
    );
    (outcome, sentence)
}

fn unresolved(a: &[RunSummary], b: &[RunSummary], difference: Option<&Difference>) -> String {
    let without: Vec<String> = [("A", a), ("B", b)]
        .into_iter()
        .filter(|(_, runs)| answered(runs).is_empty())
        .map(|(name, runs)| {
            let reason = runs.iter().find_map(|run| run.peak.unresolved.as_deref());
            format!(
                "{name} is unresolved ({})",
                reason.unwrap_or("it has no estimate")
            )
        })
        .collect();
    let so_far = difference.map_or_else(String::new, |difference| {
        format!(
            "; so far as is known, B differs by {} % (90 % interval {} to {} %)",
            signed(difference.percent),
            signed(difference.low_percent),
            signed(difference.high_percent)
        )
    });
    format!("no answer: {}{so_far}", without.join(", "))
}

/// One decimal, with its sign; the minus is a true one.
fn signed(percent: f64) -> String {
    let text = format!("{:.1}", percent.abs());
    match text.as_str() {
        "0.0" => text,
        _ if percent < 0.0 => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

fn nothing_passes(runs: &[RunSummary]) -> bool {
    runs.iter().all(|run| run.peak.nothing_passes)
}

fn answered(runs: &[RunSummary]) -> Vec<PeakEstimate> {
    let has_answer = |run: &&RunSummary| run.peak.unresolved.is_none() && !run.peak.nothing_passes;
    runs.iter()
        .filter(has_answer)
        .filter_map(|run| run.peak.estimate.clone())
        .collect()
}

fn estimates(runs: &[RunSummary]) -> Vec<PeakEstimate> {
    runs.iter().filter_map(|run| run.peak.estimate.clone()).collect()
}

/// The logarithms of the peaks of several runs.
struct Logarithms {
    mean: f64,
    runs: f64,
    /// The variance of their means; 0 for one.
    scatter: f64,
    /// The mean of the variances that they state themselves.
    own: f64,
}

impl Logarithms {
    fn of(peaks: &[PeakEstimate]) -> Option<Self> {
        let sound = |peak: &&PeakEstimate| peak.low > 0.0 && peak.mean > 0.0 && peak.high >= peak.low;
        let peaks: Vec<&PeakEstimate> = peaks.iter().filter(sound).collect();
        if peaks.is_empty() {
            return None;
        }
        let runs = peaks.len() as f64;
        let mean = peaks.iter().map(|peak| peak.mean.ln()).sum::<f64>() / runs;
        let squares: f64 = peaks.iter().map(|peak| (peak.mean.ln() - mean).powi(2)).sum();
        let own = |peak: &&PeakEstimate| ((peak.high / peak.low).ln() / 2.0 / NORMAL_95).powi(2);
        Some(Self {
            mean,
            runs,
            scatter: if runs > 1.0 { squares / (runs - 1.0) } else { 0.0 },
            own: peaks.iter().map(own).sum::<f64>() / runs,
        })
    }

    fn degrees_of_freedom(&self) -> f64 {
        self.runs - 1.0
    }

    /// The variance between runs that their own uncertainty does not explain.
    fn between(&self) -> f64 {
        (self.scatter - self.own).max(0.0)
    }
}

/// The variance between runs, from all sides that have repeats, and its degrees of freedom.
fn between_runs(sides: &[&Logarithms]) -> Option<(f64, f64)> {
    let degrees: f64 = sides.iter().map(|side| side.degrees_of_freedom()).sum();
    let sum: f64 = sides
        .iter()
        .map(|side| side.between() * side.degrees_of_freedom())
        .sum();
    (degrees > 0.0).then(|| (sum / degrees, degrees))
}

/// Half of the 90 % interval of a sum of the sides' means.
fn half_width(sides: &[&Logarithms]) -> f64 {
    let (between, degrees) = between_runs(sides).unwrap_or((0.0, f64::INFINITY));
    let estimated: f64 = sides.iter().map(|side| between / side.runs).sum();
    let variance: f64 = estimated + sides.iter().map(|side| side.own / side.runs).sum::<f64>();
    // Satterthwaite: only the variance between runs is itself uncertain.
    let degrees = if estimated > 0.0 {
        degrees * (variance / estimated).powi(2)
    } else {
        f64::INFINITY
    };
    student_95(degrees) * variance.sqrt()
}

fn difference(a: &[PeakEstimate], b: &[PeakEstimate]) -> Option<Difference> {
    let (a, b) = (Logarithms::of(a)?, Logarithms::of(b)?);
    let half = half_width(&[&a, &b]);
    let shift = b.mean - a.mean;
    let percent = |logarithm: f64| (logarithm.exp() - 1.0) * 100.0;
    let per_second = |logarithm: f64| a.mean.exp() * percent(logarithm) / 100.0;
    Some(Difference {
        percent: percent(shift),
        low_percent: percent(shift - half),
        high_percent: percent(shift + half),
        per_second: per_second(shift),
        low_per_second: per_second(shift - half),
        high_per_second: per_second(shift + half),
        between_runs_percent: between_runs(&[&a, &b]).map(|(variance, _)| percent(variance.sqrt())),
    })
}

fn pooled_mean(peaks: &[PeakEstimate]) -> f64 {
    Logarithms::of(peaks).map_or(f64::NAN, |peaks| peaks.mean.exp())
}

/// The peak of the runs of one side; of one run its own interval.
fn together(peaks: &[PeakEstimate]) -> Option<PeakOfRuns> {
    if let [peak] = peaks {
        let PeakEstimate { mean, low, high, .. } = *peak;
        return Some(PeakOfRuns { mean, low, high });
    }
    let side = Logarithms::of(peaks)?;
    let half = half_width(&[&side]);
    Some(PeakOfRuns {
        mean: side.mean.exp(),
        low: (side.mean - half).exp(),
        high: (side.mean + half).exp(),
    })
}

fn student_95(degrees: f64) -> f64 {
    let at = |degrees: f64| match degrees as usize {
        0 => f64::INFINITY,
        whole => STUDENT_95.get(whole - 1).copied().unwrap_or(NORMAL_95),
    };
    if degrees >= STUDENT_95.len() as f64 {
        return NORMAL_95;
    }
    // The quantile is nearly linear in 1 / degrees.
    let (below, above) = (degrees.floor(), degrees.floor() + 1.0);
    let share = (1.0 / below - 1.0 / degrees) / (1.0 / below - 1.0 / above);
    at(below) + share * (at(above) - at(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peak(mean: f64, half_percent: f64) -> PeakEstimate {
        PeakEstimate {
            peak_qps: mean,
            mean,
            low: mean * (1.0 - half_percent / 100.0),
            high: mean * (1.0 + half_percent / 100.0),
            binding: "ttft p95 <= 500ms".parse().expect("an objective"),
            n_eff: 100.0,
        }
    }

    fn check(a: &[PeakEstimate], b: &[PeakEstimate], expected: &str) {
        let difference = difference(a, b).expect("a difference");
        let found = format!(
            "{} ({} to {}) {}",
            signed(difference.percent),
            signed(difference.low_percent),
            signed(difference.high_percent),
            difference.is_beyond_noise()
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn single_runs_differ_by_their_own_uncertainties() {
        // Two intervals of ±2 % make one of ±2·√2 %.
        check(&[peak(25.0, 2.0)], &[peak(25.0, 2.0)], "0.0 (−2.8 to +2.9) false");
        check(
            &[peak(25.0, 2.0)],
            &[peak(24.5, 2.0)],
            "−2.0 (−4.7 to +0.8) false",
        );
        check(
            &[peak(25.6, 2.0)],
            &[peak(23.48, 2.0)],
            "−8.3 (−10.8 to −5.6) true",
        );
        check(&[peak(25.0, 0.0)], &[peak(26.0, 0.0)], "+4.0 (+4.0 to +4.0) true");
    }

    #[test]
    fn repeats_that_agree_narrow_the_interval() {
        let four = |mean: f64| vec![peak(mean, 2.0); 4];
        check(&four(25.0), &four(25.0), "0.0 (−1.4 to +1.4) false");
        check(&[peak(25.0, 2.0)], &four(25.0), "0.0 (−2.2 to +2.3) false");
    }

    #[test]
    fn repeats_that_scatter_widen_it() {
        let scattered = [peak(24.0, 1.0), peak(25.0, 1.0), peak(26.0, 1.0)];
        check(&[peak(25.0, 1.0)], &[peak(24.0, 1.0)], "−4.0 (−5.3 to −2.6) true");
        // The standard deviation of 4 % between repeats holds for a single run as well.
        check(&scattered, &[peak(24.0, 1.0)], "−3.9 (−15.8 to +9.5) false");
        check(&scattered, &scattered, "0.0 (−6.6 to +7.1) false");
    }

    #[test]
    fn students_quantile_falls_to_the_normal_one() {
        let close = |degrees: f64, expected: f64| {
            let found = student_95(degrees);
            assert!((found - expected).abs() < 0.02, "{degrees}: {found}");
        };
        close(1.0, 6.314);
        close(2.0, 2.920);
        close(4.5, 2.070);
        close(29.5, 1.698);
        close(1e9, 1.645);
        close(f64::INFINITY, 1.645);
    }

    #[test]
    fn a_percentage_has_its_sign() {
        for (percent, expected) in [(-0.04, "0.0"), (-3.12, "−3.1"), (2.0, "+2.0")] {
            assert_eq!(signed(percent), expected);
        }
    }

    #[test]
    fn what_is_no_estimate_has_no_difference() {
        assert_eq!(difference(&[], &[peak(25.0, 1.0)]), None);
        let zero = PeakEstimate {
            low: 0.0,
            ..peak(25.0, 1.0)
        };
        assert_eq!(difference(&[zero], &[peak(25.0, 1.0)]), None);
    }
}
