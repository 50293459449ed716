//! The summary as text for a terminal.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};
use gipfel_model::{Attainment, LevelState, Slo, slo::Quantile};

use crate::{
    figures::{Metric, MetricSummary},
    summary::{LevelSummary, RunSummary, Summary},
};

const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

const LEGEND: &[&str] = &[
    "Max QPS: the highest offered rate, in requests per second, that meets the service-level objectives (SLO).",
    "TTFT: time to first token, from the scheduled arrival. TPOT: time per output token after the first. \
     ITL: gap between chunks that bear tokens. E2E: from the scheduled arrival to the last token.",
    "Percentiles are order statistics in which failed requests count as ∞. In parentheses: the sample is too small \
     to say this of the server. ≥: requests were cancelled before they were decided. –: no figure.",
];

/// Renders a summary: a table of the runs, then for each run its answer as a sentence, its levels, how they stand to
/// the objectives, and all percentiles. `color` adds ANSI colours to the verdicts.
pub fn render_table(summary: &Summary, width: u16, color: bool) -> String {
    if summary.runs.is_empty() {
        return "no runs\n".to_owned();
    }
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
    for run in &summary.runs {
        blocks.push(heading(run, width));
        if run.levels.is_empty() {
            continue;
        }
        blocks.push(colored(levels_table(run, width), color));
        blocks.extend(objectives_table(run, width));
        blocks.push(latencies_table(run, width));
    }
    blocks.push(LEGEND.iter().map(|text| wrapped(text, "", width)).collect());
    blocks.join("\n")
}

fn runs_table(runs: &[RunSummary], width: u16) -> String {
    let header = [
        "Model",
        "Backend",
        "Deployment",
        "Max QPS\n(req/s)",
        "TTFT p95\n(ms)",
        "Completed\n(req/s)",
        "SLO",
    ];
    let rows = runs.iter().map(|run| {
        let answer = &run.answer;
        vec![
            run.model.clone(),
            run.backend.clone(),
            run.deployment.map_or_else(absent, |kind| kind.to_string()),
            answer.max_qps.map_or_else(absent, |rate| rate.get().to_string()),
            answer
                .ttft_p95
                .as_ref()
                .map_or_else(absent, |percentile| percentile.figure.to_string()),
            per_second(answer.completed_rate),
            objectives(run),
        ]
    });
    render(&header, rows, &[0, 1, 2, 6], width)
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
        "Measured\nrequests",
        "Failed",
        "TTFT p50\n(ms)",
        "TTFT p95\n(ms)",
        "Verdict",
    ];
    let rows = run.levels.iter().map(|level| {
        vec![
            level.rate.get().to_string(),
            per_second(level.sent_rate),
            per_second(level.completed_rate),
            level.requests.measured.to_string(),
            level.requests.failed.to_string(),
            ttft(level, 50.0),
            ttft(level, 95.0),
            verdict(level),
        ]
    });
    render(&header, rows, &[7], width)
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

fn verdict(level: &LevelSummary) -> String {
    match (level.state, &level.verdict) {
        (LevelState::Broken, _) => "broken off".to_owned(),
        (LevelState::Open, _) => "open".to_owned(),
        (LevelState::Complete, Some(verdict)) => verdict.to_string(),
        (LevelState::Complete, None) => absent(),
    }
}

/// The share of the decided requests that meets each objective; `None` without objectives.
fn objectives_table(run: &RunSummary, width: u16) -> Option<String> {
    let deciding = run.slos.iter().map(|slo| format!("{slo}\nmet by (%)"));
    let informational = run
        .informational_slos
        .iter()
        .map(|slo| format!("{slo}\n(informational)\nmet by (%)"));
    let header: Vec<String> = std::iter::once("Rate\n(req/s)".to_owned())
        .chain(deciding)
        .chain(informational)
        .collect();
    if header.len() == 1 {
        return None;
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows = run.levels.iter().map(|level| {
        let deciding = run.slos.iter().map(|slo| met(&level.attainment, slo));
        let informational = run
            .informational_slos
            .iter()
            .map(|slo| met(&level.informational, slo));
        std::iter::once(level.rate.get().to_string())
            .chain(deciding)
            .chain(informational)
            .collect()
    });
    Some(render(&header, rows, &[], width))
}

fn met(attainment: &[Attainment], slo: &Slo) -> String {
    attainment
        .iter()
        .find(|one| one.slo == *slo)
        .and_then(Attainment::violating_share)
        .map_or_else(absent, |share| format!("{:.2}", (1.0 - share) * 100.0))
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
    ];
    let rows = run
        .levels
        .iter()
        .filter(|level| level.verdict.is_some())
        .flat_map(|level| {
            level.latencies.iter().enumerate().map(|(index, latency)| {
                let rate = if index == 0 {
                    level.rate.get().to_string()
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
                row
            })
        });
    render(&header, rows, &[1], width)
}

/// A table; the columns of `text` are aligned left and give way when the width is short, the others are numbers.
fn render(header: &[&str], rows: impl Iterator<Item = Vec<String>>, text: &[usize], width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header.iter().map(Cell::new));
    for row in rows {
        table.add_row(row.into_iter().map(Cell::new).collect::<Vec<Cell>>());
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if !text.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt() + "\n"
}

/// Adds colours to the verdicts of a table's lines; after the layout, which so needs not to know of them.
fn colored(text: String, color: bool) -> String {
    const COLORS: [(&str, &str); 5] = [
        (" accept", "\u{1b}[32m"),
        (" reject", "\u{1b}[31m"),
        (" unresolved", "\u{1b}[33m"),
        (" invalid", "\u{1b}[33m"),
        (" broken off", "\u{1b}[33m"),
    ];
    if !color {
        return text;
    }
    let mut lines = String::new();
    for line in text.lines() {
        let found = COLORS
            .iter()
            .find_map(|(word, code)| Some((line.find(word)?, *word, *code)));
        match found {
            Some((at, word, code)) => {
                let (before, rest) = line.split_at(at);
                lines.extend([before, " ", code, &word[1..], "\u{1b}[0m", &rest[word.len()..]]);
            }
            None => lines.push_str(line),
        }
        lines.push('\n');
    }
    lines
}

/// Text in lines of at most `width`, the first one after `mark`, the others below its begin.
fn wrapped(text: &str, mark: &str, width: u16) -> String {
    let indent = " ".repeat(mark.len());
    let mut lines = vec![mark.to_owned()];
    let mut used = mark.len();
    for word in text.split_whitespace() {
        let length = word.chars().count();
        let Some(line) = lines.last_mut() else { continue };
        if used > indent.len() && used + 1 + length > usize::from(width) {
            lines.push(indent.clone() + word);
            used = indent.len() + length;
        } else {
            if used > indent.len() {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
    }
    lines.join("\n") + "\n"
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or_else(absent, |rate| format!("{rate:.2}"))
}

fn absent() -> String {
    "–".to_owned()
}
