//! The promises, beyond those of the contract: what only a real Slurm can show.

use std::time::Duration;

use firecrest_client::{Earlier, JobId, JobState, PendingReason};
use gipfel_slurm_backend::cluster::{
    ClusterErrorKind, JobRequest,
    contract::{
        ClusterHarness, files_contract, job_request, jobs_contract, refusal_contract, until, with_directives,
    },
};

use crate::{
    operator::Operator,
    way::{Loss, Way},
};

pub(crate) async fn files(way: &Way) {
    files_contract(way).await;
}

pub(crate) async fn jobs(way: &Way) {
    jobs_contract(way).await;
}

/// Slurm's own refusals are told apart, and start nothing.
pub(crate) async fn refusals(way: &Way) {
    let check = async |tag: &str, directives: &str, kind| refusal_contract(way, tag, directives, kind).await;
    check(
        "partition",
        "#SBATCH --partition=nosuch",
        ClusterErrorKind::Partition,
    )
    .await;
    check(
        "reservation",
        "#SBATCH --reservation=nosuch",
        ClusterErrorKind::Partition,
    )
    .await;
    check(
        "walltime",
        "#SBATCH --time=2-00:00:00",
        ClusterErrorKind::Walltime,
    )
    .await;
    check("nodes", "#SBATCH --nodes=9", ClusterErrorKind::Invalid).await;
}

async fn submit(way: &Way, request: &JobRequest) -> JobId {
    let submitted = way.cluster().submit(request, Earlier::Never).await;
    submitted.expect("a job is submitted")
}

async fn endless(way: &Way, tag: &str, directives: &str) -> (JobRequest, JobId) {
    let request = with_directives(job_request(way, tag, "exec sleep 600").await, directives);
    let id = submit(way, &request).await;
    (request, id)
}

/// An answer that is lost makes one job, and not two or none.
pub(crate) async fn lost_answers(way: &Way, operator: &Operator) {
    for (tag, loss) in [("lost-before", Loss::Before), ("lost-after", Loss::After)] {
        way.lose_next_submission(loss);
        let (request, id) = endless(way, tag, "").await;
        assert_eq!(
            operator.count(request.name.as_str()),
            1,
            "{tag}: a name is one job"
        );
        until(way, &id, "runs", |facts| facts.state == JobState::Running).await;
        way.cluster().cancel(&id).await.expect("cancelled");
        until(way, &id, "ends", |facts| facts.state.is_ended()).await;
    }
}

/// A controller that does not answer for a while: one job, and nothing is given up.
pub(crate) async fn paused_controller(way: &Way, operator: &Operator) {
    let request = job_request(way, "paused", "exec sleep 600").await;
    operator.signal_controller("STOP");
    let (submitted, ()) = tokio::join!(way.cluster().submit(&request, Earlier::Never), async {
        tokio::time::sleep(Duration::from_secs(25)).await;
        operator.signal_controller("CONT");
    });
    let id = match submitted {
        Ok(id) => id,
        // The look before the submission could not see either: nothing was sent, and the next attempt is well.
        Err(failure) => {
            assert_eq!(failure.source.kind, ClusterErrorKind::Away, "{failure:?}");
            let again = way.cluster().submit(&request, Earlier::Possible).await;
            again.expect("a job is submitted once the controller answers")
        }
    };
    assert_eq!(operator.count(request.name.as_str()), 1, "a name is one job");
    way.cluster().cancel(&id).await.expect("cancelled");
    until(way, &id, "ends", |facts| facts.state.is_ended()).await;
}

/// Each end is told as what it was.
pub(crate) async fn states(way: &Way, operator: &Operator) {
    let ends = async |id: &JobId| until(way, id, "ends", |facts| facts.state.is_ended()).await;
    let runs = async |id: &JobId| until(way, id, "runs", |facts| facts.state == JobState::Running).await;

    // It takes a minute at least, in which the others are looked at.
    let (_, late) = endless(way, "late", "#SBATCH --time=00:01:00").await;
    let started = runs(&late).await;
    assert_eq!(
        started.limit,
        Some(Duration::from_mins(1)),
        "the walltime is told"
    );

    let (_, all) = endless(way, "all-nodes", "#SBATCH --nodes=4").await;
    let waits = until(way, &all, "waits", |facts| {
        facts.state == JobState::Pending && matches!(facts.waits, Some(PendingReason::Waits(_)))
    });
    let waits = waits.await;
    assert_eq!(
        (waits.nodes.len(), waits.started),
        (0, None),
        "Slurm's guess is no start"
    );
    way.cluster().cancel(&all).await.expect("cancelled");
    assert!(
        matches!(ends(&all).await.state, JobState::Cancelled { .. }),
        "while it waited"
    );

    let killed = job_request(way, "killed", "kill -9 $$").await;
    let killed = ends(&submit(way, &killed).await).await;
    assert_eq!(
        (killed.state, killed.signal),
        (JobState::Failed, Some(9)),
        "by a signal"
    );

    let (_, by_hand) = endless(way, "by-hand", "").await;
    runs(&by_hand).await;
    operator.cancel(&by_hand);
    assert!(
        matches!(ends(&by_hand).await.state, JobState::Cancelled { .. }),
        "by hand"
    );

    let (_, down) = endless(way, "node-down", "#SBATCH --no-requeue").await;
    let node = runs(&down).await.nodes.remove(0);
    operator.take_down(&node);
    let state = ends(&down).await.state;
    operator.bring_back(&node);
    assert_eq!(state, JobState::NodeFail, "its node went down");

    let (_, again) = endless(way, "requeued", "#SBATCH --requeue").await;
    let node = runs(&again).await.nodes.remove(0);
    operator.take_down(&node);
    until(way, &again, "waits again", |facts| {
        facts.state == JobState::Pending
    })
    .await;
    operator.bring_back(&node);
    way.cluster().cancel(&again).await.expect("cancelled");
    assert!(
        matches!(ends(&again).await.state, JobState::Cancelled { .. }),
        "after a requeue"
    );

    assert_eq!(ends(&late).await.state, JobState::Timeout, "its time is up");
}

/// A job that no waiting starts says so. Only a Slurm that does not enforce its partitions' limits takes one.
pub(crate) async fn hopeless(way: &Way, operator: &Operator) {
    let (request, id) = endless(way, "hopeless", "#SBATCH --time=2-00:00:00").await;
    until(way, &id, "will never start", |facts| {
        facts.waits == Some(PendingReason::Never("PartitionTimeLimit".to_owned()))
    })
    .await;
    operator.cancel(&id);
    assert_eq!(operator.count(request.name.as_str()), 1);
}
