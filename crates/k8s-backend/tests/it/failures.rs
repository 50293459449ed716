//! Pods that fail end the server with the cluster's own words.

use gipfel_backend::{Deployer, DeploymentStatus, Failure, FailureReason, Handle};
use gipfel_k8s_backend::simulated::Shape;
use serde_json::{Value, json};

use crate::setup::{Setup, spec};

pub(crate) fn shape(pod: &str) -> Shape {
    let pod: Value = serde_json::from_str(pod).expect("the fixture is JSON");
    Shape::Status {
        status: pod["status"].clone(),
        events: Vec::new(),
    }
}

/// How a server ends that is never ready; fails where it does not end.
pub(crate) async fn ended(setup: &Setup, handle: &Handle) -> anyhow::Result<Failure> {
    for _ in 0..100 {
        match setup.backend.observe(handle).await? {
            DeploymentStatus::Ended(failure) => return Ok(failure),
            DeploymentStatus::Ready { .. } => anyhow::bail!("a server that fails is never ready"),
            DeploymentStatus::Queued | DeploymentStatus::Starting => {}
        }
    }
    anyhow::bail!("the failure is not seen")
}

async fn check(shape: Shape, reason: FailureReason, part: &str) -> anyhow::Result<()> {
    let setup = Setup::new(shape).await?;
    let (campaign, id) = ("c-1".parse()?, "d-1".parse()?);
    let handle = setup.backend.ensure(&campaign, &id, &spec("ml")).await?;
    let failure = ended(&setup, &handle).await?;
    assert_eq!(failure.reason, reason, "{failure:?}");
    assert!(failure.message.contains(part), "{failure:?}");
    setup.backend.end(&handle).await?;
    assert_eq!(setup.cluster.objects(), Vec::<String>::new());
    Ok(())
}

macro_rules! fixture {
    ($name:literal) => {
        shape(include_str!(concat!("../fixtures/", $name, ".json")))
    };
}

#[tokio::test]
async fn failures_have_the_clusters_words() -> anyhow::Result<()> {
    check(fixture!("crash"), FailureReason::ServerFailed, "exit code 1").await?;
    check(fixture!("out-of-memory"), FailureReason::OutOfMemory, "OOMKilled").await?;
    check(
        fixture!("image-missing"),
        FailureReason::ServerFailed,
        "not found",
    )
    .await?;
    check(
        fixture!("image-denied"),
        FailureReason::ServerFailed,
        "ImagePullBackOff",
    )
    .await?;
    check(
        fixture!("unschedulable"),
        FailureReason::ServerFailed,
        "Insufficient nvidia.com/gpu",
    )
    .await?;
    check(
        fixture!("config-error"),
        FailureReason::ServerFailed,
        "CreateContainerConfigError",
    )
    .await?;
    check(
        fixture!("claim-missing"),
        FailureReason::ServerFailed,
        "no-such-claim",
    )
    .await?;
    let quota = "exceeded quota: gpu-quota";
    check(
        Shape::Refused(quota.to_owned()),
        FailureReason::ServerFailed,
        quota,
    )
    .await
}

#[tokio::test]
async fn a_server_that_is_never_healthy_runs_out_of_time() -> anyhow::Result<()> {
    let Shape::Status { status, .. } = fixture!("crash") else {
        anyhow::bail!("it is a status");
    };
    let events = vec![
        json!({"reason": "Unhealthy", "message": "Startup probe failed: statuscode: 503"}),
        json!({"reason": "Killing", "message": "Container server failed startup probe, will be restarted"}),
    ];
    check(
        Shape::Status { status, events },
        FailureReason::ReadyTimeout,
        "statuscode: 503",
    )
    .await
}

#[tokio::test]
async fn the_log_is_kept() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let (campaign, id) = ("c-1".parse()?, "d-1".parse()?);
    let handle = setup.backend.ensure(&campaign, &id, &spec("ml")).await?;
    setup.backend.observe(&handle).await?;
    setup.backend.end(&handle).await?;
    assert_eq!(setup.backend.logs(&handle, 1).await?, "serving\n");
    Ok(())
}

#[tokio::test]
async fn the_log_before_a_restart_is_kept_too() -> anyhow::Result<()> {
    let setup = Setup::new(fixture!("crash")).await?;
    let handle = setup
        .backend
        .ensure(&"c-1".parse()?, &"d-1".parse()?, &spec("ml"))
        .await?;
    let failure = ended(&setup, &handle).await?;
    assert!(
        failure.log_tail.starts_with("loading before the restart\n"),
        "{failure:?}"
    );
    setup.backend.end(&handle).await?;
    Ok(())
}

/// The engine's own log says what the cluster cannot know, and how long the start took.
#[tokio::test]
async fn the_engines_log_is_read() -> anyhow::Result<()> {
    let id = "d-20261123-101112_m_vllm_k8s_12ab".parse()?;
    let setup = Setup::new(fixture!("crash")).await?;
    setup
        .cluster
        .log("RuntimeError: x\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n");
    let handle = setup.backend.ensure(&"c-1".parse()?, &id, &spec("ml")).await?;
    let failure = ended(&setup, &handle).await?;
    assert_eq!(failure.reason, FailureReason::OutOfMemory, "{failure:?}");
    assert!(
        failure
            .message
            .contains("exit code 1; its log says: torch.OutOfMemoryError"),
        "{failure:?}"
    );

    let setup = Setup::new(Shape::Happy).await?;
    setup
        .cluster
        .log("INFO [model_runner.py:1] Model loading took 33.5 GiB and 43.5 seconds\n");
    let handle = setup.backend.ensure(&"c-1".parse()?, &id, &spec("ml")).await?;
    for _ in 0..100 {
        if let DeploymentStatus::Ready { provenance, .. } = setup.backend.observe(&handle).await? {
            let steps = provenance.0.get(gipfel_model::Provenance::SERVER_LOAD_STEPS);
            assert_eq!(steps.map(String::as_str), Some(r#"{"weights":43.5}"#));
            return Ok(());
        }
    }
    anyhow::bail!("it is never ready")
}
