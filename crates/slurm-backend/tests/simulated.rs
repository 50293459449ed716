//! The simulated cluster keeps the promises of real ones, and its faults are those that were planned.

use std::{path::Path, time::Duration};

use firecrest_client::{AdoptPolicy, Adoption, Earlier, JobState, Mark, RemotePath};
use gipfel_backend::BoxFuture;
use gipfel_slurm_backend::cluster::{
    Cluster, ClusterErrorKind, JobRequest, SubmitEffect,
    contract::{ClusterHarness, files_contract, jobs_contract},
    simulated::{Call, Happening, Mishap, SimulatedCluster},
};

struct Harness {
    cluster: SimulatedCluster,
    local: tempfile::TempDir,
}

impl ClusterHarness for Harness {
    fn cluster(&self) -> &dyn Cluster {
        &self.cluster
    }
    fn directory(&self) -> RemotePath {
        "/scratch/me/suite".parse().expect("a path")
    }
    fn local(&self) -> &Path {
        self.local.path()
    }
    fn prefix(&self) -> &'static str {
        "suite-"
    }
    fn policy(&self) -> AdoptPolicy {
        AdoptPolicy::default()
    }
    fn pause(&self) -> BoxFuture<'_, ()> {
        self.cluster.pass(Duration::from_secs(1));
        Box::pin(std::future::ready(()))
    }
}

/// Jobs that do what the scripts of the suite say.
fn carry_out(cluster: &SimulatedCluster, happening: &Happening) {
    let Happening::Submitted(job) = happening else {
        return;
    };
    cluster.begin(&job.id, &["nid001001"]);
    let script = &job.request.script;
    if script.contains("echo begun") {
        cluster.store(&format!("{}/begun", job.request.directory), b"begun\n");
    } else if script.contains("exit 3") {
        cluster.end(&job.id, JobState::Failed, 3);
    } else {
        cluster.end(&job.id, JobState::Completed, 0);
    }
}

fn harness() -> Harness {
    let cluster = SimulatedCluster::new("simulated");
    cluster.react(carry_out);
    let local = tempfile::tempdir().expect("a folder");
    Harness { cluster, local }
}

#[tokio::test]
async fn the_promises_about_files_are_kept() {
    files_contract(&harness()).await;
}

#[tokio::test]
async fn the_promises_about_jobs_are_kept() {
    let harness = harness();
    jobs_contract(&harness).await;
    assert_eq!(harness.cluster.living(), Vec::<String>::new());
}

async fn request(cluster: &SimulatedCluster) -> JobRequest {
    let directory: RemotePath = "/scratch/me/d-1".parse().expect("a path");
    cluster.make_directory(&directory).await.expect("made");
    JobRequest {
        name: "gipfel-d-1".parse().expect("a name"),
        mark: Mark::new(directory.join("jobid").expect("a path")),
        directory,
        script: "#!/bin/bash\n#SBATCH --comment=\"gipfel campaign=c-1\"\n#SBATCH --partition=debug\n"
            .to_owned(),
    }
}

#[tokio::test]
async fn answers_are_lost() {
    let check = async |mishap: Mishap, living: usize, looks: &[Option<bool>]| {
        let cluster = SimulatedCluster::new("simulated");
        let request = request(&cluster).await;
        cluster.plan(&[Call::Submit], mishap.clone(), 1);
        let failure = cluster.submit(&request, Earlier::Never).await;
        let failure = failure.expect_err("the answer is lost");
        assert_eq!(failure.effect, SubmitEffect::Unknown, "{mishap:?}");
        assert_eq!(failure.source.kind, ClusterErrorKind::Away);
        assert_eq!(cluster.living().len(), living, "{mishap:?}");
        for look in looks {
            let found = cluster
                .adopt(&request.name, &request.mark, &AdoptPolicy::default())
                .await;
            let found = found.ok().map(|adoption| matches!(adoption, Adoption::Found(_)));
            assert_eq!(found, *look, "{mishap:?}");
        }
    };
    check(Mishap::LostBefore, 0, &[Some(false)]).await;
    check(Mishap::LostAfter, 1, &[Some(true)]).await;
    check(Mishap::LostLate(2), 1, &[None, None, Some(true)]).await;
}

#[tokio::test]
async fn mishaps_are_planned_for_calls() {
    let cluster = SimulatedCluster::new("simulated");
    let request = request(&cluster).await;
    cluster.plan(
        &[Call::Submit],
        Mishap::Refused(ClusterErrorKind::Account, "Invalid account".to_owned()),
        1,
    );
    let failure = cluster.submit(&request, Earlier::Never).await;
    let failure = failure.expect_err("it is refused");
    assert_eq!(failure.effect, SubmitEffect::NotStarted);
    let id = cluster.submit(&request, Earlier::Possible).await.expect("a job");
    let listed = cluster.jobs().await.expect("a list");
    assert_eq!(listed[0].comment.as_deref(), Some("gipfel campaign=c-1"));
    assert_eq!(listed[0].partition.as_deref(), Some("debug"));

    cluster.plan(&[Call::Jobs], Mishap::LostEntry, 1);
    assert_eq!(cluster.jobs().await.expect("a list").len(), 0);
    assert_eq!(cluster.jobs().await.expect("a list").len(), 1);
    cluster.plan(&[], Mishap::LostBefore, 2);
    cluster.jobs().await.expect_err("the cluster is away");
    cluster.job(&id).await.expect_err("the cluster is away");
    assert!(cluster.job(&id).await.expect("it is back").is_some());
    cluster.forget(&id);
    assert_eq!(cluster.job(&id).await.expect("it is unknown"), None);
}

#[tokio::test]
async fn a_job_may_outlive_its_cancellation() {
    let cluster = SimulatedCluster::new("simulated");
    let request = request(&cluster).await;
    cluster.outlive_cancel(true);
    let id = cluster.submit(&request, Earlier::Never).await.expect("a job");
    cluster.begin(&id, &["nid001001"]);
    cluster.cancel(&id).await.expect("cancelled");
    assert_eq!(cluster.living(), ["gipfel-d-1"]);
    cluster.wait(&id, "BeginTime");
    cluster.end(&id, JobState::Cancelled { by: None }, 0);
    assert_eq!(cluster.living(), Vec::<String>::new());
    assert_eq!(cluster.find("gipfel-d-1").map(|job| job.cancels), Some(1));
}
