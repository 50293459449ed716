//! What a level of a run came to, in the fields of vLLM's benchmark.
//!
//! A percentile is an order statistic among all requests that were answered or failed, and a failed request is slower
//! than every other. Means are those of the requests that were answered.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use anyhow::{Context, bail};
use gipfel_model::{
    LatencyMetric, LevelRecord, LevelState, Outcome, Quantile, RequestRecord, RunConfig,
    record::{Decision, Latency},
};
use gipfel_results_db::{ResultsDb, RunKey};
use gipfel_statistics::{OrderStatistic, Sample};
use hdrhistogram::serialization::Deserializer;
use serde_json::{Map, Value, json};

use crate::messages::{Gaps, no_gaps};

const NANOS_PER_MS: f64 = 1e6;
const NANOS_PER_S: f64 = 1e9;
/// The width of the block of text.
const WIDTH: usize = 50;

/// One kind of latency over a level.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    /// Of the requests that were answered, in nanoseconds.
    pub(super) finite: Vec<i64>,
    failed: usize,
}

impl Latencies {
    fn of(requests: &[RequestRecord], metric: LatencyMetric) -> Self {
        let mut latencies = Self::default();
        for request in requests {
            match request.latency(metric) {
                Latency::Finite(nanos) => latencies.finite.push(nanos),
                Latency::Infinite => latencies.failed += 1,
                Latency::Undefined => {}
            }
        }
        latencies
    }

    fn summary(&self) -> Summary {
        let mut sample: Sample = self.finite.iter().copied().collect();
        let mean_ns = sample.mean();
        for _ in 0..self.failed {
            sample.push_infinite();
        }
        let mut percentile = |quantile: Quantile| match sample.at_rank(quantile.rank(sample.len())) {
            Some(OrderStatistic::Finite(nanos)) => Some(nanos as f64 / NANOS_PER_MS),
            Some(OrderStatistic::Infinite) => Some(f64::INFINITY),
            None => None,
        };
        let (median_ms, p99_ms) = (percentile(Quantile::MEDIAN), percentile(Quantile::P99));
        let deviation_ns = |mean: f64| {
            let squares: f64 = self
                .finite
                .iter()
                .map(|nanos| (*nanos as f64 - mean).powi(2))
                .sum();
            (squares / self.finite.len() as f64).sqrt()
        };
        Summary {
            mean_ms: mean_ns.map(|mean| mean / NANOS_PER_MS),
            std_ms: mean_ns.map(|mean| deviation_ns(mean) / NANOS_PER_MS),
            median_ms,
            p99_ms,
        }
    }
}

/// In milliseconds; a percentile that a failed request stands at is infinite, and absent is what no request shows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::struct_field_names, reason = "the unit")]
pub(super) struct Summary {
    pub(super) mean_ms: Option<f64>,
    pub(super) median_ms: Option<f64>,
    pub(super) std_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
}

impl Summary {
    fn of_gaps(gaps: &Gaps) -> Self {
        let some = |nanos: f64| (!gaps.is_empty()).then_some(nanos / NANOS_PER_MS);
        Self {
            mean_ms: some(gaps.mean()),
            median_ms: some(gaps.value_at_quantile(0.5) as f64),
            std_ms: some(gaps.stdev()),
            p99_ms: some(gaps.value_at_quantile(0.99) as f64),
        }
    }
}

/// The measured requests of one level.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) dataset: String,
    pub(super) model: String,
    created_at: String,
    backend: &'static str,
    level: LevelRecord,
    pub(super) duration_s: f64,
    pub(super) completed: usize,
    pub(super) failures: BTreeMap<&'static str, usize>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    goodput: Option<f64>,
    pub(super) ttft: Latencies,
    pub(super) tpot: Latencies,
    e2e: Latencies,
    pub(super) gaps: Gaps,
    requests: Vec<RequestRecord>,
}

impl Figures {
    /// Those of every complete level in the database of a run, in the order in which they were measured.
    pub(super) async fn read(database: &Path, config: &RunConfig) -> anyhow::Result<Vec<Self>> {
        let db = ResultsDb::open_read_only(database).await?;
        let runs = db.runs().await?;
        let run = runs
            .iter()
            .find(|row| row.run_id == config.run_id.as_str())
            .with_context(|| format!("{} is not in its database", config.run_id))?;
        let mut figures = Vec::new();
        for level in db.levels(run.key).await? {
            if level.state == LevelState::Complete {
                figures.push(Self::of_level(&db, run.key, config, level).await?);
            }
        }
        db.close().await?;
        Ok(figures)
    }

