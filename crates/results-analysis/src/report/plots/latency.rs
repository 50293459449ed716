//! Percentiles of a latency against the rate, with the objective and the peak.

use gipfel_model::{LatencyMetric, Slo, slo::Quantile};

use super::{
    Chart, Drawn, LEFT, RIGHT, WIDTH,
    by_rate::{self, Point},
    with_figures,
};
use crate::{
    figures::{Figure, Metric},
    report::{
        model::{Fate, Run, fate},
        svg::{Canvas, Entry, Panel, Sample, Scale, Shape, legend},
        words,
    },
    summary::LevelSummary,
};

const HEIGHT: f64 = 290.0;

/// A percentile's looks.
struct Series {
    percent: f64,
    line: &'static str,
    shape: Shape,
    full: &'static str,
    hollow: &'static str,
}

const LOOKS: [(&str, Shape, &str, &str); 3] = [
    ("k2 dash", Shape::Square, "p2", "h2"),
    ("k0 thick", Shape::Circle, "p0", "h0"),
    ("k3 dot", Shape::Triangle, "p3", "h3"),
];

/// The latencies that have a plot: TTFT, and those that an objective names.
fn metrics(run: Run<'_>) -> Vec<LatencyMetric> {
    let summary = run.summary;
    let named = |metric: LatencyMetric| {
        summary
            .slos
            .iter()
            .any(|slo| matches!(slo, Slo::Latency { metric: named, .. } if *named == metric))
    };
    LatencyMetric::ALL
        .iter()
        .copied()
        .filter(|metric| *metric == LatencyMetric::Ttft || named(*metric))
        .collect()
}

pub(crate) fn draw_all(run: Run<'_>) -> Vec<Drawn> {
    metrics(run).into_iter().map(|metric| draw(run, metric)).collect()
}

/// A percentile at a level as a plain number: absent when it is infinite or unknown.
pub(crate) fn finite(level: &LevelSummary, metric: Metric, percent: f64) -> Option<f64> {
    match reading(level, metric, percent)? {
        Reading::Value { ms, .. } => Some(ms),
        Reading::Beyond => None,
    }
}

/// A percentile as it is drawn.
enum Reading {
    Value {
        ms: f64,
        /// The sample is too small for it, or it is only a bound.
        is_weak: bool,
    },
    Beyond,
}

fn reading(level: &LevelSummary, metric: Metric, percent: f64) -> Option<Reading> {
    let quantile = Quantile::percent(percent)?;
    of_figure(&level.latency(metric)?.percentile(quantile)?.figure)
}

fn of_figure(figure: &Figure) -> Option<Reading> {
    match figure {
        Figure::Exact { ms } => Some(Reading::Value {
            ms: *ms,
            is_weak: false,
        }),
        Figure::AtLeast { ms } => Some(Reading::Value {
            ms: *ms,
            is_weak: true,
        }),
        Figure::Infinite => Some(Reading::Beyond),
        Figure::Unsupported { observed, .. } => match of_figure(observed)? {
            Reading::Value { ms, .. } => Some(Reading::Value { ms, is_weak: true }),
            Reading::Beyond => Some(Reading::Beyond),
        },
        Figure::Absent { .. } => None,
    }
}

fn of_requests(metric: LatencyMetric) -> (Metric, &'static str) {
    match metric {
        LatencyMetric::Ttft => (Metric::Ttft, "TTFT"),
        LatencyMetric::Tpot => (Metric::Tpot, "TPOT"),
        LatencyMetric::Itl => (Metric::ItlMax, "ITL, largest of each request"),
        LatencyMetric::E2e => (Metric::E2e, "E2E"),
    }
}

/// The deciding objectives on a latency.
fn limits(run: Run<'_>, metric: LatencyMetric) -> Vec<(f64, f64, Slo)> {
    run.summary
        .slos
        .iter()
        .filter_map(|slo| match slo {
            Slo::Latency {
                metric: named,
                quantile,
                limit,
            } if *named == metric => Some((quantile.get() * 100.0, limit.as_secs_f64() * 1e3, *slo)),
            _ => None,
        })
        .collect()
}

/// The median, the percentile of the objective (else p95), and p99.
fn series(limits: &[(f64, f64, Slo)]) -> Vec<Series> {
    let of_objective = limits.iter().map(|(percent, ..)| *percent).find(|percent| {
        [90.0, 95.0]
            .iter()
            .any(|known: &f64| (known - percent).abs() < 1e-9)
    });
    [50.0, of_objective.unwrap_or(95.0), 99.0]
        .into_iter()
        .zip(LOOKS)
        .map(|(percent, (line, shape, full, hollow))| Series {
            percent: f64::round(percent),
            line,
            shape,
            full,
            hollow,
        })
        .collect()
}

/// What is drawn of one percentile.
#[derive(Default)]
struct Marks {
    values: Vec<Value>,
    /// Rates at which it is infinite.
    beyond: Vec<f64>,
}

struct Value {
    point: Point,
    /// As observed: the sample carries no statement, or it is a bound.
    is_weak: bool,
    /// The 95 % interval; absent when it is not known on both sides.
    interval: Option<(f64, f64)>,
}

