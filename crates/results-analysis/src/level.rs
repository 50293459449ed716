//! One level: its requests, gaps and scrapes, made figures.

use std::collections::BTreeMap;

use gipfel_model::{
    LevelRecord, LevelState, Outcome, Phase, RequestRecord, ScrapeRecord, Slo, Stage, Verdict,
};
use hdrhistogram::{Histogram, serialization::Deserializer};

use crate::{
    figures::{self, Metric, MetricSummary},
    flight::{self, Flight},
    judge::{self, Judged, Objectives},
    load,
    summary::{LevelSummary, RequestCounts},
};

/// All that is stored of one level.
pub(crate) struct LevelData {
    pub(crate) record: LevelRecord,
    /// All requests, the measured ones first.
    requests: Vec<RequestRecord>,
    /// How many of them are measured.
    measured: usize,
    /// A histogram for each rank, in its V2 form.
    gaps: Vec<Vec<u8>>,
    /// The scrapes taken while it was open.
    scrapes: Vec<ScrapeRecord>,
}

impl LevelData {
    pub(crate) fn new(
        record: LevelRecord,
        mut requests: Vec<RequestRecord>,
        gaps: Vec<Vec<u8>>,
        scrapes: Vec<ScrapeRecord>,
    ) -> Self {
        requests.sort_by_key(|request| request.phase != Phase::Measured);
        let measured = requests.partition_point(|request| request.phase == Phase::Measured);
        Self {
            record,
            requests,
            measured,
            gaps,
            scrapes,
        }
    }

    pub(crate) fn requests(&self) -> &[RequestRecord] {
        &self.requests
    }

    fn measured(&self) -> &[RequestRecord] {
        &self.requests[..self.measured]
    }
}

/// Answer tokens that came within the measured window, whichever request they belong to.
fn output_tokens_per_s(record: &LevelRecord, requests: &[RequestRecord], earlier: &[Flight]) -> Option<f64> {
    let flights: Vec<Flight> = earlier
        .iter()
        .copied()
        .chain(requests.iter().map(Flight::of))
        .collect();
    flight::output_token_rate(&flights, load::window(record))
}

