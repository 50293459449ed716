//! One level over time: TTFT of its requests, and what was in flight.

use gipfel_model::{LatencyMetric, Slo};

use super::{Chart, LEFT, RIGHT, WIDTH};
use crate::report::{
    model::{Level, Run},
    series::{Dot, Series, Stretch, Ttft},
    svg::{
        Anchor, Canvas, Entry, Panel, Sample, Scale, Shape,
        canvas::{crosses, dots},
        legend,
        scale::Spread,
    },
    words,
};

const TTFT_HEIGHT: f64 = 200.0;
const LOAD_HEIGHT: f64 = 110.0;
const KV_HEIGHT: f64 = 60.0;

pub(crate) fn draw_all(run: Run<'_>) -> Vec<Chart> {
    run.levels()
        .filter_map(|level| {
            let series = level
                .facts
                .series
                .as_ref()
                .filter(|series| series.length_s > 0.0)?;
            Some(draw(run, level, series))
        })
        .collect()
}

fn draw(run: Run<'_>, level: Level<'_>, series: &Series) -> Chart {
    let x = Scale::exact(Spread::Linear, (0.0, series.length_s), (LEFT, RIGHT));
    let mut canvas = Canvas::new(WIDTH, 0.0);
    let mut entries = ttft_entries(&series.ttft);
    entries.extend(ttft_limits(run).map(|(_, slo)| Entry::new(Sample::Line("limit"), slo.to_string())));
    let top = 26.0 + legend(&mut canvas, (LEFT, RIGHT), 2.0, &entries);
    let ttft = ttft_panel(run, series, x, top);
    measured(&mut canvas, ttft, series, true);
    ttft.left_axis(&mut canvas, 9, "TTFT (ms)");
    match &series.ttft {
        Ttft::Dots(requests) => draw_dots(&mut canvas, ttft, requests),
        Ttft::Stretches(stretches) => draw_stretches(&mut canvas, ttft, stretches),
    }
    limits(&mut canvas, ttft, run);
    ttft.lower_axis(&mut canvas, 10, None);
    let top = ttft.bottom() + 12.0;
    let top = top + legend(&mut canvas, (LEFT, RIGHT), top, &load_entries(series)) + 8.0;
    let bottom = load(&mut canvas, x, top, series);
    canvas.height = bottom + 46.0;
    Chart {
        name: format!("level-{}", level.summary.level),
        title: format!(
            "Level {} over time: {} req/s",
            level.summary.level,
            words::rate(level.summary.rate.get())
        ),
        description: format!(
            "TTFT of the requests and requests in flight over {}.",
            words::span(series.length_s)
        ),
        canvas,
    }
}

