//! What was offered when, and how the requests stood to the objective meanwhile.

use gipfel_model::{Attainment, Slo, Stage};

use super::{Chart, Drawn, LEFT, RIGHT, WIDTH};
use crate::report::{
    headline::estimate,
    model::{Fate, Level, Run, fate},
    svg::{Anchor, Canvas, Entry, Panel, Sample, Scale, Shape, legend, scale::Spread},
    words,
};

const RATE_HEIGHT: f64 = 190.0;
const SHARE_HEIGHT: f64 = 90.0;
/// The share axis ends at so many times what is allowed: what lies far beyond says no more.
const BEYOND: f64 = 4.0;

pub(crate) fn draw(run: Run<'_>) -> Drawn {
    let levels: Vec<Level<'_>> = run.levels().collect();
    let end_s = levels.iter().map(|level| level.facts.end_s).fold(0.0, f64::max);
    if levels.is_empty() || end_s <= 0.0 {
        return Err("No level has a time, so nothing can be drawn over time.".to_owned());
    }
    let mut canvas = Canvas::new(WIDTH, 0.0);
    let legend_height = legend(&mut canvas, (LEFT, RIGHT), 2.0, &entries(run, &levels));
    let highest = levels
        .iter()
        .map(|level| level.summary.rate.get())
        .fold(0.0, f64::max);
    let top = legend_height + 30.0;
    let x = Scale::exact(Spread::Linear, (0.0, end_s / 60.0), (LEFT, RIGHT));
    let rates = Panel {
        x,
        y: Scale::from_zero(highest * 1.02, (top + RATE_HEIGHT, top)),
    };
    stages(&mut canvas, rates, &levels);
    rates.left_axis(&mut canvas, 6, "Offered rate (req/s)");
    interval(&mut canvas, rates, run);
    for level in &levels {
        step(&mut canvas, rates, *level);
    }
    let bottom = match run.facts.focus {
        Some(slo) if levels.iter().any(|level| !level.facts.shares.is_empty()) => {
            rates.lower_axis(&mut canvas, 10, None);
            let top = rates.bottom() + 28.0;
            shares(&mut canvas, (x, top), run, &levels, &slo);
            top + SHARE_HEIGHT
        }
        _ => {
            rates.lower_axis(&mut canvas, 10, Some("Time since the first level (min)"));
            rates.bottom()
        }
    };
    canvas.height = bottom + 46.0;
    Ok(Chart {
        name: "timeline".to_owned(),
        title: "Offered rate and violations over time".to_owned(),
        description: format!(
            "{} over {}; offered rates up to {} requests per second.",
            words::counted(levels.len(), "level", "levels"),
            words::span(end_s),
            words::rate(highest)
        ),
        canvas,
    })
}

fn entries(run: Run<'_>, levels: &[Level<'_>]) -> Vec<Entry> {
    let has = |wanted: Fate| levels.iter().any(|level| fate(level.summary) == wanted);
    let mut entries = Vec::new();
    if has(Fate::Met) {
        entries.push(Entry::new(
            Sample::LineMark("k0 wide", Shape::Circle, "p0"),
            "every objective met",
        ));
    }
    if has(Fate::Violated) {
        entries.push(Entry::new(
            Sample::LineMark("k1 wide", Shape::Cross, "k1"),
            "an objective violated",
        ));
    }
    if has(Fate::Open) {
        entries.push(Entry::new(
            Sample::LineMark("axis dot", Shape::Diamond, "h4"),
            "open: unresolved, invalid or broken off",
        ));
    }
    if estimate(run).is_some() {
        entries.push(Entry::new(Sample::Area("band"), "90 % interval of the peak"));
    }
    if let Some(slo) = run.facts.focus {
        let allowed = words::percent(slo.allowed_share());
        entries.push(Entry::new(
            Sample::Line("limit"),
            format!("{allowed} % may violate {slo}"),
        ));
    }
    entries
}

