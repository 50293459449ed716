//! Runs that come to their end.

use std::{collections::BTreeSet, thread};

use gipfel_model::{
    ApiEndpoint, ArrivalProcess, CountSource, LengthDistribution, LevelState, Outcome, Phase, Provenance,
    RequestForm, RunState,
};
use hdrhistogram::{Histogram, serialization::Deserializer};

use crate::support::{Level, RunDirectory, Sim, config};

fn check_usage(level: &Level) {
    for request in level.requests.iter().filter(|one| one.outcome == Outcome::Ok) {
        assert_eq!(request.count_source, CountSource::Usage);
        assert_eq!(request.output_tokens, Some(request.requested_output));
        assert_eq!(request.input_tokens, Some(request.requested_input));
        assert_eq!(request.finish_reason.as_deref(), Some("length"));
        assert!(
            request.send_ns >= Some(0) && request.send_ns <= request.first_token_ns,
            "{request:?}"
        );
        assert!(request.first_token_ns <= request.last_token_ns, "{request:?}");
        assert!(Some(request.end_ns) >= request.last_token_ns, "{request:?}");
    }
}

#[test]
fn two_levels_from_accept_to_reject() {
    let sim = Sim::narrow();
    // Four requests of 0.1 s at a time: 40 a second.
    let directory = RunDirectory::new(config(&sim.url, &[20.0, 400.0], &["ttft p50 <= 3s"]));
    assert_eq!(directory.run().expect("a run"), RunState::Completed);

    let results = directory.results();
    assert_eq!(
        (results.run.state, &results.run.error),
        (RunState::Completed, &None)
    );
    let [low, high] = &results.levels[..] else {
        panic!("two levels: {results:?}")
    };
    for level in [low, high] {
        assert_eq!(level.record.state, LevelState::Complete);
        assert!(level.record.validity.is_valid(), "{:?}", level.record.validity);
        check_usage(level);
        for phase in [Phase::Warmup, Phase::Measured, Phase::Tail] {
            assert!(!level.of_phase(phase).is_empty(), "{phase}");
        }
    }
    assert_eq!((low.verdict(), high.verdict()), (Some("accept"), Some("reject")));

    let measured = low.of_phase(Phase::Measured);
    assert_eq!(measured.len(), 20);
    assert!(measured.iter().all(|one| one.outcome == Outcome::Ok));
    let record = &low.record;
    assert_eq!((record.offered_rate, record.sent_rate), (20.0, 20.0));
    assert!((10.0..=30.0).contains(&record.completed_rate), "{record:?}");
    assert_eq!(
        (record.attainment[0].scheduled, record.attainment[0].decided),
        (20, 20)
    );
    assert!(high.record.completed_rate < 100.0, "{:?}", high.record);
    assert!(high.requests.iter().any(|one| one.outcome == Outcome::Shed));
    let [gaps] = &low.gaps[..] else {
        panic!("one histogram for the rank")
    };
    let gaps: Histogram<u64> = Deserializer::new()
        .deserialize(&mut &gaps[..])
        .expect("a histogram");
    let expected: u64 = measured.iter().map(|one| u64::from(one.chunks) - 1).sum();
    assert_eq!(gaps.len(), expected);

    assert!(
        results
            .scrapes
            .iter()
            .any(|scrape| scrape.requests_running.is_some()),
        "{:?}",
        results.scrapes
    );
    for name in [
        Provenance::LOADGEN_SHA256,
        Provenance::WORKERS,
        Provenance::RUN_CONFIG,
    ] {
        assert!(results.provenance.0.contains_key(name), "{name}");
    }
    let progress = directory.progress().expect("progress.json");
    assert_eq!(progress.state, RunState::Completed);
    let shown: Vec<_> = progress
        .levels
        .iter()
        .map(|one| {
            (
                one.level,
                one.verdict.as_ref().map_or("", gipfel_model::Verdict::name),
            )
        })
        .collect();
    assert_eq!(shown, [(0, "accept"), (1, "reject")]);

    // A run that is over stays over, without its server.
    drop(sim);
    assert_eq!(directory.run().expect("it was complete"), RunState::Completed);
    assert_eq!(directory.results().levels, results.levels);
    let again = directory.progress().expect("progress.json");
    assert_eq!(
        (again.state, again.levels),
        (RunState::Completed, progress.levels)
    );
}

/// Number, time after the level's start, input and output.
type Sent = (i64, i64, u32, u32);

