//! What is taken up again.

use super::*;

#[test]
fn what_cannot_be_ended_is_named_and_tried_again_by_resume() {
    let mut campaign = one();
    quietly(&mut campaign, &["start", "d-1 submitted"]);
    check(
        &mut campaign,
        "
        interrupt: end d-1 => d-1 ending r-1 stopped
        d-1 lives-on: => d-1 ending r-1 stopped
        tick: end d-1 => d-1 ending r-1 stopped
        d-1 lives-on: => d-1 lost r-1 stopped
        tick: => d-1 lost r-1 stopped
        ",
    );
    assert!(campaign.is_settled() && campaign.is_unfinished());
    assert_eq!(campaign.live()[0].to_string(), "server d-1 (test 1)");
    resume(&mut campaign);
    check(
        &mut campaign,
        "
        start: end d-1 => d-1 ending r-1 stopped
        d-1 ended: submit d-9 => d-1 stopped | d-9 submitting r-1 waiting
        ",
    );
}

#[test]
fn a_resumed_server_is_looked_at_before_it_is_used() {
    let mut campaign = two();
    quietly(
        &mut campaign,
        &["start", "d-1 submitted", "d-1 ready", "r-1 refused"],
    );
    resume(&mut campaign);
    check(
        &mut campaign,
        "
        start: look d-1 => d-1 ready r-1 waiting r-2 waiting
        d-1 ready: submit r-1 => d-1 ready r-1 submitting r-2 waiting
        ",
    );
}

#[test]
fn a_server_that_went_while_gipfel_was_away_is_deployed_afresh() {
    let mut campaign = running();
    resume(&mut campaign);
    check(
        &mut campaign,
        "
        start: look d-1, look r-1 => d-1 ready r-1 running
        d-1 gone: stop r-1, end d-1 => d-1 ending r-1 stopping
        d-1 ended: => d-1 failed r-1 stopping
        r-1 stopped: fetch r-1 => d-1 failed r-1 collecting
        r-1 fetched: end r-1 => d-1 failed r-1 ending
        r-1 ended: submit d-9 => d-1 failed | d-9 submitting r-1 waiting
        ",
    );
}

#[test]
fn a_run_that_completed_while_gipfel_was_away_is_not_done_again() {
    for events in [["d-1 gone", "r-1 completed"], ["r-1 completed", "d-1 gone"]] {
        let mut campaign = running();
        resume(&mut campaign);
        quietly(
            &mut campaign,
            &["start", events[0], events[1], "r-1 fetched", "r-1 ended"],
        );
        check(
            &mut campaign,
            "
        d-1 ended: => d-1 failed r-1 completed
        ",
        );
        assert!(campaign.is_unfinished(), "its results are not merged yet");
        campaign.results_merged = true;
        assert!(!campaign.is_unfinished());
    }
}

#[test]
fn resume_does_runs_again_whose_server_failed() {
    let mut campaign = running();
    quietly(
        &mut campaign,
        &["d-1 gone", "d-1 ended", "r-1 stopped", "r-1 fetched", "r-1 ended"],
    );
    assert_eq!(phases(&campaign), "d-1 failed r-1 failed");
    campaign.results_merged = true;
    assert!(campaign.is_settled() && campaign.is_unfinished());
    resume(&mut campaign);
    check(
        &mut campaign,
        "
        start: submit d-9 => d-1 failed | d-9 submitting r-1 waiting
        d-9 submitted
        d-9 ready: submit r-1 => d-1 failed | d-9 ready r-1 submitting
        r-1 in-doubt: find r-1 => d-1 failed | d-9 ready r-1 settling
        # The load generator of the first attempt is found, so this submission came to nothing.
        r-1 found: => d-1 failed | d-9 ready r-1 waiting
        tick: look d-9, submit r-1 => d-1 failed | d-9 ready r-1 submitting
        ",
    );
}

#[test]
fn resume_leaves_what_would_fail_alike() {
    let mut campaign = running();
    let out_of_memory = DeploymentStatus::Ended(failure(FailureReason::OutOfMemory));
    let gone = D::Observed {
        handle: handle("d-1"),
        asked_at: 0,
        status: out_of_memory,
    };
    campaign.step(Event::Deployment("d-1".parse().unwrap(), gone), 0, &limits());
    quietly(
        &mut campaign,
        &["d-1 ended", "r-1 stopped", "r-1 fetched", "r-1 ended"],
    );
    campaign.results_merged = true;
    assert!(!campaign.is_unfinished());
}

#[test]
fn an_interrupted_run_that_is_still_stopping_goes_on_after_resume() {
    let mut campaign = running();
    quietly(&mut campaign, &["interrupt"]);
    resume(&mut campaign);
    check(
        &mut campaign,
        "
        start: look d-1, stop r-1, look r-1 => d-1 ready r-1 stopping
        d-1 ready: => d-1 ready r-1 stopping
        r-1 stopped: fetch r-1 => d-1 ready r-1 collecting
        r-1 fetched: end r-1 => d-1 ready r-1 ending
        r-1 ended: submit r-1 => d-1 ready r-1 submitting
        ",
    );
}

#[test]
fn what_nobody_drives_is_ended_and_nothing_is_started() {
    let mut campaign = running();
    campaign.call_off(0, &limits());
    check(
        &mut campaign,
        "
        start: look d-1, stop r-1, look r-1 => d-1 ready r-1 stopping
        r-1 stopped: fetch r-1, end d-1 => d-1 ending r-1 collecting
        r-1 fetched: end r-1 => d-1 ending r-1 ending
        r-1 ended: => d-1 ending r-1 stopped
        d-1 ended: => d-1 done r-1 stopped
        ",
    );
    let mut campaign = two();
    campaign.call_off(0, &limits());
    check(&mut campaign, "start: => d-1 stopped r-1 stopped r-2 stopped");
    let mut campaign = one();
    quietly(&mut campaign, &["start", "d-1 submitted"]);
    campaign.call_off(0, &limits());
    check(&mut campaign, "start: end d-1 => d-1 ending r-1 stopped");
}
