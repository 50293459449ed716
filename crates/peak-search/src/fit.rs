//! The rate at which an objective is just met, as the levels suggest it.

use gipfel_model::{Evidence, LatencyMetric, PeakEstimate, Second, Slo, Stage};
use gipfel_statistics::{Batch, variance_inflation};

use crate::{
    evidence::{batches, measured, median},
    posterior::{Point, Posterior, SlopePrior},
};

/// A spell lasts so many median E2E latencies, times the spread of the requests' work, and at least so many seconds: what
/// comes within it is one event. Chosen on simulated servers, by the coverage of the interval.
const SPELL_E2E: f64 = 2.0;
const LEAST_SPELL_S: f64 = 12.0;
/// The tests of the bracket are short and follow an overload: each counts at most as much as half an independent request.
const BRACKET_WEIGHT: f64 = 0.5;
/// Share of the prompt in what a request asks of the server; the rest is the answer's.
const INPUT_SHARE: f64 = 0.4;
/// How much of what chance made of a stretch's work is put down to its rate. All of it would be right if every request
/// asked its share of the same resource; chosen on simulated servers, by the errors.
const CHANCE_SHARE: f64 = 0.6;
/// The headline's quantile of the posterior: the peak is at least this with 80 % confidence.
const HEADLINE: f64 = 0.2;
const INTERVAL: (f64, f64) = (0.05, 0.95);
/// Priors of the slope, as measured on simulated servers. A queue that forms makes first tokens late at once: slopes lie
/// between 32 and 130. The pace of the steps, which the later tokens follow, changes little by little: from 10 on.
const QUEUE_SLOPE: SlopePrior = SlopePrior {
    centre: 60.0,
    spread: 1.8,
};
const PACE_SLOPE: SlopePrior = SlopePrior {
    centre: 40.0,
    spread: 2.0,
};
/// Slow waves of the pace are longer than a block: its inflation is taken so many times.
const PACE_INFLATION: f64 = 3.0;

/// A level with what was learnt from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learnt<'a> {
    pub(crate) stage: Stage,
    pub(crate) rate: f64,
    /// When it began, in seconds on an axis that all levels share.
    pub(crate) start_s: f64,
    pub(crate) evidence: &'a Evidence,
}

impl Learnt<'_> {
    /// Whether it was measured to its end, and long enough to tell how its violations cluster.
    fn is_whole(&self) -> bool {
        matches!(self.stage, Stage::Track | Stage::Level) && self.evidence.overloaded.is_none()
    }
}

/// The estimate of one objective, and how steeply its violating share rises there.
#[derive(Clone, Debug)]
pub(crate) struct Fit {
    pub(crate) peak: PeakEstimate,
    /// Logit of the share per unit of ln rate.
    pub(crate) slope: f64,
}