fn sent_by(workers: u32, url: &str) -> Vec<Sent> {
    let mut config = config(url, &[60.0], &["ttft p50 <= 10s"]);
    config.workers = Some(workers);
    config.workload.arrivals = ArrivalProcess::Poisson;
    config.workload.input_length = LengthDistribution::Uniform { min: 4, max: 40 };
    config.workload.output_length = LengthDistribution::Lognormal {
        median: 8.0,
        sigma: 0.5,
        min: 2,
        max: 30,
    };
    let directory = RunDirectory::new(config);
    assert_eq!(directory.run().expect("a run"), RunState::Completed);
    let results = directory.results();
    assert_eq!(results.provenance.0[Provenance::WORKERS], workers.to_string());
    let [level] = &results.levels[..] else {
        panic!("one level: {results:?}")
    };
    assert_eq!(level.verdict(), Some("accept"), "{:?}", level.record);
    let mut sent: Vec<Sent> = level
        .requests
        .iter()
        .filter(|one| one.phase != Phase::Tail)
        .map(|one| {
            let at_ns = one.scheduled_ns - level.record.start_ns;
            (one.request, at_ns, one.requested_input, one.requested_output)
        })
        .collect();
    sent.sort_unstable();
    sent
}

#[test]
fn any_number_of_workers_sends_the_same_requests() {
    let sim = Sim::fast();
    let [one, two, four] = thread::scope(|scope| {
        [1, 2, 4]
            .map(|workers| {
                scope.spawn({
                    let url = &sim.url;
                    move || sent_by(workers, url)
                })
            })
            .map(|run| run.join().expect("a run"))
    });
    assert!(one.len() > 40, "{}", one.len());
    assert_eq!(one, two);
    assert_eq!(one, four);
}

#[test]
fn requests_of_other_forms_are_measured() {
    let sim = Sim::fast();
    for (endpoint, stream) in [(ApiEndpoint::Completions, true), (ApiEndpoint::Chat, false)] {
        let mut config = config(&sim.url, &[20.0], &["e2e p50 <= 3s"]);
        config.workload.requests = RequestForm { endpoint, stream };
        let directory = RunDirectory::new(config);
        assert_eq!(directory.run().expect("a run"), RunState::Completed);
        let results = directory.results();
        assert_eq!(results.levels[0].verdict(), Some("accept"), "{endpoint}");
        let measured = results.levels[0].of_phase(Phase::Measured);
        assert_eq!(measured.len(), 20);
        for request in measured {
            assert_eq!((request.outcome, request.output_tokens), (Outcome::Ok, Some(20)));
            assert_eq!(request.input_tokens, Some(request.requested_input));
            assert_eq!(request.first_token_ns.is_some(), stream, "{request:?}");
            assert!(
                request.last_token_ns.is_some_and(|last| last <= request.end_ns),
                "{request:?}"
            );
        }
    }
}

#[test]
fn objectives_on_what_cannot_be_seen_are_refused() {
    let mut config = config(
        "http://127.0.0.1:9",
        &[20.0],
        &["ttft p95 <= 500ms", "e2e p50 <= 3s"],
    );
    config.informational_slos = vec!["itl p99 <= 1s".parse().expect("an objective")];
    config.workload.requests.stream = false;
    let error = RunDirectory::new(config)
        .run()
        .expect_err("nothing shows the first token");
    assert_eq!(
        format!("{error:#}"),
        "requests that are not streamed show no `ttft p95 <= 500ms` and no `itl p99 <= 1s`; use an objective on `e2e` \
         or stream them"
    );
}

#[test]
fn several_servers_share_the_requests() {
    let (one, two) = (Sim::fast(), Sim::fast());
    let mut config = config(&one.url, &[20.0], &["ttft p50 <= 3s"]);
    config.endpoint.replicas = vec![two.url.clone()];
    let directory = RunDirectory::new(config);
    assert_eq!(directory.run().expect("a run"), RunState::Completed);
    let results = directory.results();
    let measured = results.levels[0].of_phase(Phase::Measured);
    let second = measured.iter().filter(|request| request.endpoint == 1).count();
    assert!(measured.iter().all(|request| request.outcome == Outcome::Ok));
    assert_eq!(measured.len(), 20);
    assert!(
        (4..=16).contains(&second),
        "{second} of 20 went to the second server"
    );
    let scraped: BTreeSet<u32> = results.scrapes.iter().map(|scrape| scrape.endpoint).collect();
    assert_eq!(scraped, BTreeSet::from([0, 1]));
}

#[test]
fn servers_with_different_models_are_refused() {
    let (one, two) = (Sim::fast(), Sim::of("another"));
    let mut config = config(&one.url, &[20.0], &["ttft p50 <= 3s"]);
    config.endpoint.replicas = vec![two.url.clone()];
    let error = RunDirectory::new(config)
        .run()
        .expect_err("another model would be measured");
    let error = format!("{error:#}");
    assert!(
        error.contains("does not list the model") && error.contains("another"),
        "{error}"
    );
}
