//! TTFT as the client and as the server see it, against the rate.

use super::{
    Chart, Drawn, LEFT, RIGHT, WIDTH,
    by_rate::{self, Point},
    with_figures,
};
use crate::report::{
    model::{Level, Run},
    svg::{Canvas, Entry, Panel, Sample, Scale, Shape, legend},
    words,
};

const HEIGHT: f64 = 200.0;

pub(crate) fn draw(run: Run<'_>) -> Drawn {
    with_figures(run)?;
    let of = |value: fn(&crate::report::facts::Views) -> f64| {
        by_rate::points(run, move |level: Level<'_>| level.facts.views.as_ref().map(value))
    };
    let client = of(|views| views.client_ttft_s * 1e3);
    let server = of(|views| views.server_ttft_s * 1e3);
    let bounds = client
        .iter()
        .chain(&server)
        .map(|point| point.value)
        .filter(|value| *value > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if bounds.1 <= 0.0 {
        return Err(
            "The server exports no histogram of its own TTFT, so there is nothing to hold the client's figures against."
                .to_owned(),
        );
    }
    let mut canvas = Canvas::new(WIDTH, 0.0);
    let entries = [
        Entry::new(
            Sample::LineMark("k0", Shape::Circle, "h0"),
            "client: send to first token",
        ),
        Entry::new(
            Sample::LineMark("k2 dash", Shape::Square, "p2"),
            "server: its own histogram",
        ),
    ];
    let legend_height = legend(&mut canvas, (LEFT, RIGHT), 2.0, &entries);
    let top = legend_height + 10.0;
    let panel = Panel {
        x: by_rate::rate_scale(run, client.iter().map(|point| point.rate), RIGHT),
        y: Scale::log(bounds, (top + HEIGHT, top)),
    };
    panel.left_axis(&mut canvas, 8, "Mean TTFT (ms)");
    series(&mut canvas, panel, &client, ("k0", Shape::Circle, "h0", "client"));
    series(
        &mut canvas,
        panel,
        &server,
        ("k2 dash", Shape::Square, "p2", "server"),
    );
    panel.lower_axis(&mut canvas, 10, Some("Offered rate (req/s)"));
    canvas.height = top + HEIGHT + 46.0;
    Ok(Chart {
        name: "server-and-client".to_owned(),
        title: "Mean TTFT as the client and as the server see it".to_owned(),
        description: format!(
            "Mean TTFT of {} by both, between {} and {} ms.",
            words::counted(client.len(), "level", "levels"),
            words::ms(bounds.0),
            words::ms(bounds.1)
        ),
        canvas,
    })
}

fn series(
    canvas: &mut Canvas,
    panel: Panel,
    points: &[Point],
    (line, shape, class, name): (&str, Shape, &str, &str),
) {
    // The rings of the client stand around the squares of the server where both agree.
    let size = if shape == Shape::Circle { 5.0 } else { 2.8 };
    let through: Vec<(f64, f64)> = by_rate::line(points)
        .into_iter()
        .map(|(rate, value)| panel.at(rate, value))
        .collect();
    canvas.polyline(line, &through);
    for point in points {
        let title = format!(
            "{} req/s, {name}: {} ms",
            words::rate(point.rate),
            words::ms(point.value)
        );
        canvas.mark((shape, class), panel.at(point.rate, point.value), size, &title);
    }
}