/// The median E2E latency near the knee, in seconds.
pub(crate) fn typical_e2e(levels: &[Learnt<'_>]) -> Option<f64> {
    let of = |stages: &[Stage]| {
        let mut values: Vec<i64> = levels
            .iter()
            .filter(|level| stages.contains(&level.stage))
            .filter_map(|level| Some((level.evidence.e2e_p50_s? * 1e9) as i64))
            .collect();
        median(&mut values).map(|nanos| nanos / 1e9)
    };
    of(&[Stage::Track])
        .or_else(|| of(&[Stage::Bracket]))
        .or_else(|| of(&[Stage::Level, Stage::Ramp]))
}

/// The estimate of the objective with the lowest answer.
pub(crate) fn estimate(slos: &[Slo], levels: &[Learnt<'_>], e2e_s: Option<f64>) -> Option<PeakEstimate> {
    fit(slos, levels, e2e_s).map(|fit| fit.peak)
}

/// The same with its slope.
pub(crate) fn fit(slos: &[Slo], levels: &[Learnt<'_>], e2e_s: Option<f64>) -> Option<Fit> {
    let work = Work::of(levels);
    let spell_s = (SPELL_E2E * work.spread * e2e_s.unwrap_or(0.0)).max(LEAST_SPELL_S);
    let of = |(index, slo): (usize, &Slo)| {
        if slo.allowed_share() <= 0.0 {
            return None;
        }
        let (prior, worth) = if is_of_the_queue(slo) {
            (QUEUE_SLOPE, Worth::Spells { spell_s })
        } else {
            let inflation = pooled_inflation(index, levels);
            (PACE_SLOPE, Worth::Requests { inflation, spell_s })
        };
        let points: Vec<Point> = levels
            .iter()
            .filter(|level| level.stage != Stage::Ramp)
            .filter_map(|level| point(index, level, worth, &work))
            .collect();
        let posterior = Posterior::new(&points, slo.allowed_share(), prior)?;
        let peak = PeakEstimate {
            peak_qps: posterior.quantile(HEADLINE),
            mean: posterior.mean(),
            low: posterior.quantile(INTERVAL.0),
            high: posterior.quantile(INTERVAL.1),
            binding: *slo,
            n_eff: points.iter().map(|point| point.weight).sum(),
        };
        Some(Fit {
            peak,
            slope: posterior.slope(),
        })
    };
    let fits = slos.iter().enumerate().filter_map(of);
    fits.min_by(|one, other| one.peak.peak_qps.total_cmp(&other.peak.peak_qps))
}

/// Whether an objective is violated by waiting for the first token.
fn is_of_the_queue(slo: &Slo) -> bool {
    matches!(
        slo,
        Slo::Latency {
            metric: LatencyMetric::Ttft,
            ..
        }
    )
}

/// The variance inflation of one objective in a whole level, the mean over the levels that saw violations; `None` before
/// there are two.
fn pooled_inflation(objective: usize, levels: &[Learnt<'_>]) -> Option<f64> {
    let (mut count, mut trials, mut sum) = (0, 0.0, 0.0);
    for level in levels.iter().filter(|level| level.is_whole()) {
        let batches = batches(measured(level.evidence), objective);
        let total = Batch::sum(batches.iter().copied());
        if total.events > 0.0 && total.events < total.trials {
            count += 1;
            trials += total.trials;
            sum += total.trials * variance_inflation(&batches);
        }
    }
    (count >= 2).then(|| sum / trials)
}

/// How many independent requests a stretch of load is worth.
#[derive(Clone, Copy, Debug)]
enum Worth {
    /// Its count over the variance inflation between its batches, and at most one for each spell: near the knee of a
    /// queue what comes within a few E2E latencies is one event, seen many times, which the batches of a stretch without
    /// violations cannot show.
    Spells { spell_s: f64 },
    /// Its count over the variance inflation, its own or that of all whole levels if that is more: where the pace decides,
    /// long answers violate at any time, not in spells. As before when that is more, and for levels that are not whole.
    Requests { inflation: Option<f64>, spell_s: f64 },
}

impl Worth {
    fn of(self, level: &Learnt<'_>, batches: &[Batch], duration_s: f64) -> f64 {
        let trials = Batch::sum(batches.iter().copied()).trials;
        let own = variance_inflation(batches);
        let by_spells = |spell_s: f64| (trials / own).min(duration_s / spell_s);
        match self {
            Self::Spells { spell_s }
            | Self::Requests {
                inflation: None,
                spell_s,
            } => by_spells(spell_s),
            Self::Requests {
                inflation: Some(inflation),
                spell_s,
            } => {
                if level.is_whole() {
                    by_spells(spell_s).max(trials / own.max(PACE_INFLATION * inflation))
                } else {
                    by_spells(spell_s)
                }
            }
        }
    }
}

/// What a request asks of the server, on average, and how much that varies.
struct Work {
    input: f64,
    output: f64,
    /// Variance of one request's work plus one, relative: what a Poisson number of them adds up to.
    spread: f64,
}

impl Work {
    fn of(levels: &[Learnt<'_>]) -> Self {
        let seconds = || levels.iter().flat_map(|level| &level.evidence.seconds);
        let arrivals: f64 = seconds().map(|second| f64::from(second.arrivals)).sum();
        let sum = |of: fn(&Second) -> u64| seconds().map(|second| of(second) as f64).sum::<f64>();
        let mut work = Self {
            input: sum(|second| second.input_tokens) / arrivals.max(1.0),
            output: sum(|second| second.output_tokens) / arrivals.max(1.0),
            spread: 1.0,
        };
        // Residuals of the work of a second, given how many requests came: their variance is that of one request's work.
        let residuals: f64 = seconds()
            .map(|second| work.in_second(second) - f64::from(second.arrivals))
            .map(|residual| residual * residual)
            .sum();
        work.spread = 1.0 + residuals / arrivals.max(1.0);
        work
    }

    /// In typical requests.
    fn in_second(&self, second: &Second) -> f64 {
        let share = |sum: u64, mean: f64| {
            if mean > 0.0 {
                sum as f64 / mean
            } else {
                f64::from(second.arrivals)
            }
        };
        INPUT_SHARE * share(second.input_tokens, self.input)
            + (1.0 - INPUT_SHARE) * share(second.output_tokens, self.output)
    }
}

fn point(objective: usize, level: &Learnt<'_>, worth: Worth, work: &Work) -> Option<Point> {
    let seconds = if level.stage == Stage::Bracket && level.evidence.overloaded.is_some() {
        &level.evidence.seconds
    } else {
        measured(level.evidence)
    };
    let mut batches = batches(seconds, objective);
    let stands_for_s = f64::from(level.evidence.stands_for_s).max(seconds.len() as f64);
    let imputed = (stands_for_s - seconds.len() as f64) * level.rate;
    if imputed > 0.0 {
        batches.push(Batch {
            events: imputed,
            trials: imputed,
        });
    }
    let total = Batch::sum(batches.iter().copied());
    if total.trials <= 0.0 {
        return None;
    }
    let weight = worth.of(level, &batches, stands_for_s);
    // A test that was broken off has seen too little of what it was broken off for.
    let is_hard = level.stage == Stage::Bracket && level.evidence.overloaded.is_some();
    let expected = level.rate * seconds.len() as f64;
    let drawn: f64 = seconds.iter().map(|second| work.in_second(second)).sum();
    Some(Point {
        position: level.rate.ln() + CHANCE_SHARE * (drawn / expected).max(0.5).ln(),
        chance: CHANCE_SHARE * CHANCE_SHARE * work.spread / expected,
        share: if is_hard { 1.0 } else { total.events / total.trials },
        weight: if level.stage == Stage::Bracket {
            weight.min(BRACKET_WEIGHT)
        } else {
            weight
        },
    })
}
