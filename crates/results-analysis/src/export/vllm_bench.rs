//! Levels in the form of `vllm bench serve --save-result`, so that what reads its files reads these.
//!
//! The keys have vLLM's units and, where the database can tell, its meaning: latencies count from the send, over the
//! requests that completed. What differs is said in each file, under `gipfel.definitions`.

use gipfel_model::{
    ArrivalProcess, FormatHeader, LatencyMetric, LevelRecord, LevelState, Outcome, Provenance, RequestRecord,
    ScrapeRecord, Slo, Stage, Verdict, format::Format, record::Latency, slo::Quantile,
};
use gipfel_results_db::{ResultsDb, RunRow};
use gipfel_statistics::{OrderStatistic, Sample};
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{ExportError, rows};
use crate::{
    figures::MetricSummary,
    level, summarize,
    summary::{LevelSummary, RunSummary},
};

/// The format of the key `gipfel`.
const FORMAT: Format = Format {
    name: "gipfel-vllm-bench",
    major: 1,
    minor: 0,
};

/// How the figures differ from those that vLLM would have written.
const DEFINITIONS: &[&str] = &[
    "duration is the measured window; warm-up and drain are left out",
    "completed, failed and all figures are of the requests that were scheduled in the measured window; failed counts \
     those too that the load generator cancelled (gipfel.shed)",
    "request_throughput is completions within the window per second of it, not completed / duration",
    "output_throughput is the answer tokens that came within the window per second of it, those of a request taken to \
     come evenly; total_token_throughput adds request_throughput times the mean prompt tokens",
    "request_goodput is the requests that met every one of gipfel.slos, per second of the window",
    "TTFT, E2EL and TPOT are of completed requests and count from the send, as vLLM's; gipfel.latencies counts from \
     the scheduled arrival, and failed requests as infinitely late",
    "TTFT ends at the first chunk that bears a token, vLLM's at the first chunk with a choice, even an empty one",
    "percentiles are order statistics, not interpolated; those of the ITL come from a histogram of three digits",
];

/// The percentiles that are written, in per cent.
const PERCENTS: [u32; 4] = [50, 90, 95, 99];

/// Levels as files, and what was left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VllmBench {
    /// One file for each level that has figures.
    pub files: Vec<VllmBenchFile>,
    /// The other levels, each with the reason.
    pub left_out: Vec<String>,
}

/// One level.
#[derive(Clone, Debug, PartialEq)]
pub struct VllmBenchFile {
    /// `<run id>-<level>-<rate>qps.json`.
    pub name: String,
    /// The text.
    pub json: String,
}

/// `vllm bench serve`'s keys in its order, then ours.
#[derive(Serialize)]
struct Document<'a> {
    date: String,
    endpoint_type: &'a str,
    backend: &'a str,
    label: &'a str,
    model_id: &'a str,
    tokenizer_id: Option<&'a str>,
    num_prompts: u64,
    request_rate: f64,
    /// Absent for constant gaps, which vLLM writes as an infinite number.
    #[serde(skip_serializing_if = "Option::is_none")]
    burstiness: Option<f64>,
    max_concurrency: Option<u32>,
    duration: f64,
    completed: u64,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_output_tokens: Option<u64>,
    request_throughput: f64,
    request_goodput: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_throughput: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_token_throughput: Option<f64>,
    max_concurrent_requests: u64,
    #[serde(flatten)]
    latencies: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec_decode_acceptance_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec_decode_draft_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec_decode_accepted_tokens: Option<u64>,
    gipfel: Ours<'a>,
}

/// What vLLM has no key for.
#[derive(Serialize)]
struct Ours<'a> {
    header: FormatHeader,
    run_id: &'a str,
    level: u32,
    stage: Stage,
    slos: &'a [Slo],
    verdict: Option<&'a Verdict>,
    shed: u64,
    latencies: &'a [MetricSummary],
    definitions: &'static [&'static str],
}

