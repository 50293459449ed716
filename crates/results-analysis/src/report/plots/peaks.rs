//! The peak of each run as a bar with its interval.

use super::{Chart, Drawn, RIGHT, WIDTH};
use crate::report::{
    Report,
    headline::{estimate, headline},
    model::Run,
    svg::{Anchor, Canvas, Entry, Panel, Sample, Scale, Shape, canvas::fitted, legend, scale::Spread},
    words,
};

const ROW: f64 = 44.0;
const LABELS: f64 = 270.0;
/// Room for the figures right of the bars.
const FIGURES: f64 = 150.0;

pub(crate) fn draw(report: &Report) -> Drawn {
    let runs: Vec<Run<'_>> = report.runs().collect();
    if runs.is_empty() {
        return Err("The database holds no run.".to_owned());
    }
    let highest = runs.iter().filter_map(|run| reach(*run)).fold(0.0, f64::max);
    if highest <= 0.0 {
        return Err("No run has an answer, so there is no peak to draw.".to_owned());
    }
    let mut canvas = Canvas::new(WIDTH, 0.0);
    let entries = entries(&runs);
    let legend_height = legend(&mut canvas, (16.0, RIGHT), 2.0, &entries);
    let top = legend_height + 10.0;
    let bottom = top + ROW * runs.len() as f64;
    let panel = Panel {
        x: Scale::from_zero(highest * 1.02, (LABELS, WIDTH - FIGURES)),
        y: Scale::exact(Spread::Linear, (0.0, 1.0), (bottom, top)),
    };
    for (value, _) in panel.x.ticks(6) {
        let x = panel.x.at(value);
        canvas.line("grid", (x, top), (x, bottom));
    }
    for (index, run) in runs.iter().enumerate() {
        row(&mut canvas, panel, *run, top + ROW * (index as f64 + 0.5));
    }
    panel.lower_axis(&mut canvas, 6, Some("Rate (req/s)"));
    canvas.height = bottom + 46.0;
    Ok(Chart {
        name: "peaks".to_owned(),
        title: "Peak rate of each run".to_owned(),
        description: format!(
            "{}; the highest upper end is {} requests per second.",
            words::counted(runs.len(), "run", "runs"),
            words::rate(highest)
        ),
        canvas,
    })
}

/// The largest value that is drawn of a run.
fn reach(run: Run<'_>) -> Option<f64> {
    let interval = estimate(run).map(|estimate| estimate.high);
    interval
        .into_iter()
        .chain(run.summary.answer.max_qps)
        .reduce(f64::max)
}

fn entries(runs: &[Run<'_>]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let is_answered = |run: &Run<'_>| run.summary.answer.max_qps.is_some();
    if runs
        .iter()
        .any(|run| is_answered(run) && run.summary.search.is_some())
    {
        entries.push(Entry::new(Sample::Area("a0"), "peak, 80 % sure"));
    }
    if runs
        .iter()
        .any(|run| is_answered(run) && run.summary.search.is_none())
    {
        entries.push(Entry::new(Sample::Area("h0 dash"), "highest passing level"));
    }
    if runs.iter().any(|run| estimate(*run).is_some()) {
        entries.push(Entry::new(Sample::Line("whisker"), "90 % interval of the peak"));
    }
    entries
}

fn row(canvas: &mut Canvas, panel: Panel, run: Run<'_>, y: f64) {
    let summary = run.summary;
    let place = summary
        .deployment
        .map_or_else(String::new, |kind| format!(", {kind}"));
    let repeat = if summary.repeat > 0 {
        format!(", repeat {}", summary.repeat + 1)
    } else {
        String::new()
    };
    let room = LABELS - 28.0;
    let end = LABELS - 12.0;
    canvas.text("t", (end, y - 3.0), Anchor::End, &fitted(&summary.model, room));
    canvas.text(
        "m",
        (end, y + 13.0),
        Anchor::End,
        &fitted(&format!("{}{place}{repeat}", summary.backend), room),
    );
    let x = |value: f64| panel.x.at(value);
    if let Some(rate) = summary.answer.max_qps {
        let class = if summary.search.is_some() { "a0" } else { "h0 dash" };
        canvas.rectangle(class, (x(0.0), y - 11.0), (x(rate), y + 11.0), "");
    } else {
        canvas.mark((Shape::Diamond, "h4"), (panel.left() + 8.0, y), 4.0, "");
    }
    if let Some(estimate) = estimate(run) {
        canvas.line("whisker", (x(estimate.low), y), (x(estimate.high), y));
        for value in [estimate.low, estimate.high] {
            canvas.line("whisker", (x(value), y - 6.0), (x(value), y + 6.0));
        }
    }
    let figure = match (summary.answer.max_qps, estimate(run)) {
        (Some(rate), Some(estimate)) => format!("{} ({})", words::rate(rate), words::interval(estimate)),
        (Some(rate), None) => words::rate(rate),
        (None, _) => headline(run).figure,
    };
    canvas.text("b", (WIDTH - FIGURES + 12.0, y + 4.0), Anchor::Start, &figure);
}
