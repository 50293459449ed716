use std::time::Duration;

use super::*;
use crate::{
    jobs::directives::Dependency,
    options::{AccountLimit, PartitionOptions},
};

fn scheduler() -> Scheduler {
    Scheduler::new(ClusterOptions {
        start_delay: Duration::ZERO,
        requeue_delay: Duration::from_mins(1),
        nodes: vec!["n1".to_owned(), "n2".to_owned()],
        partitions: vec![
            PartitionOptions::named("normal", Duration::from_hours(1)),
            PartitionOptions {
                exclusive: false,
                ..PartitionOptions::named("xfer", Duration::from_hours(1))
            },
        ],
        account_job_limits: vec![AccountLimit {
            account: "small".to_owned(),
            jobs: 1,
        }],
        ..ClusterOptions::named("c")
    })
}

fn request(nodes: usize) -> JobRequest {
    JobRequest {
        name: "j".to_owned(),
        user: "tester".to_owned(),
        uid: 1,
        group: "g".to_owned(),
        account: "a".to_owned(),
        partition: "normal".to_owned(),
        nodes,
        tasks: 1,
        limit_s: Some(60),
        system: "c".to_owned(),
        working_directory: "/w".to_owned(),
        script: String::new(),
        standard_output: "%x-%j.out".to_owned(),
        standard_error: "/e/%j".to_owned(),
        standard_input: "/dev/null".to_owned(),
        environment: Vec::new(),
        requeue: true,
        held: false,
        dependency: None,
        begin_after_s: 0,
        array: Vec::new(),
        paths_are_shown: true,
    }
}

fn submit(scheduler: &mut Scheduler, request: JobRequest) -> JobId {
    scheduler.submit(request, 0).expect("the job is accepted")
}

/// The states and reasons of all jobs.
fn check(scheduler: &Scheduler, expected: &[&str]) {
    let states: Vec<String> = scheduler
        .jobs
        .values()
        .map(|job| match job.state {
            JobState::Pending => format!("{} {}", job.state, job.reason),
            state => state.to_string(),
        })
        .collect();
    assert_eq!(states, expected);
}

#[test]
fn jobs_start_in_order_while_nodes_are_free() {
    let mut scheduler = scheduler();
    for nodes in [1, 2, 1] {
        submit(&mut scheduler, request(nodes));
    }
    check(&scheduler, &["PENDING None", "PENDING None", "PENDING None"]);
    assert_eq!(
        scheduler.step(1),
        [Effect::Start {
            job: 1,
            generation: 1
        }]
    );
    check(&scheduler, &["RUNNING", "PENDING Resources", "PENDING Priority"]);
    scheduler.exited(1, 1, Exit::default(), 2);
    assert_eq!(
        scheduler.step(3),
        [Effect::Start {
            job: 2,
            generation: 1
        }]
    );
    check(&scheduler, &["COMPLETED", "RUNNING", "PENDING Resources"]);
    assert_eq!(scheduler.node_state(&"n1".to_owned()).0, "ALLOCATED");
}

#[test]
fn a_shared_partition_packs_its_jobs() {
    let mut scheduler = scheduler();
    for _ in 0..3 {
        submit(
            &mut scheduler,
            JobRequest {
                partition: "xfer".to_owned(),
                ..request(1)
            },
        );
    }
    scheduler.step(1);
    check(&scheduler, &["RUNNING", "RUNNING", "RUNNING"]);
    assert_eq!(scheduler.node_state(&"n1".to_owned()), ("MIXED", 6));
}

#[test]
fn a_job_over_its_time_is_ended_and_keeps_its_nodes_until_it_is_gone() {
    let mut scheduler = scheduler();
    submit(&mut scheduler, request(2));
    submit(&mut scheduler, request(1));
    scheduler.step(0);
    assert_eq!(
        scheduler.step(60_000),
        [Effect::End {
            job: 1,
            generation: 1,
            at_once: false
        }]
    );
    check(&scheduler, &["TIMEOUT", "PENDING Resources"]);
    scheduler.exited(1, 1, Exit { code: 0, signal: 15 }, 61_000);
    scheduler.step(61_000);
    check(&scheduler, &["TIMEOUT", "RUNNING"]);
    assert_eq!(scheduler.jobs[&1].exit, Exit::default());
}

