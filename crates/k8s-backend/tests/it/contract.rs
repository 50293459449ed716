//! The promises of the traits.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gipfel_backend::{
    BoxFuture, Deployer, Finder,
    contract::{DeployerHarness, deployer_contract},
};
use gipfel_k8s_backend::{Connection, K8sBackend, simulated::Shape};
use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec};

use crate::setup::{Setup, spec};

struct Harness<'a> {
    backend: &'a K8sBackend,
    namespace: &'a str,
    tag: String,
    pause: Duration,
}

impl DeployerHarness for Harness<'_> {
    fn deployer(&self) -> &dyn Deployer {
        self.backend
    }

    fn finder(&self) -> &dyn Finder {
        self.backend
    }

    fn deployment(&self, tag: &str) -> DeploymentId {
        format!("d-{}-{tag}", self.tag).parse().expect("an id")
    }

    fn campaign(&self) -> CampaignId {
        format!("c-{}", self.tag).parse().expect("an id")
    }

    fn spec(&self) -> DeploymentSpec {
        spec(self.namespace)
    }

    fn pause(&self) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(self.pause))
    }
}

#[tokio::test]
async fn the_contract_is_kept() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    deployer_contract(&Harness {
        backend: &setup.backend,
        namespace: "ml",
        tag: "contract".to_owned(),
        pause: Duration::from_millis(1),
    })
    .await;
    assert_eq!(
        setup.cluster.objects(),
        Vec::<String>::new(),
        "nothing is left in the cluster"
    );
    Ok(())
}

/// Against the cluster of `GIPFEL_E2E_KUBECONFIG`, in the namespace of `GIPFEL_E2E_NAMESPACE` or `ml`.
#[tokio::test]
async fn the_contract_is_kept_by_a_real_cluster() -> anyhow::Result<()> {
    let Some((file, namespace)) = real_cluster() else {
        say_skipped();
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let connection = Connection::Kubeconfig {
        file: Some(file),
        context: None,
    };
    let backend = K8sBackend::new(connection, &namespace, directory.path().to_owned());
    deployer_contract(&Harness {
        backend: &backend,
        namespace: &namespace,
        tag: format!("e2e-{}", now_ms()?),
        pause: Duration::from_millis(500),
    })
    .await;
    Ok(())
}

/// The kubeconfig and the namespace of a real cluster, where there is one.
pub(crate) fn real_cluster() -> Option<(PathBuf, String)> {
    let file = PathBuf::from(std::env::var_os("GIPFEL_E2E_KUBECONFIG")?);
    let namespace = std::env::var("GIPFEL_E2E_NAMESPACE").unwrap_or_else(|_| "ml".to_owned());
    Some((file, namespace))
}

/// Tells names of this test run from those of others.
pub(crate) fn now_ms() -> anyhow::Result<u128> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())
}

#[expect(
    clippy::print_stderr,
    reason = "whoever reads the tests' output has to see what was not tested"
)]
pub(crate) fn say_skipped() {
    eprintln!("skipped: GIPFEL_E2E_KUBECONFIG is not set");
}
