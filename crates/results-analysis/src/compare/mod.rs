//! Comparison of two results: which peak is higher and whether that is beyond noise, how the latencies stand at equal
//! rate, and what else differs between the two.
//!
//! The difference of the peaks is one of logarithms, whose uncertainty is taken as normal: the 90 % interval of each
//! estimate gives its standard deviation. Repeats over fresh deployments add what one start of a server differs from the
//! next.

mod latencies;
mod load;
mod peaks;
mod rates;
mod render;
mod settings;

use gipfel_model::{DeploymentKind, FormatHeader, PeakEstimate, format::Format};
use gipfel_results_db::{DbError, ResultsDb};
use serde::Serialize;

pub use latencies::{LatencyAtRate, LatencyPair};
pub use peaks::{Difference, Outcome, PeakComparison};
pub use render::render_comparison;
pub use settings::SettingDifference;

use crate::summary::RunSummary;
use load::Side;

/// The format of a comparison as JSON.
pub const COMPARISON_FORMAT: Format = Format {
    name: "gipfel-comparison",
    major: 1,
    minor: 0,
};

/// One of the two results: a run, or the repeats of one experiment.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Where it is stored.
    pub db: &'a ResultsDb,
    /// A run's or a campaign's id; absent: all that the database holds.
    pub id: Option<&'a str>,
    /// What the user calls it.
    pub label: &'a str,
}

/// How two results stand to each other; B is seen from A.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The format and its version.
    pub header: FormatHeader,
    /// The first result.
    pub a: ResultSummary,
    /// The second one.
    pub b: ResultSummary,
    /// The peaks.
    pub peak: PeakComparison,
    /// The latencies at the rates that were offered to both.
    pub latencies: Vec<LatencyAtRate>,
    /// What else differs.
    pub differences: Vec<SettingDifference>,
    /// What a reader has to know, in sentences.
    pub notes: Vec<String>,
}

/// One of the two, in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResultSummary {
    /// What the user calls it.
    pub label: String,
    /// The model.
    pub model: String,
    /// The engine.
    pub backend: String,
    /// Its runs: one, or several repeats.
    pub runs: Vec<ComparedRun>,
    /// The peak of all runs together, in requests per second; absent when none has an answer.
    pub peak: Option<PeakOfRuns>,
}

/// One run of a result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedRun {
    /// Its id.
    pub run_id: String,
    /// Its estimate; what is known so far when it is unresolved.
    pub estimate: Option<PeakEstimate>,
    /// Why it has no answer.
    pub unresolved: Option<String>,
    /// The highest passing level, in requests per second, by its counts alone.
    pub highest_passing_level: Option<f64>,
}

/// The peak of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PeakOfRuns {
    /// Its mean; of several runs the geometric one.
    pub mean: f64,
    /// The lower end of the 90 % interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Why two results cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A database could not be read.
    #[error("cannot read the results")]
    Database(#[from] DbError),
    /// There is no such run or campaign.
    #[error("`{label}` holds no run and no campaign `{id}`; its runs are: {}", known.join(", "))]
    NoSuchRun {
        /// The database.
        label: String,
        /// What was asked for.
        id: String,
        /// The runs that there are.
        known: Vec<String>,
    },
    /// There is no run at all.
    #[error("`{label}` holds no run")]
    NoRun {
        /// The database.
        label: String,
    },
    /// Several runs that are no repeats of one experiment.
    #[error(
        "`{label}` holds runs of several experiments, of which one has to be named: {}",
        known.join(", ")
    )]
    SeveralExperiments {
        /// The database.
        label: String,
        /// The runs that there are.
        known: Vec<String>,
    },
    /// The two were asked different questions.
    #[error("the two cannot be compared: {}", reasons.join("; "))]
    Incomparable {
        /// What differs.
        reasons: Vec<String>,
    },
}

/// Compares B with A. Results of differing objectives or workloads are refused unless `force` is given.
pub async fn compare(a: Source<'_>, b: Source<'_>, force: bool) -> Result<Comparison, CompareError> {
    compare_sides([Side::load(a).await?, Side::load(b).await?], force).await
}

async fn compare_sides(sides: [Side<'_>; 2], force: bool) -> Result<Comparison, CompareError> {
    let [a, b] = &sides;
    let reasons = settings::incomparable(&a.settings, &b.settings);
    if !reasons.is_empty() && !force {
        return Err(CompareError::Incomparable { reasons });
    }
    let peak = peaks::compare(&a.runs, &b.runs);
    let rates = rates::common(&a.runs, &b.runs);
    let latencies = latencies::compare(&sides, &rates).await?;
    let differences = settings::differences(&a.settings, &b.settings);
    Ok(Comparison {
        header: COMPARISON_FORMAT.header(),
        notes: notes(&sides, &peak, &reasons),
        a: a.summary(peak.a),
        b: b.summary(peak.b),
        peak,
        latencies,
        differences,
    })
}

fn notes([a, b]: &[Side<'_>; 2], peak: &PeakComparison, reasons: &[String]) -> Vec<String> {
    let mut notes: Vec<String> = reasons
        .iter()
        .map(|reason| format!("compared all the same, by force: {reason}"))
        .collect();
    for (name, side) in [("A", a), ("B", b)] {
        if let Some(without) = side.without_answer() {
            notes.push(format!("{name}: {without}"));
        }
        notes.extend(side.notes().into_iter().map(|note| format!("{name}: {note}")));
    }
    notes.extend(between_deployments([a, b], peak));
    notes
}

/// What is known of the differences between one start of a server and the next.
fn between_deployments([a, b]: [&Side<'_>; 2], peak: &PeakComparison) -> Option<String> {
    let difference = peak.difference.as_ref()?;
    if let Some(share) = difference.between_runs_percent {
        return Some(format!(
            "the repeats differ among themselves by a standard deviation of {share:.1} % beyond their own uncertainty; \
             the interval holds it"
        ));
    }
    let mut runs = a.runs.iter().chain(&b.runs);
    let first = runs.next()?.deployment_id.as_ref()?;
    let shared = runs.all(|run| run.deployment_id.as_ref() == Some(first));
    let is_external = |run: &RunSummary| run.deployment == Some(DeploymentKind::External);
    // Nobody but its owner knows whether a server that gipfel did not start was started anew.
    let external = [a, b].iter().all(|side| side.runs.iter().all(is_external));
    (!shared && !external).then(|| {
        "the interval knows nothing of how much one start of a server differs from the next; several `repeats` of each \
         measure it"
            .to_owned()
    })
}

#[cfg(test)]
mod tests;