#[test]
fn a_failed_node_ends_or_requeues_its_jobs() {
    let mut scheduler = scheduler();
    submit(
        &mut scheduler,
        JobRequest {
            requeue: false,
            partition: "xfer".to_owned(),
            ..request(1)
        },
    );
    submit(
        &mut scheduler,
        JobRequest {
            partition: "xfer".to_owned(),
            ..request(1)
        },
    );
    scheduler.step(0);
    let effects = scheduler.fail_node("n1", 10).expect("the node is known");
    assert_eq!(effects.len(), 2);
    check(&scheduler, &["NODE_FAIL", "PENDING BeginTime"]);
    // The end of the first start is no end of the job.
    scheduler.exited(2, 1, Exit { code: 0, signal: 9 }, 11);
    check(&scheduler, &["NODE_FAIL", "PENDING BeginTime"]);
    assert_eq!(
        scheduler.step(60_010),
        [Effect::Start {
            job: 2,
            generation: 3
        }]
    );
    assert_eq!(scheduler.jobs[&2].nodes, ["n2"]);
    assert!(scheduler.restore_node("n1") && !scheduler.restore_node("n1"));
    assert_eq!(scheduler.fail_node("nosuch", 0), None);
}

#[test]
fn a_dependency_is_waited_for_or_never_satisfied() {
    let mut scheduler = scheduler();
    let first = submit(&mut scheduler, request(1));
    let dependency = Dependency {
        kind: DependencyKind::AfterOk,
        jobs: vec![first],
    };
    submit(
        &mut scheduler,
        JobRequest {
            dependency: Some(dependency),
            ..request(1)
        },
    );
    scheduler.step(0);
    check(&scheduler, &["RUNNING", "PENDING Dependency"]);
    assert!(matches!(scheduler.cancel(first, 1, 5), Ok(effects) if effects.len() == 1));
    scheduler.step(6);
    check(
        &scheduler,
        &["CANCELLED by 1", "PENDING DependencyNeverSatisfied"],
    );
}

#[test]
fn only_the_owner_cancels_and_only_once() {
    let mut scheduler = scheduler();
    let job = submit(&mut scheduler, request(1));
    assert_eq!(scheduler.cancel(job, 2, 0), Err(CancelRefusal::Denied));
    assert_eq!(scheduler.cancel(job, 1, 0), Ok(Vec::new()));
    assert_eq!(scheduler.cancel(job, 1, 0), Err(CancelRefusal::Ended));
    assert_eq!(scheduler.cancel(99, 1, 0), Err(CancelRefusal::Unknown));
    assert_eq!(scheduler.step(1), []);
}

#[test]
fn limits_hold_jobs_back() {
    let mut scheduler = scheduler();
    submit(
        &mut scheduler,
        JobRequest {
            limit_s: Some(7200),
            ..request(1)
        },
    );
    submit(
        &mut scheduler,
        JobRequest {
            begin_after_s: 10,
            ..request(1)
        },
    );
    submit(
        &mut scheduler,
        JobRequest {
            held: true,
            ..request(1)
        },
    );
    scheduler.step(0);
    check(
        &scheduler,
        &[
            "PENDING PartitionTimeLimit",
            "PENDING BeginTime",
            "PENDING JobHeldUser",
        ],
    );
    let small = || JobRequest {
        account: "small".to_owned(),
        ..request(1)
    };
    submit(&mut scheduler, small());
    let refusal = scheduler.submit(small(), 0).expect_err("the account is full");
    assert!(refusal.standard_error.contains("AssocMaxSubmitJobLimit"));
}

#[test]
fn paths_carry_the_jobs_own_values() {
    let mut scheduler = scheduler();
    let id = submit(&mut scheduler, request(1));
    let job = &scheduler.jobs[&id];
    assert_eq!(job.expand("%x-%j.out", true), "/w/j-1.out");
    assert_eq!(job.expand("%x-%j.out", false), "/w/%x-1.out");
    assert_eq!(job.expand("/e/%u%%%q%", true), "/e/tester%%q%");
}

#[test]
fn the_tasks_of_an_array_are_cancelled_together() {
    let mut scheduler = scheduler();
    let array = submit(
        &mut scheduler,
        JobRequest {
            array: vec![0, 1, 5],
            ..request(1)
        },
    );
    let single = submit(&mut scheduler, request(1));
    assert_eq!((array, single), (1, 4));
    let shown: Vec<String> = scheduler.jobs.values().map(Job::shown_id).collect();
    assert_eq!(shown, ["1_0", "1_1", "1_5", "4"]);
    assert_eq!(scheduler.jobs[&3].expand("%A_%a-%j", true), "/w/1_5-3");
    scheduler.step(0);
    scheduler.exited(1, 1, Exit::default(), 1);
    assert_eq!(scheduler.cancel(array, 1, 2).map(|effects| effects.len()), Ok(1));
    check(
        &scheduler,
        &[
            "COMPLETED",
            "CANCELLED by 1",
            "CANCELLED by 1",
            "PENDING Priority",
        ],
    );
    assert_eq!(scheduler.cancel(array, 1, 3), Err(CancelRefusal::Ended));
}
