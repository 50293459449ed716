//! The warnings W1 to W11: what makes figures less than they seem, what it means, and what to do about it.

use gipfel_model::{
    Attainment, LatencyMetric, LevelRecord, LevelState, Little, Outcome, PeakAnswer, PeakEstimate,
    SearchSpec, Slo, Stage, ValidityFault, Verdict,
};

use crate::{
    shown,
    summary::{InFlight, LevelSummary, Warning},
};

/// W1: so many violations must be allowed by independent requests.
const EXPECTED_BEYOND: f64 = 10.0;
/// W2: requests in flight may grow by this share from the second third of a window to the last, and by one.
const GROWTH: f64 = 0.05;
/// W2: and by so many standard errors of what chance makes of a steady load.
const STANDARD_ERRORS: f64 = 2.0;
/// W2: two halves of a search may differ by this share of the rate.
const CHANGE: f64 = 0.03;
/// W2: fewer blocks than this have no halves.
const LEAST_BLOCKS: usize = 4;
/// W4: prompts are unique from their first word, so the share of cached tokens is that of a chat template.
const CACHED: f64 = 0.01;
/// W5: so many answers may be shorter than asked.
const SHORT: f64 = 0.02;
/// W6: so many requests may fail.
const FAILED: f64 = 0.001;
/// W8: so much of a core may be used by one sending thread.
const BUSY: f64 = 0.8;
/// W8: and so much of its time may it wait for one.
const RUN_QUEUE: f64 = 0.1;
/// W8: and by so much of the tightest limit, or of half a second without one, may it read first tokens late.
const READER_LAG: f64 = 0.05;
/// W11: so many nanoseconds may the wall clock step by.
const CLOCK_STEP_NS: i64 = 50_000;
/// W11: by so many parts per million may the monotonic clock be steered.
const CLOCK_SLEW_PPM: f64 = 500.0;
/// W11: so many seconds may the disk take to keep what was measured.
const SLOW_COMMIT_S: f64 = 1.0;

/// What the warnings look at.
pub(crate) struct Subject<'a> {
    pub(crate) levels: &'a [LevelSummary],
    /// The same levels with their evidence.
    pub(crate) records: &'a [LevelRecord],
    pub(crate) slos: &'a [Slo],
    /// Absent when the rates were listed or doubled.
    pub(crate) search: Option<&'a SearchSpec>,
    pub(crate) peak: &'a PeakAnswer,
    /// How many prompts the data set holds; absent for synthetic ones.
    pub(crate) prompts: Option<u64>,
}

/// All warnings of a run, by their codes.
pub(crate) fn warnings(subject: &Subject<'_>) -> Vec<Warning> {
    [
        few_samples(subject),
        growing(subject),
        changed(subject),
        late_client(subject),
        cached(subject),
        short_answers(subject),
        failures(subject),
        wrapped(subject),
        busy_client(subject),
        preempted(subject),
        open_verdicts(subject),
        unresolved(subject),
        doubtful(subject),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Levels with what is wrong with each: how bad it is, and the words for the worst one.
struct Found<'a> {
    level: &'a LevelSummary,
    severity: f64,
    words: String,
}

/// The levels with figures that a rule finds something at.
fn find<'a>(
    subject: &Subject<'a>,
    rule: impl Fn(&'a LevelSummary) -> Option<(f64, String)>,
) -> Vec<Found<'a>> {
    let levels = subject.levels.iter().filter(|level| level.has_figures());
    levels
        .filter_map(|level| {
            let (severity, words) = rule(level)?;
            Some(Found {
                level,
                severity,
                words,
            })
        })
        .collect()
}

/// One warning for all levels: the places, the worst one's figures, and what to do.
fn warning(code: &'static str, what: &str, found: &[Found<'_>], advice: &str) -> Option<Warning> {
    let worst = found
        .iter()
        .max_by(|one, other| one.severity.total_cmp(&other.severity))?;
    let levels: Vec<&LevelSummary> = found.iter().map(|found| found.level).collect();
    let most = match found.len() {
        1 => String::new(),
        _ => format!(", most at {} req/s", shown::level_rate(worst.level)),
    };
    Some(Warning {
        code,
        text: format!("{what} {}{most}: {}. {advice}", places(&levels), worst.words),
        levels: levels.iter().map(|level| level.level).collect(),
    })
}

