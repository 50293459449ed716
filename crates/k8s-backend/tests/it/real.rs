//! What is also asked of the cluster of `GIPFEL_E2E_KUBECONFIG`, beside the contract and `everything`.
//!
//! Its images begin with what `GIPFEL_E2E_IMAGES` says, or with `lab.local`: `vllm:v0.22.1` serves.

use std::time::Duration;

use gipfel_backend::{Deployer, DeploymentStatus, Effect, Failure, FailureReason, Finder, Handle};
use gipfel_k8s_backend::{Connection, Deadlines, K8sBackend, of_pods, simulated::Shape};
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
    setup::{Setup, spec},
};

/// How long pods of a real cluster may take for a step.
const PATIENCE: u32 = 240;

/// A cluster, and how long to wait between two looks.
pub(crate) struct Cluster {
    backend: K8sBackend,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pause: Duration,
    campaign: CampaignId,
    server: DeploymentId,
    /// Held for as long as the backend keeps its records there.
    _directory: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn real(tag: &str) -> anyhow::Result<Option<Self>> {
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
        // A test does not wait for room, or for what may pass.
        let deadlines = Deadlines {
            place: Duration::from_secs(5),
            trouble: Duration::from_secs(15),
            ..Deadlines::default()
        };
        let root = directory.path().to_owned();
        Ok(Self {
            backend: K8sBackend::with_deadlines(connection, &namespace, root, deadlines),
            client: Client::try_from(config)?,
            namespace,
            pause,
            campaign: format!("c-{tag}").parse()?,
            server: format!("d-{tag}").parse()?,
            _directory: directory,
        })
    }

    /// The first status that is wanted.
    pub(crate) async fn look_for<T>(
        &self,
        handle: &Handle,
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

pub(crate) fn ended(status: DeploymentStatus) -> Option<Failure> {
    match status {
        DeploymentStatus::Ended(failure) => Some(failure),
        DeploymentStatus::Queued | DeploymentStatus::Starting | DeploymentStatus::Ready { .. } => None,
    }
}

/// Starts a server, checks it, and takes it down whatever the check has found.
pub(crate) async fn with_server(
    cluster: &Cluster,
    spec: &DeploymentSpec,
    check: impl AsyncFnOnce(&Cluster, &Handle) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let started = cluster
        .backend
        .ensure(&cluster.campaign, &cluster.server, spec)
        .await;
    let handle = match started {
        Ok(handle) => handle,
        Err(error) => {
            if let Effect::Started(handle) = &error.effect {
                cluster.backend.end(handle).await?;
            }
            return Err(error.into());
        }
    };
    let checked = check(cluster, &handle).await;
    cluster.backend.end(&handle).await?;
    checked?;
    anyhow::ensure!(
        cluster.backend.find_campaign(&cluster.campaign).await?.is_empty(),
        "something is left"
    );
    Ok(())
}

/// A pod that somebody deletes in mid-watch has ended its server, although another comes.
async fn check_taken_away(cluster: &Cluster) -> anyhow::Result<()> {
    let spec = spec(&cluster.namespace);
    with_server(cluster, &spec, async |cluster, handle| {
        let is_ready = |status| matches!(status, DeploymentStatus::Ready { .. }).then_some(());
        cluster.look_for(handle, is_ready).await?;
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let of_server = ListParams::default().labels(&of_pods(cluster.server.as_str()));
        for pod in pods.list(&of_server).await? {
            let name = pod.metadata.name.unwrap_or_default();
            pods.delete(&name, &DeleteParams::default()).await?;
        }
        let failure = cluster.look_for(handle, ended).await?;
        expect(
            &failure,
            FailureReason::ServerFailed,
            &["was deleted while it ran"],
        )
    })
    .await
}

pub(crate) fn expect(failure: &Failure, reason: FailureReason, parts: &[&str]) -> anyhow::Result<()> {
    let is_told = parts.iter().any(|part| failure.message.contains(part));
    anyhow::ensure!(
        failure.reason == reason && is_told,
        "{parts:?} is not what is said: {failure:?}"
    );
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

/// The API server ends each watch after a second.
#[tokio::test]
async fn a_real_api_servers_timeout_ends_nothing() -> anyhow::Result<()> {
    let Some(mut cluster) = Cluster::real("timeout").await? else {
        return Ok(());
    };
    let (Some((file, namespace)), directory) = (real_cluster(), tempfile::tempdir()?) else {
        return Ok(());
    };
    let connection = Connection::Kubeconfig {
        file: Some(file),
        context: None,
    };
    let deadlines = Deadlines {
        watch: Duration::from_secs(1),
        ..Deadlines::default()
    };
    let root = directory.path().to_owned();
    cluster.backend = K8sBackend::with_deadlines(connection, &namespace, root, deadlines);
    check_taken_away(&cluster).await
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
        let begun = with_server(&cluster, &spec, async |cluster, handle| {
            let status = cluster.backend.observe(handle).await?;
            anyhow::ensure!(ended(status).is_none(), "it has just begun");
            Ok(())
        });
        if let Err(error) = begun.await {
            // Not every cluster has what is needed.
            let words = format!("{error:#}");
            anyhow::ensure!(words.contains("the cluster does not have"), "{words}");
        }
    }
    Ok(())
}
