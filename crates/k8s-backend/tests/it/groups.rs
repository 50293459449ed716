//! Servers over several nodes, and graphs of Dynamo.

use std::time::Duration;

use gipfel_backend::{Deployer, DeploymentStatus, Effect, FailureReason};
use gipfel_k8s_backend::{Deadlines, simulated::Shape};
use gipfel_model::{BackendKind, DeploymentSpec, deployment::Placement};
use serde_json::json;

use crate::{
    failures::ended,
    setup::{Setup, backend_with, spec},
};

const GROUPS: [&str; 3] = ["leaderworkerset.x-k8s.io", "nvidia.com", "scheduling.volcano.sh"];

/// As long as ids are.
const ID: &str = "d-20261123-101112_llama-3.1-405b-instruct-fp8_vllm_k8s_12ab";

/// A server of so many GPUs on nodes of four.
pub(crate) fn several(backend: BackendKind, gpus: u32) -> DeploymentSpec {
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

async fn with_operators(shape: Shape) -> anyhow::Result<Setup> {
    let setup = Setup::new(shape).await?;
    for group in GROUPS {
        setup.cluster.install(group);
    }
    Ok(setup)
}

async fn check(spec: &DeploymentSpec, kind: &str, pods: usize) -> anyhow::Result<()> {
    let setup = with_operators(Shape::Happy).await?;
    let (campaign, id) = ("c-1".parse()?, ID.parse()?);
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
    let name = |plural: &str| {
        let of_kind = objects.iter().find_map(|name| name.strip_prefix(plural));
        of_kind.unwrap_or_default().to_owned()
    };
    let (workload, service) = (name(kind), name("services/"));
    if pods > 1 {
        // Operators make objects of this name and longer ones: LWS a Service, labels with 13 characters more.
        assert!(
            workload != service && workload.len() <= 30,
            "{workload}, {service}"
        );
    } else {
        assert_eq!(workload, service);
    }
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

#[tokio::test]
async fn a_graph_over_nodes_needs_what_joins_them() -> anyhow::Result<()> {
    let check = async |installed: &[&'static str], gpus: u32, expected: Option<&str>| -> anyhow::Result<()> {
        let setup = Setup::new(Shape::Happy).await?;
        for group in installed {
            setup.cluster.install(group);
        }
        let spec = several(BackendKind::Dynamo, gpus);
        let outcome = setup
            .backend
            .ensure(&"c-1".parse()?, &"d-1".parse()?, &spec)
            .await;
        let words = outcome.err().map(|error| error.source.source.to_string());
        match expected {
            None => assert_eq!(words, None, "{installed:?}"),
            Some(part) => assert!(
                words.as_ref().is_some_and(|words| words.contains(part)),
                "{words:?}"
            ),
        }
        Ok(())
    };
    let missing = Some("ask for Grove, or LeaderWorkerSet with Volcano");
    check(&["nvidia.com"], 4, None).await?;
    check(&["nvidia.com"], 8, missing).await?;
    check(&["nvidia.com", "leaderworkerset.x-k8s.io"], 8, missing).await?;
    check(&["nvidia.com", "grove.io"], 8, None).await?;
    check(
        &["nvidia.com", "leaderworkerset.x-k8s.io", "scheduling.volcano.sh"],
        8,
        None,
    )
    .await
}

/// Each failure of a server over several pods, with the cluster's words.
async fn check_failure(
    shape: Shape,
    spec: &DeploymentSpec,
    reason: FailureReason,
    part: &str,
) -> anyhow::Result<()> {
    let setup = with_operators(shape).await?;
    let (campaign, id) = ("c-1".parse()?, ID.parse()?);
    let handle = setup.backend.ensure(&campaign, &id, spec).await?;
    let failure = ended(&setup, &handle).await?;
    assert_eq!(failure.reason, reason, "{failure:?}");
    assert!(failure.message.contains(part), "{failure:?}");
    setup.backend.end(&handle).await?;
    assert_eq!(setup.cluster.objects(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn groups_and_graphs_fail_like_one_pod() -> anyhow::Result<()> {
    let quota = "Error creating: pods \"w-0\" is forbidden: exceeded quota: gpu-quota, requested: 4, used: 2, limited: 4";
    for spec in [several(BackendKind::Vllm, 16), several(BackendKind::Dynamo, 8)] {
        let check = |shape, reason, part| check_failure(shape, &spec, reason, part);
        let fixture = |text: &str| crate::failures::shape(text);
        let out_of_memory = fixture(include_str!("../fixtures/out-of-memory.json"));
        check(out_of_memory, FailureReason::OutOfMemory, "OOMKilled").await?;
        let missing = fixture(include_str!("../fixtures/image-missing.json"));
        check(missing, FailureReason::ServerFailed, "not found").await?;
        let no_gpu = fixture(include_str!("../fixtures/unschedulable.json"));
        check(no_gpu, FailureReason::ServerFailed, "Insufficient nvidia.com/gpu").await?;
        let refused = Shape::Refused(quota.to_owned());
        check(refused, FailureReason::ServerFailed, "exceeded quota: gpu-quota").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_waited_for() -> anyhow::Result<()> {
    let words =
        "Error creating: Internal error occurred: failed calling webhook \"mpod.kb.io\": connection refused";
    let mut setup = with_operators(Shape::Refused(words.to_owned())).await?;
    // As long as a real one is waited for.
    setup.backend = backend_with(&setup.cluster, &setup.directory, Deadlines::default());
    let spec = several(BackendKind::Vllm, 16);
    let handle = setup.backend.ensure(&"c-1".parse()?, &ID.parse()?, &spec).await?;
    for _ in 0..20 {
        assert_eq!(setup.backend.observe(&handle).await?, DeploymentStatus::Queued);
    }
    setup.backend.end(&handle).await?;
    Ok(())
}

/// A worker whose pod ends takes its group with it: the controller makes all pods anew.
#[tokio::test]
async fn a_group_that_begins_anew_has_ended() -> anyhow::Result<()> {
    let setup = with_operators(Shape::Happy).await?;
    let handle = setup
        .backend
        .ensure(&"c-1".parse()?, &ID.parse()?, &several(BackendKind::Sglang, 8))
        .await?;
    let mut is_ready = false;
    for _ in 0..100 {
        is_ready |= matches!(
            setup.backend.observe(&handle).await?,
            DeploymentStatus::Ready { .. }
        );
    }
    assert!(is_ready, "it is never ready");
    setup.cluster.crash_pods();
    setup.cluster.replace_pods(None);
    for _ in 0..1_000 {
        if let DeploymentStatus::Ended(failure) = setup.backend.observe(&handle).await? {
            assert!(failure.message.contains("exit code 1"), "{failure:?}");
            setup.backend.end(&handle).await?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("nobody sees that it began anew")
}
