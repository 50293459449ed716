//! The summary as text for a terminal.

use gipfel_model::{Attainment, LevelState, Slo, Stage, Verdict, slo::Quantile};

use crate::{
    figures::{Metric, MetricSummary},
    layout::{absent, colored, per_second, render, wrapped},
    repeats::{RepeatSummary, Spread},
    shown,
    summary::{LevelSummary, RunSummary, Summary},
};

const LEGEND: &[&str] = &[
    "Max QPS: of a search the peak, the rate that is met with 80 % confidence; of listed and doubling rates the \
     highest one that meets the service-level objectives (SLO) by its counts.",
    "TTFT: time to first token, from the scheduled arrival. TPOT: time per output token after the first. \
     ITL: gap between chunks that bear tokens. E2E: from the scheduled arrival to the last token. Goodput: requests \
     that meet every objective.",
    "Slow requests come in bursts: Worth is the number of independent requests that they amount to, and verdicts and \
     intervals count these. Percentiles are order statistics in which failed requests count as ∞. ≥: requests were \
     cancelled before they were decided. –: no figure, or a sample that does not carry it.",
];

/// How a summary is rendered.
#[derive(Clone, Copy, Debug)]
pub struct TableOptions {
    /// Columns that a line may take.
    pub width: u16,
    /// Whether verdicts have ANSI colours.
    pub color: bool,
    /// Whether each step of a search is shown with all its figures; otherwise those of its ramp and of its bracket are
    /// one line each.
    pub all_levels: bool,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            width: 100,
            color: false,
            all_levels: false,
        }
    }
}

/// Renders a summary: a table of the runs, then for each run its answer as a sentence, its levels, how they stand to
/// the objectives, all percentiles, and the warnings.
pub fn render_table(summary: &Summary, options: TableOptions) -> String {
    if summary.runs.is_empty() {
        return "no runs\n".to_owned();
    }
    let width = options.width;
    let mut blocks = Vec::new();
    if let Some(slos) = &summary.judged_by {
        let slos: Vec<String> = slos.iter().map(Slo::to_string).collect();
        blocks.push(wrapped(
            &format!(
                "Judged by {}, in place of each run's own objectives.",
                slos.join(", ")
            ),
            "",
            width,
        ));
    }
    blocks.push(runs_table(&summary.runs, width));
    let repeats = summary.repeats.iter();
    blocks.extend(repeats.map(|repeats| wrapped(&repeated(repeats), "", width)));
    for run in &summary.runs {
        blocks.push(heading(run, width));
        blocks.extend(tables(run, options));
        let warnings = run.warnings.iter();
        let warnings: String = warnings
            .map(|warning| wrapped(&warning.text, &format!("{} ", warning.code), width))
            .collect();
        blocks.push(warnings);
    }
    blocks.push(LEGEND.iter().map(|text| wrapped(text, "", width)).collect());
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n")
}

/// The tables of one run.
fn tables(run: &RunSummary, options: TableOptions) -> Vec<String> {
    let mut tables = Vec::new();
    if run.levels.is_empty() {
        return tables;
    }
    let is_search = run.search.is_some();
    tables.push(if is_search {
        steps_table(run, options)
    } else {
        colored(levels_table(run, options.width), options.color)
    });
    if !is_search || options.all_levels {
        tables.extend(objectives_table(run, options.width));
        if run.levels.iter().any(LevelSummary::has_figures) {
            tables.push(latencies_table(run, options.width));
        }
    }
    tables
}

/// A column of the table of runs.
struct Column {
    header: &'static str,
    is_text: bool,
    cell: fn(&RunSummary) -> String,
}