fn marks(run: Run<'_>, metric: Metric, percent: f64) -> Marks {
    let mut marks = Marks::default();
    for level in run.with_figures() {
        let rate = level.summary.rate.get();
        match reading(level.summary, metric, percent) {
            Some(Reading::Value { ms, is_weak }) => {
                let point = Point::new(level.summary, ms);
                marks.values.push(Value {
                    point,
                    is_weak: is_weak || point.is_look || fate(level.summary) == Fate::Open,
                    interval: interval(level.summary, metric, percent),
                });
            }
            Some(Reading::Beyond) => marks.beyond.push(rate),
            None => {}
        }
    }
    marks
}

fn interval(level: &LevelSummary, metric: Metric, percent: f64) -> Option<(f64, f64)> {
    let percentile = level.latency(metric)?.percentile(Quantile::percent(percent)?)?;
    percentile.low_ms.zip(percentile.high_ms)
}

fn draw(run: Run<'_>, metric: LatencyMetric) -> Drawn {
    with_figures(run)?;
    let (figures, name) = of_requests(metric);
    let limits = limits(run, metric);
    let series = series(&limits);
    let drawn: Vec<Marks> = series
        .iter()
        .map(|series| marks(run, figures, series.percent))
        .collect();
    let values = drawn
        .iter()
        .flat_map(|marks| &marks.values)
        .map(|value| value.point.value);
    let bounds = values
        .chain(limits.iter().map(|(_, limit, _)| *limit))
        .filter(|value| *value > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if drawn.iter().all(|marks| marks.values.is_empty()) || bounds.1 <= 0.0 {
        return Err(format!("No level has a figure of {name}."));
    }
    let rates = drawn.iter().flat_map(|marks| {
        let values = marks.values.iter().map(|value| value.point.rate);
        values.chain(marks.beyond.iter().copied())
    });
    let mut canvas = Canvas::new(WIDTH, 0.0);
    let entries = entries(run, &series, &drawn);
    let legend_height = legend(&mut canvas, (LEFT, RIGHT), 2.0, &entries);
    let top = legend_height + 26.0;
    let panel = Panel {
        x: by_rate::rate_scale(run, rates, RIGHT),
        y: Scale::log(bounds, (top + HEIGHT, top)),
    };
    panel.left_axis(&mut canvas, 12, &format!("{name} (ms)"));
    by_rate::peak(&mut canvas, panel, run);
    for (series, marks) in series.iter().zip(&drawn) {
        draw_series(&mut canvas, panel, series, marks);
    }
    for (_, limit, slo) in &limits {
        panel.limit(&mut canvas, *limit, &slo.to_string());
    }
    panel.lower_axis(&mut canvas, 10, Some("Offered rate (req/s)"));
    canvas.height = top + HEIGHT + 46.0;
    let objectives: Vec<String> = limits
        .iter()
        .map(|(.., slo)| format!(", objective {slo}"))
        .collect();
    Ok(Chart {
        name: format!("latency-{metric}"),
        title: format!("{name} percentiles against rate"),
        description: format!(
            "{name} percentiles of {} between {} and {} ms{}.",
            words::counted(drawn[0].values.len(), "level", "levels"),
            words::ms(bounds.0),
            words::ms(bounds.1),
            objectives.concat()
        ),
        canvas,
    })
}

fn entries(run: Run<'_>, series: &[Series], drawn: &[Marks]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = series
        .iter()
        .map(|series| {
            Entry::new(
                Sample::LineMark(series.line, series.shape, series.full),
                format!("p{}", series.percent),
            )
        })
        .collect();
    if drawn
        .iter()
        .flat_map(|marks| &marks.values)
        .any(|value| value.is_weak)
    {
        entries.push(Entry::new(
            Sample::Mark(Shape::Circle, "h0"),
            "hollow: as observed, carries no statement",
        ));
    }
    if drawn.iter().any(|marks| !marks.beyond.is_empty()) {
        entries.push(Entry::new(
            Sample::Mark(Shape::Up, "p1"),
            "infinite: too many requests failed",
        ));
    }
    entries.extend(by_rate::peak_entry(run));
    entries
}

fn draw_series(canvas: &mut Canvas, panel: Panel, series: &Series, marks: &Marks) {
    let points: Vec<Point> = marks.values.iter().map(|value| value.point).collect();
    let through: Vec<(f64, f64)> = by_rate::line(&points)
        .into_iter()
        .map(|(rate, value)| panel.at(rate, value))
        .collect();
    canvas.polyline(series.line, &through);
    for Value {
        point,
        is_weak,
        interval,
    } in &marks.values
    {
        if let Some((low, high)) = interval.filter(|_| !*is_weak && series.shape == Shape::Circle) {
            canvas.line("k0", panel.at(point.rate, low), panel.at(point.rate, high));
        }
        let class = if *is_weak { series.hollow } else { series.full };
        let title = format!(
            "{} req/s: p{} {} ms{}",
            words::rate(point.rate),
            series.percent,
            words::ms(point.value),
            if *is_weak { " as observed" } else { "" }
        );
        canvas.mark(
            (series.shape, class),
            panel.at(point.rate, point.value),
            3.6,
            &title,
        );
    }
    for rate in &marks.beyond {
        let title = format!("{} req/s: p{} is infinite", words::rate(*rate), series.percent);
        canvas.mark(
            (Shape::Up, "p1"),
            (panel.x.at(*rate), panel.top() + 8.0),
            5.0,
            &title,
        );
    }
}
