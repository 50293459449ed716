//! The table of a campaign's experiments: pure, in the width and height that there is.

use gipfel_model::format_rate;

use super::{
    experiment::{Experiment, Group},
    figures::{Figures, Margin},
    layout::{Column, Layout},
    lines::{Line, Style},
};
use crate::words::{clock, cut};

/// What a terminal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

/// The titles, a line for each experiment that there is room for, and a line for those that there is none for.
pub(crate) fn render(experiments: &[Experiment], size: Size) -> Vec<Line> {
    let layout = Layout::new(experiments, size.columns);
    let mut lines = vec![titles(&layout)];
    let room = size.rows.max(1);
    let shown = choose(experiments, room);
    lines.extend(
        shown
            .iter()
            .map(|experiment| row(experiment, &layout, size.columns)),
    );
    if shown.len() < experiments.len() {
        lines.push(Line::of(rest(experiments, &shown), Style::Dim));
    }
    lines.into_iter().map(|line| line.cut(size.columns)).collect()
}

/// All if they fit; otherwise those that run, then those that wait, then those that are over, one line less.
fn choose(experiments: &[Experiment], room: usize) -> Vec<&Experiment> {
    if experiments.len() <= room {
        return experiments.iter().collect();
    }
    let mut chosen: Vec<&Experiment> = experiments.iter().collect();
    // The sort keeps the order within a group.
    chosen.sort_by_key(|experiment| experiment.group);
    chosen.truncate(room.saturating_sub(1).max(1));
    chosen
}

/// `+ 2 run, 12 wait, 3 done`.
fn rest(experiments: &[Experiment], shown: &[&Experiment]) -> String {
    let words = [
        (Group::Running, "run"),
        (Group::Waiting, "wait"),
        (Group::Over, "done"),
    ];
    let counts = words.iter().filter_map(|(group, word)| {
        let all = experiments
            .iter()
            .filter(|experiment| experiment.group == *group)
            .count();
        let seen = shown
            .iter()
            .filter(|experiment| experiment.group == *group)
            .count();
        (all > seen).then(|| format!("{} {word}", all - seen))
    });
    format!(" + {}", counts.collect::<Vec<_>>().join(", "))
}

fn titles(layout: &Layout) -> Line {
    let mut text = String::new();
    for (column, width) in &layout.columns {
        append(&mut text, layout.gap, &padded(*column, column.title(), *width));
    }
    Line::of(text, Style::Dim)
}

fn row(experiment: &Experiment, layout: &Layout, available: usize) -> Line {
    let mut line = Line::default();
    for (column, width) in &layout.columns {
        let gap = if line.width() == 0 { 1 } else { layout.gap };
        line.push(" ".repeat(gap), Style::Plain);
        if *column == Column::State && experiment.figures.is_none() {
            // There is nothing else to say, so the words may take the rest of the line.
            let room = available.saturating_sub(line.width());
            line.push(cut(&experiment.state, room), state_style(experiment));
            return line;
        }
        let text = cut(&cell(*column, *width, experiment), *width);
        line.push(padded(*column, &text, *width), style(*column, experiment));
    }
    line
}

fn append(text: &mut String, gap: usize, cell: &str) {
    let gap = if text.is_empty() { 1 } else { gap };
    text.extend(std::iter::repeat_n(' ', gap));
    text.push_str(cell);
}

fn padded(column: Column, text: &str, width: usize) -> String {
    if column.is_number() {
        format!("{text:>width$}")
    } else {
        format!("{text:width$}")
    }
}

fn cell(column: Column, width: usize, experiment: &Experiment) -> String {
    let figures = experiment.figures.as_ref();
    let figure = |text: fn(&Figures) -> Option<String>| figures.and_then(text).unwrap_or_default();
    match column {
        Column::Model => name(experiment, width),
        Column::Backend => experiment.backend.to_string(),
        Column::Deployment => experiment.deployment.to_string(),
        Column::State => experiment.state.clone(),
        Column::Rate => figure(|figures| figures.rate.map(format_rate)),
        Column::Ttft => figure(|figures| figures.ttft_p95_ms.map(latency)),
        Column::Qps => figure(|figures| figures.completed_qps.map(format_rate)),
        Column::Peak => figure(|figures| figures.peak.clone()),
        Column::Left => figure(|figures| figures.left_s.map(clock)),
    }
}

/// Of a repository or a path that is too long, the last part says most.
fn name(experiment: &Experiment, width: usize) -> String {
    let name = experiment.name();
    match name.rsplit_once('/') {
        Some((_, last)) if name.chars().count() > width && !last.is_empty() => last.to_owned(),
        _ => name,
    }
}

fn latency(milliseconds: f64) -> String {
    if milliseconds < 99_999.5 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.0} s", milliseconds / 1000.0)
    }
}

fn style(column: Column, experiment: &Experiment) -> Style {
    match column {
        Column::State => state_style(experiment),
        Column::Ttft => experiment.figures.as_ref().map_or(Style::Plain, ttft_style),
        _ => Style::Plain,
    }
}

fn ttft_style(figures: &Figures) -> Style {
    match figures.margin() {
        Some(Margin::Within) => Style::Good,
        Some(Margin::Near) => Style::Near,
        Some(Margin::Above) => Style::Bad,
        None if figures.ttft_p95_is_of_last_level => Style::Dim,
        None => Style::Plain,
    }
}

fn state_style(experiment: &Experiment) -> Style {
    match experiment.group {
        _ if experiment.failed => Style::Bad,
        Group::Waiting => Style::Dim,
        Group::Running | Group::Over => Style::Plain,
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