const COLUMNS: &[Column] = &[
    Column {
        header: "Model",
        is_text: true,
        cell: |run| run.model.clone(),
    },
    Column {
        header: "Backend",
        is_text: true,
        cell: |run| run.backend.clone(),
    },
    Column {
        header: "Deployment",
        is_text: true,
        cell: |run| run.deployment.map_or_else(absent, |kind| kind.to_string()),
    },
    Column {
        header: "Max QPS\n(req/s)",
        is_text: false,
        cell: max_qps,
    },
    Column {
        header: "Peak (90 %\ninterval)",
        is_text: false,
        cell: peak,
    },
    Column {
        header: "Held\n(req/s)",
        is_text: false,
        cell: |run| {
            let validated = run.peak.validated;
            validated.map_or_else(absent, |validated| shown::rate(validated.qps))
        },
    },
    Column {
        header: "TTFT p95\n(ms)",
        is_text: false,
        cell: |run| {
            let ttft = run.answer.ttft_p95.as_ref();
            ttft.map_or_else(absent, |percentile| percentile.figure.to_string())
        },
    },
    Column {
        header: "Completed\n(req/s)",
        is_text: false,
        cell: |run| per_second(run.answer.completed_rate),
    },
    Column {
        header: "SLO",
        is_text: true,
        cell: objectives,
    },
];

/// Columns that say nothing of any run are left out, but for those that say what the runs are and what they answer.
fn runs_table(runs: &[RunSummary], width: u16) -> String {
    const ALWAYS: usize = 4;
    let says_something = |column: &Column| runs.iter().any(|run| (column.cell)(run) != absent());
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .enumerate()
        .filter(|(index, column)| *index < ALWAYS || says_something(column))
        .map(|(_, column)| column)
        .collect();
    let header: Vec<&str> = columns.iter().map(|column| column.header).collect();
    let text: Vec<usize> = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.is_text)
        .map(|(index, _)| index)
        .collect();
    let rows = runs
        .iter()
        .map(|run| columns.iter().map(|column| (column.cell)(run)).collect());
    render(&header, rows, &text, width)
}

fn max_qps(run: &RunSummary) -> String {
    let listed = run.answer.highest_passing_level;
    let listed = listed
        .filter(|_| run.search.is_none())
        .map(|rate| rate.get().to_string());
    listed
        .or_else(|| run.answer.max_qps.map(shown::rate))
        .unwrap_or_else(absent)
}

/// The estimate, if it is an answer.
fn peak(run: &RunSummary) -> String {
    match (&run.peak.unresolved, &run.peak.estimate) {
        (None, Some(estimate)) => format!(
            "{}\n({})",
            shown::rate(estimate.peak_qps),
            shown::interval(estimate)
        ),
        _ => absent(),
    }
}

fn objectives(run: &RunSummary) -> String {
    let deciding = run.slos.iter().map(Slo::to_string);
    let informational = run
        .informational_slos
        .iter()
        .map(|slo| format!("{slo} (informational)"));
    let lines: Vec<String> = deciding.chain(informational).collect();
    if lines.is_empty() {
        absent()
    } else {
        lines.join("\n")
    }
}

/// What the repeats of an experiment come to, in sentences.
fn repeated(summary: &RepeatSummary) -> String {
    let servers = if summary.fresh_deployments {
        "each on a fresh deployment"
    } else {
        "not each on a server of its own"
    };
    let answers: Vec<String> = summary
        .repeats
        .iter()
        .map(|repeat| repeat.max_qps.map_or_else(absent, shown::rate))
        .collect();
    let answers = format!(
        "{} repeats of {} on {}, {servers}: Max QPS {} req/s.",
        summary.repeats.len(),
        summary.model,
        summary.backend,
        answers.join(", ")
    );
    let spread = summary.spread.as_ref().map_or_else(
        || "None has an answer.".to_owned(),
        |spread| spread_words(spread, summary.fresh_deployments),
    );
    format!("{answers} {spread}")
}

fn spread_words(spread: &Spread, fresh_deployments: bool) -> String {
    let range = format!(
        "Median {} req/s, from {} to {}, a spread of {}.",
        shown::rate(spread.median),
        shown::rate(spread.min),
        shown::rate(spread.max),
        shown::percent(spread.relative)
    );
    let Some(deviation) = spread.standard_deviation.map(shown::rate) else {
        return range;
    };
    match spread.between_deployments.filter(|_| fresh_deployments) {
        Some(between) => format!(
            "{range} Standard deviation {deviation} req/s, of which {} between deployments once the uncertainty of each \
             measurement is taken off.",
            shown::rate(between)
        ),
        None => format!("{range} Standard deviation {deviation} req/s."),
    }
}