    async fn of_level(
        db: &ResultsDb,
        run: RunKey,
        config: &RunConfig,
        level: LevelRecord,
    ) -> anyhow::Result<Self> {
        let requests = db.measured_requests(run, level.level).await?;
        let mut gaps = no_gaps();
        for serialized in db.gaps(run, level.level).await? {
            let part: Gaps = match Deserializer::new().deserialize(&mut &serialized[..]) {
                Ok(part) => part,
                Err(error) => bail!("the gaps of level {} cannot be read: {error:?}", level.level),
            };
            gaps.add(part).context("the gaps of a level have other bounds")?;
        }
        Ok(Self::new(config, level, requests, gaps))
    }

    fn new(config: &RunConfig, level: LevelRecord, requests: Vec<RequestRecord>, gaps: Gaps) -> Self {
        let mut failures = BTreeMap::new();
        let (mut completed, mut input_tokens, mut output_tokens) = (0, 0, 0);
        for request in &requests {
            if request.outcome == Outcome::Ok {
                completed += 1;
                input_tokens += u64::from(input_of(request));
                output_tokens += u64::from(request.output_tokens.unwrap_or(0));
            } else {
                *failures.entry(request.outcome.as_str()).or_default() += 1;
            }
        }
        let duration_s = duration_s(&requests);
        let good =
            |request: &&RequestRecord| config.slos.iter().all(|slo| request.decide(slo) == Decision::Met);
        let goodput = (!config.slos.is_empty() && duration_s > 0.0)
            .then(|| requests.iter().filter(good).count() as f64 / duration_s);
        Self {
            dataset: dataset_name(config),
            model: config.model.clone(),
            created_at: config.created_at.clone(),
            backend: config.backend.as_str(),
            level,
            duration_s,
            completed,
            failures,
            input_tokens,
            output_tokens,
            goodput,
            ttft: Latencies::of(&requests, LatencyMetric::Ttft),
            tpot: Latencies::of(&requests, LatencyMetric::Tpot),
            e2e: Latencies::of(&requests, LatencyMetric::E2e),
            gaps,
            requests,
        }
    }

    /// The level's.
    pub(super) fn number(&self) -> u32 {
        self.level.level
    }

    pub(super) fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// So many per second of the benchmark.
    pub(super) fn throughput(&self, count: f64) -> f64 {
        if self.duration_s > 0.0 {
            count / self.duration_s
        } else {
            0.0
        }
    }