/// `at 10, 20 req/s`, or `at 34 levels` where the rates would be a long list.
fn places(levels: &[&LevelSummary]) -> String {
    const MOST: usize = 4;
    let mut rates: Vec<String> = levels.iter().map(|level| shown::level_rate(level)).collect();
    rates.dedup();
    if rates.len() <= MOST {
        format!("at {} req/s", rates.join(", "))
    } else {
        format!("at {} levels", levels.len())
    }
}

fn few_samples(subject: &Subject<'_>) -> Option<Warning> {
    let found = find(subject, |level| {
        let is_told =
            matches!(level.verdict, Some(Verdict::Reject { .. })) || open_objective(level).is_some();
        if level.stage != Stage::Level || is_told {
            return None;
        }
        let asked = level
            .attainment
            .iter()
            .filter(|one| one.slo.allowed_share() > 0.0);
        let (beyond, n_eff, one) = asked
            .filter_map(|one| Some((one.n_eff? * one.slo.allowed_share(), one.n_eff?, one)))
            .min_by(|one, other| one.0.total_cmp(&other.0))?;
        (beyond < EXPECTED_BEYOND).then(|| {
            let words = format!(
                "{} requests are worth {n_eff:.0} independent ones, of which {} allows {beyond:.1} to violate; a firm \
                 verdict takes {EXPECTED_BEYOND:.0}",
                one.decided, one.slo
            );
            (-beyond, words)
        })
    });
    warning(
        "W1",
        "the sample is small for its percentile",
        &found,
        "Measure longer (`measurement_duration`), or search the peak instead of listing rates.",
    )
}

fn growing(subject: &Subject<'_>) -> Option<Warning> {
    let found = find(subject, |level| {
        if matches!(level.verdict, Some(Verdict::Reject { .. })) {
            return None;
        }
        let load = level.in_flight?;
        let growth = load.last_third - load.middle_third;
        (growth > tolerated(&load, level)).then(|| {
            let words = format!(
                "{:.0} in the window's last third, {:.0} in the one before",
                load.last_third, load.middle_third
            );
            (growth / load.middle_third.max(1.0), words)
        })
    });
    warning(
        "W2",
        "the requests in flight were still growing",
        &found,
        "The server had not settled or was beyond its limit, so the level's latencies are too good. Measure longer, \
         with a longer warm-up.",
    )
}

/// The growth that is allowed, and the one that chance makes: the mean of a steady number in flight over a third of the
/// window has a relative variance of two dwell times over the third.
fn tolerated(load: &InFlight, level: &LevelSummary) -> f64 {
    let third_s = (level.measured_s / 3.0).max(f64::MIN_POSITIVE);
    let dwell = (2.0 * level.e2e_p50_s.unwrap_or(0.0) / third_s).min(1.0);
    let error = (2.0 * load.mean * dwell).sqrt();
    (GROWTH * load.middle_third + 1.0).max(STANDARD_ERRORS * error)
}

/// A search takes the server for unchanged: its early and its late blocks must agree on the peak.
fn changed(subject: &Subject<'_>) -> Option<Warning> {
    let search = subject.search?;
    let blocks: Vec<LevelRecord> = subject
        .records
        .iter()
        .filter(|record| record.stage == Stage::Track && record.state == LevelState::Complete)
        .filter(|record| record.evidence.is_some() && record.validity.is_valid())
        .cloned()
        .collect();
    if blocks.len() < LEAST_BLOCKS {
        return None;
    }
    let (early, late) = blocks.split_at(blocks.len() / 2);
    let estimate = |blocks| gipfel_peak_search::conclude(search, subject.slos, blocks).estimate;
    let (before, after) = (estimate(early)?, estimate(late)?);
    disagree(&before, &after).then(|| Warning {
        code: "W2",
        text: format!(
            "the server changed during the search: its first {} blocks near the peak put it at {}, its last {} at {}. \
             The answer mixes the two. Find out what changed (other load, throttling, memory), and search again.",
            early.len(),
            shown::estimate(&before),
            late.len(),
            shown::estimate(&after)
        ),
        levels: blocks.iter().map(|block| block.level).collect(),
    })
}

/// Neither interval reaches the other, and the difference is one that matters.
fn disagree(one: &PeakEstimate, other: &PeakEstimate) -> bool {
    let apart = one.low > other.high || other.low > one.high;
    apart && (one.mean / other.mean).ln().abs() > CHANGE
}

