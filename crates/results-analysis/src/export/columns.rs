//! The columns of the exported tables. Their names end in their units; a time without one is a mistake.

use std::sync::Arc;

use gipfel_model::{
    LatencyMetric, LevelRecord, PeakEstimate, Provenance, RequestRecord, ScrapeRecord, Slo, record::Latency,
    slo::Quantile,
};
use gipfel_results_db::{Origin, RunRow};
use serde::Serialize;

use super::value::{Column, Row, Value};
use crate::{
    figures::{Figure, Metric},
    summary::{LevelSummary, RunSummary},
};

/// A request with its run and its level; a level that was never recorded is absent.
pub(super) struct RequestRow {
    pub(super) run: Arc<RunRow>,
    pub(super) level: Option<Arc<LevelRecord>>,
    pub(super) record: RequestRecord,
}

impl Row for RequestRow {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::text("run_id", |row| Value::text(&row.run.run_id)),
        Column::number("rate", |row| rate(row.level.as_deref())),
        Column::integer("level", |row| Value::integer(row.record.level)),
        Column::text("stage", |row| stage(row.level.as_deref())),
        Column::text("phase", |row| Value::text(row.record.phase.as_str())),
        Column::text("outcome", |row| Value::text(row.record.outcome.as_str())),
        Column::integer("rank", |row| Value::integer(row.record.rank)),
        Column::integer("request", |row| Value::integer(row.record.request)),
        Column::integer("class", |row| Value::integer(row.record.class)),
        Column::integer("session", |row| Value::optional_integer(row.record.session)),
        Column::integer("turn", |row| Value::integer(row.record.turn)),
        Column::integer("endpoint", |row| Value::integer(row.record.endpoint)),
        Column::integer("http_status", |row| {
            Value::optional_integer(row.record.http_status)
        }),
        Column::number("scheduled_ms", |row| Value::millis(row.record.scheduled_ns)),
        Column::number("scheduled_in_level_ms", |row| {
            let start = row.level.as_ref().map(|level| level.start_ns);
            Value::optional_millis(start.map(|start| row.record.scheduled_ns - start))
        }),
        Column::number("connect_ms", |row| Value::optional_millis(row.record.connect_ns)),
        Column::number("send_ms", |row| Value::optional_millis(row.record.send_ns)),
        Column::number("header_ms", |row| Value::optional_millis(row.record.header_ns)),
        Column::number("first_chunk_ms", |row| {
            Value::optional_millis(row.record.first_chunk_ns)
        }),
        Column::number("first_token_ms", |row| {
            Value::optional_millis(row.record.first_token_ns)
        }),
        Column::number("first_token_lag_ms", |row| {
            Value::optional_millis(row.record.first_token_lag_ns)
        }),
        Column::integer("first_token_uncertain", |row| {
            Value::integer(row.record.first_token_uncertain)
        }),
        Column::number("first_output_ms", |row| {
            Value::optional_millis(row.record.first_output_ns)
        }),
        Column::number("last_token_ms", |row| {
            Value::optional_millis(row.record.last_token_ns)
        }),
        Column::number("end_ms", |row| Value::millis(row.record.end_ns)),
        Column::number("ttft_ms", |row| latency(row.record.latency(LatencyMetric::Ttft))),
        Column::number("ttft_from_send_ms", |row| latency(row.record.ttft_from_send())),
        Column::number("tpot_ms", |row| latency(row.record.latency(LatencyMetric::Tpot))),
        Column::number("itl_max_ms", |row| Value::optional_millis(row.record.itl_max_ns)),
        Column::number("e2e_ms", |row| latency(row.record.latency(LatencyMetric::E2e))),
        Column::integer("input_tokens", |row| {
            Value::optional_integer(row.record.input_tokens)
        }),
        Column::integer("output_tokens", |row| {
            Value::optional_integer(row.record.output_tokens)
        }),
        Column::integer("cached_tokens", |row| {
            Value::optional_integer(row.record.cached_tokens)
        }),
        Column::integer("requested_input", |row| {
            Value::integer(row.record.requested_input)
        }),
        Column::integer("requested_output", |row| {
            Value::integer(row.record.requested_output)
        }),
        Column::integer("chunks", |row| Value::integer(row.record.chunks)),
        Column::text("count_source", |row| {
            Value::text(row.record.count_source.as_str())
        }),
        Column::text("finish_reason", |row| {
            Value::optional_text(row.record.finish_reason.as_deref())
        }),
        Column::text("error", |row| Value::optional_text(row.record.error.as_deref())),
    ];
}

