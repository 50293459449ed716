//! The violating share against the rate, around the peak: what the estimate stands on.

use gipfel_model::{Slo, Stage};

use super::{Chart, Drawn, LEFT, RIGHT, WIDTH, with_figures};
use crate::report::{
    headline::estimate,
    model::Run,
    svg::{Canvas, Entry, Panel, Sample, Scale, Shape, legend, scale::Spread},
    words,
};

const HEIGHT: f64 = 230.0;
/// The axis ends at so many times the allowed share: above, only that it is too much matters.
const BEYOND: f64 = 5.0;
/// With an estimate, rates within this share of it are shown.
const AROUND: f64 = 0.08;

/// One level.
struct Point {
    rate: f64,
    /// In per cent, as all shares here.
    share: f64,
    interval: Option<(f64, f64)>,
    n_eff: Option<f64>,
    decided: u64,
    stage: Stage,
}

pub(crate) fn draw(run: Run<'_>) -> Drawn {
    with_figures(run)?;
    let Some(slo) = run.facts.focus else {
        return Err("The run has no objective, so no request violates one.".to_owned());
    };
    let estimate = estimate(run);
    let around = estimate.map(|estimate| {
        let reach = (estimate.mean * AROUND).max((estimate.high - estimate.low) * 1.2);
        (estimate.mean - reach, estimate.mean + reach)
    });
    let points: Vec<Point> = points(run, &slo)
        .into_iter()
        .filter(|point| around.is_none_or(|(low, high)| (low..=high).contains(&point.rate)))
        .collect();
    if points.is_empty() {
        return Err("No level near the peak has a decided request.".to_owned());
    }
    let mut canvas = Canvas::new(WIDTH, 0.0);
    let legend_height = legend(
        &mut canvas,
        (LEFT, RIGHT),
        2.0,
        &entries(&points, estimate.is_some()),
    );
    let top = legend_height + 26.0;
    let domain = around.map_or_else(
        || {
            (
                0.0,
                points.iter().map(|point| point.rate).fold(0.0, f64::max) * 1.05,
            )
        },
        |(low, high)| (low.max(0.0), high),
    );
    let highest = (slo.allowed_share() * BEYOND).clamp(0.002, 1.0) * 100.0;
    let panel = Panel {
        x: Scale::exact(Spread::Linear, domain, (LEFT, RIGHT)),
        y: Scale::exact(Spread::Linear, (0.0, highest), (top + HEIGHT, top)),
    };
    panel.left_axis(&mut canvas, 6, "Violating requests (%)");
    if let Some(estimate) = estimate {
        panel.interval(&mut canvas, (estimate.low, estimate.high), estimate.peak_qps);
        let note = format!(
            "at least {} req/s (90 %: {})",
            words::rate(estimate.peak_qps),
            words::interval(estimate)
        );
        panel.note_above(&mut canvas, estimate.mean, &note);
    }
    panel.limit(
        &mut canvas,
        slo.allowed_share() * 100.0,
        &format!("{slo}: {} % may violate it", words::percent(slo.allowed_share())),
    );
    for point in &points {
        mark(&mut canvas, panel, point, highest);
    }
    panel.lower_axis(&mut canvas, 10, Some("Offered rate (req/s)"));
    canvas.height = top + HEIGHT + 46.0;
    Ok(Chart {
        name: "violations".to_owned(),
        title: "Violating share against rate".to_owned(),
        description: format!(
            "{} with the share of requests that violate {slo}, which allows {} %.",
            words::counted(points.len(), "level", "levels"),
            words::percent(slo.allowed_share())
        ),
        canvas,
    })
}

fn points(run: Run<'_>, slo: &Slo) -> Vec<Point> {
    run.with_figures()
        .filter(|level| level.summary.stage != Stage::Ramp)
        .filter_map(|level| {
            let attainment = level.summary.attainment.iter().find(|one| one.slo == *slo)?;
            Some(Point {
                rate: level.summary.rate.get(),
                share: attainment.violating_share()? * 100.0,
                interval: attainment.interval.map(|(low, high)| (low * 100.0, high * 100.0)),
                n_eff: attainment.n_eff,
                decided: attainment.decided,
                stage: level.summary.stage,
            })
        })
        .collect()
}

fn style(stage: Stage) -> (Shape, &'static str, &'static str, &'static str) {
    match stage {
        Stage::Ramp | Stage::Bracket => (Shape::Diamond, "p4", "k4", "test of the bracket"),
        Stage::Track => (Shape::Circle, "p0", "k0", "block near the peak"),
        Stage::Level => (Shape::Circle, "p0", "k0", "level"),
    }
}

fn entries(points: &[Point], has_estimate: bool) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for point in points {
        let (shape, class, _, name) = style(point.stage);
        let entry = Entry::new(Sample::Mark(shape, class), name);
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    if points.iter().any(|point| point.interval.is_some()) {
        entries.push(Entry::new(
            Sample::Line("k0"),
            "95 % interval, bursts allowed for",
        ));
    }
    if has_estimate {
        entries.push(Entry::new(Sample::Area("band"), "90 % interval of the peak"));
    }
    entries
}

fn mark(canvas: &mut Canvas, panel: Panel, point: &Point, highest: f64) {
    let (shape, class, line, _) = style(point.stage);
    let x = panel.x.at(point.rate);
    if let Some((low, high)) = point.interval {
        canvas.line(line, (x, panel.y.at(low)), (x, panel.y.at(high)));
    }
    let title = format!(
        "{} req/s: {} of {} requests violate, {:.2} %{}",
        words::rate(point.rate),
        (point.share / 100.0 * point.decided as f64).round(),
        point.decided,
        point.share,
        point.n_eff.map_or_else(String::new, |n_eff| format!(
            "; worth {n_eff:.0} independent requests"
        ))
    );
    if point.share > highest {
        canvas.mark((Shape::Up, class), (x, panel.top() + 8.0), 5.0, &title);
    } else {
        canvas.mark((shape, class), (x, panel.y.at(point.share)), 4.5, &title);
    }
}
