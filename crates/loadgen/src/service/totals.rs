//! The figures of all runs of a service in Prometheus' text format, under the predecessors' names.

use std::{collections::BTreeMap, fmt::Write};

use gipfel_model::{LevelProgress, Progress};

use super::figures::{Figures, Summary};

/// What Prometheus calls the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Histograms always had the first name, everything else had the second one, which is kept for dashboards that know it.
const PREFIXES: [&str; 2] = ["load_generator:", "load_genenerator:"];
/// Upper bounds in seconds.
const BUCKETS_S: [f64; 21] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0,
    20.0, 25.0, 30.0,
];
const NANOS_PER_S: f64 = 1e9;

/// A histogram whose buckets hold what lies between their bound and the one before.
#[derive(Clone, Debug, Default, PartialEq)]
struct Histogram {
    buckets: [u64; BUCKETS_S.len()],
    sum_s: f64,
    count: u64,
}

impl Histogram {
    fn record(&mut self, seconds: f64, times: u64) {
        if let Some(at) = BUCKETS_S.iter().position(|bound| seconds <= *bound) {
            self.buckets[at] += times;
        }
        self.sum_s += seconds * times as f64;
        self.count += times;
    }
}

/// What is told of one data set and model.
#[derive(Clone, Debug, Default)]
struct Series {
    counters: BTreeMap<&'static str, u64>,
    gauges: BTreeMap<String, f64>,
    histograms: BTreeMap<&'static str, Histogram>,
}

impl Series {
    fn add(&mut self, figures: &Figures) {
        let (completed, failed) = (figures.completed as u64, figures.failed() as u64);
        for (name, count) in [
            ("total_request_count", completed + failed),
            ("failed_request_count", failed),
            ("successful_request_count", completed),
            ("input_tokens", figures.input_tokens),
            ("generated_count", figures.output_tokens),
        ] {
            *self.counters.entry(name).or_default() += count;
        }
        let tokens = [
            figures.output_tokens,
            figures.input_tokens + figures.output_tokens,
        ];
        let [output, total] = tokens.map(|tokens| figures.throughput(tokens as f64));
        for (name, value) in [
            ("bench_duration", figures.duration_s),
            ("request_throughput", figures.throughput(figures.completed as f64)),
            ("output_token_throughput", output),
            ("total_token_throughput", total),
        ] {
            self.gauges.insert(name.to_owned(), value);
        }
        for (name, summary) in figures
            .summaries()
            .into_iter()
            .filter(|(name, _)| *name != "e2el")
        {
            let Summary {
                mean_ms,
                median_ms,
                p99_ms,
                ..
            } = summary;
            for (kind, value) in [("mean", mean_ms), ("median", median_ms), ("p99", p99_ms)] {
                self.gauges
                    .insert(format!("{name}_{kind}"), value.unwrap_or(f64::NAN));
            }
        }
        for (name, latencies) in [("ttft", &figures.ttft), ("tpot", &figures.tpot)] {
            let histogram = self.histograms.entry(name).or_default();
            for nanos in &latencies.finite {
                histogram.record(*nanos as f64 / NANOS_PER_S, 1);
            }
        }
        let gaps = self.histograms.entry("itl").or_default();
        for step in figures.gaps.iter_recorded() {
            gaps.record(
                step.value_iterated_to() as f64 / NANOS_PER_S,
                step.count_at_value(),
            );
        }
    }
}

/// Everything that is told, by data set and model.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals(BTreeMap<(String, String), Series>);

impl Totals {
    /// Adds a level that is over.
    pub(super) fn add(&mut self, figures: &Figures) {
        let key = (figures.dataset.clone(), figures.model.clone());
        self.0.entry(key).or_default().add(figures);
    }