/// A scrape with its run and its level.
pub(super) struct ScrapeRow {
    pub(super) run: Arc<RunRow>,
    pub(super) level: Option<Arc<LevelRecord>>,
    pub(super) record: ScrapeRecord,
}

impl Row for ScrapeRow {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::text("run_id", |row| Value::text(&row.run.run_id)),
        Column::number("rate", |row| rate(row.level.as_deref())),
        Column::integer("level", |row| Value::integer(row.record.level)),
        Column::text("stage", |row| stage(row.level.as_deref())),
        Column::integer("rank", |row| Value::integer(row.record.rank)),
        Column::integer("endpoint", |row| Value::integer(row.record.endpoint)),
        Column::number("at_ms", |row| Value::millis(row.record.at_ns)),
        Column::number("at_in_level_ms", |row| {
            let start = row.level.as_ref().map(|level| level.start_ns);
            Value::optional_millis(start.map(|start| row.record.at_ns - start))
        }),
        Column::number("unix_time_s", |row| {
            let anchor = row
                .level
                .as_ref()
                .map(|level| level.started_unix_ns - level.start_ns);
            Value::optional_number(anchor.map(|anchor| (anchor + row.record.at_ns) as f64 / 1e9))
        }),
        Column::number("requests_running", |row| {
            Value::optional_number(row.record.requests_running)
        }),
        Column::number("requests_waiting", |row| {
            Value::optional_number(row.record.requests_waiting)
        }),
        Column::number("kv_cache_usage", |row| {
            Value::optional_number(row.record.kv_cache_usage)
        }),
        Column::number("preemptions", |row| {
            Value::optional_number(row.record.preemptions)
        }),
        Column::number("prefix_cache_queries", |row| {
            Value::optional_number(row.record.prefix_cache_queries)
        }),
        Column::number("prefix_cache_hits", |row| {
            Value::optional_number(row.record.prefix_cache_hits)
        }),
        Column::number("spec_accepted_tokens", |row| {
            Value::optional_number(row.record.spec_accepted_tokens)
        }),
        Column::number("spec_draft_tokens", |row| {
            Value::optional_number(row.record.spec_draft_tokens)
        }),
        Column::number("ttft_sum_s", |row| Value::optional_number(row.record.ttft_sum_s)),
        Column::number("ttft_count", |row| Value::optional_number(row.record.ttft_count)),
        Column::number("queue_sum_s", |row| {
            Value::optional_number(row.record.queue_sum_s)
        }),
        Column::number("queue_count", |row| {
            Value::optional_number(row.record.queue_count)
        }),
    ];
}

/// A level as it is stored and as it is summed up.
pub(super) struct LevelRow {
    pub(super) run: Arc<RunRow>,
    pub(super) record: LevelRecord,
    pub(super) summary: LevelSummary,
}

