//! What becomes of jobs that do not go as planned.

use firecrest_client::JobState;
use gipfel_backend::{
    Deployer, DeploymentStatus, Effect, FailureReason, Finder, Found, Handle, LoadRunner, RunStatus,
};
use gipfel_model::{DeploymentKind, EndpointSpec, RunConfig};
use gipfel_slurm_backend::{
    ClusterErrorKind, Site as Profile,
    cluster::{
        offers::{Offers, PartitionFacts},
        simulated::{Call, Mishap, SimulatedCluster},
    },
};

use crate::site::{Life, Site, campaign, config, deployment, load, progress, run, spec};

async fn server(site: &Site) -> Handle {
    Deployer::ensure(&site.backend, &campaign(), &deployment("1"), &spec())
        .await
        .expect("it is submitted")
}

async fn status(site: &Site, handle: &Handle) -> DeploymentStatus {
    // Each process looks anew.
    Deployer::observe(&site.another(), handle)
        .await
        .expect("it can be observed")
}

fn check_ended(status: &DeploymentStatus, reason: FailureReason, words: &str) {
    let DeploymentStatus::Ended(failure) = status else {
        panic!("{status:?}")
    };
    assert_eq!(failure.reason, reason, "{failure:?}");
    assert!(failure.message.contains(words), "{failure:?}");
}

#[tokio::test]
async fn a_server_goes_from_queue_to_answer() {
    let site = Site::new(Life::Wait);
    let handle = server(&site).await;
    assert_eq!(status(&site, &handle).await, DeploymentStatus::Queued);
    let job = site.job(&handle.name);
    site.cluster.begin(&job.id, &["nid001001", "nid001002"]);
    assert_eq!(status(&site, &handle).await, DeploymentStatus::Starting);
    let endpoint = format!("{}/endpoint.txt", job.request.directory);
    site.cluster.store(&endpoint, b"http://nid");
    site.cluster.store(&endpoint, b"http://nid001001:8080\n");
    let DeploymentStatus::Ready {
        endpoint, provenance, ..
    } = status(&site, &handle).await
    else {
        panic!("it is not ready")
    };
    assert_eq!(endpoint.url, "http://nid001001:8080");
    assert_eq!(
        provenance
            .0
            .get(gipfel_model::Provenance::SERVER_NODES)
            .map(String::as_str),
        Some("nid001001,nid001002")
    );
}

#[tokio::test]
async fn each_end_has_its_reason() {
    let check = async |state: &str, log: &str, reason, words: &str| {
        let site = Site::new(Life::Run);
        let handle = server(&site).await;
        let job = site.job(&handle.name);
        let directory = job.request.directory;
        site.cluster
            .store(&format!("{directory}/server.log"), log.as_bytes());
        site.cluster.end(&job.id, JobState::parse(state), 1);
        check_ended(&status(&site, &handle).await, reason, words);
    };
    check("TIMEOUT", "", FailureReason::TimeLimit, "reached its walltime").await;
    check(
        "CANCELLED by 7",
        "",
        FailureReason::Cancelled,
        "was cancelled by 7",
    )
    .await;
    check(
        "NODE_FAIL",
        "",
        FailureReason::ServerFailed,
        "a node failed (nid001001)",
    )
    .await;
    check(
        "OUT_OF_MEMORY",
        "",
        FailureReason::OutOfMemory,
        "ran out of memory",
    )
    .await;
    check(
        "FAILED",
        "bad luck",
        FailureReason::ServerFailed,
        "ended with exit code 1",
    )
    .await;
    let oom = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB";
    check("FAILED", oom, FailureReason::OutOfMemory, "its log says").await;
}

#[tokio::test]
async fn what_will_never_start_is_cancelled() {
    let site = Site::new(Life::Wait);
    let handle = server(&site).await;
    let job = site.job(&handle.name);
    site.cluster.wait(&job.id, "PartitionTimeLimit");
    check_ended(
        &status(&site, &handle).await,
        FailureReason::TimeLimit,
        "PartitionTimeLimit",
    );
    assert_eq!(site.job(&handle.name).cancels, 1);
}

/// A cluster that tells of two partitions.
fn offer(cluster: &SimulatedCluster) {
    let partition = |name: &str| PartitionFacts {
        name: name.to_owned(),
        time_limit: Some(std::time::Duration::from_mins(30)),
        ..PartitionFacts::default()
    };
    cluster.set_offers(Offers {
        partitions: vec![partition("debug"), partition("long")],
        ..Offers::default()
    });
}