/// The stages of a search as areas behind everything, with their names.
fn stages(canvas: &mut Canvas, panel: Panel, levels: &[Level<'_>]) {
    let mut begin = 0;
    while begin < levels.len() {
        let stage = levels[begin].summary.stage;
        let end = levels[begin..]
            .iter()
            .position(|level| level.summary.stage != stage)
            .map_or(levels.len(), |offset| begin + offset);
        if stage != Stage::Level {
            let from = panel.x.at(levels[begin].facts.begin_s / 60.0);
            let until = levels
                .get(end)
                .map_or(levels[end - 1].facts.end_s, |next| next.facts.begin_s);
            let to = panel.x.at(until / 60.0);
            if stage == Stage::Bracket {
                canvas.rectangle("stage", (from, panel.top() - 22.0), (to, panel.bottom()), "");
            }
            if to - from > 34.0 {
                canvas.text(
                    "m",
                    (f64::midpoint(from, to), panel.top() - 8.0),
                    Anchor::Middle,
                    stage.as_str(),
                );
            }
        }
        begin = end;
    }
}

fn interval(canvas: &mut Canvas, panel: Panel, run: Run<'_>) {
    if let Some(estimate) = estimate(run) {
        let y = |rate: f64| panel.y.at(rate);
        canvas.rectangle(
            "band",
            (panel.left(), y(estimate.high)),
            (panel.right(), y(estimate.low).max(y(estimate.high) + 2.0)),
            "",
        );
    }
}

fn step(canvas: &mut Canvas, panel: Panel, level: Level<'_>) {
    let rate = level.summary.rate.get();
    let from = panel.at(level.facts.begin_s / 60.0, rate);
    let to = panel.at(level.facts.end_s / 60.0, rate);
    let (line, mark) = match fate(level.summary) {
        Fate::Met => ("k0 wide", (Shape::Circle, "p0")),
        Fate::Violated => ("k1 wide", (Shape::Cross, "k1 thick")),
        Fate::Open => ("axis dot", (Shape::Diamond, "h4")),
    };
    canvas.line(line, from, (to.0.max(from.0 + 2.0), to.1));
    canvas.mark(mark, (to.0.max(from.0 + 2.0), to.1), 4.0, &described(level));
}

fn described(level: Level<'_>) -> String {
    let worst = level
        .summary
        .attainment
        .iter()
        .filter_map(Attainment::violating_share)
        .fold(None, |worst: Option<f64>, share| {
            Some(worst.map_or(share, |worst| worst.max(share)))
        });
    let share = worst.map_or_else(
        || "no figure".to_owned(),
        |share| format!("{} % violate", words::percent(share)),
    );
    format!(
        "{} req/s for {}: {share}",
        words::rate(level.summary.rate.get()),
        words::span(level.facts.end_s - level.facts.begin_s)
    )
}

fn shares(canvas: &mut Canvas, (x, top): (Scale, f64), run: Run<'_>, levels: &[Level<'_>], slo: &Slo) {
    let highest = (slo.allowed_share() * BEYOND).clamp(0.002, 1.0) * 100.0;
    let panel = Panel {
        x,
        y: Scale::exact(Spread::Linear, (0.0, highest), (top + SHARE_HEIGHT, top)),
    };
    panel.left_axis(canvas, 4, "Violating (%)");
    for level in levels {
        for share in &level.facts.shares {
            let Some(violating) = share.violating().filter(|share| *share > 0.0) else {
                continue;
            };
            let begin_s = level.facts.begin_s + share.at_s;
            let (from, to) = (
                panel.x.at(begin_s / 60.0),
                panel.x.at((begin_s + run.facts.stretch_s) / 60.0),
            );
            let class = if violating > slo.allowed_share() {
                "a1"
            } else {
                "a0"
            };
            canvas.rectangle(
                class,
                (from, panel.y.at(violating * 100.0).min(panel.bottom() - 1.0)),
                (to.max(from + 1.0), panel.bottom()),
                "",
            );
        }
    }
    panel.limit(canvas, slo.allowed_share() * 100.0, "");
    panel.lower_axis(canvas, 10, Some("Time since the first level (min)"));
}
