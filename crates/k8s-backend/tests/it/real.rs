//! What is also asked of the cluster of `GIPFEL_E2E_KUBECONFIG`, beside the contract and `everything`.
//!
//! Its images begin with what `GIPFEL_E2E_IMAGES` says, or with `lab.local`: `vllm:v0.22.1` serves, `crash:1` ends,
//! `oom:1` needs too much memory, `missing:1` and `denied:1` cannot be pulled.

use std::{path::PathBuf, time::Duration};

use gipfel_backend::{Deployer, DeploymentStatus, Effect, Failure, FailureReason, Finder};
use gipfel_k8s_backend::{Connection, K8sBackend, of_deployment, simulated::Shape};
use gipfel_model::{BackendKind, CampaignId, DeploymentId, DeploymentSpec, deployment::Placement};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams},
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{
    contract::{now_ms, real_cluster, say_skipped},
    groups::several,
    setup::{Setup, images, spec},
};

/// How long pods of a real cluster may take for a step.
const PATIENCE: u32 = 240;

/// A cluster, and how long to wait between two looks.
struct Cluster {
    backend: K8sBackend,
    client: Client,
    namespace: String,
    pause: Duration,
    campaign: CampaignId,
    server: DeploymentId,
    /// Held for as long as the backend keeps its records there.
    _directory: tempfile::TempDir,
}

impl Cluster {
    async fn real(tag: &str) -> anyhow::Result<Option<Self>> {
        let Some((file, namespace)) = real_cluster() else {
            say_skipped();
            return Ok(None);
        };
        let kubeconfig = Kubeconfig::read_from(&file)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let connection = Connection::Kubeconfig {
            file: Some(file),
            context: None,
        };
        let pause = Duration::from_millis(500);
        Self::of(connection, config, namespace, pause, tag).map(Some)
    }

    fn of(
        connection: Connection,
        config: Config,
        namespace: String,
        pause: Duration,
        tag: &str,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let tag = format!("e2e-{tag}-{}", now_ms()?);
        Ok(Self {
            backend: K8sBackend::new(connection, &namespace, PathBuf::from(directory.path())),
            client: Client::try_from(config)?,
            namespace,
            pause,
            campaign: format!("c-{tag}").parse()?,
            server: format!("d-{tag}").parse()?,
            _directory: directory,
        })
    }

    /// The first status that is wanted.
    async fn look_for<T>(
        &self,
        handle: &gipfel_backend::Handle,
        wanted: impl Fn(DeploymentStatus) -> Option<T>,
    ) -> anyhow::Result<T> {
        let mut last = String::new();
        for _ in 0..PATIENCE {
            let status = self.backend.observe(handle).await?;
            last = format!("{status:?}");
            if let Some(found) = wanted(status) {
                return Ok(found);
            }
            tokio::time::sleep(self.pause).await;
        }
        anyhow::bail!("it does not come so far, last seen: {last}")
    }
}

fn ended(status: DeploymentStatus) -> Option<Failure> {
    match status {
        DeploymentStatus::Ended(failure) => Some(failure),
        DeploymentStatus::Queued | DeploymentStatus::Starting | DeploymentStatus::Ready { .. } => None,
    }
}

/// A pod that somebody deletes in mid-watch has ended its server, although another comes.
async fn check_taken_away(cluster: &Cluster) -> anyhow::Result<()> {
    let spec = spec(&cluster.namespace);
    let handle = cluster
        .backend
        .ensure(&cluster.campaign, &cluster.server, &spec)
        .await?;
    let is_ready = |status| matches!(status, DeploymentStatus::Ready { .. }).then_some(());
    cluster.look_for(&handle, is_ready).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let of_server = ListParams::default().labels(&of_deployment(cluster.server.as_str()));
    for pod in pods.list(&of_server).await? {
        let name = pod.metadata.name.unwrap_or_default();
        pods.delete(&name, &DeleteParams::default()).await?;
    }
    let failure = cluster.look_for(&handle, ended).await?;
    assert_eq!(failure.reason, FailureReason::ServerFailed, "{failure:?}");
    assert!(
        failure.message.contains("was deleted while it ran"),
        "{failure:?}"
    );
    cluster.backend.end(&handle).await?;
    assert!(cluster.backend.find_campaign(&cluster.campaign).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_deleted_has_ended() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let url = setup.cluster.url().to_owned();
    let config = Config::new(url.parse()?);
    let pause = Duration::from_millis(10);
    let cluster = Cluster::of(Connection::Url(url), config, "ml".to_owned(), pause, "gone")?;
    check_taken_away(&cluster).await
}

#[tokio::test]
async fn a_pod_that_is_deleted_has_ended_in_a_real_cluster() -> anyhow::Result<()> {
    match Cluster::real("gone").await? {
        Some(cluster) => check_taken_away(&cluster).await,
        None => Ok(()),
    }
}

fn of_image(namespace: &str, image: &str) -> DeploymentSpec {
    let mut spec = spec(namespace);
    if let Placement::K8s(k8s) = &mut spec.placement {
        k8s.image = Some(format!("{}/{image}", images()));
    }
    spec
}

async fn check_failure(image: &str, reason: FailureReason, parts: &[&str]) -> anyhow::Result<()> {
    let Some(cluster) = Cluster::real("fails").await? else {
        return Ok(());
    };
    let spec = of_image(&cluster.namespace, image);
    let handle = cluster
        .backend
        .ensure(&cluster.campaign, &cluster.server, &spec)
        .await?;
    let failure = cluster.look_for(&handle, ended).await;
    cluster.backend.end(&handle).await?;
    let failure = failure?;
    assert_eq!(failure.reason, reason, "{image}: {failure:?}");
    assert!(
        parts.iter().any(|part| failure.message.contains(part)),
        "{image}: {failure:?}"
    );
    assert!(cluster.backend.find_campaign(&cluster.campaign).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn failures_have_the_words_of_a_real_cluster() -> anyhow::Result<()> {
    check_failure(
        "crash:1",
        FailureReason::ServerFailed,
        &["exit code", "CrashLoopBackOff"],
    )
    .await?;
    check_failure("oom:1", FailureReason::OutOfMemory, &["OOMKilled"]).await?;
    check_failure("missing:1", FailureReason::ServerFailed, &["ImagePullBackOff"]).await?;
    check_failure("denied:1", FailureReason::ServerFailed, &["ImagePullBackOff"]).await
}

/// The real schemas of installed kinds take our objects, whether or not an operator acts on them.
#[tokio::test]
async fn several_nodes_are_taken_by_a_real_cluster() -> anyhow::Result<()> {
    for (backend, gpus) in [(BackendKind::Vllm, 8), (BackendKind::Dynamo, 4)] {
        let Some(cluster) = Cluster::real("several").await? else {
            return Ok(());
        };
        let mut spec = several(backend, gpus);
        if let Placement::K8s(k8s) = &mut spec.placement {
            k8s.namespace.clone_from(&cluster.namespace);
        }
        match cluster
            .backend
            .ensure(&cluster.campaign, &cluster.server, &spec)
            .await
        {
            Ok(handle) => {
                assert!(
                    ended(cluster.backend.observe(&handle).await?).is_none(),
                    "it has just begun"
                );
                cluster.backend.end(&handle).await?;
            }
            Err(error) => {
                assert_eq!(error.effect, Effect::NotStarted, "{error:?}");
                let words = error.source.source.to_string();
                assert!(words.contains("the cluster does not have"), "{words}");
            }
        }
        assert!(cluster.backend.find_campaign(&cluster.campaign).await?.is_empty());
    }
    Ok(())
}