/// The levels of one run, or of all, in the form of `vllm bench serve --save-result`.
///
/// Levels without figures are left out: broken, open and invalid ones, and the steps of a ramp.
pub async fn vllm_bench(db: &ResultsDb, run_id: Option<&str>) -> Result<VllmBench, ExportError> {
    let mut bench = VllmBench::default();
    for run in rows::runs(db, run_id).await? {
        let summary = summarize::summarize_run(db, &run, None).await?;
        let burstiness = burstiness(&db.provenance(run.key).await?);
        let scrapes = db.scrapes(run.key).await?;
        let records = db.levels(run.key).await?;
        for (record, level) in records.iter().zip(&summary.levels) {
            if let Some(reason) = without_figures(record, level) {
                bench.left_out.push(format!(
                    "{}: level {} at {} req/s: {reason}",
                    run.run_id,
                    record.level,
                    short(record.rate.get())
                ));
                continue;
            }
            let scrapes: Vec<ScrapeRecord> = scrapes
                .iter()
                .filter(|scrape| scrape.level == record.level)
                .cloned()
                .collect();
            let requests = db.measured_requests(run.key, record.level).await?;
            let gaps = db.gaps(run.key, record.level).await?;
            let document = document(
                &run,
                &summary,
                record,
                level,
                &requests,
                &gaps,
                burstiness,
                drafts(&scrapes),
            );
            bench.files.push(VllmBenchFile {
                name: format!(
                    "{}-{}-{}qps.json",
                    run.run_id,
                    record.level,
                    short(record.rate.get())
                ),
                json: serde_json::to_string_pretty(&document)? + "\n",
            });
        }
    }
    Ok(bench)
}

/// Where more of the requests than this share were cancelled, the rest are survivors and no sample.
const MOST_SHED: f64 = 0.05;

fn without_figures(record: &LevelRecord, level: &LevelSummary) -> Option<&'static str> {
    let requests = &level.requests;
    match (record.state, &level.verdict) {
        (LevelState::Open, _) => Some("it is still open"),
        (LevelState::Broken, _) => Some("it was broken off"),
        (_, Some(Verdict::Invalid { .. })) => Some("it is invalid"),
        _ if record.stage == Stage::Ramp => Some("a step of the ramp is no measurement"),
        _ if record.measured_ns <= 0 || requests.measured == 0 => Some("nothing was measured"),
        _ if requests.shed as f64 > MOST_SHED * requests.measured as f64 => {
            Some("its requests were cancelled when it was rejected")
        }
        _ => None,
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "a document is made of all that is known of its level"
)]
fn document<'a>(
    run: &'a RunRow,
    summary: &'a RunSummary,
    record: &LevelRecord,
    level: &'a LevelSummary,
    requests: &[RequestRecord],
    gaps: &[Vec<u8>],
    burstiness: Option<f64>,
    drafts: Option<(f64, f64)>,
) -> Document<'a> {
    let ok: Vec<&RequestRecord> = requests
        .iter()
        .filter(|request| request.outcome == Outcome::Ok)
        .collect();
    let input = total(&ok, |request| request.input_tokens);
    let output = total(&ok, |request| request.output_tokens);
    let input_per_s = input.map(|tokens| tokens as f64 / ok.len().max(1) as f64 * record.completed_rate);
    Document {
        date: date(record.started_unix_ns),
        endpoint_type: &run.backend,
        backend: &run.backend,
        label: &run.run_id,
        model_id: &run.model,
        tokenizer_id: None,
        num_prompts: level.requests.measured,
        request_rate: record.rate.get(),
        burstiness,
        max_concurrency: None,
        duration: record.measured_ns as f64 / 1e9,
        completed: level.requests.ok,
        failed: level.requests.failed + level.requests.shed,
        total_input_tokens: input,
        total_output_tokens: output,
        request_throughput: record.completed_rate,
        request_goodput: level.goodput.map(|goodput| goodput.per_second),
        output_throughput: level.output_tokens_per_s,
        total_token_throughput: input_per_s
            .zip(level.output_tokens_per_s)
            .map(|(input, output)| input + output),
        max_concurrent_requests: most_at_once(&ok),
        latencies: latencies(&ok, gaps),
        spec_decode_acceptance_rate: drafts.map(|(accepted, drafted)| accepted / drafted * 100.0),
        spec_decode_draft_tokens: drafts.map(|(_, drafted)| drafted as u64),
        spec_decode_accepted_tokens: drafts.map(|(accepted, _)| accepted as u64),
        gipfel: Ours {
            header: FORMAT.header(),
            run_id: &run.run_id,
            level: record.level,
            stage: record.stage,
            slos: &summary.slos,
            verdict: level.verdict.as_ref(),
            shed: level.requests.shed,
            latencies: &level.latencies,
            definitions: DEFINITIONS,
        },
    }
}

/// `20261121-224312`, in UTC.
fn date(unix_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(unix_ns))
        .map(|time| time.strftime("%Y%m%d-%H%M%S").to_string())
        .unwrap_or_default()
}

