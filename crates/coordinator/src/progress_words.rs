//! Where a run stands, in one line each: pure, so that every line is tested.

use gipfel_model::{
    LevelProgress, Phase, Progress, SearchProgress, Stage, Verdict, format_rate, progress::LevelSummary,
};
use gipfel_results_analysis::{estimate_words, percent_words};

/// From so many seconds on, what is left of a budget is said in minutes.
const MINUTES_FROM_S: f64 = 120.0;

/// Where the run stands now; absent while it waits and when it is over.
pub(crate) fn standing(progress: &Progress) -> Option<String> {
    match (&progress.search, &progress.current) {
        (Some(search), current) => Some(search_line(search, current.as_ref())),
        (None, Some(current)) => Some(level_line(current)),
        (None, None) => None,
    }
}

/// A level that is over.
pub(crate) fn closed(level: &LevelSummary) -> String {
    match level.stage {
        Stage::Level => format!(
            "{}: TTFT p95 {}, completed {:.2} req/s: {}",
            level.rate,
            milliseconds(level.ttft_p95_ms),
            level.completed_rate,
            level.verdict.as_ref().map(verdict_words).unwrap_or_default()
        ),
        Stage::Ramp | Stage::Bracket | Stage::Track => format!(
            "{} {} req/s: {}",
            level.stage,
            format_rate(level.rate.get()),
            step_words(level)
        ),
    }
}

/// Of a step of a search: the share over the objective that is violated most, or why it does not count.
fn step_words(level: &LevelSummary) -> String {
    if let Some(verdict) = &level.verdict {
        return verdict_words(verdict);
    }
    let worst = level.worst.as_ref();
    match worst.and_then(|worst| Some((worst.violating_share()?, worst.slo))) {
        Some((share, slo)) => format!("{} over {slo}", percent_words(share)),
        None => "nothing is decided".to_owned(),
    }
}

fn search_line(search: &SearchProgress, current: Option<&LevelProgress>) -> String {
    let stage = match search.stage {
        Stage::Ramp => "rising",
        Stage::Bracket => "narrowing down",
        Stage::Track | Stage::Level => "near the peak",
    };
    let mut parts = vec![match current {
        Some(current) => format!("{stage}, at {} req/s", format_rate(current.rate.get())),
        None => stage.to_owned(),
    }];
    parts.extend(match (&search.estimate, search.bracket) {
        (Some(estimate), _) => Some(format!("peak {}", estimate_words(estimate))),
        (None, Some((low, high))) => Some(format!(
            "peak between {} and {} req/s",
            format_rate(low),
            format_rate(high)
        )),
        (None, None) => None,
    });
    parts.push(format!(
        "{} of {}",
        minutes(search.elapsed_s),
        minutes(search.budget_s)
    ));
    parts.push(left(search.budget_s - search.elapsed_s));
    if let Some(failed) = current.map(|current| current.failed).filter(|failed| *failed > 0) {
        parts.push(format!("{failed} failed"));
    }
    format!("search: {}", parts.join(", "))
}

/// How long it may take still.
fn left(seconds: f64) -> String {
    match seconds {
        seconds if seconds <= 0.0 => "ends soon".to_owned(),
        seconds if seconds >= MINUTES_FROM_S => format!("at most {:.0} min left", (seconds / 60.0).ceil()),
        seconds => format!("at most {:.0} s left", seconds.ceil()),
    }
}

/// `6:12`.
fn minutes(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn level_line(current: &LevelProgress) -> String {
    let phase = match current.phase {
        Phase::Warmup => "warm-up",
        Phase::Measured => "measuring",
        Phase::Tail => "waiting for the measured requests",
    };
    let ttft = match current.phase {
        Phase::Warmup => String::new(),
        Phase::Measured | Phase::Tail => format!(", TTFT p95 so far {}", milliseconds(current.ttft_p95_ms)),
    };
    let failed = if current.failed > 0 {
        format!(", {} failed", current.failed)
    } else {
        String::new()
    };
    format!(
        "{}: {phase}, {:.0} of {:.0} s, {} in flight{failed}{ttft}",
        current.rate, current.elapsed_s, current.planned_s, current.in_flight
    )
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0} ms"))
}

fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "passes".to_owned(),
        Verdict::Reject { slo } => format!("rejected ({slo})"),
        Verdict::Unresolved { reason } => format!("unresolved: {reason}"),
        Verdict::Invalid { reason } => format!("invalid: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use gipfel_model::{ArrivalRate, Attainment, PeakEstimate};
    use insta::assert_snapshot;

    use super::*;

    fn rate(per_second: f64) -> ArrivalRate {
        ArrivalRate::per_second(per_second).expect("a rate")
    }

    fn level(phase: Phase, failed: u64) -> LevelProgress {
        LevelProgress {
            level: 0,
            rate: rate(20.0),
            phase,
            elapsed_s: 12.4,
            planned_s: 90.0,
            sent: 248,
            ended: 240,
            failed,
            in_flight: 8,
            ttft_p95_ms: Some(123.4),
        }
    }

    fn search(stage: Stage, elapsed_s: f64) -> SearchProgress {
        SearchProgress {
            stage,
            estimate: None,
            bracket: None,
            elapsed_s,
            budget_s: 900.0,
        }
    }

    #[test]
    fn a_level_is_told_in_one_line() {
        assert_snapshot!(level_line(&level(Phase::Warmup, 0)), @"20 req/s: warm-up, 12 of 90 s, 8 in flight");
        assert_snapshot!(
            level_line(&level(Phase::Measured, 3)),
            @"20 req/s: measuring, 12 of 90 s, 8 in flight, 3 failed, TTFT p95 so far 123 ms"
        );
    }

    #[test]
    fn a_search_is_told_in_one_line() {
        let at = |per_second: f64, failed| LevelProgress {
            rate: rate(per_second),
            ..level(Phase::Measured, failed)
        };
        assert_snapshot!(search_line(&search(Stage::Ramp, 40.2), Some(&at(12.8, 0))), @r"search: rising, at 12.8 req/s, 0:40 of 15:00, at most 15 min left");
        let bracket = SearchProgress {
            bracket: Some((20.1, 27.24)),
            ..search(Stage::Bracket, 100.0)
        };
        assert_snapshot!(search_line(&bracket, Some(&at(23.456, 2))), @r"search: narrowing down, at 23.5 req/s, peak between 20.1 and 27.2 req/s, 1:40 of 15:00, at most 14 min left, 2 failed");
        let estimate = PeakEstimate {
            peak_qps: 25.3,
            mean: 25.5,
            low: 24.1,
            high: 26.4,
            binding: "ttft p95 <= 500ms".parse().expect("an objective"),
            n_eff: 12.0,
        };
        let track = |elapsed_s| SearchProgress {
            estimate: Some(estimate.clone()),
            ..search(Stage::Track, elapsed_s)
        };
        assert_snapshot!(search_line(&track(372.0), Some(&at(25.4, 0))), @r"search: near the peak, at 25.4 req/s, peak 25.3 req/s (90 % interval 24.1–26.4), 6:12 of 15:00, at most 9 min left");
        assert_snapshot!(search_line(&track(850.5), None), @r"search: near the peak, peak 25.3 req/s (90 % interval 24.1–26.4), 14:10 of 15:00, at most 50 s left");
        assert_snapshot!(search_line(&track(901.0), None), @r"search: near the peak, peak 25.3 req/s (90 % interval 24.1–26.4), 15:01 of 15:00, ends soon");
    }

    #[test]
    fn a_level_that_is_over_is_told_in_one_line() {
        let slo = "ttft p95 <= 500ms".parse().expect("an objective");
        let worst = Attainment {
            slo,
            scheduled: 2540,
            decided: 2540,
            violated: 79,
            n_eff: None,
            interval: None,
        };
        let over = |stage, worst: Option<&Attainment>, verdict| {
            closed(&LevelSummary {
                level: 3,
                rate: rate(25.4137),
                ttft_p95_ms: Some(312.4),
                completed_rate: 25.1,
                stage,
                worst: worst.cloned(),
                verdict,
            })
        };
        assert_snapshot!(over(Stage::Track, Some(&worst), None), @r"track 25.4 req/s: 3.1 % over ttft p95 <= 500ms");
        assert_snapshot!(over(Stage::Ramp, None, None), @r"ramp 25.4 req/s: nothing is decided");
        let invalid = Verdict::Invalid {
            reason: "the client was late".to_owned(),
        };
        assert_snapshot!(over(Stage::Track, Some(&worst), Some(invalid)), @r"track 25.4 req/s: invalid: the client was late");
        assert_snapshot!(over(Stage::Level, Some(&worst), Some(Verdict::Accept)), @r"25.4137 req/s: TTFT p95 312 ms, completed 25.10 req/s: passes");
    }
}
