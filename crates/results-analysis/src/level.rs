//! One level: its requests, gaps and scrapes, made figures.

use gipfel_model::{Attainment, LevelRecord, LevelState, Outcome, RequestRecord, ScrapeRecord, Slo, Verdict};
use hdrhistogram::{Histogram, serialization::Deserializer};

use crate::{
    figures::{self, Metric, MetricSummary},
    judge,
    summary::{LevelSummary, RequestCounts},
};

/// All that is stored of one level.
pub(crate) struct LevelData {
    pub(crate) record: LevelRecord,
    /// The measured requests.
    pub(crate) requests: Vec<RequestRecord>,
    /// A histogram for each rank, in its V2 form.
    pub(crate) gaps: Vec<Vec<u8>>,
    /// The scrapes taken while it was open.
    pub(crate) scrapes: Vec<ScrapeRecord>,
}

/// By which objectives a level is looked at.
pub(crate) struct Objectives<'a> {
    /// Those that judge it anew; absent: the stored verdict stands.
    pub(crate) judged_by: Option<&'a [Slo]>,
    /// The run's own.
    pub(crate) own: &'a [Slo],
    /// Those that decide nothing.
    pub(crate) informational: &'a [Slo],
}

pub(crate) fn summarize(data: &LevelData, objectives: &Objectives<'_>) -> LevelSummary {
    let LevelData { record, requests, .. } = data;
    let is_complete = record.state == LevelState::Complete;
    let seen = requests.len() as u64;
    let scheduled = record
        .attainment
        .iter()
        .map(|one| one.scheduled)
        .max()
        .unwrap_or(0)
        .max(seen);
    let attainment_of = |slos: &[Slo]| {
        slos.iter()
            .map(|slo| judge::attainment(slo, requests, scheduled))
            .collect::<Vec<_>>()
    };
    let (attainment, verdict) = match objectives.judged_by {
        Some(slos) => {
            let attainment = attainment_of(slos);
            let verdict = gipfel_peak_search::judge(&attainment, &record.validity);
            (attainment, Some(verdict))
        }
        None if record.attainment.is_empty() => (attainment_of(objectives.own), record.verdict.clone()),
        None => (record.attainment.clone(), record.verdict.clone()),
    };
    let verdict = verdict.filter(|_| is_complete);
    let without = without_figures(record, verdict.as_ref());
    let given = |attainment: Vec<Attainment>| {
        if without.is_none() { attainment } else { Vec::new() }
    };
    let (histogram, faults) = pooled(&data.gaps);
    let has_window = record.measured_ns > 0 && is_complete;
    LevelSummary {
        level: record.level,
        rate: record.rate,
        stage: record.stage,
        state: record.state,
        warmup_s: record.warmup_ns as f64 / 1e9,
        measured_s: record.measured_ns as f64 / 1e9,
        offered_rate: has_window.then_some(record.offered_rate),
        sent_rate: has_window.then_some(record.sent_rate),
        completed_rate: has_window.then_some(record.completed_rate),
        requests: count(requests),
        latencies: latencies(without, requests, scheduled - seen, histogram.as_ref()),
        attainment: given(attainment),
        informational: given(attainment_of(objectives.informational)),
        prefix_cache_hit_share: prefix_cache_hit_share(data),
        validity: record.validity.clone(),
        verdict,
        faults,
    }
}

/// Why a level has no figures at all.
fn without_figures(record: &LevelRecord, verdict: Option<&Verdict>) -> Option<&'static str> {
    match (record.state, verdict) {
        (LevelState::Open, _) => Some("the level is still open"),
        (LevelState::Broken, _) => Some("the level was broken off"),
        (LevelState::Complete, Some(Verdict::Invalid { .. })) => Some("the level is invalid"),
        (LevelState::Complete, _) => None,
    }
}

fn latencies(
    reason: Option<&str>,
    requests: &[RequestRecord],
    unseen: u64,
    histogram: Option<&Histogram<u64>>,
) -> Vec<MetricSummary> {
    let mut latencies: Vec<MetricSummary> = Metric::OF_REQUESTS
        .iter()
        .map(|metric| match reason {
            Some(reason) => MetricSummary::absent(*metric, reason),
            None => figures::of_requests(*metric, requests, unseen),
        })
        .collect();
    let pooled = match reason {
        Some(reason) => MetricSummary::absent(Metric::ItlPooled, reason),
        None => figures::of_gaps(histogram),
    };
    // Beside the largest gap of each request, before the end-to-end latency.
    latencies.insert(latencies.len() - 1, pooled);
    latencies
}

fn count(requests: &[RequestRecord]) -> RequestCounts {
    let mut counts = RequestCounts {
        measured: requests.len() as u64,
        ..RequestCounts::default()
    };
    for request in requests {
        match request.outcome {
            Outcome::Ok => {
                counts.ok += 1;
                continue;
            }
            Outcome::Shed => counts.shed += 1,
            _ => counts.failed += 1,
        }
        *counts
            .by_outcome
            .entry(request.outcome.as_str().to_owned())
            .or_default() += 1;
    }
    counts
}

/// The gaps of all ranks in one histogram, and what could not be read.
fn pooled(gaps: &[Vec<u8>]) -> (Option<Histogram<u64>>, Vec<String>) {
    let mut pooled: Option<Histogram<u64>> = None;
    let mut faults = Vec::new();
    let mut deserializer = Deserializer::new();
    for bytes in gaps {
        let read: Result<Histogram<u64>, String> = deserializer
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| error.to_string());
        let added = read.and_then(|histogram| {
            let Some(pooled) = &mut pooled else {
                pooled.insert(histogram).auto(true);
                return Ok(());
            };
            pooled.add(&histogram).map_err(|error| error.to_string())
        });
        if let Err(error) = added {
            faults.push(format!("a histogram of token gaps cannot be read: {error}"));
        }
    }
    // A part of the gaps is no sample of all of them.
    (pooled.filter(|_| faults.is_empty()), faults)
}

/// By the server's counters during the level; by its answers where it exports none.
fn prefix_cache_hit_share(data: &LevelData) -> Option<f64> {
    counted_hits(&data.scrapes).or_else(|| reported_hits(&data.requests))
}

fn counted_hits(scrapes: &[ScrapeRecord]) -> Option<f64> {
    let mut seen: Vec<(u32, u32)> = Vec::new();
    let mut hits = 0.0;
    let mut queries = 0.0;
    for first in scrapes {
        let place = (first.rank, first.endpoint);
        if seen.contains(&place) {
            continue;
        }
        seen.push(place);
        // Every rank looks at the same servers; the first one's view is enough.
        if first.rank != scrapes[0].rank {
            continue;
        }
        let last = scrapes
            .iter()
            .rfind(|scrape| (scrape.rank, scrape.endpoint) == place)?;
        hits += last.prefix_cache_hits? - first.prefix_cache_hits?;
        queries += last.prefix_cache_queries? - first.prefix_cache_queries?;
    }
    (queries > 0.0 && hits >= 0.0).then(|| hits / queries)
}

fn reported_hits(requests: &[RequestRecord]) -> Option<f64> {
    let mut cached = 0;
    let mut input = 0;
    for request in requests {
        if let (Some(hit), Some(tokens)) = (request.cached_tokens, request.input_tokens) {
            cached += u64::from(hit);
            input += u64::from(tokens);
        }
    }
    (input > 0).then(|| cached as f64 / input as f64)
}
