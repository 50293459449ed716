//! A backend on a cluster.

use std::time::Duration;

use gipfel_k8s_backend::{
    Connection, Deadlines, K8sBackend,
    simulated::{Shape, SimulatedCluster},
};
use gipfel_model::{BackendKind, DeploymentSpec, K8sSpec, deployment::Placement};
use tempfile::TempDir;

pub(crate) struct Setup {
    pub(crate) cluster: SimulatedCluster,
    pub(crate) backend: K8sBackend,
    pub(crate) directory: TempDir,
}

impl Setup {
    pub(crate) async fn new(shape: Shape) -> anyhow::Result<Self> {
        let cluster = SimulatedCluster::start(shape).await?;
        let directory = tempfile::tempdir()?;
        let backend = backend(&cluster, &directory);
        Ok(Self {
            cluster,
            backend,
            directory,
        })
    }
}

/// One more process on the same results directory.
pub(crate) fn backend(cluster: &SimulatedCluster, directory: &TempDir) -> K8sBackend {
    let deadlines = Deadlines {
        call: Duration::from_secs(2),
        place: Duration::ZERO,
        trouble: Duration::ZERO,
        ..Deadlines::default()
    };
    backend_with(cluster, directory, deadlines)
}

pub(crate) fn backend_with(
    cluster: &SimulatedCluster,
    directory: &TempDir,
    deadlines: Deadlines,
) -> K8sBackend {
    let connection = Connection::Url(cluster.url().to_owned());
    K8sBackend::with_deadlines(connection, "ml", directory.path().to_owned(), deadlines)
}

/// Where the images of the tests come from; a simulated cluster pulls none.
pub(crate) fn images() -> String {
    std::env::var("GIPFEL_E2E_IMAGES").unwrap_or_else(|_| "lab.local".to_owned())
}

/// A server that asks for no GPU, so that any cluster can take it.
pub(crate) fn spec(namespace: &str) -> DeploymentSpec {
    let k8s = K8sSpec {
        image: Some(format!("{}/vllm:v0.22.1", images())),
        gpus_per_node: 0,
        ..K8sSpec::new(namespace)
    };
    DeploymentSpec {
        model: "org/m".to_owned(),
        backend: BackendKind::Vllm,
        placement: Placement::K8s(Box::new(k8s)),
        backend_config: serde_json::Map::new(),
        instance: 0,
        server_ready_timeout: Duration::from_mins(5),
    }
}
