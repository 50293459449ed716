//! From the start to the end, and what goes wrong on the way.

use super::*;

#[test]
fn runs_of_one_server_go_one_after_another_and_then_it_ends() {
    check(
        &mut two(),
        "
        start: submit d-1 => d-1 submitting r-1 waiting r-2 waiting
        d-1 submitted: look d-1 => d-1 starting r-1 waiting r-2 waiting
        d-1 starting: => d-1 starting r-1 waiting r-2 waiting
        d-1 ready: submit r-1 => d-1 ready r-1 submitting r-2 waiting
        r-1 submitted: look r-1 => d-1 ready r-1 running r-2 waiting
        r-1 completed: look d-1 => d-1 ready r-1 checking r-2 waiting
        d-1 ready: fetch r-1, submit r-2 => d-1 ready r-1 collecting r-2 submitting
        r-1 fetched: end r-1 => d-1 ready r-1 ending r-2 submitting
        r-1 ended: => d-1 ready r-1 completed r-2 submitting
        r-2 submitted: look r-2 => d-1 ready r-1 completed r-2 running
        r-2 completed: look d-1 => d-1 ready r-1 completed r-2 checking
        d-1 ready: fetch r-2, end d-1 => d-1 ending r-1 completed r-2 collecting
        d-1 ended: => d-1 done r-1 completed r-2 collecting
        r-2 fetched: end r-2 => d-1 done r-1 completed r-2 ending
        r-2 ended: => d-1 done r-1 completed r-2 completed
        ",
    );
}

#[test]
fn a_load_generator_that_waits_by_itself_is_started_while_its_server_loads() {
    check(
        &mut samples::campaign(vec![samples::two_jobs("m")], false),
        "
        start: submit d-1 => d-1 submitting r-1 waiting
        d-1 submitted: look d-1 => d-1 starting r-1 waiting
        # Its job is in the queue: the other one would only wait for it.
        d-1 queued: => d-1 starting r-1 waiting
        d-1 starting: submit r-1 => d-1 starting r-1 submitting
        r-1 submitted: look r-1 => d-1 starting r-1 running
        d-1 ready: => d-1 ready r-1 running
        ",
    );
}

#[test]
fn only_so_many_deployments_live_at_once() {
    let experiments = ["m", "n"]
        .map(|model| samples::experiment(model, samples::local()))
        .to_vec();
    check(
        &mut samples::campaign(experiments, false),
        "
        start: submit d-1 => d-1 submitting r-1 waiting | d-2 pending r-2 waiting
        d-1 impossible: submit d-2 => d-1 failed r-1 failed | d-2 submitting r-2 waiting
        ",
    );
}

#[test]
fn a_refused_submission_is_tried_again_with_a_tick_and_a_bound() {
    check(
        &mut one(),
        "
        start: submit d-1 => d-1 submitting r-1 waiting
        d-1 refused: => d-1 pending r-1 waiting
        tick: submit d-1 => d-1 submitting r-1 waiting
        d-1 refused: => d-1 failed r-1 failed
        ",
    );
}

#[test]
fn a_submission_in_doubt_is_asked_for_until_it_is_known() {
    check(
        &mut one(),
        "
        start
        d-1 in-doubt: find d-1 => d-1 settling r-1 waiting
        d-1 unsettled: => d-1 settling r-1 waiting
        tick: find d-1 => d-1 settling r-1 waiting
        d-1 found: look d-1 => d-1 starting r-1 waiting
        ",
    );
}

#[test]
fn the_time_to_answer_does_not_run_in_the_queue() {
    let mut campaign = one();
    quietly(&mut campaign, &["start", "d-1 submitted"]);
    check_at(
        &mut campaign,
        50_000,
        "
        d-1 queued: => d-1 starting r-1 waiting
        ",
    );
    check_at(
        &mut campaign,
        100_000,
        "
        d-1 starting: => d-1 starting r-1 waiting
        ",
    );
    check_at(
        &mut campaign,
        109_999,
        "
        d-1 starting: => d-1 starting r-1 waiting
        ",
    );
    check_at(
        &mut campaign,
        110_000,
        "
        d-1 starting: log d-1 => d-1 diagnosing r-1 waiting
        d-1 log: end d-1 => d-1 ending r-1 failed
        d-1 ended: => d-1 failed r-1 failed
        ",
    );
    let Some(RunOutcome::Failed(failure)) = campaign.deployments[0].runs[0].outcome() else {
        panic!()
    };
    assert_eq!(
        (failure.reason, failure.log_tail.as_str()),
        (FailureReason::ReadyTimeout, "last line")
    );
    assert_eq!(failure.message, "the server was not ready within 10s");
}

