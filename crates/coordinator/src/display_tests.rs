use gipfel_backend::FailureReason;
use gipfel_model::ArrivalRate;

use super::*;

fn level(phase: Phase, failed: u64) -> LevelProgress {
    LevelProgress {
        level: 0,
        rate: ArrivalRate::per_second(20.0).expect("a rate"),
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

#[test]
fn a_level_is_told_in_one_line() {
    insta::assert_snapshot!(level_line(&level(Phase::Warmup, 0)), @"  20 req/s: warm-up, 12 of 90 s, 8 in flight");
    insta::assert_snapshot!(
        level_line(&level(Phase::Measured, 3)),
        @"  20 req/s: measuring, 12 of 90 s, 8 in flight, 3 failed, TTFT p95 so far 123 ms"
    );
}

#[test]
fn a_failed_run_names_the_class() {
    let failure = Failure {
        reason: FailureReason::ServerFailed,
        message: "the server's process 7 is gone".to_owned(),
        log_tail: "last words".to_owned(),
    };
    let phase = RunPhase::Ended(RunOutcome::Failed(failure));
    insta::assert_snapshot!(run_line("r", &phase), @"run r failed: server-failed: the server's process 7 is gone");
}

#[test]
fn an_update_is_one_json_object() {
    let update = Update::Unreachable {
        about: "d-1".to_owned(),
    };
    insta::assert_snapshot!(event(&update), @r#"{"about":"d-1","event":"unreachable"}"#);
}