impl Row for LevelRow {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::text("run_id", |row| Value::text(&row.run.run_id)),
        Column::number("rate", |row| rate(Some(&row.record))),
        Column::integer("level", |row| Value::integer(row.record.level)),
        Column::text("stage", |row| stage(Some(&row.record))),
        Column::text("state", |row| Value::text(row.record.state.as_str())),
        Column::text("verdict", |row| {
            Value::optional_text(row.summary.verdict.as_ref().map(gipfel_model::Verdict::name))
        }),
        Column::text("verdict_words", |row| {
            Value::optional_text(row.summary.verdict.as_ref().map(ToString::to_string))
        }),
        Column::number("start_ms", |row| Value::millis(row.record.start_ns)),
        Column::number("warmup_ms", |row| Value::millis(row.record.warmup_ns)),
        Column::number("measured_ms", |row| Value::millis(row.record.measured_ns)),
        Column::number("started_unix_s", |row| {
            Value::Number(row.record.started_unix_ns as f64 / 1e9)
        }),
        Column::number("ended_unix_s", |row| {
            Value::optional_number(row.record.ended_unix_ns.map(|nanos| nanos as f64 / 1e9))
        }),
        Column::number("offered_rate", |row| {
            Value::optional_number(row.summary.offered_rate)
        }),
        Column::number("sent_rate", |row| Value::optional_number(row.summary.sent_rate)),
        Column::number("completed_rate", |row| {
            Value::optional_number(row.summary.completed_rate)
        }),
        Column::integer("measured_requests", |row| count(row.summary.requests.measured)),
        Column::integer("ok_requests", |row| count(row.summary.requests.ok)),
        Column::integer("failed_requests", |row| count(row.summary.requests.failed)),
        Column::integer("shed_requests", |row| count(row.summary.requests.shed)),
        Column::number("ttft_p50_ms", |row| figure(row, Metric::Ttft, 50.0)),
        Column::number("ttft_p90_ms", |row| figure(row, Metric::Ttft, 90.0)),
        Column::number("ttft_p95_ms", |row| figure(row, Metric::Ttft, 95.0)),
        Column::number("ttft_p99_ms", |row| figure(row, Metric::Ttft, 99.0)),
        Column::number("tpot_p50_ms", |row| figure(row, Metric::Tpot, 50.0)),
        Column::number("tpot_p90_ms", |row| figure(row, Metric::Tpot, 90.0)),
        Column::number("tpot_p95_ms", |row| figure(row, Metric::Tpot, 95.0)),
        Column::number("tpot_p99_ms", |row| figure(row, Metric::Tpot, 99.0)),
        Column::number("itl_p50_ms", |row| figure(row, Metric::ItlPooled, 50.0)),
        Column::number("itl_p90_ms", |row| figure(row, Metric::ItlPooled, 90.0)),
        Column::number("itl_p95_ms", |row| figure(row, Metric::ItlPooled, 95.0)),
        Column::number("itl_p99_ms", |row| figure(row, Metric::ItlPooled, 99.0)),
        Column::number("e2e_p50_ms", |row| figure(row, Metric::E2e, 50.0)),
        Column::number("e2e_p90_ms", |row| figure(row, Metric::E2e, 90.0)),
        Column::number("e2e_p95_ms", |row| figure(row, Metric::E2e, 95.0)),
        Column::number("e2e_p99_ms", |row| figure(row, Metric::E2e, 99.0)),
        Column::number("schedule_delay_p50_ms", |row| {
            Value::millis(row.record.validity.schedule_delay_p50_ns)
        }),
        Column::number("schedule_delay_p99_ms", |row| {
            Value::millis(row.record.validity.schedule_delay_p99_ns)
        }),
        Column::number("schedule_delay_max_ms", |row| {
            Value::millis(row.record.validity.schedule_delay_max_ns)
        }),
        Column::number("prefix_cache_hit_share", |row| {
            Value::optional_number(row.summary.prefix_cache_hit_share)
        }),
        Column::text("attainment_json", |row| json(&row.record.attainment)),
        Column::text("validity_json", |row| json(&row.record.validity)),
        Column::text("evidence_json", |row| {
            row.record.evidence.as_ref().map_or(Value::Null, json)
        }),
    ];
}

/// A run, what it says and where it comes from.
pub(super) struct RunRows {
    pub(super) row: Arc<RunRow>,
    pub(super) summary: RunSummary,
    pub(super) provenance: Provenance,
}

