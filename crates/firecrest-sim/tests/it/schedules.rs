//! Random schedules of failures between the client and the simulator; the example `schedules` runs thousands.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

#[path = "../../examples/schedules/schedule/mod.rs"]
mod schedule;

use schedule::{Mutation, Report};

/// How many schedules run at once.
const PARALLEL: usize = 12;

/// What happened in all schedules together.
#[derive(Debug, Default)]
struct Happened {
    failures: BTreeSet<String>,
    steps: BTreeSet<&'static str>,
    good: usize,
    failed: usize,
}

/// Runs schedules until one breaks a rule.
async fn first_broken(count: u64, mutation: Option<Mutation>) -> (Option<Report>, Happened) {
    let (mut seeds, mut running, mut happened) = (1..=count, JoinSet::new(), Happened::default());
    loop {
        while running.len() < PARALLEL
            && let Some(seed) = seeds.next()
        {
            running.spawn(schedule::run(seed, mutation));
        }
        let Some(ended) = running.join_next().await else {
            return (None, happened);
        };
        let report = ended.expect("no panic").expect("a simulator");
        happened.failures.extend(report.failures.keys().cloned());
        happened.steps.extend(report.steps.keys());
        happened.good += report.good;
        happened.failed += report.failed;
        if !report.violations.is_empty() {
            return (Some(report), happened);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_schedule_of_failures_breaks_a_rule() {
    let (broken, happened) = first_broken(100, None).await;
    assert!(broken.is_none(), "{}", broken.unwrap_or_default().story());
    // All kinds of failures and of calls, and some failures that are left after all retries.
    let kinds = (happened.failures.len(), happened.steps.len());
    assert_eq!(kinds, (17, 10), "{happened:?}");
    assert!(happened.good > 200 && happened.failed > 5, "{happened:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_that_is_repeated_blindly_is_seen() {
    let (broken, _) = first_broken(200, Some(Mutation::BlindSubmit)).await;
    let violations = broken.expect("a schedule that shows it").violations;
    assert!(
        violations
            .iter()
            .any(|violation| violation.contains("has the jobs")),
        "{violations:?}"
    );
}
