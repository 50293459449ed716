//! What is drawn against the rate: KV cache, speculation, output tokens; and what such plots share.

use gipfel_model::Stage;

use super::{Chart, Drawn, LEFT, RIGHT, RIGHT_WITH_AXIS, WIDTH, latency, with_figures};
use crate::{
    figures::Metric,
    report::{
        headline::estimate,
        model::{Level, Run},
        svg::{Canvas, Entry, Panel, Sample, Scale, Shape, legend, scale::Spread},
        words,
    },
    summary::LevelSummary,
};

const HEIGHT: f64 = 230.0;
/// Rates within this share of each other are one for the line through the levels.
const SAME_RATE: f64 = 0.015;

/// A value at a rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) rate: f64,
    pub(crate) value: f64,
    /// Short, or overloaded and ended for it: no steady state, so no line goes through it.
    pub(crate) is_look: bool,
    /// A test of a search's bracket, which is shorter than its blocks.
    pub(crate) is_test: bool,
}

impl Point {
    pub(crate) fn new(level: &LevelSummary, value: f64) -> Self {
        Self {
            rate: level.rate.get(),
            value,
            // It ended before the server could settle.
            is_look: level.stage == Stage::Ramp || level.overloaded.is_some(),
            is_test: level.stage == Stage::Bracket,
        }
    }
}

/// The values of the levels that have figures.
pub(crate) fn points(run: Run<'_>, value: impl Fn(Level<'_>) -> Option<f64>) -> Vec<Point> {
    run.with_figures()
        .filter_map(|level| Some(Point::new(level.summary, value(level)?)))
        .collect()
}

/// The points of a line: by rate, with the median of what was measured at nearly the same one. Tests of a bracket count
/// below the rates of the blocks; where there are blocks, these know better.
pub(crate) fn line(points: &[Point]) -> Vec<(f64, f64)> {
    let steady = || points.iter().copied().filter(|point| !point.is_look);
    let lowest_block = steady()
        .filter(|point| !point.is_test)
        .map(|point| point.rate)
        .fold(f64::INFINITY, f64::min);
    let mut sorted: Vec<Point> = steady()
        .filter(|point| !point.is_test || point.rate < lowest_block)
        .collect();
    sorted.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    let mut line = Vec::new();
    let mut rest = sorted.as_slice();
    while let Some(first) = rest.first() {
        let end = rest.partition_point(|point| point.rate <= first.rate * (1.0 + SAME_RATE));
        let (group, next) = rest.split_at(end);
        line.push((
            median(group, |point| point.rate),
            median(group, |point| point.value),
        ));
        rest = next;
    }
    line
}

fn median(points: &[Point], value: impl Fn(&Point) -> f64) -> f64 {
    let mut values: Vec<f64> = points.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// The axis of rates for what is drawn, with the peak's interval on it.
pub(crate) fn rate_scale(run: Run<'_>, rates: impl Iterator<Item = f64>, right: f64) -> Scale {
    let interval = estimate(run).map(|estimate| [estimate.low, estimate.high]);
    let domain = rates
        .chain(interval.into_iter().flatten())
        .fold((f64::INFINITY, 0.0_f64), |(low, high), rate| {
            (low.min(rate), high.max(rate))
        });
    Scale::around((domain.0, domain.1 * 1.01), (LEFT, right))
}

fn rates(points: &[Point]) -> impl Iterator<Item = f64> {
    points.iter().map(|point| point.rate)
}

/// The peak with its interval, behind everything, and what it says above.
pub(crate) fn peak(canvas: &mut Canvas, panel: Panel, run: Run<'_>) {
    if let Some(estimate) = estimate(run) {
        panel.interval(canvas, (estimate.low, estimate.high), estimate.peak_qps);
        let note = format!(
            "at least {} req/s (90 %: {})",
            words::rate(estimate.peak_qps),
            words::interval(estimate)
        );
        panel.note_above(canvas, estimate.mean, &note);
    }
}

pub(crate) fn peak_entry(run: Run<'_>) -> Option<Entry> {
    estimate(run).map(|_| Entry::new(Sample::Area("band"), "90 % interval of the peak"))
}

/// A series of a plot against the rate.
struct Series<'a> {
    points: &'a [Point],
    line: &'static str,
    shape: Shape,
    full: &'static str,
    hollow: &'static str,
    unit: &'static str,
}

