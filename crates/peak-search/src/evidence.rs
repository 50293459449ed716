//! What the requests of a level say, second by second, and what they are worth.

use gipfel_model::{
    Attainment, Decided, Evidence, LatencyMetric, LevelRecord, RequestRecord, Second, Slo, record::Latency,
};
use gipfel_statistics::{Batch, clopper_pearson, effective_sample_size};

/// Seconds of one batch: long against a step of the server, short against a window.
const BATCH_S: usize = 5;
/// The confidence of the intervals in [`Attainment`].
const CONFIDENCE: f64 = 0.95;

const SECOND_NS: i64 = 1_000_000_000;

/// The measured seconds of a level.
pub(crate) fn measured(evidence: &Evidence) -> &[Second] {
    let from = (evidence.settle_s as usize).min(evidence.seconds.len());
    &evidence.seconds[from..]
}

/// The counts of one objective, in batches of a few seconds; the remainder belongs to the last batch.
pub(crate) fn batches(seconds: &[Second], objective: usize) -> Vec<Batch> {
    let count = (seconds.len() / BATCH_S).max(1);
    let mut batches = vec![Batch::default(); count];
    for (at, second) in seconds.iter().enumerate() {
        let decided = second.objectives.get(objective).copied().unwrap_or_default();
        let batch = &mut batches[(at / BATCH_S).min(count - 1)];
        batch.events += f64::from(decided.violated);
        batch.trials += f64::from(decided.decided);
    }
    batches
}

/// How a level stands to its objective number `index`, with the interval of the violating share: counts in batches of five
/// seconds, effective sample size = count / variance inflation, Clopper–Pearson on it, 95 %.
///
/// `scheduled` counts the requests of the measured window, those included that are not decided yet.
pub fn attainment(slo: &Slo, index: usize, evidence: &Evidence, scheduled: u64) -> Attainment {
    let batches = batches(measured(evidence), index);
    let total = Batch::sum(batches.iter().copied());
    let n_eff = effective_sample_size(&batches);
    let interval = clopper_pearson(total.events / total.trials * n_eff, n_eff, CONFIDENCE);
    Attainment {
        slo: *slo,
        scheduled: scheduled.max(total.trials as u64),
        decided: total.trials as u64,
        violated: total.events as u64,
        n_eff: (total.trials > 0.0).then_some(n_eff),
        interval,
    }
}

/// The evidence of a level from its stored requests, those of the warm-up included: for databases that have none, and for
/// other objectives than the run's own.
pub fn evidence_of(level: &LevelRecord, requests: &[RequestRecord], slos: &[Slo]) -> Evidence {
    let stored = level.evidence.clone().unwrap_or_default();
    let warmup_s = (level.warmup_ns as u64).div_ceil(SECOND_NS as u64) as usize;
    let measured_s = (level.measured_ns.max(0) as u64).div_ceil(SECOND_NS as u64) as usize;
    // The measured window begins with a second, wherever the warm-up does.
    let start_ns = level.start_ns + level.warmup_ns - warmup_s as i64 * SECOND_NS;
    let length = warmup_s + measured_s;
    let empty = Second {
        objectives: vec![Decided::default(); slos.len()],
        ..Second::default()
    };
    let mut seconds = vec![empty; length];
    let mut e2e: Vec<i64> = Vec::new();
    for request in requests.iter().filter(|request| request.level == level.level) {
        if let Latency::Finite(nanos) = request.latency(LatencyMetric::E2e) {
            e2e.push(nanos);
        }
        let at = (request.scheduled_ns - start_ns).div_euclid(SECOND_NS);
        let Some(second) = usize::try_from(at).ok().and_then(|at| seconds.get_mut(at)) else {
            continue;
        };
        second.arrivals += 1;
        second.input_tokens += u64::from(request.requested_input);
        second.output_tokens += u64::from(request.requested_output);
        for (slo, counts) in slos.iter().zip(&mut second.objectives) {
            counts.count(request.decide(slo));
        }
    }
    Evidence {
        settle_s: warmup_s as u32,
        stands_for_s: stored.stands_for_s.max(measured_s as u32),
        seconds,
        overloaded: stored.overloaded.filter(|slo| slos.contains(slo)),
        e2e_p50_s: median(&mut e2e).map(|nanos| nanos / 1e9).or(stored.e2e_p50_s),
        in_flight: stored.in_flight,
    }
}

/// The middle value; of an even count the lower one.
pub(crate) fn median(values: &mut [i64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = (values.len() - 1) / 2;
    let (_, value, _) = values.select_nth_unstable(middle);
    Some(*value as f64)
}