#[tokio::test]
async fn what_will_never_start_is_explained() {
    let check = async |reason: &str, class, words: &str| {
        let site = Site::new(Life::Wait);
        offer(&site.cluster);
        let handle = server(&site).await;
        let job = site.job(&handle.name);
        site.cluster.wait(&job.id, reason);
        check_ended(&status(&site, &handle).await, class, words);
    };
    check(
        "BadConstraints",
        FailureReason::ServerFailed,
        "Slurm will never start the server's job 4001 (BadConstraints); it was cancelled",
    )
    .await;
    check(
        "QOSMaxNodePerJobLimit",
        FailureReason::ServerFailed,
        "(QOSMaxNodePerJobLimit)",
    )
    .await;
}

#[tokio::test]
async fn a_refusal_says_what_the_cluster_has() {
    let words = "sbatch: error: Batch job submission failed: Invalid partition name specified";
    let refused = Mishap::Refused(ClusterErrorKind::Partition, words.to_owned());
    let message = |error: &dyn std::error::Error| {
        let chain = std::iter::successors(Some(error), |error| error.source());
        chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    };
    let site = Site::new(Life::Wait);
    offer(&site.cluster);
    site.cluster.plan(&[Call::Submit], refused.clone(), 2);
    let server = Deployer::ensure(&site.backend, &campaign(), &deployment("1"), &spec()).await;
    let load = LoadRunner::ensure(&site.backend, &config(&run("1")), &load()).await;
    let has = "partition `normal` does not exist on simulated; it has debug, long";
    for (error, role) in [
        (server.map(drop), "the server's"),
        (load.map(drop), "the load generator's"),
    ] {
        let message = message(&error.expect_err("it is refused"));
        let expected = format!("Slurm refuses {role} job: {has}: {words}");
        assert!(message.ends_with(&expected), "{message}");
    }
    // A cluster that tells nothing takes nothing away from the refusal.
    let site = Site::new(Life::Wait);
    site.cluster.plan(&[Call::Submit], refused, 1);
    site.cluster.plan(&[Call::Offers], Mishap::LostBefore, 1);
    let server = Deployer::ensure(&site.backend, &campaign(), &deployment("1"), &spec()).await;
    let message = message(&server.expect_err("it is refused"));
    assert!(
        message.ends_with(&format!("Slurm refuses the server's job: {words}")),
        "{message}"
    );
}

