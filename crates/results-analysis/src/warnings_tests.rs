use gipfel_model::{
    ClientHealth, Little, ReaderLag, RequestRecord, Second, record::Decision, search::Decided,
};
use insta::assert_snapshot;

use super::*;
use crate::{
    fixture::{self, invalidate, requests, slo},
    judge::Objectives,
    level::{self, LevelData},
};

const TTFT: &str = "ttft p95 <= 500ms";

/// A level of 1000 requests at 50 req/s, all well.
fn level(change: impl Fn(&mut LevelSummary)) -> LevelSummary {
    let slos = [slo(TTFT)];
    let mut all = requests(0, 1000, 1);
    for request in &mut all {
        request.first_token_ns = Some(1_000_000);
    }
    let record = fixture::level(0, 50.0, &slos, &all);
    let mut summary = summarize(record, all, &slos);
    change(&mut summary);
    summary
}

fn summarize(record: LevelRecord, requests: Vec<RequestRecord>, slos: &[Slo]) -> LevelSummary {
    let objectives = Objectives {
        judged_by: None,
        own: slos,
        informational: &[],
        timed: true,
    };
    let requests = fixture::arriving(&record, &requests);
    level::summarize(
        LevelData::new(record, requests, Vec::new(), Vec::new()),
        &objectives,
        &[],
    )
    .0
}

/// What is said of levels that were listed.
fn of(levels: &[LevelSummary], prompts: Option<u64>) -> String {
    said(&Subject {
        levels,
        records: &[],
        slos: &[slo(TTFT)],
        search: None,
        peak: &PeakAnswer::default(),
        prompts,
    })
}

/// What is said of a search.
fn of_search(records: &[LevelRecord], peak: &PeakAnswer) -> String {
    said(&Subject {
        levels: &[],
        records,
        slos: &[slo(TTFT)],
        search: Some(&SearchSpec::default()),
        peak,
        prompts: None,
    })
}

fn said(subject: &Subject<'_>) -> String {
    let texts: Vec<String> = warnings(subject)
        .iter()
        .map(|warning| format!("{} {:?} {}", warning.code, warning.levels, warning.text))
        .collect();
    texts.join("\n")
}

/// What is said of one level.
fn check(change: impl Fn(&mut LevelSummary)) -> String {
    of(&[level(change)], None)
}

#[test]
fn a_sound_level_needs_no_warning() {
    assert_eq!(check(|_| {}), "");
}

#[test]
fn w1_few_samples() {
    assert_snapshot!(check(|level| level.attainment[0].n_eff = Some(199.0)), @r"W1 [0] the sample is small for its percentile at 50 req/s: 1000 requests are worth 199 independent ones, of which ttft p95 <= 500ms allows 10.0 to violate; a firm verdict takes 10. Measure longer (`measurement_duration`), or search the peak instead of listing rates.");
    assert_eq!(check(|level| level.attainment[0].n_eff = Some(200.1)), "");
    assert_eq!(check(|level| level.attainment[0].n_eff = None), "");
    let rejected = check(|level| {
        level.attainment[0].n_eff = Some(20.0);
        level.verdict = Some(Verdict::Reject { slo: slo(TTFT) });
    });
    assert_eq!(rejected, "");
}

#[test]
fn w2_requests_in_flight_that_grow() {
    let load = |middle_third: f64, last_third: f64| {
        check(|level| {
            level.measured_s = 600.0;
            level.in_flight = Some(InFlight {
                mean: f64::midpoint(middle_third, last_third),
                middle_third,
                last_third,
            });
        })
    };
    assert_snapshot!(load(200.0, 230.0), @r"W2 [0] the requests in flight were still growing at 50 req/s: 230 in the window's last third, 200 in the one before. The server had not settled or was beyond its limit, so the level's latencies are too good. Measure longer, with a longer warm-up.");
    assert_eq!(load(200.0, 210.0), "");
    assert_eq!(load(230.0, 200.0), "");
    // Within what chance makes of a short window.
    let short = check(|level| {
        level.measured_s = 30.0;
        level.e2e_p50_s = Some(8.0);
        level.in_flight = Some(InFlight {
            mean: 215.0,
            middle_third: 200.0,
            last_third: 230.0,
        });
    });
    assert_eq!(short, "");
}

