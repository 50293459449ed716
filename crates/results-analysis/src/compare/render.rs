//! A comparison as text for a terminal.

use super::{Comparison, LatencyAtRate, LatencyPair, ResultSummary, SettingDifference};
use crate::{
    figures::{Figure, Percentile},
    layout::{render, wrapped},
    shown,
};

/// Longer values of settings are cut.
const LONGEST_VALUE: usize = 32;

/// Renders a comparison: the two, the outcome as a sentence, notes, the latencies at equal rate, and what else differs.
pub fn render_comparison(comparison: &Comparison, width: u16) -> String {
    let mut head = heading("A", &comparison.a, width) + &heading("B", &comparison.b, width);
    head.push('\n');
    let mut sentence = comparison.peak.sentence.clone();
    sentence.push('.');
    head += &wrapped(&capitalised(&sentence), "", width);
    for note in &comparison.notes {
        head += &wrapped(note, "- ", width);
    }
    [
        head,
        latencies(&comparison.latencies, width),
        differences(&comparison.differences, width),
    ]
    .join("\n")
}

fn heading(name: &str, result: &ResultSummary, width: u16) -> String {
    let runs: Vec<&str> = result.runs.iter().map(|run| run.run_id.as_str()).collect();
    let runs = match runs.as_slice() {
        [run] => format!("run {run}"),
        runs => format!("{} repeats: {}", runs.len(), runs.join(", ")),
    };
    let text = format!(
        "{}: {} on {}, {runs}; {}",
        result.label,
        result.model,
        result.backend,
        peak(result)
    );
    wrapped(&text, &format!("{name}: "), width)
}

fn peak(result: &ResultSummary) -> String {
    if let Some(peak) = &result.peak {
        return format!(
            "mean peak {} req/s (90 % interval {} to {})",
            shown::rate(peak.mean),
            shown::rate(peak.low),
            shown::rate(peak.high)
        );
    }
    let passing = result.runs.iter().filter_map(|run| run.highest_passing_level);
    match passing.reduce(f64::max) {
        Some(rate) => format!("no peak; the highest level that passes by its counts alone is {rate} req/s"),
        None => "no peak".to_owned(),
    }
}

fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn latencies(latencies: &[LatencyAtRate], width: u16) -> String {
    if latencies.is_empty() {
        return wrapped(
            "No rate was offered to both without overload, so latencies at equal rate cannot be compared; list the same \
             `rate_levels` for both to compare them.",
            "",
            width,
        );
    }
    let title = wrapped(
        "Latency at equal rate in ms, with 95 % intervals. ≠: those of A and B do not meet; –: the sample does not \
         support it.",
        "",
        width,
    );
    let header = ["Rate\n(req/s)", "Latency", "A", "B", ""];
    let rows = latencies.iter().flat_map(|at| {
        let first = vec![
            rates(at),
            "requests".to_owned(),
            at.a_requests.to_string(),
            at.b_requests.to_string(),
            String::new(),
        ];
        std::iter::once(first).chain(at.latencies.iter().filter(|pair| says_something(pair)).map(row))
    });
    title + &render(&header, rows, &[0, 1, 4], width)
}

fn says_something(pair: &LatencyPair) -> bool {
    let is_absent = |percentile: &Percentile| {
        matches!(
            percentile.figure,
            Figure::Absent { .. } | Figure::Unsupported { .. }
        )
    };
    !(is_absent(&pair.a) && is_absent(&pair.b))
}

/// Both rates where they differ.
fn rates(at: &LatencyAtRate) -> String {
    let (a, b) = (rounded(at.a_rate), rounded(at.b_rate));
    if a == b { a } else { format!("{a}, {b}") }
}

fn rounded(rate: f64) -> String {
    let text = format!("{rate:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn row(pair: &LatencyPair) -> Vec<String> {
    let quantile = pair.a.quantile;
    vec![
        String::new(),
        format!("{} {quantile}", pair.metric.label()),
        percentile(&pair.a),
        percentile(&pair.b),
        if pair.is_apart() { "≠" } else { "" }.to_owned(),
    ]
}

/// A percentile with its interval, as far as its ends are known.
fn percentile(percentile: &Percentile) -> String {
    let end = |end: Option<f64>| end.map_or_else(|| "?".to_owned(), milliseconds);
    let figure = percentile.figure.to_string();
    match (percentile.low_ms, percentile.high_ms) {
        (None, None) => figure,
        (low, high) => format!("{figure} ({} to {})", end(low), end(high)),
    }
}

fn milliseconds(ms: f64) -> String {
    let decimals = usize::from(ms.abs() < 1000.0);
    format!("{ms:.decimals$}")
}

fn differences(differences: &[SettingDifference], width: u16) -> String {
    if differences.is_empty() {
        return "Nothing else that is recorded differs.\n".to_owned();
    }
    let header = ["What else differs", "A", "B"];
    let rows = differences.iter().map(|difference| {
        vec![
            difference.name.clone(),
            value(difference.a.as_deref()),
            value(difference.b.as_deref()),
        ]
    });
    render(&header, rows, &[0, 1, 2], width)
}

fn value(value: Option<&str>) -> String {
    let Some(value) = value else {
        return "–".to_owned();
    };
    if value.chars().count() <= LONGEST_VALUE {
        return value.to_owned();
    }
    let kept: String = value.chars().take(LONGEST_VALUE - 1).collect();
    kept + "…"
}