impl Series<'_> {
    fn draw(&self, canvas: &mut Canvas, panel: Panel) {
        let through: Vec<(f64, f64)> = line(self.points)
            .into_iter()
            .map(|(rate, value)| panel.at(rate, value))
            .collect();
        canvas.polyline(self.line, &through);
        for point in self.points {
            let class = if point.is_look { self.hollow } else { self.full };
            let title = format!(
                "{} req/s: {:.1} {}",
                words::rate(point.rate),
                point.value,
                self.unit
            );
            canvas.mark(
                (self.shape, class),
                panel.at(point.rate, point.value),
                4.0,
                &title,
            );
        }
    }
}

fn looks_entry(points: &[Point], shape: Shape, hollow: &'static str) -> Option<Entry> {
    points
        .iter()
        .any(|point| point.is_look)
        .then(|| Entry::new(Sample::Mark(shape, hollow), "short, or overloaded: not steady"))
}

/// KV cache use and TTFT against rate, on two axes.
pub(crate) fn kv_cache(run: Run<'_>) -> Drawn {
    with_figures(run)?;
    let kv = points(run, |level| Some(level.facts.server.kv_cache? * 100.0));
    let ttft = points(run, |level| latency::finite(level.summary, Metric::Ttft, 95.0));
    if kv.is_empty() {
        return Err(
            "The server exports no use of its KV cache (or nothing could be read from its metrics), so this plot is \
             missing."
                .to_owned(),
        );
    }
    let mut canvas = Canvas::new(WIDTH, 0.0);
    let mut entries = vec![
        Entry::new(
            Sample::LineMark("k2", Shape::Square, "p2"),
            "KV cache in use, mean (left axis)",
        ),
        Entry::new(
            Sample::LineMark("k0 dash", Shape::Circle, "p0"),
            "TTFT p95 (right axis)",
        ),
    ];
    entries.extend(looks_entry(&kv, Shape::Square, "h2"));
    entries.extend(peak_entry(run));
    let legend_height = legend(&mut canvas, (LEFT, RIGHT_WITH_AXIS), 2.0, &entries);
    let top = legend_height + 26.0;
    let places = (top + HEIGHT, top);
    let panel = Panel {
        x: rate_scale(run, rates(&kv).chain(rates(&ttft)), RIGHT_WITH_AXIS),
        y: Scale::exact(Spread::Linear, (0.0, 100.0), places),
    };
    panel.left_axis(&mut canvas, 5, "KV cache in use (%)");
    peak(&mut canvas, panel, run);
    let extent = ttft.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), point| {
        (low.min(point.value), high.max(point.value))
    });
    if !ttft.is_empty() {
        let scale = Scale::log(extent, places);
        panel.right_axis(&mut canvas, &scale, 8, "TTFT p95 (ms)");
        let panel = Panel { x: panel.x, y: scale };
        Series {
            points: &ttft,
            line: "k0 dash",
            shape: Shape::Circle,
            full: "p0",
            hollow: "h0",
            unit: "ms",
        }
        .draw(&mut canvas, panel);
    }
    Series {
        points: &kv,
        line: "k2",
        shape: Shape::Square,
        full: "p2",
        hollow: "h2",
        unit: "%",
    }
    .draw(&mut canvas, panel);
    panel.lower_axis(&mut canvas, 10, Some("Offered rate (req/s)"));
    canvas.height = top + HEIGHT + 46.0;
    Ok(Chart {
        name: "kv-cache".to_owned(),
        title: "KV cache use and TTFT against rate".to_owned(),
        description: format!(
            "KV cache in use up to {:.0} %, with TTFT p95 up to {} ms on a second axis.",
            kv.iter().map(|point| point.value).fold(0.0, f64::max),
            words::ms(if ttft.is_empty() { 0.0 } else { extent.1 })
        ),
        canvas,
    })
}

