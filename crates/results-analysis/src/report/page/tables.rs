//! The tables of the page.

use gipfel_model::{Attainment, LevelState, Slo, Verdict, slo::Quantile};

use super::table::{Cell, Column, Table, number, text};
use crate::{
    figures::{Figure, Metric, MetricSummary},
    report::{
        Report,
        headline::{estimate, headline},
        model::{Fate, Level, Run, fate},
        words,
    },
    summary::LevelSummary,
};

/// All runs, each with its answer.
pub(crate) fn runs(report: &Report) -> Table {
    let rows = report.runs().enumerate().map(|(index, run)| {
        let summary = run.summary;
        let headline = headline(run);
        let answer = format!("{} {}", headline.before, headline.figure);
        let estimate = estimate(run);
        vec![
            Cell {
                link: format!("#run-{}", index + 1),
                ..Cell::of(&summary.model)
            },
            Cell::of(&summary.backend),
            Cell::of(
                summary
                    .deployment
                    .map_or_else(String::new, |kind| kind.to_string()),
            ),
            Cell::of((summary.repeat + 1).to_string()),
            Cell::of(answer.trim()).class("strong"),
            Cell::of(estimate.map_or_else(|| "–".to_owned(), words::interval)),
            Cell::optional(summary.peak.validated.map(|validated| validated.qps), words::rate),
            Cell::of(estimate.map_or_else(
                || {
                    summary
                        .slos
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                },
                |estimate| estimate.binding.to_string(),
            )),
            Cell::of(summary.state.as_str()),
        ]
    });
    Table {
        caption: String::new(),
        columns: vec![
            text("Model"),
            text("Engine"),
            text("Where"),
            number("Repeat", ""),
            number("Peak", "req/s"),
            number("90 % interval", "req/s"),
            number("Validated", "req/s"),
            text("Binding objective"),
            text("State"),
        ],
        rows: rows.collect(),
    }
}

/// Every level.
pub(crate) fn levels(run: Run<'_>) -> Table {
    let mut columns = vec![number("Level", "")];
    if run.is_search() {
        columns.push(text("Stage"));
    }
    columns.extend([
        number("Rate", "req/s"),
        text("Outcome"),
        number("Window", "s"),
        number("Requests", ""),
        number("Failed", ""),
        number("TTFT p50", "ms"),
        number("TTFT p95", "ms"),
        number("TTFT p99", "ms"),
        number("Goodput", "req/s"),
        number("Violating", "%"),
        number("95 % interval", "%"),
        number("n_eff", ""),
    ]);
    let rows = run.levels().map(|level| {
        let mut row = vec![Cell::of(level.summary.level.to_string())];
        if run.is_search() {
            row.push(Cell::of(level.summary.stage.as_str()));
        }
        row.push(Cell::of(words::rate(level.summary.rate.get())));
        row.push(outcome(level.summary));
        row.extend(figures(run, level));
        row
    });
    Table {
        caption: "Every level, in the order in which it was offered".to_owned(),
        columns,
        rows: rows.collect(),
    }
    .without_empty_columns()
}

fn figures(run: Run<'_>, level: Level<'_>) -> Vec<Cell> {
    let summary = level.summary;
    let focus = run.facts.focus.as_ref();
    let attainment = summary.attainment.iter().find(|one| Some(&one.slo) == focus);
    let of_ttft = |percent| Cell::of(percentile(summary, Metric::Ttft, percent));
    let interval = attainment.and_then(|one| one.interval);
    vec![
        Cell::optional(
            Some(summary.measured_s).filter(|seconds| *seconds > 0.0),
            |seconds| format!("{seconds:.0}"),
        ),
        positive(summary.requests.measured),
        positive(summary.requests.failed),
        of_ttft(50.0),
        of_ttft(95.0),
        of_ttft(99.0),
        Cell::optional(
            summary
                .goodput
                .filter(|goodput| goodput.scheduled > 0 && summary.requests.measured > 0)
                .map(|goodput| goodput.per_second),
            words::rate,
        ),
        Cell::optional(attainment.and_then(Attainment::violating_share), words::percent),
        Cell::of(interval.map_or_else(
            || "–".to_owned(),
            |(low, high)| format!("{}–{}", words::percent(low), words::percent(high)),
        )),
        Cell::optional(attainment.and_then(|one| one.n_eff), |n_eff| {
            format!("{n_eff:.0}")
        }),
    ]
}

/// A count, or a dash for none.
fn positive(number: u64) -> Cell {
    let text = if number > 0 {
        words::count(number)
    } else {
        "–".to_owned()
    };
    Cell::of(text)
}

fn percentile(level: &LevelSummary, metric: Metric, percent: f64) -> String {
    Quantile::percent(percent)
        .and_then(|quantile| level.latency(metric)?.percentile(quantile))
        .map_or_else(|| "–".to_owned(), |percentile| percentile.figure.to_string())
}