#[test]
fn the_time_to_load_is_from_the_queue_to_the_first_answer() {
    let mut campaign = one();
    quietly(&mut campaign, &["start", "d-1 submitted"]);
    check_at(
        &mut campaign,
        50_000,
        "
        d-1 queued
        ",
    );
    check_at(
        &mut campaign,
        52_000,
        "
        d-1 starting
        ",
    );
    check_at(
        &mut campaign,
        57_500,
        "
        d-1 ready
        ",
    );
    assert_eq!(
        campaign.deployments[0].load_time,
        Some(std::time::Duration::from_millis(7500))
    );
}

#[test]
fn a_server_that_dies_fails_its_runs_and_no_others() {
    let mut experiments = vec![samples::experiment("m", samples::local()); 2];
    experiments.push(samples::experiment("n", samples::local()));
    let mut campaign = samples::campaign(experiments, false);
    campaign.max_parallel = 2;
    quietly(
        &mut campaign,
        &[
            "start",
            "d-1 submitted",
            "d-1 ready",
            "r-1 submitted",
            "d-2 submitted",
            "d-2 ready",
        ],
    );
    check(
        &mut campaign,
        "
        d-1 gone: stop r-1, end d-1 => d-1 ending r-1 stopping r-2 failed | d-2 ready r-3 submitting
        r-1 asked
        r-1 stopped: fetch r-1 => d-1 ending r-1 collecting r-2 failed | d-2 ready r-3 submitting
        r-1 fetched
        r-1 ended: => d-1 ending r-1 failed r-2 failed | d-2 ready r-3 submitting
        ",
    );
    let run = &campaign.deployments[0].runs[0];
    assert_eq!(
        run.outcome(),
        Some(&RunOutcome::Failed(failure(FailureReason::ServerFailed)))
    );
    assert!(run.database.is_some());
}

#[test]
fn a_run_that_completed_against_a_dead_server_did_not_complete() {
    let mut campaign = running();
    check_at(
        &mut campaign,
        5,
        "
        r-1 completed: look d-1 => d-1 ready r-1 checking
        # That question was on its way before the run ended, so its answer proves nothing.
        d-1 ready-before: look d-1 => d-1 ready r-1 checking
        d-1 gone: fetch r-1, end d-1 => d-1 ending r-1 collecting
        r-1 fetched
        r-1 ended: => d-1 ending r-1 failed
        ",
    );
}

#[test]
fn a_load_generator_that_dies_is_started_again_with_a_bound() {
    check(
        &mut running(),
        "
        r-1 died: look d-1 => d-1 ready r-1 checking
        d-1 ready: => d-1 ready r-1 waiting
        near-tick: submit r-1 => d-1 ready r-1 submitting
        r-1 submitted: look r-1 => d-1 ready r-1 running
        r-1 died
        d-1 ready: fetch r-1, end d-1 => d-1 ending r-1 collecting
        r-1 fetched
        r-1 ended: => d-1 ending r-1 failed
        ",
    );
}

#[test]
fn polling_errors_end_nothing() {
    let mut campaign = running();
    for _ in 0..50 {
        quietly(&mut campaign, &["tick", "d-1 unseen", "r-1 unseen"]);
    }
    assert_eq!(phases(&campaign), "d-1 ready r-1 running");
    assert_eq!(
        (
            campaign.deployments[0].phase.missed(),
            campaign.deployments[0].runs[0].phase.missed()
        ),
        (2, 2)
    );
}

/// A run whose load generator has failed, with a server that does not answer from then on.
fn checking(choice: &ServerChoice) -> Campaign {
    let experiment = samples::experiment("m", samples::local());
    let mut campaign = plan_campaign(
        samples::facts(),
        vec![experiment.clone(), experiment],
        choice,
        &mut samples::Count::default(),
    )
    .unwrap();
    quietly(
        &mut campaign,
        &["start", "d-1 submitted", "d-1 ready", "r-1 submitted"],
    );
    check(
        &mut campaign,
        "
        r-1 died: look d-1 => d-1 ready r-1 checking r-2 waiting
        d-1 unseen
        near-tick: look d-1 => d-1 ready r-1 checking r-2 waiting
        d-1 unseen: => d-1 ready r-1 checking r-2 waiting
        ",
    );
    campaign
}

