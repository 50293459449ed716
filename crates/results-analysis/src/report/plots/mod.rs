//! The plots: each a pure function from a run to a chart, or to the reason why there is none.

mod by_rate;
mod latency;
mod near_peak;
mod over_time;
mod peaks;
mod server;
mod timeline;

use super::{
    Plot, Report,
    model::Run,
    svg::{Anchor, Canvas, canvas::escape, style},
};

/// The width of every chart, in pixels.
const WIDTH: f64 = 760.0;
/// Where plotting areas begin and end; the second with an axis at the right.
const LEFT: f64 = 68.0;
const RIGHT: f64 = WIDTH - 18.0;
const RIGHT_WITH_AXIS: f64 = WIDTH - 66.0;

/// A chart, not yet put anywhere.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chart {
    /// The name of its file, without the run's.
    pub(crate) name: String,
    pub(crate) title: String,
    /// What it shows, for those who cannot see it.
    pub(crate) description: String,
    pub(crate) canvas: Canvas,
}

/// A chart, or a sentence that says why there is none.
pub(crate) type Drawn = Result<Chart, String>;

/// Fails when no level carries figures: what the server exports is not known then.
fn with_figures(run: Run<'_>) -> Result<(), String> {
    match run.with_figures().next() {
        Some(_) => Ok(()),
        None => Err("No level has figures, so there is nothing to plot.".to_owned()),
    }
}

impl Chart {
    /// The chart as an element of the page.
    pub(crate) fn inline(&self) -> String {
        let Canvas { width, height, body } = &self.canvas;
        format!(
            r#"<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{}">{body}</svg>"#,
            escape(&self.description)
        )
    }

    /// The chart as a document of its own, with its title and what it belongs to.
    pub(crate) fn document(&self, subtitle: &str) -> String {
        const HEAD: f64 = 52.0;
        let Canvas { width, height, .. } = self.canvas;
        let height = height + HEAD;
        let mut canvas = Canvas::new(width, height);
        canvas.text("head", (16.0, 22.0), Anchor::Start, &self.title);
        canvas.text("m", (16.0, 40.0), Anchor::Start, subtitle);
        canvas.place(&self.canvas, (0.0, HEAD));
        format!(
            concat!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img">"#,
                "\n<title>{title}</title>\n<desc>{description}</desc>\n<style>{style}</style>\n",
                r##"<rect width="{w}" height="{h}" fill="#ffffff"/>"##,
                "\n{body}\n</svg>\n"
            ),
            w = width,
            h = height,
            title = escape(&self.title),
            description = escape(&self.description),
            style = style::for_file(),
            body = canvas.body,
        )
    }
}

/// The charts of a run, by the section of the page in which they stand.
pub(crate) struct RunCharts {
    pub(crate) timeline: Drawn,
    pub(crate) near_peak: Drawn,
    pub(crate) latencies: Vec<Drawn>,
    pub(crate) kv_cache: Drawn,
    pub(crate) speculation: Drawn,
    pub(crate) output_tokens: Drawn,
    pub(crate) over_time: Vec<Chart>,
    pub(crate) views: Drawn,
}

pub(crate) fn of_run(run: Run<'_>) -> RunCharts {
    RunCharts {
        timeline: timeline::draw(run),
        near_peak: near_peak::draw(run),
        latencies: latency::draw_all(run),
        kv_cache: by_rate::kv_cache(run),
        speculation: by_rate::speculation(run),
        output_tokens: by_rate::output_tokens(run),
        over_time: over_time::draw_all(run),
        views: server::draw(run),
    }
}

/// The peaks of all runs.
pub(crate) fn of_all(report: &Report) -> Drawn {
    peaks::draw(report)
}

/// Every plot as a file.
pub(crate) fn files(report: &Report) -> Vec<Plot> {
    let source = format!("gipfel, {}", report.source);
    let mut plots: Vec<Plot> = of_all(report)
        .ok()
        .map(|chart| Plot {
            name: chart.name.clone(),
            title: chart.title.clone(),
            svg: chart.document(&source),
        })
        .into_iter()
        .collect();
    let mut prefixes: Vec<String> = Vec::new();
    for run in report.runs() {
        let prefix = unique(file_name(&run.summary.run_id), &prefixes);
        let charts = of_run(run);
        let drawn = [charts.timeline, charts.near_peak]
            .into_iter()
            .chain(charts.latencies)
            .chain([
                charts.kv_cache,
                charts.speculation,
                charts.output_tokens,
                charts.views,
            ])
            .flatten()
            .chain(charts.over_time);
        let subtitle = format!("{}, run {}", run.name(), run.summary.run_id);
        plots.extend(drawn.map(|chart| Plot {
            name: format!("{prefix}_{}", chart.name),
            title: chart.title.clone(),
            svg: chart.document(&subtitle),
        }));
        prefixes.push(prefix);
    }
    plots
}

/// A run's id as the begin of a file name: that of an imported run may hold anything.
fn file_name(run_id: &str) -> String {
    let kept = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let name: String = run_id
        .chars()
        .take(120)
        .map(|character| if kept(character) { character } else { '-' })
        .collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() {
        "run".to_owned()
    } else {
        name.to_owned()
    }
}

fn unique(name: String, taken: &[String]) -> String {
    if !taken.contains(&name) {
        return name;
    }
    // One of more candidates than there are taken names is free.
    (2..taken.len() + 3)
        .map(|number| format!("{name}-{number}"))
        .find(|name| !taken.contains(name))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_become_file_names() {
        for (id, expected) in [
            (
                "20261121-224312_apertus_vllm_slurm_0a1f",
                "20261121-224312_apertus_vllm_slurm_0a1f",
            ),
            ("../old run/7", "-old-run-7"),
            ("", "run"),
            ("..", "run"),
        ] {
            assert_eq!(file_name(id), expected);
        }
        assert_eq!(unique("a".to_owned(), &["a".to_owned(), "a-2".to_owned()]), "a-3");
    }
}