fn ttft_panel(run: Run<'_>, series: &Series, x: Scale, top: f64) -> Panel {
    let values: Vec<f64> = match &series.ttft {
        Ttft::Dots(dots) => dots.iter().filter_map(|dot| dot.ms).collect(),
        Ttft::Stretches(stretches) => stretches
            .iter()
            .flat_map(|stretch| [stretch.median_ms, stretch.p95_ms])
            .collect(),
    };
    let limits = ttft_limits(run).map(|(limit, _)| limit);
    let bounds = values
        .into_iter()
        .chain(limits)
        .filter(|value| *value > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    let bounds = if bounds.1 > 0.0 { bounds } else { (1.0, 1000.0) };
    Panel {
        x,
        // A little room above: requests without a first token stand at the upper edge.
        y: Scale::log((bounds.0, bounds.1 * 1.3), (top + TTFT_HEIGHT, top)),
    }
}

fn ttft_limits(run: Run<'_>) -> impl Iterator<Item = (f64, Slo)> {
    run.summary.slos.iter().filter_map(|slo| match slo {
        Slo::Latency {
            metric: LatencyMetric::Ttft,
            limit,
            ..
        } => Some((limit.as_secs_f64() * 1e3, *slo)),
        _ => None,
    })
}

fn limits(canvas: &mut Canvas, panel: Panel, run: Run<'_>) {
    for (limit, _) in ttft_limits(run) {
        panel.limit(canvas, limit, "");
    }
}

/// The measured window: what lies before and after it is shaded.
fn measured(canvas: &mut Canvas, panel: Panel, series: &Series, with_names: bool) {
    let begin = series.warmup_s;
    let end = begin + series.measured_s;
    for (from, to, name) in [(0.0, begin, "warm-up"), (end, series.length_s, "tail")] {
        if to <= from || series.measured_s <= 0.0 {
            continue;
        }
        let (left, right) = (panel.x.at(from), panel.x.at(to));
        canvas.rectangle("stage", (left, panel.top()), (right, panel.bottom()), "");
        if with_names && right - left > 48.0 {
            canvas.text(
                "m",
                (f64::midpoint(left, right), panel.top() - 7.0),
                Anchor::Middle,
                name,
            );
        }
    }
    if with_names && series.measured_s > 0.0 {
        let middle = panel.x.at(f64::midpoint(begin, end.min(series.length_s)));
        canvas.text(
            "m",
            (middle, panel.top() - 7.0),
            Anchor::Middle,
            "measured window",
        );
    }
}

fn ttft_entries(ttft: &Ttft) -> Vec<Entry> {
    match ttft {
        Ttft::Dots(dots) => {
            let mut entries = vec![Entry::new(Sample::Mark(Shape::Circle, "p0"), "a request")];
            if dots.iter().any(|dot| dot.violates) {
                entries.push(Entry::new(
                    Sample::Mark(Shape::Cross, "k1"),
                    "one that violates the objective",
                ));
            }
            if dots.iter().any(|dot| dot.ms.is_none()) {
                entries.push(Entry::new(
                    Sample::Mark(Shape::Up, "p1"),
                    "one without a first token",
                ));
            }
            entries
        }
        Ttft::Stretches(_) => vec![
            Entry::new(Sample::Line("k2"), "median of the moment"),
            Entry::new(Sample::Line("k0 thick"), "p95 of the moment"),
        ],
    }
}

fn draw_dots(canvas: &mut Canvas, panel: Panel, requests: &[Dot]) {
    let places = |violates: bool| -> Vec<(f64, f64)> {
        requests
            .iter()
            .filter(|dot| dot.violates == violates)
            .filter_map(|dot| Some(panel.at(dot.at_s, dot.ms?)))
            .collect()
    };
    canvas.path("k0 dots", &dots(&places(false)), "");
    canvas.path("k1", &crosses(&places(true), 2.0), "");
    for dot in requests.iter().filter(|dot| dot.ms.is_none()).take(200) {
        canvas.mark(
            (Shape::Up, "p1"),
            (panel.x.at(dot.at_s), panel.top() + 6.0),
            3.5,
            "",
        );
    }
}

fn draw_stretches(canvas: &mut Canvas, panel: Panel, stretches: &[Stretch]) {
    let line = |value: fn(&Stretch) -> f64| -> Vec<(f64, f64)> {
        stretches
            .iter()
            .map(|stretch| panel.at(stretch.at_s, value(stretch)))
            .collect()
    };
    canvas.polyline("k2", &line(|stretch| stretch.median_ms));
    canvas.polyline("k0 thick", &line(|stretch| stretch.p95_ms));
    for stretch in stretches.iter().filter(|stretch| stretch.without > 0) {
        let title = format!(
            "{} without a first token",
            words::counted(stretch.without, "request", "requests")
        );
        canvas.mark(
            (Shape::Up, "p1"),
            (panel.x.at(stretch.at_s), panel.top() + 6.0),
            3.5,
            &title,
        );
    }
}

fn load_entries(series: &Series) -> Vec<Entry> {
    let mut entries = vec![Entry::new(Sample::Line("k0"), "in flight (client)")];
    if !series.running.is_empty() {
        entries.push(Entry::new(Sample::Line("k2 dash"), "running (server)"));
    }
    if !series.waiting.is_empty() {
        entries.push(Entry::new(Sample::Line("k1 dot"), "waiting (server)"));
    }
    if !series.kv_cache.is_empty() {
        entries.push(Entry::new(Sample::Line("k3"), "KV cache in use"));
    }
    entries
}

/// What was in flight, and below it the KV cache; says where the lowest axis lies.
fn load(canvas: &mut Canvas, x: Scale, top: f64, series: &Series) -> f64 {
    let all = [&series.in_flight, &series.running, &series.waiting];
    let highest = all
        .iter()
        .flat_map(|points| points.iter().map(|(_, value)| *value))
        .fold(1.0, f64::max);
    let panel = Panel {
        x,
        y: Scale::from_zero(highest * 1.05, (top + LOAD_HEIGHT, top)),
    };
    measured(canvas, panel, series, false);
    panel.left_axis(canvas, 4, "Requests");
    for (points, class) in all.into_iter().zip(["k0", "k2 dash", "k1 dot"]) {
        line(canvas, panel, points, class);
    }
    let title = Some("Time since the level's begin (s)");
    if series.kv_cache.is_empty() {
        panel.lower_axis(canvas, 10, title);
        return panel.bottom();
    }
    panel.lower_axis(canvas, 10, None);
    let top = panel.bottom() + 18.0;
    let kv = Panel {
        x,
        y: Scale::exact(Spread::Linear, (0.0, 100.0), (top + KV_HEIGHT, top)),
    };
    measured(canvas, kv, series, false);
    kv.left_axis(canvas, 2, "KV (%)");
    let percent: Vec<(f64, f64)> = series
        .kv_cache
        .iter()
        .map(|(at_s, share)| (*at_s, share * 100.0))
        .collect();
    line(canvas, kv, &percent, "k3");
    kv.lower_axis(canvas, 10, title);
    kv.bottom()
}

fn line(canvas: &mut Canvas, panel: Panel, points: &[(f64, f64)], class: &str) {
    let places: Vec<(f64, f64)> = points.iter().map(|(x, y)| panel.at(*x, *y)).collect();
    canvas.polyline(class, &places);
}
