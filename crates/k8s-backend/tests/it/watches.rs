//! What the watch of a server's pods sees between two looks, and what it gets over.

use std::time::Duration;

use gipfel_backend::{Deployer, DeploymentStatus, Failure, FailureReason, Handle};
use gipfel_k8s_backend::{
    Deadlines,
    simulated::{Mishap, Shape, WatchEnd, status},
};
use gipfel_model::DeploymentSpec;

use crate::setup::{Setup, backend, backend_with, spec};

/// How often a test looks before it gives up, a hundredth of a second apart.
const LOOKS: u32 = 1_000;

/// A server that is ready, of which a watch is open.
async fn ready(setup: &Setup, spec: &DeploymentSpec) -> anyhow::Result<Handle> {
    let handle = setup
        .backend
        .ensure(&"c-1".parse()?, &"d-1".parse()?, spec)
        .await?;
    for _ in 0..LOOKS {
        if let DeploymentStatus::Ready { .. } = setup.backend.observe(&handle).await? {
            watched(setup, 1).await?;
            return Ok(handle);
        }
    }
    anyhow::bail!("it is never ready")
}

/// Waits for this many watches to have been asked for.
async fn watched(setup: &Setup, count: usize) -> anyhow::Result<()> {
    until(|| setup.cluster.watches().len() >= count, "no watch is opened").await
}

/// Waits until the watch has read the log of a pod that ended, without any look.
async fn log_read(setup: &Setup, logs_before: usize) -> anyhow::Result<()> {
    until(|| logs(setup) > logs_before, "nobody sees that it ended").await
}

fn logs(setup: &Setup) -> usize {
    setup
        .cluster
        .requests()
        .iter()
        .filter(|request| request.ends_with("/log"))
        .count()
}