/// In a word, with a sign that needs no colour; the reasons stand below the table.
fn outcome(level: &LevelSummary) -> Cell {
    let (word, class) = match (level.state, &level.verdict) {
        (LevelState::Open, _) => ("◌ open", "weak"),
        (LevelState::Broken, _) => ("◌ broken off", "weak"),
        (LevelState::Complete, Some(Verdict::Accept)) => ("✓ accept", "good"),
        (LevelState::Complete, Some(Verdict::Reject { .. })) => ("✕ reject", "bad"),
        (LevelState::Complete, Some(Verdict::Unresolved { .. })) => ("? unresolved", "weak"),
        (LevelState::Complete, Some(Verdict::Invalid { .. })) => ("⊘ invalid", "weak"),
        (LevelState::Complete, None) => match fate(level) {
            Fate::Met => ("✓ met", "good"),
            Fate::Violated => ("✕ violated", "bad"),
            Fate::Open => ("? undecided", "weak"),
        },
    };
    Cell::of(word).class(class)
}

/// The share of the decided requests that meets each objective; absent when a single one says it all already.
pub(crate) fn objectives(run: Run<'_>) -> Option<Table> {
    let summary = run.summary;
    if summary.slos.len() + summary.informational_slos.len() < 2 || summary.levels.is_empty() {
        return None;
    }
    let met = |attainment: &[Attainment], slo: &Slo| {
        let one = attainment.iter().find(|one| one.slo == *slo);
        let share = one.and_then(Attainment::violating_share);
        Cell::optional(share, |share| format!("{:.2}", (1.0 - share) * 100.0))
    };
    let deciding = summary.slos.iter().map(ToString::to_string);
    let informational = summary
        .informational_slos
        .iter()
        .map(|slo| format!("{slo} (informational)"));
    let columns: Vec<Column> = [number("Level", ""), number("Rate", "req/s")]
        .into_iter()
        .chain(
            deciding
                .chain(informational)
                .map(|name| number(name, "met by, %")),
        )
        .collect();
    let rows = summary.levels.iter().map(|level| {
        let deciding = summary.slos.iter().map(|slo| met(&level.attainment, slo));
        let informational = summary
            .informational_slos
            .iter()
            .map(|slo| met(&level.informational, slo));
        first_cells(level)
            .into_iter()
            .chain(deciding)
            .chain(informational)
            .collect()
    });
    Some(Table {
        caption: "How the decided requests of each level stand to each objective".to_owned(),
        columns,
        rows: rows.collect(),
    })
}

fn first_cells(level: &LevelSummary) -> Vec<Cell> {
    vec![
        Cell::of(level.level.to_string()),
        Cell::of(words::rate(level.rate.get())),
    ]
}

/// Every latency with its percentiles.
pub(crate) fn latencies(run: Run<'_>) -> Table {
    let rows = run.summary.levels.iter().flat_map(|level| {
        let known = level.latencies.iter().filter(|latency| has_figure(latency));
        known.enumerate().map(|(index, latency)| {
            let mut row = if index == 0 {
                first_cells(level)
            } else {
                vec![Cell::default(), Cell::default()]
            };
            row.push(Cell::of(latency.metric.label()));
            row.extend(
                latency
                    .percentiles
                    .iter()
                    .map(|percentile| Cell::of(percentile.figure.to_string())),
            );
            row.push(Cell::of(words::count(latency.n)));
            row
        })
    });
    Table {
        caption: "Percentiles of every latency".to_owned(),
        columns: vec![
            number("Level", ""),
            number("Rate", "req/s"),
            text("Latency"),
            number("p50", "ms"),
            number("p90", "ms"),
            number("p95", "ms"),
            number("p99", "ms"),
            number("Values", ""),
        ],
        rows: rows.collect(),
    }
}

/// Whether a percentile of it is more than a dash.
fn has_figure(latency: &MetricSummary) -> bool {
    latency.percentiles.iter().any(|percentile| {
        !matches!(
            percentile.figure,
            Figure::Absent { .. } | Figure::Unsupported { .. }
        )
    })
}

/// TTFT as both see it; absent when no level has a server's histogram.
pub(crate) fn views(run: Run<'_>) -> Option<Table> {
    let rows: Vec<Vec<Cell>> = run
        .with_figures()
        .filter_map(|level| {
            let views = level.facts.views?;
            let mut row = first_cells(level.summary);
            row.extend([
                Cell::of(words::ms(views.client_ttft_s * 1e3)),
                Cell::of(words::ms(views.server_ttft_s * 1e3)),
                Cell::of(words::ms((views.client_ttft_s - views.server_ttft_s) * 1e3)).class("strong"),
                Cell::optional(views.server_queue_s, |seconds| words::ms(seconds * 1e3)),
                Cell::of(words::count(views.client_count)),
                Cell::of(words::count(views.server_count.round() as u64)),
            ]);
            Some(row)
        })
        .collect();
    (!rows.is_empty()).then(|| {
        Table {
            caption: "Mean TTFT over the same stretch, by both".to_owned(),
            columns: vec![
                number("Level", ""),
                number("Rate", "req/s"),
                number("Client", "ms"),
                number("Server", "ms"),
                number("Difference", "ms"),
                number("In the server's queue", "ms"),
                number("Requests, client", ""),
                number("Requests, server", ""),
            ],
            rows,
        }
        .without_empty_columns()
    })
}