#[test]
fn w2_a_server_that_changed() {
    let block = |number: u32, rate: f64, violating: f64| {
        let slos = [slo(TTFT)];
        let mut record = fixture::level(number, rate, &slos, &requests(number, 10, 1));
        record.stage = Stage::Track;
        record.verdict = None;
        let n = rate.round() as u32;
        let mut second = Second {
            arrivals: n,
            objectives: vec![Decided::default()],
            ..Second::default()
        };
        (0..n).for_each(|request| {
            let violates = f64::from(request) < violating * f64::from(n);
            let decision = if violates {
                Decision::Violated
            } else {
                Decision::Met
            };
            second.objectives[0].count(decision);
        });
        record.evidence = Some(gipfel_model::Evidence {
            seconds: vec![second; 200],
            stands_for_s: 200,
            e2e_p50_s: Some(2.0),
            ..gipfel_model::Evidence::default()
        });
        record
    };
    let said = |records: &[LevelRecord]| of_search(records, &PeakAnswer::default());
    let steady: Vec<LevelRecord> = (0..8)
        .map(|number| {
            block(
                number,
                if number % 2 == 0 { 24.0 } else { 26.0 },
                if number % 2 == 0 { 0.01 } else { 0.2 },
            )
        })
        .collect();
    assert_eq!(said(&steady), "");
    let changed: Vec<LevelRecord> = (0..8)
        .map(|number| {
            let rate = if number < 4 { 25.0 } else { 18.0 } * if number % 2 == 0 { 0.97 } else { 1.03 };
            block(number, rate, if number % 2 == 0 { 0.01 } else { 0.2 })
        })
        .collect();
    let text = said(&changed);
    assert!(
        text.starts_with(
            "W2 [0, 1, 2, 3, 4, 5, 6, 7] the server changed during the search: its first 4 blocks"
        ),
        "{text}"
    );
}

#[test]
fn w3_a_client_that_is_late() {
    let slos = [slo(TTFT)];
    let all = requests(0, 1000, 1);
    let mut record = fixture::level(0, 50.0, &slos, &all);
    invalidate(&mut record);
    let level = summarize(record, all, &slos);
    assert_snapshot!(of(&[level], None), @r"W3 [0] the load generator did not keep its part at 50 req/s: the client was late: schedule delay p99 31.4 ms, allowed 10.0 ms. Such levels count for nothing. Give it more cores, or a machine that it shares with nobody.");
}

#[test]
fn w4_a_prefix_cache() {
    assert_snapshot!(check(|level| level.prefix_cache_hit_share = Some(0.124)), @r"W4 [0] the server's prefix cache helped at 50 req/s: 12 % of the prompt tokens were answered from it. No two prompts begin alike but for the chat template, so nothing else should: the rates are too high for prompts that differ. Start the server anew, without prefix caching.");
    assert_eq!(check(|level| level.prefix_cache_hit_share = Some(0.01)), "");
}

#[test]
fn w5_short_answers() {
    assert_snapshot!(check(|level| {
        level.answers.short = 140;
        level.answers.tokens -= 1000;
    }), @r"W5 [0] answers were shorter than asked at 50 req/s: 14 % of 1000 answers, which together have 91 % of the tokens asked for. The server had less to do than the workload says. Use an engine that takes `ignore_eos`, or ask for the lengths that the model gives.");
    assert_eq!(check(|level| level.answers.short = 20), "");
}

#[test]
fn w6_failures() {
    let failing = |failed: u64| {
        move |level: &mut LevelSummary| {
            level.requests.failed = failed;
            level.requests.by_outcome.insert("http_error".to_owned(), failed);
            level.requests.by_outcome.insert("shed".to_owned(), 5);
        }
    };
    assert_snapshot!(check(failing(30)), @r"W6 [0] requests failed at 50 req/s: 3.0 % of 1000 (http_error 30). They violate every objective, so the rates are those of a server that fails. The server's log says more.");
    assert_eq!(check(failing(1)), "");
    let mut levels: Vec<LevelSummary> = (0..6).map(|_| level(failing(2))).collect();
    levels[3] = level(failing(30));
    for (number, level) in levels.iter_mut().enumerate() {
        level.level = number as u32;
        level.stage = Stage::Track;
        level.rate = fixture::rate(25.0 + number as f64 / 10.0);
    }
    assert_snapshot!(of(&levels, None), @r"W6 [0, 1, 2, 3, 4, 5] requests failed at 6 levels, most at 25.3 req/s: 3.0 % of 1000 (http_error 30). They violate every objective, so the rates are those of a server that fails. The server's log says more.");
}

