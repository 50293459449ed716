//! The repeats of one experiment, put together.

use gipfel_model::DeploymentKind;
use serde::Serialize;

use crate::summary::{Conclusion, RunSummary};

/// Half a 90 % interval of a normal distribution, in standard deviations.
const HALF_INTERVAL: f64 = 1.645;

/// Runs of one campaign that repeat one experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RepeatSummary {
    /// Their campaign.
    pub campaign_id: Option<String>,
    /// The model.
    pub model: String,
    /// The engine.
    pub backend: String,
    /// Where the servers lived.
    pub deployment: Option<DeploymentKind>,
    /// Whether each had a server of its own; else the spread is one between measurements of the same server.
    pub fresh_deployments: bool,
    /// The repeats, by their number.
    pub repeats: Vec<Repeat>,
    /// What their answers have in common; absent when none answered.
    pub spread: Option<Spread>,
}

/// One repeat.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repeat {
    /// Its run.
    pub run_id: String,
    /// Its number, from 0.
    pub repeat: u32,
    /// Its *Max QPS*; absent when it has no answer.
    pub max_qps: Option<f64>,
    /// The 90 % interval; absent without an estimate.
    pub interval: Option<(f64, f64)>,
}

/// How the answers of repeats differ, in requests per second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many repeats have an answer.
    pub answered: u32,
    /// Their median; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The lowest answer.
    pub min: f64,
    /// The highest one.
    pub max: f64,
    /// From the lowest to the highest, as a share of the median.
    pub relative: f64,
    /// The standard deviation of the answers: between deployments and of the measurements themselves; absent for one.
    pub standard_deviation: Option<f64>,
    /// What is left of it for the deployments when the measurements' own uncertainty is taken off; absent where a repeat
    /// has no interval.
    pub between_deployments: Option<f64>,
}

/// Finds the runs that repeat one experiment.
pub(crate) fn put_together(runs: &[RunSummary]) -> Vec<RepeatSummary> {
    let mut groups: Vec<Vec<&RunSummary>> = Vec::new();
    for run in runs.iter().filter(|run| run.experiment.is_some()) {
        match groups.iter_mut().find(|group| is_same(group[0], run)) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
        .into_iter()
        .filter(|group| group.len() > 1)
        .filter_map(summarize)
        .collect()
}

fn is_same(one: &RunSummary, other: &RunSummary) -> bool {
    one.campaign_id == other.campaign_id && one.experiment == other.experiment
}

/// `None` when a number occurs twice: these are different experiments whose difference is not recorded.
fn summarize(mut runs: Vec<&RunSummary>) -> Option<RepeatSummary> {
    runs.sort_by_key(|run| run.repeat);
    if runs.windows(2).any(|pair| pair[0].repeat == pair[1].repeat) {
        return None;
    }
    let repeats: Vec<Repeat> = runs.iter().map(|run| repeat(run)).collect();
    let fresh = |run: &&RunSummary| {
        let others = runs
            .iter()
            .filter(|other| other.deployment_id == run.deployment_id);
        run.deployment_id.is_some() && others.count() == 1
    };
    let first = runs.first()?;
    Some(RepeatSummary {
        campaign_id: first.campaign_id.clone(),
        model: first.model.clone(),
        backend: first.backend.clone(),
        deployment: first.deployment,
        fresh_deployments: first.deployment != Some(DeploymentKind::External) && runs.iter().all(fresh),
        spread: spread(&repeats),
        repeats,
    })
}

fn repeat(run: &RunSummary) -> Repeat {
    let estimate = run.peak.estimate.as_ref();
    Repeat {
        run_id: run.run_id.clone(),
        repeat: run.repeat,
        max_qps: run
            .answer
            .max_qps
            .filter(|_| run.answer.conclusion == Conclusion::Answered),
        interval: estimate
            .filter(|_| run.search.is_some())
            .map(|estimate| (estimate.low, estimate.high)),
    }
}

fn spread(repeats: &[Repeat]) -> Option<Spread> {
    let answered: Vec<&Repeat> = repeats.iter().filter(|repeat| repeat.max_qps.is_some()).collect();
    let mut answers: Vec<f64> = answered.iter().filter_map(|repeat| repeat.max_qps).collect();
    answers.sort_by(f64::total_cmp);
    let (min, max) = (*answers.first()?, *answers.last()?);
    let n = answers.len();
    let median = f64::midpoint(answers[(n - 1) / 2], answers[n / 2]);
    let mean = answers.iter().sum::<f64>() / n as f64;
    let squares: f64 = answers.iter().map(|answer| (answer - mean).powi(2)).sum();
    let variance = (n > 1).then(|| squares / (n - 1) as f64);
    let own: Option<Vec<f64>> = answered
        .iter()
        .map(|repeat| {
            let (low, high) = repeat.interval?;
            Some(((high - low) / 2.0 / HALF_INTERVAL).powi(2))
        })
        .collect();
    let own = own.map(|own| own.iter().sum::<f64>() / n as f64);
    Some(Spread {
        answered: n as u32,
        median,
        min,
        max,
        relative: (max - min) / median,
        standard_deviation: variance.map(f64::sqrt),
        between_deployments: variance
            .zip(own)
            .map(|(variance, own)| (variance - own).max(0.0).sqrt()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeats(answers: &[Option<(f64, f64)>]) -> Vec<Repeat> {
        answers
            .iter()
            .enumerate()
            .map(|(number, answer)| Repeat {
                run_id: format!("run-{number}"),
                repeat: number as u32,
                max_qps: answer.map(|(peak, _)| peak),
                interval: answer.map(|(peak, half)| (peak - half, peak + half)),
            })
            .collect()
    }

    #[test]
    fn answers_have_a_median_and_a_spread() {
        let found = spread(&repeats(&[
            Some((26.0, 0.0)),
            None,
            Some((24.0, 0.0)),
            Some((25.0, 0.0)),
        ]));
        let found = found.expect("answers");
        assert_eq!(
            (found.answered, found.median, found.min, found.max),
            (3, 25.0, 24.0, 26.0)
        );
        assert_eq!(format!("{:.3}", found.relative), "0.080");
        assert_eq!(
            (found.standard_deviation, found.between_deployments),
            (Some(1.0), Some(1.0))
        );
        assert_eq!(spread(&repeats(&[None, None])), None);
    }

    #[test]
    fn the_measurements_own_uncertainty_is_no_difference_between_deployments() {
        let found = spread(&repeats(&[Some((24.0, 3.29)), Some((26.0, 3.29))])).expect("answers");
        assert_eq!((found.median, found.between_deployments), (25.0, Some(0.0)));
        let alone = spread(&repeats(&[Some((24.0, 1.0))])).expect("an answer");
        assert_eq!(
            (alone.standard_deviation, alone.between_deployments),
            (None, None)
        );
    }
}
