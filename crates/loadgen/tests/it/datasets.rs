//! Runs whose prompts come from a file.

use std::{collections::BTreeSet, fmt::Write, path::Path};

use gipfel_model::{
    AnswerLength, ArrivalProcess, DataSetFile, DataSetForm, DataSetSpec, LevelState, Outcome, Phase,
    Provenance, RunConfig, RunState,
};
use rustix::process::Signal;

use crate::support::{Results, RunDirectory, Sim, config, loadgen};

/// A run of so many prompts, each of which has an estimated length that no other one has.
fn of_prompts(sim: &Sim, rates: &[f64], count: usize, folder: &Path) -> RunConfig {
    let path = folder.join("prompts.jsonl");
    let mut text = String::new();
    for number in 1..=count {
        let prompt = "word".repeat(number);
        writeln!(text, "{{\"prompt\": \"{prompt}\", \"output_tokens\": 5}}").expect("a text");
    }
    std::fs::write(&path, text).expect("a file");
    let mut config = config(&sim.url, rates, &["ttft p50 <= 3s"]);
    config.workload.prompts.dataset = Some(DataSetSpec {
        files: vec![DataSetFile {
            form: DataSetForm::Jsonl,
            path: Some(path),
            share: 1.0,
        }],
        min_input: 1,
        max_input: 100_000,
        num_prompts: None,
        answers: AnswerLength::Dataset,
        nonce: false,
        hf_home: None,
    });
    config
}

/// The prompts that were sent, by their lengths; none twice.
fn sent(results: &Results) -> BTreeSet<u32> {
    let requests = results.levels.iter().flat_map(|level| &level.requests);
    let lengths: Vec<u32> = requests.map(|request| request.requested_input).collect();
    let distinct: BTreeSet<u32> = lengths.iter().copied().collect();
    assert_eq!(distinct.len(), lengths.len(), "a prompt was sent twice");
    distinct
}

#[test]
fn no_prompt_is_sent_twice_and_the_file_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let sim = Sim::narrow();
    let mut config = of_prompts(&sim, &[10.0, 20.0], 300, folder.path());
    config.workload.arrivals = ArrivalProcess::Gamma { burstiness: 0.5 };
    config.schedule.requests_per_level = Some(15);
    config.schedule.warmup_ramp = true;
    let directory = RunDirectory::new(config);
    assert_eq!(directory.run().expect("a run"), RunState::Completed);
    let results = directory.results();
    assert!(sent(&results).len() >= 30);
    for level in &results.levels {
        let measured = level.of_phase(Phase::Measured);
        assert_eq!(measured.len(), 15);
        assert!(measured.iter().all(|request| request.requested_output == 5));
        assert!(measured.iter().all(|request| request.outcome == Outcome::Ok));
    }
    let facts = &results.provenance.0[Provenance::DATASET];
    assert!(
        facts.contains("\"entries\":300") && facts.contains("\"sha256\":\""),
        "{facts}"
    );
}

#[test]
fn a_run_ends_when_its_prompts_are_used_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let sim = Sim::narrow();
    let directory = RunDirectory::new(of_prompts(&sim, &[10.0, 20.0], 30, folder.path()));
    let error = directory.run().expect_err("too few prompts").to_string();
    assert!(error.starts_with("the data set is used up: "), "{error}");
    let results = directory.results();
    assert_eq!(results.run.state, RunState::Failed);
    assert_eq!(results.levels[0].record.state, LevelState::Complete);
    sent(&results);
}

#[test]
fn a_killed_run_goes_on_with_prompts_that_it_has_not_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let sim = Sim::narrow();
    let mut config = of_prompts(&sim, &[10.0, 20.0], 900, folder.path());
    config.schedule.measured = std::time::Duration::from_secs(2);
    let directory = RunDirectory::new(config);
    let mut process = directory.spawn(loadgen());
    directory.wait_for_phase(1, Phase::Measured);
    process.signal(Signal::KILL);
    process.exit();
    assert_eq!(directory.run().expect("a run"), RunState::Completed);
    assert!(sent(&directory.results()).len() >= 60);
}

#[test]
fn a_run_without_its_file_says_so_before_it_asks_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let sim = Sim::narrow();
    let config = of_prompts(&sim, &[10.0], 30, folder.path());
    std::fs::remove_file(folder.path().join("prompts.jsonl")).expect("a file");
    drop(sim);
    let error = RunDirectory::new(config).run().expect_err("no file").to_string();
    assert!(error.starts_with("there is no file `"), "{error}");
}