    /// The page, with where the present run stands.
    pub(super) fn page(&self, running: bool, progress: Option<&Progress>) -> String {
        let mut page = String::new();
        let names = |pick: fn(&Series) -> Vec<&str>| {
            let mut names: Vec<&str> = self.0.values().flat_map(pick).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        // Writing to a string cannot fail.
        for prefix in PREFIXES {
            for name in names(|series| series.counters.keys().copied().collect()) {
                let _ = writeln!(page, "# TYPE {prefix}{name}_total counter");
                for (labels, series) in self.labelled() {
                    let count = series.counters.get(name).copied().unwrap_or(0);
                    let _ = writeln!(page, "{prefix}{name}_total{{{labels}}} {count}");
                }
            }
            for name in names(|series| series.gauges.keys().map(String::as_str).collect()) {
                let _ = writeln!(page, "# TYPE {prefix}{name} gauge");
                for (labels, series) in self.labelled() {
                    let value = series.gauges.get(name).copied().unwrap_or(f64::NAN);
                    let _ = writeln!(page, "{prefix}{name}{{{labels}}} {}", number(value));
                }
            }
        }
        for name in names(|series| series.histograms.keys().copied().collect()) {
            let name_of_all = format!("{}{name}", PREFIXES[0]);
            let _ = writeln!(page, "# TYPE {name_of_all} histogram");
            for (labels, series) in self.labelled() {
                if let Some(histogram) = series.histograms.get(name) {
                    write_histogram(&mut page, &name_of_all, &labels, histogram);
                }
            }
        }
        write_progress(&mut page, running, progress);
        page
    }

    fn labelled(&self) -> impl Iterator<Item = (String, &Series)> {
        self.0.iter().map(|((dataset, model), series)| {
            let labels = format!("dataset=\"{}\",model=\"{}\"", escaped(dataset), escaped(model));
            (labels, series)
        })
    }
}

fn write_histogram(page: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let mut below = 0;
    for (bound, count) in BUCKETS_S.iter().zip(histogram.buckets) {
        below += count;
        let _ = writeln!(page, "{name}_bucket{{{labels},le=\"{bound:?}\"}} {below}");
    }
    let Histogram { count, sum_s, .. } = histogram;
    let _ = writeln!(
        page,
        "{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n{name}_sum{{{labels}}} {sum_s}\n{name}_count{{{labels}}} {count}"
    );
}

fn write_progress(page: &mut String, running: bool, progress: Option<&Progress>) {
    let mut gauge = |name: &str, value: f64| {
        let _ = writeln!(
            page,
            "# TYPE {prefix}{name} gauge\n{prefix}{name} {value}",
            prefix = PREFIXES[0]
        );
    };
    gauge("running", f64::from(u8::from(running)));
    let Some(progress) = progress.filter(|_| running) else {
        return;
    };
    gauge("levels_over", progress.levels.len() as f64);
    if let Some(planned) = progress.planned_levels {
        gauge("levels_planned", f64::from(planned));
    }
    if let Some(LevelProgress {
        rate,
        elapsed_s,
        planned_s,
        sent,
        ended,
        failed,
        in_flight,
        ..
    }) = &progress.current
    {
        gauge("level_rate", rate.get());
        gauge("level_elapsed_seconds", *elapsed_s);
        gauge("level_planned_seconds", *planned_s);
        gauge("level_requests_sent", *sent as f64);
        gauge("level_requests_ended", *ended as f64);
        gauge("level_requests_failed", *failed as f64);
        gauge("level_requests_in_flight", *in_flight as f64);
    }
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        "+Inf".to_owned()
    } else {
        value.to_string()
    }
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_end_with_the_count() {
        let mut histogram = Histogram::default();
        for (seconds, times) in [(0.001, 2), (0.0011, 1), (1.0, 3), (31.0, 1)] {
            histogram.record(seconds, times);
        }
        let mut page = String::new();
        write_histogram(&mut page, "x", "a=\"b\"", &histogram);
        let check = |line: &str| assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        check("x_bucket{a=\"b\",le=\"0.001\"} 2");
        check("x_bucket{a=\"b\",le=\"0.005\"} 3");
        check("x_bucket{a=\"b\",le=\"0.75\"} 3");
        check("x_bucket{a=\"b\",le=\"1.0\"} 6");
        check("x_bucket{a=\"b\",le=\"30.0\"} 6");
        check("x_bucket{a=\"b\",le=\"+Inf\"} 7");
        check("x_count{a=\"b\"} 7");
        assert_eq!(page.lines().count(), BUCKETS_S.len() + 3);
    }

    #[test]
    fn labels_and_numbers_are_written_as_prometheus_reads_them() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
        assert_eq!(number(f64::INFINITY), "+Inf");
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(number(0.25), "0.25");
    }
}