    /// The four kinds of latency, by their names in vLLM's benchmark.
    pub(super) fn summaries(&self) -> [(&'static str, Summary); 4] {
        [
            ("ttft", self.ttft.summary()),
            ("tpot", self.tpot.summary()),
            ("itl", Summary::of_gaps(&self.gaps)),
            ("e2el", self.e2e.summary()),
        ]
    }

    /// The fields of vLLM's benchmark; what is infinite or unknown is null.
    pub(super) fn json(&self) -> Value {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        put("date", json!(self.created_at));
        put("backend", json!(self.backend));
        put("model_id", json!(self.model));
        put("dataset_name", json!(self.dataset));
        put("num_prompts", json!(self.requests.len()));
        put("request_rate", json!(self.level.offered_rate));
        put("duration", json!(self.duration_s));
        put("completed", json!(self.completed));
        put("failed", json!(self.failed()));
        put("failures", json!(self.failures));
        put("valid", json!(self.level.validity.is_valid()));
        put("total_input_tokens", json!(self.input_tokens));
        put("total_output_tokens", json!(self.output_tokens));
        for (name, count) in self.throughputs() {
            put(name, json!(self.throughput(count)));
        }
        // The colon is theirs.
        put("request_goodput:", json!(self.goodput));
        for (name, summary) in self.summaries() {
            put(&format!("mean_{name}_ms"), json!(summary.mean_ms));
            put(&format!("median_{name}_ms"), json!(summary.median_ms));
            put(&format!("std_{name}_ms"), json!(summary.std_ms));
            put(&format!("p99_{name}_ms"), json!(summary.p99_ms));
        }
        let each = |value: fn(&RequestRecord) -> Value| self.requests.iter().map(value).collect::<Value>();
        put("input_lens", each(|request| json!(input_of(request))));
        put(
            "output_lens",
            each(|request| json!(request.output_tokens.unwrap_or(0))),
        );
        put(
            "ttfts",
            each(|request| match request.latency(LatencyMetric::Ttft) {
                Latency::Finite(nanos) => json!(nanos as f64 / NANOS_PER_S),
                Latency::Infinite | Latency::Undefined => Value::Null,
            }),
        );
        put("errors", each(|request| json!(error_of(request))));
        Value::Object(fields)
    }

    fn throughputs(&self) -> [(&'static str, f64); 3] {
        [
            ("request_throughput", self.completed as f64),
            ("output_throughput", self.output_tokens as f64),
            (
                "total_token_throughput",
                (self.input_tokens + self.output_tokens) as f64,
            ),
        ]
    }

    /// The block that vLLM's benchmark prints.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{:=^WIDTH$}\n", " Serving Benchmark Result ");
        // Writing to a string cannot fail.
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<40} {value:<10}");
        };
        let [requests, output, total] = self.throughputs().map(|(_, count)| self.throughput(count));
        line("Successful requests:", self.completed.to_string());
        for (outcome, count) in &self.failures {
            line(&format!("Failed requests ({outcome}):"), count.to_string());
        }
        line("Benchmark duration (s):", format!("{:.2}", self.duration_s));
        line("Total input tokens:", self.input_tokens.to_string());
        line("Total generated tokens:", self.output_tokens.to_string());
        line("Request throughput (req/s):", format!("{requests:.2}"));
        if let Some(goodput) = self.goodput {
            line("Request goodput (req/s):", format!("{goodput:.2}"));
        }
        line("Output token throughput (tok/s):", format!("{output:.2}"));
        line("Total Token throughput (tok/s):", format!("{total:.2}"));
        let titles = [
            "Time to First Token",
            "Time per Output Token (excl. 1st token)",
            "Inter-token Latency",
            "End-to-end Latency",
        ];
        for ((name, summary), title) in self.summaries().iter().zip(titles) {
            let _ = writeln!(text, "{title:-^WIDTH$}");
            let name = name.to_uppercase();
            for (kind, value) in [
                ("Mean", summary.mean_ms),
                ("Median", summary.median_ms),
                ("P99", summary.p99_ms),
            ] {
                let value = value.map_or("-".to_owned(), |value| format!("{value:.2}"));
                let _ = writeln!(text, "{:<40} {value:<10}", format!("{kind} {name} (ms):"));
            }
        }
        let _ = writeln!(text, "{:=^WIDTH$}", "");
        text
    }
}

fn input_of(request: &RequestRecord) -> u32 {
    request.input_tokens.unwrap_or(request.requested_input)
}

/// Empty for a request that was answered.
fn error_of(request: &RequestRecord) -> &str {
    match &request.error {
        _ if request.outcome == Outcome::Ok => "",
        Some(error) => error,
        None => request.outcome.as_str(),
    }
}

/// From the first scheduled arrival to the last end.
fn duration_s(requests: &[RequestRecord]) -> f64 {
    let first = requests.iter().map(|request| request.scheduled_ns).min();
    let last = requests
        .iter()
        .map(|request| request.scheduled_ns + request.end_ns)
        .max();
    match (first, last) {
        (Some(first), Some(last)) => (last - first) as f64 / NANOS_PER_S,
        _ => 0.0,
    }
}

/// What a load called its data set, else the forms of the run's files, else `random`.
pub(super) fn dataset_name(config: &RunConfig) -> String {
    if let Some(name) = config.dataset_config.get("dataset_name").and_then(Value::as_str) {
        return name.to_owned();
    }
    let files = config
        .workload
        .prompts
        .dataset
        .iter()
        .flat_map(|dataset| &dataset.files);
    let names: Vec<&str> = files.map(|file| file.form.as_str()).collect();
    if names.is_empty() {
        "random".to_owned()
    } else {
        names.join("+")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_request_is_slower_than_every_other() {
        let check = |finite: &[i64], failed, expected: [Option<f64>; 4]| {
            let latencies = Latencies {
                finite: finite.to_vec(),
                failed,
            };
            let Summary {
                mean_ms,
                median_ms,
                std_ms,
                p99_ms,
            } = latencies.summary();
            assert_eq!([mean_ms, median_ms, std_ms, p99_ms], expected);
        };
        check(&[], 0, [None; 4]);
        check(
            &[3_000_000, 1_000_000],
            0,
            [Some(2.0), Some(1.0), Some(1.0), Some(3.0)],
        );
        check(
            &[3_000_000, 1_000_000],
            1,
            [Some(2.0), Some(3.0), Some(1.0), Some(f64::INFINITY)],
        );
    }
}