/// The share of accepted draft tokens against rate.
pub(crate) fn speculation(run: Run<'_>) -> Drawn {
    with_figures(run)?;
    if run.summary.imported {
        return Err(
            "An imported run keeps the share of accepted draft tokens, if at all, in the view server_stats; it is not \
             drawn here."
                .to_owned(),
        );
    }
    let points = points(run, |level| Some(level.facts.server.speculation? * 100.0));
    if points.is_empty() {
        return Err(
            "The server exports no counters of draft tokens: it does not speculate, or does not say so."
                .to_owned(),
        );
    }
    Ok(one(
        run,
        &points,
        &Single {
            name: "speculation",
            title: "Speculative decoding: accepted draft tokens against rate",
            axis: "Accepted draft tokens (%)",
            unit: "% of the draft tokens accepted",
            highest: Some(100.0),
        },
    ))
}

/// Output tokens per second against rate.
pub(crate) fn output_tokens(run: Run<'_>) -> Drawn {
    with_figures(run)?;
    let points = points(run, |level| level.facts.output_tokens_per_s);
    if points.is_empty() {
        return Err("The server counted no output tokens, so their rate is not known.".to_owned());
    }
    Ok(one(
        run,
        &points,
        &Single {
            name: "output-tokens",
            title: "Output tokens per second against rate",
            axis: "Output tokens per second",
            unit: "output tokens/s",
            highest: None,
        },
    ))
}

/// A plot of a single series.
struct Single {
    name: &'static str,
    title: &'static str,
    axis: &'static str,
    unit: &'static str,
    /// The end of the axis; absent: above the largest value.
    highest: Option<f64>,
}

fn one(run: Run<'_>, points: &[Point], single: &Single) -> Chart {
    let mut canvas = Canvas::new(WIDTH, 0.0);
    let mut entries = vec![Entry::new(
        Sample::LineMark("k2", Shape::Square, "p2"),
        single.axis.to_lowercase(),
    )];
    entries.extend(looks_entry(points, Shape::Square, "h2"));
    entries.extend(peak_entry(run));
    let legend_height = legend(&mut canvas, (LEFT, RIGHT), 2.0, &entries);
    let top = legend_height + 26.0;
    let largest = points.iter().map(|point| point.value).fold(0.0, f64::max);
    let places = (top + HEIGHT, top);
    let panel = Panel {
        x: rate_scale(run, rates(points), RIGHT),
        y: single.highest.map_or_else(
            || Scale::from_zero(largest * 1.05, places),
            |highest| Scale::exact(Spread::Linear, (0.0, highest), places),
        ),
    };
    panel.left_axis(&mut canvas, 6, single.axis);
    peak(&mut canvas, panel, run);
    Series {
        points,
        line: "k2",
        shape: Shape::Square,
        full: "p2",
        hollow: "h2",
        unit: single.unit,
    }
    .draw(&mut canvas, panel);
    panel.lower_axis(&mut canvas, 10, Some("Offered rate (req/s)"));
    canvas.height = top + HEIGHT + 46.0;
    Chart {
        name: single.name.to_owned(),
        title: single.title.to_owned(),
        description: format!("{}: up to {largest:.0} {}.", single.title, single.unit),
        canvas,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_near_rates_together_and_leaves_looks_out() {
        let point = |rate, value, is_look| Point {
            rate,
            value,
            is_look,
            is_test: false,
        };
        let test = |rate, value| Point {
            is_test: true,
            ..point(rate, value, false)
        };
        let points = [
            point(25.2, 300.0, false),
            point(10.0, 100.0, false),
            point(25.0, 100.0, false),
            point(25.1, 200.0, false),
            point(38.0, 90.0, true),
            test(8.0, 50.0),
            test(27.0, 60.0),
        ];
        assert_eq!(line(&points), [(8.0, 50.0), (10.0, 100.0), (25.1, 200.0)]);
        assert_eq!(line(&[]), []);
    }
}
