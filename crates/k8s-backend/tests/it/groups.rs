//! Servers over several nodes, and graphs of Dynamo.

use std::time::Duration;

use gipfel_backend::{Deployer, DeploymentStatus, Effect};
use gipfel_k8s_backend::simulated::Shape;
use gipfel_model::{BackendKind, DeploymentSpec, deployment::Placement};
use serde_json::json;

use crate::setup::{Setup, spec};

const GROUPS: [&str; 2] = ["leaderworkerset.x-k8s.io", "nvidia.com"];

/// A server of so many GPUs on nodes of four.
fn several(backend: BackendKind, gpus: u32) -> DeploymentSpec {
    let mut spec = spec("ml");
    spec.backend = backend;
    spec.backend_config = json!({ "tensor_parallel_size": gpus })
        .as_object()
        .cloned()
        .unwrap_or_default();
    if let Placement::K8s(k8s) = &mut spec.placement {
        k8s.gpus_per_node = 4;
    }
    spec
}

async fn check(spec: &DeploymentSpec, kind: &str, pods: usize) -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    for group in GROUPS {
        setup.cluster.install(group);
    }
    let (campaign, id) = ("c-1".parse()?, "d-1".parse()?);
    let handle = setup.backend.ensure(&campaign, &id, spec).await?;
    let mut is_ready = false;
    for _ in 0..100 {
        match setup.backend.observe(&handle).await? {
            DeploymentStatus::Ready { .. } => {
                is_ready = true;
                break;
            }
            DeploymentStatus::Ended(failure) => anyhow::bail!("it ended: {failure:?}"),
            DeploymentStatus::Queued | DeploymentStatus::Starting => {}
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(is_ready, "{kind} is never ready");
    let objects = setup.cluster.objects();
    let count = |plural: &str| objects.iter().filter(|name| name.starts_with(plural)).count();
    assert_eq!((count(kind), count("pods/")), (1, pods), "{objects:?}");
    let log = setup.backend.logs(&handle, 100).await?;
    assert_eq!(
        log.matches("== gipfel-").count(),
        if pods > 1 { pods } else { 0 },
        "{log}"
    );
    setup.backend.end(&handle).await?;
    assert_eq!(setup.cluster.objects(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn several_nodes_are_one_server() -> anyhow::Result<()> {
    check(&several(BackendKind::Vllm, 16), "leaderworkersets/", 4).await?;
    check(&several(BackendKind::Sglang, 8), "leaderworkersets/", 2).await?;
    check(&several(BackendKind::Vllm, 4), "deployments/", 1).await?;
    check(&several(BackendKind::Dynamo, 4), "dynamographdeployments/", 2).await?;
    check(&several(BackendKind::Dynamo, 8), "dynamographdeployments/", 3).await
}

#[tokio::test]
async fn a_cluster_without_the_kind_is_refused_before_anything_is_made() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let (campaign, id) = ("c-1".parse()?, "d-1".parse()?);
    for (backend, gpus, part) in [
        (
            BackendKind::Vllm,
            16,
            "leaderworkerset.x-k8s.io/v1: ask for LeaderWorkerSet (LWS)",
        ),
        (
            BackendKind::Dynamo,
            4,
            "nvidia.com/v1beta1: ask for the operator of NVIDIA Dynamo",
        ),
    ] {
        let Err(error) = setup
            .backend
            .ensure(&campaign, &id, &several(backend, gpus))
            .await
        else {
            anyhow::bail!("{backend} is not refused");
        };
        assert_eq!(error.effect, Effect::NotStarted);
        let words = error.source.source.to_string();
        assert!(words.contains(part), "{words}");
        assert_eq!(setup.cluster.objects(), Vec::<String>::new());
    }
    Ok(())
}