fn heading(run: &RunSummary, width: u16) -> String {
    let place = run
        .deployment
        .map_or_else(String::new, |kind| format!(", {kind}"));
    let title = format!("{} on {}{place}, run {}:", run.model, run.backend, run.run_id);
    let mut text = wrapped(&title, "", width) + &wrapped(&run.answer.sentence, "", width);
    for note in &run.notes {
        text += &wrapped(note, "- ", width);
    }
    text
}

fn levels_table(run: &RunSummary, width: u16) -> String {
    let header = [
        "Rate\n(req/s)",
        "Sent\n(req/s)",
        "Completed\n(req/s)",
        "Goodput\n(req/s)",
        "Measured\nrequests",
        "Failed",
        "TTFT p50\n(ms)",
        "TTFT p95\n(ms)",
        "Verdict",
    ];
    let rows = run.levels.iter().map(|level| {
        vec![
            shown::level_rate(level),
            per_second(level.sent_rate),
            per_second(level.completed_rate),
            per_second(level.goodput.map(|goodput| goodput.per_second)),
            level.requests.measured.to_string(),
            level.requests.failed.to_string(),
            ttft(level, 50.0),
            ttft(level, 95.0),
            verdict(level),
        ]
    });
    if width >= WIDE_LEVELS {
        return render(&header, rows, &[8], width);
    }
    // The verdict would be a column of single letters; goodput says more than the rates that are left out.
    let header = without_rates(header.to_vec());
    render(&header, rows.map(without_rates), &[6], width)
}

/// So many columns hold a level's figures and leave room for its verdict.
const WIDE_LEVELS: u16 = 96;

/// Leaves out the sent and the completed rate.
fn without_rates<T>(mut row: Vec<T>) -> Vec<T> {
    row.drain(1..3);
    row
}

/// The steps of a search. Those of its ramp, and those of its bracket, are one line unless all are asked for.
fn steps_table(run: &RunSummary, options: TableOptions) -> String {
    let header = [
        "Step",
        "Rate\n(req/s)",
        "Time\n(s)",
        "Measured\n(worth)",
        "TTFT p95\n(ms)",
        "Violating in %\n(95 % interval)",
        "Objective",
    ];
    let mut rows = Vec::new();
    for stage in [Stage::Ramp, Stage::Bracket, Stage::Track, Stage::Level] {
        let levels: Vec<&LevelSummary> = run.levels.iter().filter(|level| level.stage == stage).collect();
        if options.all_levels || matches!(stage, Stage::Track | Stage::Level) {
            rows.extend(levels.into_iter().map(step));
        } else {
            rows.extend(group(stage, &levels));
        }
    }
    render(&header, rows.into_iter(), &[0, 6], options.width)
}

fn step(level: &LevelSummary) -> Vec<String> {
    let worst = level.worst();
    let remark = match (level.state, &level.verdict, level.overloaded) {
        (LevelState::Broken, ..) => "broken off".to_owned(),
        (LevelState::Open, ..) => "open".to_owned(),
        (_, Some(Verdict::Invalid { .. }), _) => "invalid".to_owned(),
        (_, _, Some(slo)) => format!("{slo}, overloaded"),
        (_, _, None) => worst.map_or_else(absent, |worst| worst.slo.to_string()),
    };
    vec![
        level.stage.to_string(),
        shown::level_rate(level),
        format!("{:.0}", level.warmup_s + level.measured_s),
        match worst.and_then(|worst| worst.n_eff) {
            Some(n_eff) => format!("{} ({n_eff:.0})", level.requests.measured),
            None => level.requests.measured.to_string(),
        },
        ttft(level, 95.0),
        match worst.and_then(|worst| worst.interval) {
            Some(_) => format!("{} ({})", violating(worst), interval(worst)),
            None => violating(worst),
        },
        remark,
    ]
}