/// A rate as a part of a file's name.
fn short(rate: f64) -> String {
    let text = format!("{rate:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// vLLM's shape of the gamma-distributed gaps: 1 for a Poisson process; equal gaps have none.
fn burstiness(provenance: &Provenance) -> Option<f64> {
    let config: Value = serde_json::from_str(provenance.0.get(Provenance::RUN_CONFIG)?).ok()?;
    let arrivals = config.pointer("/workload/arrivals")?;
    let arrivals: ArrivalProcess = serde_json::from_value(arrivals.clone()).ok()?;
    Some(arrivals.burstiness()).filter(|burstiness| burstiness.is_finite())
}

/// A sum over the completed requests; absent when the server did not count for one of them.
fn total(ok: &[&RequestRecord], tokens: impl Fn(&RequestRecord) -> Option<u32>) -> Option<u64> {
    ok.iter().map(|request| tokens(request).map(u64::from)).sum()
}

/// The most completed requests that were in flight at one time.
fn most_at_once(ok: &[&RequestRecord]) -> u64 {
    let mut steps: Vec<(i64, i64)> = ok
        .iter()
        .filter_map(|request| Some((request.send_ns?, request.last_token_ns?, request.scheduled_ns)))
        .flat_map(|(send, last, scheduled)| [(scheduled + send, 1), (scheduled + last, -1)])
        .collect();
    // One that ends at the moment in which another begins makes room for it.
    steps.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, step) in steps {
        now += step;
        most = most.max(now);
    }
    most as u64
}

fn latencies(ok: &[&RequestRecord], gaps: &[Vec<u8>]) -> Map<String, Value> {
    let mut keys = Map::new();
    let since_send = |point: Option<i64>, request: &RequestRecord| Some(point? - request.send_ns?);
    let of = |latency: &dyn Fn(&RequestRecord) -> Option<i64>| {
        ok.iter().filter_map(|request| latency(request)).collect()
    };
    insert(
        &mut keys,
        "ttft",
        of(&|request| since_send(request.first_token_ns, request)),
    );
    insert(
        &mut keys,
        "tpot",
        of(&|request| match request.latency(LatencyMetric::Tpot) {
            Latency::Finite(nanos) => Some(nanos),
            Latency::Infinite | Latency::Undefined => None,
        }),
    );
    insert(
        &mut keys,
        "e2el",
        of(&|request| since_send(request.last_token_ns, request)),
    );
    if let (Some(histogram), _) = level::pooled(gaps) {
        insert_gaps(&mut keys, &histogram);
    }
    keys
}

/// Mean, median, standard deviation and percentiles; none of them without values.
fn insert(keys: &mut Map<String, Value>, metric: &str, nanos: Vec<i64>) {
    if nanos.is_empty() {
        return;
    }
    let n = nanos.len() as f64;
    let mean = nanos.iter().map(|nanos| *nanos as f64).sum::<f64>() / n;
    let variance = nanos
        .iter()
        .map(|nanos| (*nanos as f64 - mean).powi(2))
        .sum::<f64>()
        / n;
    let mut sample: Sample = nanos.into_iter().collect();
    put(keys, "mean", metric, mean);
    put(keys, "std", metric, variance.sqrt());
    for percent in PERCENTS {
        let rank = Quantile::percent(f64::from(percent)).map_or(0, |quantile| quantile.rank(sample.len()));
        if let Some(nanos) = sample.at_rank(rank).and_then(OrderStatistic::finite) {
            put_percentile(keys, percent, metric, nanos as f64);
        }
    }
}

fn insert_gaps(keys: &mut Map<String, Value>, histogram: &Histogram<u64>) {
    if histogram.is_empty() {
        return;
    }
    put(keys, "mean", "itl", histogram.mean());
    put(keys, "std", "itl", histogram.stdev());
    for percent in PERCENTS {
        let nanos = histogram.value_at_quantile(f64::from(percent) / 100.0);
        put_percentile(keys, percent, "itl", nanos as f64);
    }
}

fn put_percentile(keys: &mut Map<String, Value>, percent: u32, metric: &str, nanos: f64) {
    if percent == 50 {
        put(keys, "median", metric, nanos);
    }
    put(keys, &format!("p{percent}"), metric, nanos);
}

fn put(keys: &mut Map<String, Value>, statistic: &str, metric: &str, nanos: f64) {
    keys.insert(format!("{statistic}_{metric}_ms"), Value::from(nanos / 1e6));
}

/// Draft tokens accepted and proposed during a level, by the server's counters; absent when none were proposed.
fn drafts(scrapes: &[ScrapeRecord]) -> Option<(f64, f64)> {
    let accepted = level::grown(scrapes, |scrape| scrape.spec_accepted_tokens)?;
    let drafted = level::grown(scrapes, |scrape| scrape.spec_draft_tokens)?;
    (drafted > 0.0).then_some((accepted, drafted))
}