#[tokio::test]
async fn a_requeued_server_waits_again() {
    let site = Site::new(Life::Run);
    let handle = server(&site).await;
    let job = site.job(&handle.name);
    site.cluster.wait(&job.id, "BeginTime");
    assert_eq!(status(&site, &handle).await, DeploymentStatus::Queued);
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_name() {
    let site = Site::new(Life::Wait);
    site.cluster.plan(&[Call::Submit], Mishap::LostAfter, 1);
    let ensured = Deployer::ensure(&site.backend, &campaign(), &deployment("1"), &spec()).await;
    let error = ensured.expect_err("the answer is lost");
    assert_eq!(error.effect, Effect::Unknown);
    let found = site
        .backend
        .find_deployment(&deployment("1"))
        .await
        .expect("it can be asked");
    assert!(matches!(found, Found::Started(_)), "{found:?}");
    assert_eq!(site.cluster.submitted().len(), 1);
}

#[tokio::test]
async fn a_submission_that_never_came_is_absent_and_cannot_come_late() {
    let site = Site::new(Life::Wait);
    site.cluster.plan(&[Call::Submit], Mishap::LostBefore, 1);
    let id = deployment("1");
    let ensured = Deployer::ensure(&site.backend, &campaign(), &id, &spec()).await;
    assert_eq!(ensured.expect_err("the answer is lost").effect, Effect::Unknown);
    let mut found = Vec::new();
    for _ in 0..3 {
        found.push(site.backend.find_deployment(&id).await.expect("it can be asked"));
    }
    assert_eq!(found, [Found::Unsettled, Found::Unsettled, Found::Absent]);
    let mark = format!("/scratch/me/gipfel/{id}/jobid");
    assert_eq!(site.cluster.text(&mark).as_deref(), Some("taken\n"));
    // The next one has a mark and a name of its own.
    let handle = server(&site).await;
    assert!(handle.detail.contains("\"attempt\":2"), "{handle}");
    assert_eq!(site.cluster.living(), [format!("gipfel-{id}-2")]);
}

#[tokio::test]
async fn a_refusal_starts_nothing() {
    let site = Site::new(Life::Wait);
    let words = "sbatch: error: Invalid account or account/partition combination specified";
    let refused = Mishap::Refused(ClusterErrorKind::Account, words.to_owned());
    site.cluster.plan(&[Call::Submit], refused, 1);
    let ensured = Deployer::ensure(&site.backend, &campaign(), &deployment("1"), &spec()).await;
    let error = ensured.expect_err("it is refused");
    assert_eq!(error.effect, Effect::NotStarted);
    assert!(!error.source.retryable);
    assert!(site.cluster.living().is_empty());
}

#[tokio::test]
async fn a_cluster_that_is_away_says_nothing_of_a_job() {
    let site = Site::new(Life::Run);
    let handle = server(&site).await;
    site.cluster.plan(&[], Mishap::LostBefore, 1);
    let error = Deployer::observe(&site.another(), &handle)
        .await
        .expect_err("it is away");
    assert!(error.retryable);
    let job = site.job(&handle.name);
    site.cluster.forget(&job.id);
    let error = Deployer::observe(&site.another(), &handle)
        .await
        .expect_err("it is unknown");
    assert!(
        error.retryable,
        "a job that is unknown for a moment is no dead job"
    );
}

#[tokio::test]
async fn a_run_that_was_cut_off_says_what_ended_it() {
    let check = async |state: &str, said: &str, reason, words: &str| {
        let site = Site::new(Life::Run);
        let id = run("1");
        let handle = LoadRunner::ensure(&site.backend, &config(&id), &load())
            .await
            .expect("it starts");
        let job = site.job(&handle.name);
        let directory = job.request.directory;
        site.cluster
            .store(&format!("{directory}/progress.json"), &progress(said));
        site.cluster.end(&job.id, JobState::parse(state), 1);
        let status = LoadRunner::observe(&site.another(), &handle)
            .await
            .expect("it can be observed");
        let RunStatus::Failed(failure) = status else {
            panic!("{status:?}")
        };
        assert_eq!(failure.reason, reason, "{failure:?}");
        assert!(failure.message.contains(words), "{failure:?}");
    };
    check(
        "TIMEOUT",
        "running",
        FailureReason::TimeLimit,
        "reached its walltime",
    )
    .await;
    check("NODE_FAIL", "running", FailureReason::LoadFailed, "a node failed").await;
    // Slurm's signal makes it leave in order, and nobody of ours has asked.
    check("CANCELLED", "stopped", FailureReason::Cancelled, "was cancelled").await;
    check("PREEMPTED", "stopped", FailureReason::LoadFailed, "pre-empted").await;
    check("FAILED", "failed", FailureReason::LoadFailed, "does not say why").await;
}

#[tokio::test]
async fn a_job_whose_time_is_up_leaves_the_rest_to_another() {
    let site = Site::new(Life::Run);
    let handle = LoadRunner::ensure(&site.backend, &config(&run("1")), &load())
        .await
        .expect("it starts");
    let job = site.job(&handle.name);
    let said = String::from_utf8_lossy(&progress("stopped"))
        .replace("\"error\":null", "\"error\":\"the job's time is nearly up\"");
    let path = format!("{}/progress.json", job.request.directory);
    site.cluster.store(&path, said.as_bytes());
    site.cluster.end(&job.id, JobState::parse("FAILED"), 130);
    let status = LoadRunner::observe(&site.another(), &handle)
        .await
        .expect("it can be observed");
    let RunStatus::Failed(failure) = status else {
        panic!("{status:?}")
    };
    assert_eq!(failure.reason, FailureReason::TimeLimit);
    assert_eq!(failure.message, "the job's time is nearly up");
}

#[tokio::test]
async fn a_job_that_slurm_has_forgotten_is_over_by_its_own_word() {
    let site = Site::new(Life::Run);
    let handle = LoadRunner::ensure(&site.backend, &config(&run("1")), &load())
        .await
        .expect("it starts");
    let job = site.job(&handle.name);
    let directory = job.request.directory.clone();
    site.cluster.end(&job.id, JobState::Completed, 0);
    site.cluster.forget(&job.id);
    let error = LoadRunner::observe(&site.another(), &handle)
        .await
        .expect_err("it may live");
    assert!(error.retryable, "{error:?}");
    site.cluster
        .store(&format!("{directory}/progress.json"), &progress("completed"));
    site.cluster
        .store(&format!("{directory}/ended.txt"), b"0 the load generator\n");
    let status = LoadRunner::observe(&site.another(), &handle)
        .await
        .expect("it can be observed");
    assert!(matches!(status, RunStatus::Completed(_)), "{status:?}");
    LoadRunner::end(&site.another(), &handle)
        .await
        .expect("nothing of it lives");
}

#[tokio::test]
async fn a_load_generator_does_not_wait_for_the_place_of_its_own_server() {
    let begun = async |reason: &str, other: bool| {
        let site = Site::new(Life::Wait);
        let server = server(&site).await;
        site.cluster.begin(&site.job(&server.name).id, &["nid001001"]);
        if other {
            let another = Deployer::ensure(&site.backend, &campaign(), &deployment("2"), &spec()).await;
            let another = another.expect("it is submitted");
            site.cluster.begin(&site.job(&another.name).id, &["nid001002"]);
        }
        let handle = LoadRunner::ensure(&site.backend, &config(&run("1")), &load())
            .await
            .expect("it is submitted");
        site.cluster.wait(&site.job(&handle.name).id, reason);
        let status = LoadRunner::observe(&site.backend, &handle)
            .await
            .expect("it can be observed");
        (site, handle, status)
    };
    let (site, handle, status) = begun("QOSMaxJobsPerUserLimit", false).await;
    let RunStatus::Failed(failure) = status else {
        panic!("{status:?}")
    };
    assert!(
        failure
            .message
            .contains("load generator's job 4002 (QOSMaxJobsPerUserLimit)"),
        "{failure:?}"
    );
    assert_eq!(site.job(&handle.name).cancels, 1);
    // The place may become free where another job holds it, or where something else is waited for.
    for (reason, other) in [
        ("QOSMaxJobsPerUserLimit", true),
        ("QOSGrpNodeLimit", false),
        ("Priority", false),
    ] {
        let (_, _, status) = begun(reason, other).await;
        assert_eq!(status, RunStatus::Queued, "{reason}");
    }
}

#[tokio::test]
async fn a_server_outside_is_reached_through_the_sites_proxy() {
    let check = async |deployment: DeploymentKind, url: &str, expected: Option<&str>| {
        let site = Site::new(Life::Run);
        let profile = Profile::parse(
            "name = 'own'\nlocal_directory = '/tmp'\ngpu_request = 'none'\nexclusive = false\n\
             [container]\nkind = 'none'\n[proxy]\nurl = 'http://proxy:3128'\n",
            "own.toml",
        )
        .expect("a profile");
        let config = RunConfig {
            deployment,
            endpoint: EndpointSpec::new(url),
            ..config(&run("1"))
        };
        LoadRunner::ensure(&site.with_profile(profile), &config, &load())
            .await
            .expect("it starts");
        let directory = site.job(run("1").as_str()).request.directory;
        let written = site.cluster.text(&format!("{directory}/run_config.json"));
        let written: RunConfig =
            serde_json::from_str(&written.expect("it is written")).expect("it can be read");
        assert_eq!(written.endpoint.proxy.as_deref(), expected, "{url}");
    };
    let proxy = Some("http://proxy:3128");
    check(DeploymentKind::External, "https://api.example.org", proxy).await;
    check(DeploymentKind::External, "http://nid001007:8000", None).await;
    check(DeploymentKind::Slurm, "https://api.example.org", None).await;
}

#[tokio::test]
async fn the_load_generator_is_stored_once_under_its_checksum() {
    let site = Site::new(Life::Run);
    for tag in ["1", "2"] {
        LoadRunner::ensure(&site.backend, &config(&run(tag)), &load())
            .await
            .expect("it starts");
    }
    let sum = firecrest_client::Sha256::of(b"program");
    let path = format!("/scratch/me/gipfel/load-generators/{sum}/gipfel-loadgen.gz");
    let packed = site.cluster.file(&path).expect("it is there");
    assert!(packed.starts_with(&[0x1f, 0x8b]), "it is packed");
    assert_eq!(site.cluster.mode(&path), Some(0o600));
    let puts = site.cluster.calls().into_iter().filter(|call| *call == Call::Put);
    assert_eq!(puts.count(), 2, "each run asks for it");
    let directory = site.job(run("1").as_str()).request.directory;
    assert_eq!(
        site.cluster.mode(&format!("{directory}/run_config.json")),
        Some(0o600)
    );
}

#[tokio::test]
async fn a_load_generator_without_a_node_is_taken_back() {
    let site = Site::new(Life::Wait);
    let handle = LoadRunner::ensure(&site.backend, &config(&run("1")), &load())
        .await
        .expect("it is submitted");
    LoadRunner::stop(&site.another(), &handle)
        .await
        .expect("it is asked");
    let status = LoadRunner::observe(&site.another(), &handle)
        .await
        .expect("it can be observed");
    let RunStatus::Failed(failure) = status else {
        panic!("{status:?}")
    };
    assert_eq!(failure.reason, FailureReason::Cancelled, "{failure:?}");
}