/// What the server's metrics said; absent when they said nothing.
pub(crate) fn server(run: Run<'_>) -> Option<Table> {
    let rows: Vec<Vec<Cell>> = run
        .with_figures()
        .map(|level| {
            let server = &level.facts.server;
            let whole = |value: f64| format!("{value:.1}");
            let mut row = first_cells(level.summary);
            row.extend([
                Cell::optional(level.facts.in_flight, whole),
                Cell::optional(server.running, whole),
                Cell::optional(server.waiting, whole),
                Cell::optional(server.kv_cache, words::percent),
                Cell::optional(server.kv_cache_max, words::percent),
                Cell::optional(level.summary.preemptions, |count| format!("{count:.0}")),
                Cell::optional(level.summary.prefix_cache_hit_share, words::percent),
                Cell::optional(server.speculation, words::percent),
                Cell::optional(level.facts.output_tokens_per_s, |rate| {
                    words::count(rate.round() as u64)
                }),
            ]);
            row
        })
        .collect();
    let says = rows
        .iter()
        .any(|row| row[2..].iter().any(|cell| cell.text != "–"));
    says.then(|| {
        Table {
            caption: "Means over the measured window of each level; of a ramp's step, over its second half"
                .to_owned(),
            columns: vec![
                number("Level", ""),
                number("Rate", "req/s"),
                number("In flight", "client"),
                number("Running", "server"),
                number("Waiting", "server"),
                number("KV cache, mean", "%"),
                number("KV cache, largest", "%"),
                number("Preemptions", ""),
                number("Prefix cache hits", "% of tokens"),
                number("Drafts accepted", "%"),
                number("Output tokens", "per s"),
            ],
            rows,
        }
        .without_empty_columns()
    })
}

/// What the client says of itself; absent for imported runs, which say nothing.
pub(crate) fn client(run: Run<'_>) -> Option<Table> {
    if run.summary.imported || run.summary.levels.is_empty() {
        return None;
    }
    let rows = run.levels().map(|level| {
        let validity = &level.summary.validity;
        let delay = |nanos: i64| Cell::of(format!("{:.2}", nanos as f64 / 1e6));
        let delivered = level
            .summary
            .sent_rate
            .zip(level.summary.offered_rate)
            .and_then(|(sent, offered)| (offered > 0.0).then(|| sent / offered));
        let lag_ms = validity.client.reader_lag.map(|lag| lag.p99_ns as f64 / 1e6);
        let little = validity.client.little.filter(|little| little.expected > 0.0);
        let little = little.map(|little| little.in_flight / little.expected - 1.0);
        let mut row = first_cells(level.summary);
        row.extend([
            Cell::optional(level.summary.offered_rate, |rate| format!("{rate:.2}")),
            Cell::optional(level.summary.sent_rate, |rate| format!("{rate:.2}")),
            Cell::optional(delivered, |share| format!("{:.2}", share * 100.0)),
            delay(validity.schedule_delay_p50_ns),
            delay(validity.schedule_delay_p99_ns),
            delay(validity.schedule_delay_max_ns),
            Cell::optional(validity.client.busiest_thread, words::percent),
            Cell::optional(validity.client.run_queue, words::percent),
            Cell::optional(validity.client.process, words::percent),
            Cell::optional(lag_ms, |lag| format!("{lag:.2}")),
            Cell::optional(validity.client.uncertain_stamps, words::percent),
            Cell::optional(validity.client.open_files.map(|count| count as f64), |count| {
                format!("{count:.0}")
            }),
            Cell::optional(validity.client.sockets.map(|count| count as f64), |count| {
                format!("{count:.0}")
            }),
            Cell::optional(validity.client.dialled.map(|count| count as f64), |count| {
                format!("{count:.0}")
            }),
            Cell::optional(little, |off| format!("{:+.1}", off * 100.0)),
            if validity.is_valid() {
                Cell::of("✓ kept its part").class("good")
            } else {
                Cell::of("⊘ invalid").class("bad")
            },
        ]);
        row
    });
    Some(
        Table {
            caption: "The client at each level".to_owned(),
            columns: vec![
                number("Level", ""),
                number("Rate", "req/s"),
                number("Scheduled", "req/s"),
                number("Sent", "req/s"),
                number("Delivered", "%"),
                number("Delay p50", "ms"),
                number("Delay p99", "ms"),
                number("Delay max", "ms"),
                number("Busiest thread", "% of a core"),
                number("Waited for a core", "%"),
                number("Whole process", "% of a core"),
                number("Reader lag p99", "ms"),
                number("Uncertain stamps", "%"),
                number("Files open", ""),
                number("Connections", "at most"),
                number("Dialled", ""),
                number("Off Little's law", "%"),
                text("Client"),
            ],
            rows: rows.collect(),
        }
        .without_empty_columns(),
    )
}
