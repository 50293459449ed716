//! A cluster by FirecREST keeps the promises, against a simulator whose jobs are processes of this machine.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use firecrest_client::{
    AdoptPolicy, Authentication, Client, ClientCredentials, Earlier, RemotePath, RetryPolicy, SystemName,
};
use firecrest_sim::{Failure, Options, Rule, Running, Simulator, Target};
use gipfel_backend::BoxFuture;
use gipfel_slurm_backend::cluster::{
    Cluster, ClusterErrorKind, SubmitEffect,
    contract::{ClusterHarness, files_contract, job_request, jobs_contract, refusal_contract},
    firecrest::{FirecrestCluster, FirecrestOptions},
};

struct Harness {
    running: Running,
    cluster: FirecrestCluster,
    folder: tempfile::TempDir,
    local: PathBuf,
}

fn quick_adoption() -> AdoptPolicy {
    AdoptPolicy {
        grace: Duration::from_millis(60),
        looks: 3,
        interval: Duration::from_millis(30),
        total: Duration::from_secs(10),
        ..AdoptPolicy::default()
    }
}

impl Harness {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, local) = (folder.path().join("site"), folder.path().join("local"));
        std::fs::create_dir_all(root.join("demo")).expect("a folder");
        std::fs::create_dir(&local).expect("a folder");
        let running = Simulator::start(Options::demo(&root)).await.expect("a simulator");
        let credentials = ClientCredentials {
            token_url: running.token_url.parse().expect("a URL"),
            id: "demo".to_owned(),
            secret: "demo-secret".into(),
            scopes: Vec::new(),
        };
        let policy = RetryPolicy {
            attempts: 4,
            total: Duration::from_secs(20),
            initial: Duration::from_millis(5),
            longest: Duration::from_millis(20),
            jitter: 0.5,
        };
        let client = Client::builder(running.base_url.as_str())
            .authentication(Authentication::ClientCredentials(credentials))
            .retry_policy(policy)
            .build()
            .expect("a client");
        let options = FirecrestOptions {
            adopt: quick_adoption(),
            transfer_account: Some("a-demo".to_owned()),
        };
        let system = SystemName::try_new("alps").expect("a name");
        Self {
            running,
            cluster: FirecrestCluster::new(client, system, options),
            folder,
            local,
        }
    }

    async fn stop(self) {
        self.running.stop().await;
        drop(self.folder);
    }
}

impl ClusterHarness for Harness {
    fn cluster(&self) -> &dyn Cluster {
        &self.cluster
    }
    fn directory(&self) -> RemotePath {
        "/scratch/demo/suite".parse().expect("a path")
    }
    fn local(&self) -> &Path {
        &self.local
    }
    fn prefix(&self) -> &'static str {
        "suite-"
    }
    fn policy(&self) -> AdoptPolicy {
        quick_adoption()
    }
    fn pause(&self) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(50)))
    }
}

#[tokio::test]
async fn the_promises_about_files_are_kept() {
    let harness = Harness::start().await;
    files_contract(&harness).await;
    harness.stop().await;
}

#[tokio::test]
async fn the_promises_about_jobs_are_kept() {
    let harness = Harness::start().await;
    jobs_contract(&harness).await;
    harness.stop().await;
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let harness = Harness::start().await;
    let check =
        async |tag: &str, directives: &str, kind| refusal_contract(&harness, tag, directives, kind).await;
    check(
        "partition",
        "#SBATCH --partition=nosuch",
        ClusterErrorKind::Partition,
    )
    .await;
    check("account", "#SBATCH --account=nosuch", ClusterErrorKind::Account).await;
    harness.stop().await;
}

#[tokio::test]
async fn lost_answers_are_settled() {
    let harness = Harness::start().await;
    let submits = "/compute/alps/jobs";
    for (tag, failure) in [("after", Failure::CutAfter), ("before", Failure::CutBefore)] {
        harness.running.fail(Rule::once(failure, "POST", submits));
        let request = job_request(&harness, tag, "exec sleep 300").await;
        let id = harness
            .cluster
            .submit(&request, Earlier::Never)
            .await
            .expect("the submission is settled");
        let named = harness.cluster.jobs().await.expect("a list");
        let named: Vec<_> = named
            .iter()
            .filter(|job| job.name == request.name.as_str())
            .collect();
        assert_eq!(named.len(), 1, "{tag}: a name is one job");
        assert_eq!(named[0].id, id);
        harness.cluster.cancel(&id).await.expect("cancelled");
    }
    harness.stop().await;
}

#[tokio::test]
async fn a_cluster_that_is_away_is_told() {
    let harness = Harness::start().await;
    let request = job_request(&harness, "away", "exit 0").await;
    harness.running.fail(Rule {
        failure: Failure::Unhealthy,
        target: Target::default(),
        skip: 0,
        count: None,
    });
    let failure = harness.cluster.submit(&request, Earlier::Possible).await;
    let failure = failure.expect_err("it is away");
    assert_eq!(
        (failure.effect, failure.source.kind),
        (SubmitEffect::Unknown, ClusterErrorKind::Away)
    );
    let error = harness.cluster.jobs().await.expect_err("it is away");
    assert_eq!(error.kind, ClusterErrorKind::Away, "{error:?}");
    harness.stop().await;
}