#[test]
fn a_check_of_a_server_that_stays_silent_ends() {
    let mut url = checking(&ServerChoice::Url(EndpointSpec::new("http://h")));
    check_at(
        &mut url,
        999,
        "
        d-1 unseen: => d-1 ready r-1 checking r-2 waiting
        ",
    );
    check_at(
        &mut url,
        1000,
        "
        d-1 unseen: fetch r-1 => d-1 failed r-1 collecting r-2 failed
        r-1 fetched: end r-1 => d-1 failed r-1 ending r-2 failed
        r-1 ended: => d-1 failed r-1 failed r-2 failed
        ",
    );
    assert!(url.is_settled());
    let messages: Vec<_> = url
        .runs()
        .map(|(_, run)| match run.outcome() {
            Some(RunOutcome::Failed(failure)) => (failure.reason, failure.message.as_str()),
            _ => panic!("{run:?}"),
        })
        .collect();
    assert_eq!(
        messages,
        [
            (
                FailureReason::ServerFailed,
                "the server does not answer any more: why"
            ),
            (FailureReason::ServerFailed, "the server does not answer any more"),
        ]
    );
}

#[test]
fn a_silent_server_of_ours_stays_ours_when_a_check_of_it_ends() {
    let mut campaign = checking(&ServerChoice::Fresh { keep: false });
    check_at(
        &mut campaign,
        1000,
        "
        d-1 unseen: fetch r-1, submit r-2 => d-1 ready r-1 collecting r-2 submitting
        r-2 submitted
        tick: look d-1, fetch r-1, look r-2 => d-1 ready r-1 collecting r-2 running
        interrupt
        r-2 stopped: fetch r-2, end d-1 => d-1 ending r-1 collecting r-2 collecting
        ",
    );
}

#[test]
fn the_time_to_answer_runs_while_observations_fail() {
    let mut campaign = one();
    quietly(
        &mut campaign,
        &["start", "d-1 submitted", "d-1 starting", "d-1 unseen"],
    );
    check_at(
        &mut campaign,
        9_999,
        "
        d-1 unseen: => d-1 starting r-1 waiting
        ",
    );
    check_at(
        &mut campaign,
        10_000,
        "
        tick: look d-1 => d-1 starting r-1 waiting
        d-1 unseen: log d-1 => d-1 diagnosing r-1 waiting
        d-1 log: end d-1 => d-1 ending r-1 failed
        ",
    );
}

#[test]
fn a_server_that_was_never_seen_is_given_up_where_nothing_queues() {
    let late = |placement| {
        let mut campaign = samples::campaign(vec![samples::experiment("m", placement)], false);
        quietly(
            &mut campaign,
            &["start", "d-1 submitted", "d-1 unseen", "d-1 unseen"],
        );
        check_at(&mut campaign, 10_000, "d-1 unseen");
        phases(&campaign)
    };
    assert_eq!(late(samples::local()), "d-1 diagnosing r-1 waiting");
    assert_eq!(late(samples::kubernetes()), "d-1 starting r-1 waiting");
}

#[test]
fn a_server_under_load_that_misses_a_check_is_still_ready() {
    check(
        &mut running(),
        "
        d-1 starting: => d-1 ready r-1 running
        ",
    );
}

#[test]
fn answers_for_another_handle_change_nothing() {
    let mut campaign = running();
    let before = campaign.clone();
    let other = Handle {
        detail: "0".to_owned(),
        ..handle("d-1")
    };
    let gone = D::Observed {
        handle: other.clone(),
        asked_at: 0,
        status: DeploymentStatus::Ended(failure(FailureReason::ServerFailed)),
    };
    for event in [
        gone,
        D::Ended {
            handle: other.clone(),
            usage: None,
        },
        D::Submitted(other),
    ] {
        assert!(
            campaign
                .step(Event::Deployment("d-1".parse().unwrap(), event), 0, &limits())
                .is_empty()
        );
        assert_eq!(campaign, before);
    }
}
