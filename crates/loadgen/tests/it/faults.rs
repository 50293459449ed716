//! Requests that fail.

use gipfel_inference_sim::Faults;
use gipfel_model::{Outcome, Phase, RunState};

use crate::support::{RunDirectory, Sim, config};

#[test]
fn failed_requests_are_told_apart_and_violate_every_objective() {
    let faults = Faults {
        cut_every: Some(7),
        error_every: Some(5),
        ..Faults::default()
    };
    let sim = Sim::start(1e6, 512, faults);
    let slos = &["ttft p50 <= 10s", "error_rate <= 20%"];
    let directory = RunDirectory::new(config(&sim.url, &[100.0], slos));
    assert_eq!(directory.run().expect("a run"), RunState::Completed);
    let results = directory.results();
    let [level] = &results.levels[..] else {
        panic!("one level: {results:?}")
    };
    let measured = level.of_phase(Phase::Measured);
    let count = |outcome: Outcome| measured.iter().filter(|one| one.outcome == outcome).count() as u64;
    let (cut, error) = (count(Outcome::StreamCut), count(Outcome::StreamError));
    assert!(cut > 0 && error > 0, "{cut} {error}");
    let finished = count(Outcome::Ok) + count(Outcome::Shed) + cut + error;
    assert_eq!(finished, measured.len() as u64, "{measured:?}");
    for attainment in &level.record.attainment {
        assert_eq!(attainment.violated, cut + error, "{}", attainment.slo);
    }
    let verdict = level.record.verdict.as_ref().map(ToString::to_string);
    assert_eq!(verdict.as_deref(), Some("reject (error_rate <= 20%)"));
    let why = |outcome: Outcome| {
        measured
            .iter()
            .find(|one| one.outcome == outcome)
            .and_then(|one| one.error.clone())
    };
    assert!(why(Outcome::StreamCut).is_some() && why(Outcome::StreamError).is_some());
}
