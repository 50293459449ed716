//! Ways out: interrupts, ends, collections, servers that stay.

use super::*;

#[test]
fn an_interrupt_between_two_attempts_collects_the_first() {
    check(
        &mut running(),
        "
        r-1 died
        d-1 ready: => d-1 ready r-1 waiting
        interrupt: fetch r-1, end d-1 => d-1 ending r-1 collecting
        ",
    );
}

#[test]
fn an_interrupt_waits_for_open_submissions_and_ends_what_they_started() {
    let mut campaign = one();
    check(
        &mut campaign,
        "
        start
        interrupt: => d-1 submitting r-1 stopped
        d-1 submitted: look d-1, end d-1 => d-1 ending r-1 stopped
        d-1 ended: => d-1 stopped r-1 stopped
        ",
    );
    let mut campaign = one();
    quietly(&mut campaign, &["start", "d-1 submitted", "d-1 ready"]);
    check(
        &mut campaign,
        "
        interrupt: => d-1 ready r-1 submitting
        r-1 in-doubt: find r-1 => d-1 ready r-1 settling
        r-1 found: stop r-1 => d-1 ready r-1 stopping
        r-1 stopped: fetch r-1, end d-1 => d-1 ending r-1 collecting
        ",
    );
}

#[test]
fn a_load_generator_that_does_not_leave_is_ended() {
    let mut campaign = running();
    check(
        &mut campaign,
        "
        interrupt: stop r-1 => d-1 ready r-1 stopping
        r-1 asked
        r-1 running: => d-1 ready r-1 stopping
        ",
    );
    check_at(
        &mut campaign,
        1000,
        "
        tick: look d-1, end r-1 => d-1 ready r-1 ending
        r-1 ended: fetch r-1, end d-1 => d-1 ending r-1 collecting
        r-1 fetched: => d-1 ending r-1 stopped
        ",
    );
}

#[test]
fn a_failing_collection_is_bounded_and_holds_nothing_up() {
    let mut campaign = running();
    check(
        &mut campaign,
        "
        r-1 completed
        d-1 ready: fetch r-1, end d-1 => d-1 ending r-1 collecting
        r-1 unfetched: => d-1 ending r-1 collecting
        d-1 ended: => d-1 done r-1 collecting
        tick: fetch r-1 => d-1 done r-1 collecting
        r-1 unfetched: end r-1 => d-1 done r-1 ending
        r-1 ended: => d-1 done r-1 completed
        ",
    );
    assert_eq!(
        campaign.deployments[0].runs[0].collect_error.as_deref(),
        Some("no")
    );
}

#[test]
fn a_kept_server_stays_when_it_is_ready_and_only_then() {
    let kept = || samples::campaign(vec![samples::experiment("m", samples::local())], true);
    let mut campaign = kept();
    quietly(
        &mut campaign,
        &[
            "start",
            "d-1 submitted",
            "d-1 ready",
            "r-1 submitted",
            "r-1 completed",
        ],
    );
    check(
        &mut campaign,
        "
        d-1 ready: fetch r-1 => d-1 kept r-1 collecting
        ",
    );
    quietly(&mut campaign, &["r-1 fetched", "r-1 ended"]);
    campaign.results_merged = true;
    assert!(campaign.is_settled() && !campaign.is_unfinished());
    assert!(campaign.live()[0].kept);
    let mut campaign = kept();
    quietly(&mut campaign, &["start", "d-1 submitted"]);
    check(
        &mut campaign,
        "
        interrupt: end d-1 => d-1 ending r-1 stopped
        ",
    );
}

#[test]
fn a_server_that_is_not_ours_is_never_ended() {
    let plan = |choice: &ServerChoice| {
        let experiments = vec![samples::experiment("m", samples::local())];
        plan_campaign(
            samples::facts(),
            experiments,
            choice,
            &mut samples::Count::default(),
        )
        .unwrap()
    };
    let mut url = plan(&ServerChoice::Url(EndpointSpec::new("http://h")));
    quietly(&mut url, &["start", "d-1 submitted"]);
    check(
        &mut url,
        "
        interrupt: => d-1 stopped r-1 stopped
        ",
    );

    let spec = Box::new(samples::experiment("m", samples::local()).deployment);
    let mut borrowed = plan(&ServerChoice::Borrowed {
        handle: handle("d-1"),
        spec,
    });
    check(
        &mut borrowed,
        "
        start: look d-1 => d-1 starting r-1 waiting
        d-1 ready: submit r-1 => d-1 ready r-1 submitting
        r-1 submitted
        r-1 completed
        d-1 ready: fetch r-1 => d-1 done r-1 collecting
        ",
    );
    assert!(borrowed.live().is_empty());
}

#[test]
fn a_load_generator_that_cannot_be_ended_keeps_others_from_being_measured_beside_it() {
    let mut campaign = two();
    quietly(
        &mut campaign,
        &[
            "start",
            "d-1 submitted",
            "d-1 ready",
            "r-1 submitted",
            "interrupt",
        ],
    );
    check_at(
        &mut campaign,
        1000,
        "
        tick: look d-1, end r-1 => d-1 ready r-1 ending r-2 stopped
        ",
    );
    resume(&mut campaign);
    check(
        &mut campaign,
        "
        start: look d-1, end r-1 => d-1 ready r-1 ending r-2 waiting
        d-1 ready: => d-1 ready r-1 ending r-2 waiting
        r-1 lives-on
        r-1 lives-on: fetch r-1 => d-1 ready r-1 collecting r-2 failed
        r-1 fetched: end d-1 => d-1 ending r-1 lost r-2 failed
        ",
    );
    assert!(matches!(
        campaign.deployments[0].runs[0].phase,
        RunPhase::Lost { .. }
    ));
}