/// These levels have no figures, so [`find`] does not look at them.
fn late_client(subject: &Subject<'_>) -> Option<Warning> {
    let found: Vec<Found<'_>> = subject
        .levels
        .iter()
        .filter(|level| level.state == LevelState::Complete)
        .filter_map(|level| {
            let reason = level.validity.reason()?;
            Some(Found {
                level,
                severity: severity(&level.validity.faults),
                words: reason,
            })
        })
        .collect();
    warning(
        "W3",
        "the load generator did not keep its part",
        &found,
        "Such levels count for nothing. Give it more cores, or a machine that it shares with nobody.",
    )
}

fn severity(faults: &[ValidityFault]) -> f64 {
    let of = |fault: &ValidityFault| match fault {
        ValidityFault::ScheduleDelay { p99_ms, limit_ms } => p99_ms / limit_ms.max(f64::MIN_POSITIVE),
        ValidityFault::Underdelivered { share, .. } => 1.0 / share.max(1e-3),
        _ => 1.0,
    };
    faults.iter().map(of).fold(0.0, f64::max)
}

fn cached(subject: &Subject<'_>) -> Option<Warning> {
    let found = find(subject, |level| {
        let share = level.prefix_cache_hit_share.filter(|share| *share > CACHED)?;
        Some((
            share,
            format!(
                "{} of the prompt tokens were answered from it",
                shown::percent(share)
            ),
        ))
    });
    warning(
        "W4",
        "the server's prefix cache helped",
        &found,
        "No two prompts begin alike but for the chat template, so nothing else should: the rates are too high for \
         prompts that differ. Start the server anew, without prefix caching.",
    )
}

fn short_answers(subject: &Subject<'_>) -> Option<Warning> {
    let found = find(subject, |level| {
        let answers = level.answers;
        let share = answers.short as f64 / answers.counted.max(1) as f64;
        (share > SHORT).then(|| {
            let tokens = answers.tokens as f64 / answers.requested_tokens.max(1) as f64;
            let words = format!(
                "{} of {} answers, which together have {} of the tokens asked for",
                shown::percent(share),
                answers.counted,
                shown::percent(tokens)
            );
            (share, words)
        })
    });
    warning(
        "W5",
        "answers were shorter than asked",
        &found,
        "The server had less to do than the workload says. Use an engine that takes `ignore_eos`, or ask for the \
         lengths that the model gives.",
    )
}

fn failures(subject: &Subject<'_>) -> Option<Warning> {
    let found = find(subject, |level| {
        let counts = &level.requests;
        let share = counts.failed as f64 / counts.measured.max(1) as f64;
        (share > FAILED).then(|| {
            let outcomes: Vec<String> = counts
                .by_outcome
                .iter()
                .filter(|(outcome, _)| *outcome != Outcome::Shed.as_str())
                .map(|(outcome, count)| format!("{outcome} {count}"))
                .collect();
            let words = format!(
                "{} of {} ({})",
                shown::percent(share),
                counts.measured,
                outcomes.join(", ")
            );
            (share, words)
        })
    });
    warning(
        "W6",
        "requests failed",
        &found,
        "They violate every objective, so the rates are those of a server that fails. The server's log says more.",
    )
}

fn wrapped(subject: &Subject<'_>) -> Option<Warning> {
    let prompts = subject.prompts?;
    let sent: u64 = subject.levels.iter().map(|level| level.requests.measured).sum();
    (sent > prompts).then(|| Warning {
        code: "W7",
        text: format!(
            "the data set's prompts were sent more than once: {sent} measured requests from {prompts} prompts. Caches \
             may have answered the later ones. Use a larger data set, or synthetic prompts."
        ),
        levels: Vec::new(),
    })
}

fn busy_client(subject: &Subject<'_>) -> Option<Warning> {
    let found = find(subject, |level| {
        let client = level.validity.client;
        let busy = client.busiest_thread.filter(|share| *share > BUSY);
        let waiting = client.run_queue.filter(|share| *share > RUN_QUEUE);
        let lag_limit_ns = lag_limit_ns(subject.slos);
        let lag_ns = client
            .reader_lag
            .map(|lag| lag.p99_ns)
            .filter(|lag| *lag > lag_limit_ns);
        let words: Vec<String> = [
            busy.map(|share| format!("its busiest thread used {} of a core", shown::percent(share))),
            waiting.map(|share| format!("a thread waited {} of its time for a core", shown::percent(share))),
            lag_ns.map(|lag| {
                let (lag, limit) = (lag as f64 / 1e6, lag_limit_ns as f64 / 1e6);
                format!("first tokens were read late, p99 {lag:.1} ms where {limit:.1} ms are well")
            }),
        ]
        .into_iter()
        .flatten()
        .collect();
        let severity = busy.unwrap_or(0.0).max(waiting.unwrap_or(0.0));
        (!words.is_empty()).then(|| (severity, words.join(", ")))
    });
    warning(
        "W8",
        "the load generator was short of CPU",
        &found,
        "Latencies may be its own. Give it more cores, more `workers`, or a machine that it shares with nobody.",
    )
}