/// Makes figures of a level; `earlier` are the requests of the levels before that may still be in flight. The record is given
/// back with the verdict and the evidence by which the run is judged.
pub(crate) fn summarize(
    data: LevelData,
    objectives: &Objectives<'_>,
    earlier: &[Flight],
) -> (LevelSummary, LevelRecord) {
    let Judged {
        attainment,
        verdict,
        simple_verdict,
        evidence,
    } = judge::judge(&data.record, &data.requests, data.measured(), objectives);
    let record = &data.record;
    let measured = data.measured();
    let scheduled = judge::scheduled(record, measured);
    let without = without_figures(record, verdict.as_ref());
    let has_window = record.measured_ns > 0 && record.state == LevelState::Complete;
    let has_figures = has_window && without.is_none();
    let slos: Vec<Slo> = attainment.iter().map(|one| one.slo).collect();
    let (histogram, faults) = pooled(&data.gaps);
    let times = objectives.timed && has_figures;
    let informational = objectives.informational.iter();
    let summary = LevelSummary {
        level: record.level,
        rate: record.rate,
        stage: record.stage,
        state: record.state,
        warmup_s: record.warmup_ns as f64 / 1e9,
        measured_s: record.measured_ns as f64 / 1e9,
        offered_rate: has_window.then_some(record.offered_rate),
        sent_rate: has_window.then_some(record.sent_rate),
        completed_rate: has_window.then_some(record.completed_rate),
        goodput: (has_figures && !slos.is_empty()).then(|| load::goodput(record, measured, scheduled, &slos)),
        output_tokens_per_s: times
            .then(|| output_tokens_per_s(record, &data.requests, earlier))
            .flatten(),
        requests: count(measured),
        latencies: latencies(
            without,
            measured,
            scheduled - measured.len() as u64,
            histogram.as_ref(),
            objectives.timed,
        ),
        informational: match without {
            Some(_) => Vec::new(),
            None => informational
                .map(|slo| judge::attainment(slo, measured, scheduled))
                .collect(),
        },
        attainment: if without.is_none() { attainment } else { Vec::new() },
        answers: load::answer_lengths(measured),
        prefix_cache_hit_share: prefix_cache_hit_share(&data.scrapes, measured),
        preemptions: grown(&data.scrapes, |scrape| scrape.preemptions),
        in_flight: (times && record.stage == Stage::Level).then(|| load::in_flight(record, &data.requests)),
        e2e_p50_s: evidence.as_ref().and_then(|evidence| evidence.e2e_p50_s),
        overloaded: evidence.as_ref().and_then(|evidence| evidence.overloaded),
        validity: record.validity.clone(),
        verdict: verdict.clone(),
        simple_verdict,
        faults,
    };
    let record = LevelRecord {
        verdict,
        evidence,
        ..data.record
    };
    (summary, record)
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
    timed: bool,
) -> Vec<MetricSummary> {
    let mut latencies: Vec<MetricSummary> = Metric::OF_REQUESTS
        .iter()
        .map(|metric| match reason {
            Some(reason) => MetricSummary::absent(*metric, reason),
            None => figures::of_requests(*metric, requests, unseen, timed),
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
    counts.most_frequent_error = most_frequent_error(requests);
    counts
}

/// More of an error's text says nothing new in a table.
const MOST_ERROR_LETTERS: usize = 160;

/// The text that most failed requests have, on one line; of equally frequent ones the first of the alphabet.
fn most_frequent_error(requests: &[RequestRecord]) -> Option<String> {
    let mut errors: BTreeMap<&str, u64> = BTreeMap::new();
    for error in requests.iter().filter_map(|request| request.error.as_deref()) {
        *errors.entry(error).or_default() += 1;
    }
    let (error, _) = errors.into_iter().rev().max_by_key(|(_, count)| *count)?;
    let words: Vec<&str> = error.split_whitespace().collect();
    let mut line = words.join(" ");
    if let Some((at, _)) = line.char_indices().nth(MOST_ERROR_LETTERS) {
        line.truncate(at);
        line.push('…');
    }
    Some(line).filter(|line| !line.is_empty())
}

/// The gaps of all ranks in one histogram, and what could not be read.
pub(crate) fn pooled(gaps: &[Vec<u8>]) -> (Option<Histogram<u64>>, Vec<String>) {
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
fn prefix_cache_hit_share(scrapes: &[ScrapeRecord], requests: &[RequestRecord]) -> Option<f64> {
    counted_hits(scrapes).or_else(|| reported_hits(requests))
}

fn counted_hits(scrapes: &[ScrapeRecord]) -> Option<f64> {
    let hits = grown(scrapes, |scrape| scrape.prefix_cache_hits)?;
    let queries = grown(scrapes, |scrape| scrape.prefix_cache_queries)?;
    (queries > 0.0).then(|| hits / queries)
}

/// By how much a counter grew from the first scrape to the last one, over all endpoints; absent when one of them does not
/// export it, or began anew.
pub(crate) fn grown(scrapes: &[ScrapeRecord], counter: impl Fn(&ScrapeRecord) -> Option<f64>) -> Option<f64> {
    // Every rank looks at the same servers; the first one's view is enough.
    let rank = scrapes.first()?.rank;
    let mut seen: Vec<u32> = Vec::new();
    let mut sum = 0.0;
    for first in scrapes.iter().filter(|scrape| scrape.rank == rank) {
        if seen.contains(&first.endpoint) {
            continue;
        }
        seen.push(first.endpoint);
        let place = (rank, first.endpoint);
        let counted =
            |scrape: &&ScrapeRecord| (scrape.rank, scrape.endpoint) == place && counter(scrape).is_some();
        let first = scrapes.iter().find(counted)?;
        let last = scrapes.iter().rfind(counted)?;
        sum += Some(counter(last)? - counter(first)?).filter(|grown| *grown >= 0.0)?;
    }
    Some(sum)
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
