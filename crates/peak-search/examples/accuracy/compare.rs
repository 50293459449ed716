//! Every procedure side by side, on every server, over many seeds.

use std::fmt::Write as _;

use clap::ValueEnum;
use gipfel_inference_sim::{Disturbance, ServerProfile};
use gipfel_model::SearchSpec;
use serde::Serialize;

use crate::{
    in_parallel,
    procedures::{self, Answer},
    truth_of,
};

/// Over-claims and errors of resolved answers beyond these are counted.
const OVER_CLAIM: f64 = 0.02;
const FAR_OFF: f64 = 0.10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Procedure {
    /// The predecessor's grid of levels.
    SeedGrid,
    /// Bisection with windows of a minute.
    Bisection,
    /// The adaptive search.
    Ours,
}

impl Procedure {
    fn name(self) -> &'static str {
        match self {
            Self::SeedGrid => "seed grid",
            Self::Bisection => "bisection",
            Self::Ours => "ours",
        }
    }
}

/// A row of the table; shares are fractions. What a procedure never gives is absent.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) server: String,
    pub(crate) procedure: &'static str,
    pub(crate) seeds: u64,
    /// Median of |answer / truth − 1|, in percent; a run without any rate counts as 100 % off.
    pub(crate) error_median_pct: f64,
    pub(crate) error_p90_pct: f64,
    /// Median of answer / truth − 1, in percent.
    pub(crate) bias_pct: f64,
    /// Share of the runs whose rate is more than 2 % above the truth.
    pub(crate) over_claim_2pct: f64,
    /// Share of the runs that claim an answer and are more than 10 % off.
    pub(crate) off_10pct_resolved: f64,
    /// Share of the runs with an interval whose interval holds the truth.
    pub(crate) coverage_90: Option<f64>,
    /// Share of the runs that say themselves that they do not know.
    pub(crate) unresolved: f64,
    pub(crate) wall_min_median: f64,
}

pub(crate) fn run(
    profiles: &[&ServerProfile],
    procedures: &[Procedure],
    seeds: std::ops::Range<u64>,
    disturbance: Disturbance,
    trace: bool,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut all: Vec<(Procedure, f64, Answer)> = Vec::new();
    for profile in profiles {
        let truth = truth_of(profile)?;
        for procedure in procedures {
            let jobs: Vec<u64> = seeds.clone().collect();
            let answers = in_parallel(&jobs, |seed| match procedure {
                Procedure::SeedGrid => procedures::seed_grid(profile, *seed, disturbance),
                Procedure::Bisection => procedures::bisection(profile, *seed, disturbance),
                Procedure::Ours => procedures::ours(profile, *seed, &SearchSpec::default(), disturbance),
            })?;
            if trace {
                print(profile, truth, &jobs, &answers);
            }
            rows.push(row(&profile.name, *procedure, truth, &answers));
            all.extend(answers.into_iter().map(|answer| (*procedure, truth, answer)));
        }
    }
    if profiles.len() > 1 {
        for procedure in procedures {
            let relative: Vec<Answer> = all
                .iter()
                .filter(|(one, _, _)| one == procedure)
                .map(|(_, truth, answer)| Answer {
                    rate: answer.rate.map(|rate| rate / truth),
                    interval: answer.interval.map(|(low, high)| (low / truth, high / truth)),
                    ..answer.clone()
                })
                .collect();
            rows.push(row("all", *procedure, 1.0, &relative));
        }
    }
    Ok(rows)
}

fn row(server: &str, procedure: Procedure, truth: f64, answers: &[Answer]) -> Row {
    let count = answers.len() as f64;
    let share =
        |of: &dyn Fn(&Answer) -> bool| answers.iter().filter(|answer| of(answer)).count() as f64 / count;
    let error = |answer: &Answer| answer.rate.map_or(-1.0, |rate| rate / truth - 1.0);
    let errors = sorted(answers.iter().map(error));
    let sizes = sorted(answers.iter().map(|answer| error(answer).abs()));
    let with_interval: Vec<(f64, f64)> = answers.iter().filter_map(|answer| answer.interval).collect();
    let holding = with_interval
        .iter()
        .filter(|(low, high)| (*low..=*high).contains(&truth))
        .count();
    Row {
        server: server.to_owned(),
        procedure: procedure.name(),
        seeds: answers.len() as u64,
        error_median_pct: at(&sizes, 0.5) * 100.0,
        error_p90_pct: at(&sizes, 0.9) * 100.0,
        bias_pct: at(&errors, 0.5) * 100.0,
        over_claim_2pct: share(&|answer| error(answer) > OVER_CLAIM),
        off_10pct_resolved: share(&|answer| answer.unresolved.is_none() && error(answer).abs() > FAR_OFF),
        coverage_90: (!with_interval.is_empty()).then(|| holding as f64 / with_interval.len() as f64),
        unresolved: share(&|answer| answer.unresolved.is_some()),
        wall_min_median: at(&sorted(answers.iter().map(|answer| answer.wall_s)), 0.5) / 60.0,
    }
}

fn print(profile: &ServerProfile, truth: f64, seeds: &[u64], answers: &[Answer]) {
    for (seed, answer) in seeds.iter().zip(answers) {
        let error = answer.rate.map(|rate| (rate / truth - 1.0) * 100.0);
        println!(
            "{} seed {seed}: {:.3?} ({error:+.2?} %) {:.3?} {:.1} min {}",
            profile.name,
            answer.rate,
            answer.interval,
            answer.wall_s / 60.0,
            answer.unresolved.as_deref().unwrap_or("")
        );
        for line in &answer.trace {
            println!("    {line}");
        }
    }
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<14} {:<10} {:>6} {:>8} {:>8} {:>8} {:>10} {:>8} {:>9} {:>10} {:>9}\n",
        "server",
        "procedure",
        "seeds",
        "median %",
        "p90 %",
        "bias %",
        "over > 2 %",
        "off 10 %",
        "coverage",
        "unresolved",
        "wall min"
    );
    for row in rows {
        let coverage = row
            .coverage_90
            .map_or("-".to_owned(), |share| format!("{share:.3}"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<14} {:<10} {:>6} {:>8.2} {:>8.2} {:>+8.2} {:>10.3} {:>8.3} {:>9} {:>10.3} {:>9.1}",
            row.server,
            row.procedure,
            row.seeds,
            row.error_median_pct,
            row.error_p90_pct,
            row.bias_pct,
            row.over_claim_2pct,
            row.off_10pct_resolved,
            coverage,
            row.unresolved,
            row.wall_min_median
        );
    }
    text
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The order statistic ⌈q·n⌉.
fn at(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}