#[test]
fn w7_prompts_that_are_used_up() {
    let said = |prompts| of(&[level(|_| {})], prompts);
    assert_snapshot!(said(Some(300)), @r"W7 [] the data set's prompts were sent more than once: 1000 measured requests from 300 prompts. Caches may have answered the later ones. Use a larger data set, or synthetic prompts.");
    assert_eq!(said(Some(1000)), "");
    assert_eq!(said(None), "");
}

#[test]
fn w8_a_client_without_cpu() {
    let health = |busiest_thread, run_queue| {
        check(|level| {
            level.validity.client = ClientHealth {
                busiest_thread,
                run_queue,
                ..ClientHealth::default()
            }
        })
    };
    assert_snapshot!(health(Some(0.93), Some(0.15)), @r"W8 [0] the load generator was short of CPU at 50 req/s: its busiest thread used 93 % of a core, a thread waited 15 % of its time for a core. Latencies may be its own. Give it more cores, more `workers`, or a machine that it shares with nobody.");
    assert_eq!(health(Some(0.8), Some(0.1)), "");
    assert_eq!(health(None, None), "");
    let lag = |p99_ns| {
        check(|level| {
            level.validity.client.reader_lag = Some(ReaderLag {
                p50_ns: 1,
                p99_ns,
                max_ns: 60_000_000,
            });
        })
    };
    assert_snapshot!(lag(26_000_000), @r"W8 [0] the load generator was short of CPU at 50 req/s: first tokens were read late, p99 26.0 ms where 25.0 ms are well. Latencies may be its own. Give it more cores, more `workers`, or a machine that it shares with nobody.");
    assert_eq!(lag(25_000_000), "");
}

#[test]
fn w11_figures_that_do_not_fit() {
    let said = |client: ClientHealth| check(|level| level.validity.client = client);
    let little = |in_flight| {
        Some(Little {
            in_flight,
            expected: 100.0,
            allowed: 0.03,
        })
    };
    let doubtful = ClientHealth {
        little: little(110.0),
        clock_step_ns: Some(-60_000),
        clock_slew_ppm: Some(501.0),
        slowest_commit_s: Some(3.25),
        ..ClientHealth::default()
    };
    assert_snapshot!(said(doubtful), @r"W11 [0] the load generator's own figures are in doubt at 50 req/s: 110.0 requests were in flight where their times make 100.0, the wall clock stepped by -0.060 ms, the clock was steered by 501 parts per million, the disk took 3.2 s to keep what was measured. Look at its machine: the clock's service, the disk, and what else runs there.");
    let sound = ClientHealth {
        little: little(103.0),
        clock_step_ns: Some(50_000),
        clock_slew_ppm: Some(-500.0),
        slowest_commit_s: Some(1.0),
        ..ClientHealth::default()
    };
    assert_eq!(said(sound), "");
}

#[test]
fn w9_preemptions() {
    assert_snapshot!(check(|level| level.preemptions = Some(12.0)), @r"W9 [0] the server preempted requests at 50 req/s: 12 times. Its KV cache was full and it computed answers twice. Give the KV cache more memory, or let fewer requests run at once (`max_num_seqs`).");
    assert_eq!(check(|level| level.preemptions = Some(0.0)), "");
    let overloaded = check(|level| {
        level.preemptions = Some(12.0);
        level.stage = Stage::Bracket;
        level.overloaded = Some(slo(TTFT));
    });
    assert_eq!(overloaded, "");
}

#[test]
fn w10_open_verdicts() {
    let open = check(|level| {
        let one = &mut level.attainment[0];
        one.violated = 41;
        one.n_eff = Some(60.0);
        one.interval = Some((0.009, 0.119));
        level.verdict = Some(Verdict::Unresolved {
            reason: "it straddles".to_owned(),
        });
    });
    assert_snapshot!(open, @r"W10 [0] the verdict is open, since violations come in bursts, at 50 req/s: 4.1 % violate ttft p95 <= 500ms, but the 95 % interval from 0.90 % to 12 % holds the 5.0 % that are allowed. Measure longer, or search the peak instead of listing rates.");
    let peak = PeakAnswer {
        unresolved: Some("the interval is 12 % wide; a longer budget resolves it".to_owned()),
        ..PeakAnswer::default()
    };
    assert_snapshot!(of_search(&[], &peak), @r"W10 [] the search has no answer: the interval is 12 % wide; a longer budget resolves it");
}