/// Several steps in one line.
fn group(stage: Stage, levels: &[&LevelSummary]) -> Option<Vec<String>> {
    let rates = || levels.iter().map(|level| level.rate.get());
    let (least, most) = (rates().reduce(f64::min)?, rates().reduce(f64::max)?);
    let seconds: f64 = levels.iter().map(|level| level.warmup_s + level.measured_s).sum();
    let requests: u64 = levels.iter().map(|level| level.requests.measured).sum();
    let mut row = vec![
        format!("{stage} ×{}", levels.len()),
        format!("{}–{}", shown::rate(least), shown::rate(most)),
        format!("{seconds:.0}"),
        requests.to_string(),
    ];
    row.extend(std::iter::repeat_n(absent(), 3));
    Some(row)
}

fn ttft(level: &LevelSummary, percent: f64) -> String {
    let percentile = |latency: &MetricSummary| {
        Some(
            latency
                .percentile(Quantile::percent(percent)?)?
                .figure
                .to_string(),
        )
    };
    level
        .latency(Metric::Ttft)
        .and_then(percentile)
        .unwrap_or_else(absent)
}

/// Why a level is open or unresolved stands in the notes and warnings.
fn verdict(level: &LevelSummary) -> String {
    match (level.state, &level.verdict) {
        (LevelState::Broken, _) => "broken off".to_owned(),
        (LevelState::Open, _) => "open".to_owned(),
        (LevelState::Complete, Some(verdict @ Verdict::Reject { .. })) => verdict.to_string(),
        (LevelState::Complete, Some(verdict)) => verdict.name().to_owned(),
        (LevelState::Complete, None) => absent(),
    }
}

/// How the decided requests stand to each objective; `None` without objectives.
fn objectives_table(run: &RunSummary, width: u16) -> Option<String> {
    let header = [
        "Rate\n(req/s)",
        "Objective",
        "Decided\nrequests",
        "Worth",
        "Violating\n(%)",
        "95 % interval\n(%)",
        "Allowed\n(%)",
    ];
    let mut rows = Vec::new();
    for level in &run.levels {
        let deciding = level.attainment.iter().map(|one| (one, ""));
        let informational = level.informational.iter().map(|one| (one, " (informational)"));
        for (index, (one, remark)) in deciding.chain(informational).enumerate() {
            rows.push(vec![
                if index == 0 {
                    shown::level_rate(level)
                } else {
                    String::new()
                },
                format!("{}{remark}", one.slo),
                one.decided.to_string(),
                worth(one.n_eff),
                violating(Some(one)),
                interval(Some(one)),
                ((one.slo.allowed_share() * 1e6).round() / 1e4).to_string(),
            ]);
        }
    }
    (!rows.is_empty()).then(|| render(&header, rows.into_iter(), &[1], width))
}

fn violating(one: Option<&Attainment>) -> String {
    one.and_then(Attainment::violating_share)
        .map_or_else(absent, digits)
}

fn interval(one: Option<&Attainment>) -> String {
    one.and_then(|one| one.interval)
        .map_or_else(absent, |(low, high)| format!("{}–{}", digits(low), digits(high)))
}

/// A share in per cent, without the sign.
fn digits(share: f64) -> String {
    shown::percent(share).trim_end_matches(" %").to_owned()
}

fn worth(n_eff: Option<f64>) -> String {
    n_eff.map_or_else(absent, |n_eff| format!("{n_eff:.0}"))
}

fn latencies_table(run: &RunSummary, width: u16) -> String {
    let header = [
        "Rate\n(req/s)",
        "Latency",
        "p50\n(ms)",
        "p90\n(ms)",
        "p95\n(ms)",
        "p99\n(ms)",
        "Values",
        "Worth\n(p95)",
    ];
    let rows = run
        .levels
        .iter()
        .filter(|level| level.has_figures())
        .flat_map(|level| {
            level.latencies.iter().enumerate().map(|(index, latency)| {
                let rate = if index == 0 {
                    shown::level_rate(level)
                } else {
                    String::new()
                };
                let mut row = vec![rate, latency.metric.label().to_owned()];
                row.extend(
                    latency
                        .percentiles
                        .iter()
                        .map(|percentile| percentile.figure.to_string()),
                );
                row.push(latency.n.to_string());
                let p95 = latency.percentile(Quantile::P95);
                row.push(worth(p95.and_then(|percentile| percentile.n_eff)));
                row
            })
        });
    render(&header, rows, &[1], width)
}
