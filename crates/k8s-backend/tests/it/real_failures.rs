//! How servers fail in the cluster of `GIPFEL_E2E_KUBECONFIG`, and what is said of it.
//!
//! Of its images (see `real`) `crash:1` ends, `oom:1` takes more than 64 MiB of memory, `missing:1` and `denied:1` cannot be
//! pulled, and `vllm:v0.22.1` has a shell.

use std::time::Duration;

use anyhow::Context;
use gipfel_backend::FailureReason::{self, OutOfMemory, ReadyTimeout, ServerFailed};
use gipfel_model::{DeploymentSpec, K8sModelCache, K8sSecretKey, K8sSpec, K8sToken, deployment::Placement};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, ResourceQuota, ResourceQuotaSpec},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};

use crate::{
    contract::now_ms,
    real::{Cluster, ended, expect, with_server},
    setup::{images, spec},
};

/// Resources that no node has, the one without a quota and the other with one.
const SCARCE: &str = "gipfel.example/scarce";
const LIMITED: &str = "gipfel.example/limited";

fn changed(namespace: &str, change: impl FnOnce(&mut K8sSpec)) -> DeploymentSpec {
    let mut spec = spec(namespace);
    if let Placement::K8s(k8s) = &mut spec.placement {
        change(k8s);
    }
    spec
}

async fn check_spec(
    cluster: &Cluster,
    spec: &DeploymentSpec,
    reason: FailureReason,
    parts: &[&str],
) -> anyhow::Result<()> {
    with_server(cluster, spec, async |cluster, handle| {
        let failure = cluster.look_for(handle, ended).await?;
        expect(&failure, reason, parts)
    })
    .await
}

/// One of these parts is said of a server whose objects are changed so.
async fn check(
    tag: &str,
    change: impl FnOnce(&mut K8sSpec),
    reason: FailureReason,
    parts: &[&str],
) -> anyhow::Result<()> {
    match Cluster::real(tag).await? {
        Some(cluster) => check_spec(&cluster, &changed(&cluster.namespace, change), reason, parts).await,
        None => Ok(()),
    }
}

fn of_image(image: &str) -> impl FnOnce(&mut K8sSpec) {
    let image = format!("{}/{image}", images());
    move |k8s| k8s.image = Some(image)
}

#[tokio::test]
async fn containers_that_end() -> anyhow::Result<()> {
    let crashed = ["exit code", "CrashLoopBackOff"];
    check("crash", of_image("crash:1"), ServerFailed, &crashed).await?;
    let too_little = |k8s: &mut K8sSpec| {
        of_image("oom:1")(k8s);
        k8s.limits.memory = Some("64Mi".to_owned());
    };
    check("oom", too_little, OutOfMemory, &["OOMKilled"]).await
}

#[tokio::test]
async fn images_that_cannot_be_pulled() -> anyhow::Result<()> {
    // The kubelet says the one while it tries, and the other between.
    let words = ["ErrImagePull", "ImagePullBackOff"];
    check("missing", of_image("missing:1"), ServerFailed, &words).await?;
    check("denied", of_image("denied:1"), ServerFailed, &words).await
}

#[tokio::test]
async fn pods_that_find_no_place() -> anyhow::Result<()> {
    let nowhere = |k8s: &mut K8sSpec| {
        k8s.node_selector = [("gipfel.example/nowhere".to_owned(), "true".to_owned())].into();
    };
    check("nowhere", nowhere, ServerFailed, &["Unschedulable"]).await?;
    let scarce = |k8s: &mut K8sSpec| {
        k8s.gpu_resource = SCARCE.to_owned();
        k8s.gpus_per_node = 4;
    };
    check(
        "scarce",
        scarce,
        ServerFailed,
        &["Insufficient gipfel.example/scarce"],
    )
    .await
}

#[tokio::test]
async fn objects_that_are_missing() -> anyhow::Result<()> {
    let no_secret = |k8s: &mut K8sSpec| {
        k8s.hf_token = Some(K8sToken::Secret(K8sSecretKey {
            name: "gipfel-no-such-secret".to_owned(),
            key: "token".to_owned(),
        }));
    };
    check("secret", no_secret, ServerFailed, &["CreateContainerConfigError"]).await?;
    // A claim that no volume can fill.
    let claim = format!("gipfel-e2e-claim-{}", now_ms()?);
    let no_volume = |k8s: &mut K8sSpec| {
        k8s.model_cache = Some(K8sModelCache {
            claim: claim.clone(),
            size: "1Gi".to_owned(),
            storage_class: Some("gipfel-no-such-class".to_owned()),
            mount_path: "/models".to_owned(),
            is_filled: false,
        });
    };
    let words = ["PersistentVolumeClaim", "persistentvolumeclaim"];
    let said = check("claim", no_volume, ServerFailed, &words).await;
    if let Some(cluster) = Cluster::real("claim").await? {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        claims.delete(&claim, &DeleteParams::default()).await?;
    }
    said
}

#[tokio::test]
async fn a_server_that_never_answers() -> anyhow::Result<()> {
    let Some(cluster) = Cluster::real("silent").await? else {
        return Ok(());
    };
    let mut spec = changed(&cluster.namespace, |k8s| {
        k8s.command = Some(["sleep", "600"].map(str::to_owned).into());
    });
    spec.server_ready_timeout = Duration::from_secs(10);
    check_spec(
        &cluster,
        &spec,
        ReadyTimeout,
        &["connection refused", "startup probe"],
    )
    .await
}

/// A quota of what no other pod asks for.
#[tokio::test]
async fn a_quota_that_is_used_up() -> anyhow::Result<()> {
    let Some(cluster) = Cluster::real("quota").await? else {
        return Ok(());
    };
    let quotas: Api<ResourceQuota> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let quota = ResourceQuota {
        metadata: ObjectMeta {
            name: Some(format!("gipfel-e2e-{}", now_ms()?)),
            ..ObjectMeta::default()
        },
        spec: Some(ResourceQuotaSpec {
            hard: Some([(format!("requests.{LIMITED}"), Quantity("0".to_owned()))].into()),
            ..ResourceQuotaSpec::default()
        }),
        ..ResourceQuota::default()
    };
    let made = quotas.create(&PostParams::default(), &quota).await?;
    let spec = changed(&cluster.namespace, |k8s| {
        k8s.gpu_resource = LIMITED.to_owned();
        k8s.gpus_per_node = 4;
    });
    let said = check_spec(&cluster, &spec, ServerFailed, &["exceeded quota"]).await;
    let name = made.metadata.name.context("it has a name")?;
    quotas.delete(&name, &DeleteParams::default()).await?;
    said
}