impl Row for RunRows {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::text("run_id", |run| Value::text(&run.row.run_id)),
        Column::text("origin", |run| {
            Value::text(match run.row.origin {
                Origin::Gipfel => "gipfel",
                Origin::Predecessor => "predecessor",
            })
        }),
        Column::text("campaign_id", |run| {
            Value::optional_text(run.row.campaign_id.as_deref())
        }),
        Column::text("deployment_id", |run| {
            Value::optional_text(run.row.deployment_id.as_deref())
        }),
        Column::text("deployment", |run| {
            Value::optional_text(run.row.deployment.map(gipfel_model::DeploymentKind::as_str))
        }),
        Column::integer("repeat", |run| Value::integer(run.row.repeat)),
        Column::text("model", |run| Value::text(&run.row.model)),
        Column::text("backend", |run| Value::text(&run.row.backend)),
        Column::text("created_at", |run| {
            Value::optional_text(run.row.created_at.as_deref())
        }),
        Column::text("state", |run| Value::text(run.row.state.as_str())),
        Column::text("error", |run| Value::optional_text(run.row.error.as_deref())),
        Column::text("slos", |run| objectives(&run.row.slos)),
        Column::text("informational_slos", |run| {
            objectives(&run.row.informational_slos)
        }),
        Column::number("warmup_s", |run| Value::optional_number(run.row.warmup_s)),
        Column::number("measured_s", |run| Value::optional_number(run.row.measured_s)),
        Column::number("server_load_time_s", |run| {
            Value::optional_number(run.row.server_load_time_s)
        }),
        Column::number("peak_qps", |run| estimate(run, |estimate| estimate.peak_qps)),
        Column::number("peak_mean", |run| estimate(run, |estimate| estimate.mean)),
        Column::number("peak_low", |run| estimate(run, |estimate| estimate.low)),
        Column::number("peak_high", |run| estimate(run, |estimate| estimate.high)),
        Column::text("binding_slo", |run| {
            Value::optional_text(answered(run).map(|estimate| estimate.binding.to_string()))
        }),
        Column::number("validated_qps", |run| {
            Value::optional_number(run.summary.peak.validated.map(|validated| validated.qps))
        }),
        Column::number("validated_s", |run| {
            Value::optional_number(run.summary.peak.validated.map(|validated| validated.held_s))
        }),
        Column::text("unresolved", |run| {
            Value::optional_text(run.summary.peak.unresolved.as_deref())
        }),
        Column::number("highest_passing_level", |run| {
            Value::optional_number(run.summary.answer.max_qps)
        }),
        Column::text("engine_version", |run| fact(run, Provenance::ENGINE_VERSION)),
        Column::text("image_digest", |run| fact(run, Provenance::IMAGE_DIGEST)),
        Column::text("model_revision", |run| fact(run, Provenance::MODEL_REVISION)),
        Column::text("server_nodes", |run| fact(run, Provenance::SERVER_NODES)),
        Column::text("gpu_type", |run| fact(run, Provenance::GPU_TYPE)),
        Column::text("gpu_driver", |run| fact(run, Provenance::GPU_DRIVER)),
        Column::text("gipfel_version", |run| fact(run, Provenance::GIPFEL_VERSION)),
        Column::text("loadgen_version", |run| fact(run, Provenance::LOADGEN_VERSION)),
        Column::text("loadgen_node", |run| fact(run, Provenance::LOADGEN_NODE)),
        Column::text("run_config_json", |run| fact(run, Provenance::RUN_CONFIG)),
    ];
}

fn rate(level: Option<&LevelRecord>) -> Value<'static> {
    Value::optional_number(level.map(|level| level.rate.get()))
}

fn stage(level: Option<&LevelRecord>) -> Value<'static> {
    Value::optional_text(level.map(|level| level.stage.as_str()))
}

fn count(number: u64) -> Value<'static> {
    Value::Integer(number as i64)
}

/// A failed request has no latency here; its outcome says why.
fn latency(latency: Latency) -> Value<'static> {
    match latency {
        Latency::Finite(nanos) => Value::millis(nanos),
        Latency::Infinite | Latency::Undefined => Value::Null,
    }
}

/// A percentile that the sample supports; infinite where it lies among the failures, absent where it is not known.
fn figure(row: &LevelRow, metric: Metric, percent: f64) -> Value<'static> {
    let percentile = || {
        row.summary
            .latency(metric)?
            .percentile(Quantile::percent(percent)?)
    };
    match percentile().map(|percentile| &percentile.figure) {
        Some(Figure::Exact { ms }) => Value::Number(*ms),
        Some(Figure::Infinite) => Value::Number(f64::INFINITY),
        _ => Value::Null,
    }
}

/// What is known of a peak beside an `unresolved` is no answer.
fn answered(run: &RunRows) -> Option<&PeakEstimate> {
    let peak = &run.summary.peak;
    peak.estimate.as_ref().filter(|_| peak.unresolved.is_none())
}

fn estimate(run: &RunRows, part: impl Fn(&PeakEstimate) -> f64) -> Value<'static> {
    Value::optional_number(answered(run).map(part))
}

fn objectives(slos: &[Slo]) -> Value<'static> {
    let slos: Vec<String> = slos.iter().map(Slo::to_string).collect();
    Value::optional_text((!slos.is_empty()).then(|| slos.join("; ")))
}

fn fact<'a>(run: &'a RunRows, name: &str) -> Value<'a> {
    Value::optional_text(run.provenance.0.get(name))
}

/// What was read from JSON is written as JSON again.
fn json<T: Serialize>(value: &T) -> Value<'static> {
    Value::optional_text(serde_json::to_string(value).ok())
}