/// What the reader's lag may be: a share of the tightest limit that counts from the schedule.
fn lag_limit_ns(slos: &[Slo]) -> i64 {
    let limits = slos.iter().filter_map(|slo| match slo {
        Slo::Latency {
            metric: LatencyMetric::Ttft | LatencyMetric::E2e,
            limit,
            ..
        } => Some(limit.as_nanos() as f64),
        _ => None,
    });
    (limits.reduce(f64::min).unwrap_or(5e8) * READER_LAG) as i64
}

fn doubtful(subject: &Subject<'_>) -> Option<Warning> {
    let found = find(subject, |level| {
        let client = level.validity.client;
        let step_ns = client.clock_step_ns.filter(|step| step.abs() > CLOCK_STEP_NS);
        let slew = client.clock_slew_ppm.filter(|ppm| ppm.abs() > CLOCK_SLEW_PPM);
        let little = client.little.filter(|little| !little.holds());
        let commit_s = client.slowest_commit_s.filter(|seconds| *seconds > SLOW_COMMIT_S);
        let words: Vec<String> = [
            little.map(|little| {
                let Little {
                    in_flight, expected, ..
                } = little;
                format!("{in_flight:.1} requests were in flight where their times make {expected:.1}")
            }),
            step_ns.map(|step| format!("the wall clock stepped by {:.3} ms", step as f64 / 1e6)),
            slew.map(|ppm| format!("the clock was steered by {ppm:.0} parts per million")),
            commit_s.map(|seconds| format!("the disk took {seconds:.1} s to keep what was measured")),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!words.is_empty()).then(|| (words.len() as f64, words.join(", ")))
    });
    warning(
        "W11",
        "the load generator's own figures are in doubt",
        &found,
        "Look at its machine: the clock's service, the disk, and what else runs there.",
    )
}

/// A ramp and a rejected level overload the server on purpose.
fn preempted(subject: &Subject<'_>) -> Option<Warning> {
    let found = find(subject, |level| {
        let is_overload = level.stage == Stage::Ramp
            || level.overloaded.is_some()
            || matches!(level.verdict, Some(Verdict::Reject { .. }));
        let count = level.preemptions.filter(|count| *count > 0.0 && !is_overload)?;
        Some((count, format!("{count:.0} times")))
    });
    warning(
        "W9",
        "the server preempted requests",
        &found,
        "Its KV cache was full and it computed answers twice. Give the KV cache more memory, or let fewer requests \
         run at once (`max_num_seqs`).",
    )
}

/// The objective whose violations leave a verdict open: their interval allows both answers. Without any violation the
/// sample is too small, which is another matter.
pub(crate) fn open_objective(level: &LevelSummary) -> Option<&Attainment> {
    let is_open = |one: &&Attainment| {
        let allowed = one.slo.allowed_share();
        one.violated > 0
            && one
                .interval
                .is_some_and(|(low, high)| low <= allowed && allowed < high)
    };
    let verdict = level.verdict.as_ref();
    let unresolved = verdict.filter(|verdict| matches!(verdict, Verdict::Unresolved { .. }));
    unresolved.and(level.attainment.iter().find(is_open))
}

fn open_verdicts(subject: &Subject<'_>) -> Option<Warning> {
    let found = find(subject, |level| {
        let one = open_objective(level)?;
        let (low, high) = one.interval?;
        let words = format!(
            "{} violate {}, but the 95 % interval from {} to {} holds the {} that are allowed",
            shown::percent(one.violating_share()?),
            one.slo,
            shown::percent(low),
            shown::percent(high),
            shown::percent(one.slo.allowed_share())
        );
        Some((high - low, words))
    });
    warning(
        "W10",
        "the verdict is open, since violations come in bursts,",
        &found,
        "Measure longer, or search the peak instead of listing rates.",
    )
}

fn unresolved(subject: &Subject<'_>) -> Option<Warning> {
    let reason = subject.search.and(subject.peak.unresolved.as_ref())?;
    Some(Warning {
        code: "W10",
        text: format!("the search has no answer: {reason}"),
        levels: Vec::new(),
    })
}

#[cfg(test)]
#[path = "warnings_tests.rs"]
mod tests;
