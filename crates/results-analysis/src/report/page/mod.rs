//! The page: views for the templates.

mod settings;
mod story;
mod table;
mod tables;

use askama::Template;

use crate::repeats::RepeatSummary;

use super::{
    Report,
    headline::{Headline, headline},
    model::Run,
    plots::{self, Chart, Drawn, RunCharts},
    svg::style,
    words::{Span, spans},
};
use settings::Settings;
use table::Table;

/// The whole page.
#[derive(Template)]
#[template(path = "report/page.html")]
struct Page {
    title: String,
    source: String,
    version: &'static str,
    css: String,
    runs: Vec<RunView>,
    /// Only of several runs.
    overview: Option<Overview>,
}

/// All runs beside each other.
struct Overview {
    table: Table,
    peaks: Figure,
    repeats: Vec<RepeatsView>,
}

struct RepeatsView {
    name: String,
    sentence: String,
}

/// A picture with its title, or the reason why there is none.
struct Figure {
    title: String,
    svg: String,
    caption: String,
    missing: String,
}

impl Figure {
    fn of(drawn: &Drawn, caption: &str) -> Self {
        match drawn {
            Ok(chart) => Self::chart(chart, caption),
            Err(reason) => Self {
                title: String::new(),
                svg: String::new(),
                caption: String::new(),
                missing: reason.clone(),
            },
        }
    }

    fn chart(chart: &Chart, caption: &str) -> Self {
        Self {
            title: chart.title.clone(),
            svg: chart.inline(),
            caption: caption.to_owned(),
            missing: String::new(),
        }
    }
}

/// One run.
struct RunView {
    /// The begin of all its anchors.
    id: String,
    name: String,
    meta: String,
    headline: Headline,
    objectives: Vec<String>,
    informational: Vec<String>,
    story: Vec<String>,
    warnings: Vec<WarningView>,
    notes: Vec<Vec<Span>>,
    timeline: Figure,
    near_peak: Figure,
    /// The five plots, but for the one of all runs.
    plots: Vec<Figure>,
    levels: Table,
    reasons: Vec<String>,
    objectives_table: Option<Table>,
    latencies: Table,
    over_time: Vec<Figure>,
    views: Figure,
    views_table: Option<Table>,
    server_table: Option<Table>,
    client_story: String,
    client_table: Option<Table>,
    settings: Settings,
}

struct WarningView {
    code: &'static str,
    text: Vec<Span>,
    levels: String,
}

pub(crate) fn render(report: &Report) -> askama::Result<String> {
    let runs: Vec<RunView> = report
        .runs()
        .enumerate()
        .map(|(index, run)| run_view(report, run, index + 1))
        .collect();
    let title = match report.runs().next() {
        Some(run) if runs.len() == 1 => run.name(),
        _ => format!("{} runs of {}", runs.len(), report.source),
    };
    Page {
        title,
        source: report.source.clone(),
        version: env!("CARGO_PKG_VERSION"),
        css: css(),
        overview: (runs.len() > 1).then(|| overview(report)),
        runs,
    }
    .render()
}

fn css() -> String {
    let own = include_str!("../../../templates/report/style.css");
    format!(
        ":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n@media print{{:root{{{light}}}}}\n{own}{charts}",
        light = style::light(),
        dark = style::dark(),
        charts = style::for_page()
    )
}

const PEAKS: &str = "One bar a run. The bar ends at the rate that the peak reaches at least with 80 % confidence; the \
                     whisker is the 90 % interval. Runs without an answer have no bar.";

fn overview(report: &Report) -> Overview {
    Overview {
        table: tables::runs(report),
        peaks: Figure::of(&plots::of_all(report), PEAKS),
        repeats: report.summary.repeats.iter().map(repeats_view).collect(),
    }
}

fn repeats_view(repeats: &RepeatSummary) -> RepeatsView {
    let place = repeats
        .deployment
        .map_or_else(String::new, |kind| format!(", {kind}"));
    RepeatsView {
        name: format!("{} on {}{place}", repeats.model, repeats.backend),
        sentence: story::repeats(repeats),
    }
}

fn run_view(report: &Report, run: Run<'_>, number: usize) -> RunView {
    let summary = run.summary;
    let RunCharts {
        timeline,
        near_peak,
        latencies,
        kv_cache,
        speculation,
        output_tokens,
        over_time,
        views,
    } = plots::of_run(run);
    let mut plots: Vec<Figure> = latencies
        .iter()
        .map(|drawn| Figure::of(drawn, story::LATENCY_CAPTION))
        .collect();
    if report.summary.runs.len() == 1 {
        plots.push(Figure::of(&plots::of_all(report), PEAKS));
    }
    plots.push(Figure::of(&kv_cache, story::KV_CAPTION));
    plots.push(Figure::of(&speculation, story::SPECULATION_CAPTION));
    plots.push(Figure::of(&output_tokens, story::TOKENS_CAPTION));
    // What is missing for the same reason is said once.
    plots.dedup_by(|one, other| !one.missing.is_empty() && one.missing == other.missing);
    RunView {
        id: format!("run-{number}"),
        name: run.name(),
        meta: story::meta(run),
        headline: headline(run),
        objectives: summary.slos.iter().map(ToString::to_string).collect(),
        informational: summary
            .informational_slos
            .iter()
            .map(ToString::to_string)
            .collect(),
        story: story::search(run),
        warnings: summary
            .warnings
            .iter()
            .map(|warning| WarningView {
                code: warning.code,
                text: spans(&super::words::sentence(&warning.text)),
                levels: story::named_levels(&warning.levels),
            })
            .collect(),
        notes: summary
            .notes
            .iter()
            .map(|note| spans(&super::words::sentence(note)))
            .collect(),
        timeline: Figure::of(&timeline, &story::timeline_caption(run)),
        near_peak: Figure::of(&near_peak, &story::near_peak_caption(run)),
        plots,
        levels: tables::levels(run),
        reasons: story::reasons(run),
        objectives_table: tables::objectives(run),
        latencies: tables::latencies(run),
        over_time: over_time
            .iter()
            .map(|chart| Figure::chart(chart, story::OVER_TIME_CAPTION))
            .collect(),
        views: Figure::of(&views, story::VIEWS_CAPTION),
        views_table: tables::views(run),
        server_table: tables::server(run),
        client_story: story::client(run),
        client_table: tables::client(run),
        settings: settings::of_run(run),
    }
}