async fn until(is_so: impl Fn() -> bool, message: &str) -> anyhow::Result<()> {
    for _ in 0..LOOKS {
        if is_so() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("{message}")
}

/// The failure of a server whose pods are others by now, and look well.
async fn failure(setup: &Setup, handle: &Handle) -> anyhow::Result<Failure> {
    for _ in 0..LOOKS {
        if let DeploymentStatus::Ended(failure) = setup.backend.observe(handle).await? {
            return Ok(failure);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("the end is not seen")
}

/// The pods end and are replaced; that is seen, and stays known.
async fn check_end(setup: &Setup, handle: &Handle) -> anyhow::Result<()> {
    let before = logs(setup);
    setup.cluster.crash_pods();
    log_read(setup, before).await?;
    setup.cluster.replace_pods(None);
    let found = failure(setup, handle).await?;
    assert_eq!(found.reason, FailureReason::ServerFailed, "{found:?}");
    assert!(found.message.contains("exit code 1"), "{found:?}");
    assert_eq!(found.log_tail, "loading\nserving\n");
    let other = backend(&setup.cluster, &setup.directory);
    assert_eq!(
        other.observe(handle).await?,
        DeploymentStatus::Ended(found.clone()),
        "another process knows it too"
    );
    other.end(handle).await?;
    assert_eq!(
        other.observe(handle).await?,
        DeploymentStatus::Ended(found),
        "the end does not hide it"
    );
    assert_eq!(setup.cluster.objects(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_replaced_between_two_looks_has_ended() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let handle = ready(&setup, &spec("ml")).await?;
    check_end(&setup, &handle).await
}

#[tokio::test]
async fn a_pod_that_is_taken_away_has_the_clusters_reason() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let handle = ready(&setup, &spec("ml")).await?;
    setup.cluster.replace_pods(Some("PreemptionByScheduler"));
    let found = failure(&setup, &handle).await?;
    assert!(
        found
            .message
            .contains("was deleted while it ran: PreemptionByScheduler: of the test"),
        "{found:?}"
    );
    setup.backend.end(&handle).await?;
    Ok(())
}

#[tokio::test]
async fn a_watch_goes_on_after_its_timeout_and_a_cut() -> anyhow::Result<()> {
    for end in [WatchEnd::Over, WatchEnd::Cut] {
        let setup = Setup::new(Shape::Happy).await?;
        let handle = ready(&setup, &spec("ml")).await?;
        setup.cluster.end_watches(end);
        watched(&setup, 2).await?;
        check_end(&setup, &handle).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_api_servers_own_timeout_ends_nothing() -> anyhow::Result<()> {
    let mut setup = Setup::new(Shape::Happy).await?;
    setup.backend = backend_with(
        &setup.cluster,
        &setup.directory,
        Deadlines {
            watch: Duration::from_secs(1),
            ..Deadlines::default()
        },
    );
    let handle = ready(&setup, &spec("ml")).await?;
    assert!(
        setup.cluster.watches()[0].contains("timeoutSeconds=1"),
        "{:?}",
        setup.cluster.watches()
    );
    watched(&setup, 2).await?;
    check_end(&setup, &handle).await
}

#[tokio::test]
async fn a_version_that_is_forgotten_leads_to_a_list() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let handle = ready(&setup, &spec("ml")).await?;
    // It is told within the stream that is opened next.
    setup.cluster.forget_changes();
    setup.cluster.end_watches(WatchEnd::Over);
    watched(&setup, 3).await?;
    check_end(&setup, &handle).await?;
    // The answer can also be 410 itself.
    let setup = Setup::new(Shape::Happy).await?;
    let handle = ready(&setup, &spec("ml")).await?;
    let expired = Mishap::Answer(410, status(410, "Expired", "too old resource version: 1 (591)"));
    setup.cluster.watch_mishap(expired);
    setup.cluster.end_watches(WatchEnd::Over);
    watched(&setup, 3).await?;
    check_end(&setup, &handle).await
}

#[tokio::test]
async fn what_a_gap_hides_is_seen_in_the_list() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let handle = ready(&setup, &spec("ml")).await?;
    // While nothing can be watched, the pod is replaced and the change forgotten.
    for _ in 0..2 {
        setup
            .cluster
            .watch_mishap(Mishap::Answer(503, status(503, "ServiceUnavailable", "later")));
    }
    setup.cluster.end_watches(WatchEnd::Cut);
    watched(&setup, 2).await?;
    setup.cluster.replace_pods(None);
    setup.cluster.forget_changes();
    let found = failure(&setup, &handle).await?;
    assert!(found.message.contains("was deleted while it ran"), "{found:?}");
    setup.backend.end(&handle).await?;
    Ok(())
}

#[tokio::test]
async fn the_api_server_restarts_in_mid_watch() -> anyhow::Result<()> {
    let mut setup = Setup::new(Shape::Happy).await?;
    let handle = ready(&setup, &spec("ml")).await?;
    setup.cluster.stop().await;
    assert!(setup.backend.observe(&handle).await.is_err(), "nobody answers");
    setup.cluster.start_again().await?;
    watched(&setup, 2).await?;
    assert!(matches!(
        setup.backend.observe(&handle).await?,
        DeploymentStatus::Ready { .. }
    ));
    check_end(&setup, &handle).await
}

#[tokio::test]
async fn a_watch_gets_over_refusals() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let rancher = r#"{"type":"error","status":"401","message":"must authenticate"}"#;
    for mishap in [
        Mishap::Answer(401, rancher.to_owned()),
        Mishap::Answer(401, rancher.to_owned()),
        Mishap::Answer(500, status(500, "InternalError", "an internal error")),
        Mishap::Answer(504, "etcdserver: request timed out".to_owned()),
        Mishap::Lost,
    ] {
        setup.cluster.watch_mishap(mishap);
    }
    let handle = ready(&setup, &spec("ml")).await?;
    watched(&setup, 6).await?;
    check_end(&setup, &handle).await
}

#[tokio::test]
async fn without_the_right_to_watch_looks_tell() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let forbidden = status(
        403,
        "Forbidden",
        "pods is forbidden: User \"u\" cannot watch resource \"pods\"",
    );
    for _ in 0..20 {
        setup.cluster.watch_mishap(Mishap::Answer(403, forbidden.clone()));
    }
    let handle = ready(&setup, &spec("ml")).await?;
    setup.cluster.replace_pods(None);
    let found = failure(&setup, &handle).await?;
    assert!(found.message.contains("others than those"), "{found:?}");
    setup.backend.end(&handle).await?;
    assert_eq!(setup.cluster.objects(), Vec::<String>::new());
    Ok(())
}

/// The pods are replaced while no gipfel lives.
#[tokio::test]
async fn pods_that_are_replaced_while_nobody_looks_are_others() -> anyhow::Result<()> {
    let mut setup = Setup::new(Shape::Happy).await?;
    let handle = ready(&setup, &spec("ml")).await?;
    setup.backend = backend(&setup.cluster, &setup.directory);
    setup.cluster.replace_pods(None);
    let found = failure(&setup, &handle).await?;
    assert!(found.message.contains("others than those"), "{found:?}");
    setup.backend.end(&handle).await?;
    Ok(())
}

/// As the controller of a set does when a container before the server's is tried again.
#[tokio::test]
async fn pods_may_be_made_anew_before_the_server_is_ready() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let handle = setup
        .backend
        .ensure(&"c-1".parse()?, &"d-1".parse()?, &spec("ml"))
        .await?;
    for _ in 0..LOOKS {
        if setup.backend.observe(&handle).await? == DeploymentStatus::Starting {
            break;
        }
    }
    watched(&setup, 1).await?;
    setup.cluster.replace_pods(None);
    for _ in 0..LOOKS {
        match setup.backend.observe(&handle).await? {
            DeploymentStatus::Ready { .. } => {
                setup.backend.end(&handle).await?;
                return Ok(());
            }
            DeploymentStatus::Ended(failure) => anyhow::bail!("it has only begun anew: {failure:?}"),
            DeploymentStatus::Queued | DeploymentStatus::Starting => {}
        }
    }
    anyhow::bail!("it is never ready")
}

#[tokio::test]
async fn a_server_that_we_end_was_not_taken_away() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let handle = ready(&setup, &spec("ml")).await?;
    let before = logs(&setup);
    setup.backend.end(&handle).await?;
    // A watch that is still there would see the pod leave, and read its log, within this time.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        logs(&setup),
        before + 1,
        "its log is read once, and not by the watch again"
    );
    let DeploymentStatus::Ended(failure) = setup.backend.observe(&handle).await? else {
        anyhow::bail!("it has ended");
    };
    assert_eq!(failure.reason, FailureReason::Cancelled, "{failure:?}");
    assert_eq!(failure.log_tail, "loading\nserving\n");
    Ok(())
}

#[tokio::test]
async fn a_server_that_fails_before_anybody_looks_ends_with_its_reason() -> anyhow::Result<()> {
    let setup = Setup::new(crate::failures::shape(include_str!(
        "../fixtures/out-of-memory.json"
    )))
    .await?;
    let handle = setup
        .backend
        .ensure(&"c-1".parse()?, &"d-1".parse()?, &spec("ml"))
        .await?;
    // Each request is a step of the simulated cluster.
    for _ in 0..10 {
        setup.backend.logs(&handle, 1).await?;
    }
    setup.backend.end(&handle).await?;
    let DeploymentStatus::Ended(failure) = setup.backend.observe(&handle).await? else {
        anyhow::bail!("it has ended");
    };
    assert_eq!(failure.reason, FailureReason::OutOfMemory, "{failure:?}");
    Ok(())
}
