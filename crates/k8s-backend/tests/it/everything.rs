//! Every object with every option is taken by an API server, and goes again: by the simulated one, and by that of
//! `GIPFEL_E2E_KUBECONFIG`.

use std::path::{Path, PathBuf};

use gipfel_backend::{Deployer, Finder, LoadRunner};
use gipfel_k8s_backend::{Connection, K8sBackend, K8sLoads, simulated::Shape};
use gipfel_model::{
    CampaignId, DeploymentId, DeploymentSpec, K8sIngress, K8sLimits, K8sLoad, K8sModelCache, K8sRequests,
    K8sSpec, K8sToken, K8sToleration, K8sVolume, LoadPlacement, RunId, deployment::Placement,
};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api, Client, Config,
    api::DeleteParams,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{
    contract::{now_ms, real_cluster, say_skipped},
    run::config,
    setup::{Setup, spec},
};

/// A server with every option, which no node takes.
fn full(namespace: &str, claim: &str) -> DeploymentSpec {
    let mut spec = spec(namespace);
    let text = |text: &str| Some(text.to_owned());
    let k8s = K8sSpec {
        image: text("lab.local/vllm:1"),
        ingress: Some(K8sIngress {
            domain: "example.org".to_owned(),
            class: text("nginx"),
            tls_issuer: text("letsencrypt"),
            ca_file: None,
        }),
        image_pull_secrets: vec!["pull".to_owned()],
        node_selector: [("gipfel.example/nowhere".to_owned(), "true".to_owned())].into(),
        tolerations: vec![K8sToleration {
            key: "hpc".to_owned(),
            value: text("true"),
            effect: text("NoSchedule"),
        }],
        requests: K8sRequests {
            cpu: text("500m"),
            memory: text("1Gi"),
            ephemeral_storage: text("1Gi"),
            shared_memory: "64Mi".to_owned(),
        },
        limits: K8sLimits {
            cpu: text("2"),
            memory: text("2Gi"),
            ephemeral_storage: text("2Gi"),
        },
        gpus_per_node: 4,
        environment: [("NAME".to_owned(), "value".to_owned())].into(),
        model_cache: Some(K8sModelCache {
            claim: claim.to_owned(),
            size: "1Gi".to_owned(),
            storage_class: None,
            mount_path: "/models".to_owned(),
            is_filled: true,
        }),
        // Every process has a search path, and this one's stands for a secret.
        hf_token: Some(K8sToken::Environment("PATH".to_owned())),
        cuda_compatibility: true,
        ..K8sSpec::new(namespace)
    };
    spec.placement = Placement::K8s(Box::new(k8s));
    spec
}

fn load(namespace: &str, claim: &str) -> LoadPlacement {
    LoadPlacement::InCluster(Box::new(K8sLoad {
        pods: 2,
        node_selector: [("gipfel.example/nowhere".to_owned(), "true".to_owned())].into(),
        cpu: Some("100m".to_owned()),
        memory: Some("64Mi".to_owned()),
        results: Some(K8sVolume {
            claim: claim.to_owned(),
            size: "1Gi".to_owned(),
            storage_class: None,
        }),
        ..K8sLoad::new(namespace)
    }))
}

/// A program that is sent and never started.
fn program(directory: &Path) -> anyhow::Result<PathBuf> {
    let program = directory.join("program");
    // More than fits into one ConfigMap, and nothing that packs well.
    let bytes: Vec<u8> = (0..1_500_000_u64)
        .map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8)
        .collect();
    std::fs::write(&program, bytes)?;
    Ok(program)
}

async fn check(
    backend: &K8sBackend,
    loads: &K8sLoads,
    namespace: &str,
    tag: &str,
    claim: &str,
) -> anyhow::Result<()> {
    let campaign: CampaignId = format!("c-{tag}").parse()?;
    let server: DeploymentId = format!("d-{tag}").parse()?;
    let spec = full(namespace, claim);
    let handle = Deployer::ensure(backend, &campaign, &server, &spec).await?;
    Deployer::observe(backend, &handle).await?;
    // A second start finds all of it as it is.
    assert_eq!(
        Deployer::ensure(backend, &campaign, &server, &spec).await?,
        handle
    );
    let run: RunId = tag.parse()?;
    let mut config = config("http://127.0.0.1:9", &run, &[1.0], 1);
    config.campaign_id = campaign.clone();
    config.deployment_id = server;
    let load = LoadRunner::ensure(loads, &config, &load(namespace, claim)).await?;
    assert_eq!(loads.find_campaign(&campaign).await?.len(), 1);
    LoadRunner::end(loads, &load).await?;
    assert!(loads.find_campaign(&campaign).await?.is_empty());
    Deployer::end(backend, &handle).await?;
    assert!(backend.find_campaign(&campaign).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn everything_is_taken() -> anyhow::Result<()> {
    let setup = Setup::new(Shape::Happy).await?;
    let home = setup.directory.path();
    let loads = K8sLoads::new(
        Connection::Url(setup.cluster.url().to_owned()),
        "ml",
        home.join("loads"),
        program(home)?,
    );
    check(&setup.backend, &loads, "ml", "20261123-1", "volume").await?;
    assert_eq!(setup.cluster.objects(), ["persistentvolumeclaims/volume"]);
    Ok(())
}

#[tokio::test]
async fn everything_is_taken_by_a_real_cluster() -> anyhow::Result<()> {
    let Some((file, namespace)) = real_cluster() else {
        say_skipped();
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let connection = || Connection::Kubeconfig {
        file: Some(file.clone()),
        context: None,
    };
    let backend = K8sBackend::new(connection(), &namespace, directory.path().join("servers"));
    let loads = K8sLoads::new(
        connection(),
        &namespace,
        directory.path().join("loads"),
        program(directory.path())?,
    );
    let tag = format!("e2e-{}", now_ms()?);
    let claim = format!("gipfel-{tag}");
    let checked = check(&backend, &loads, &namespace, &tag, &claim).await;
    let kubeconfig = Kubeconfig::read_from(&file)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(Client::try_from(config)?, &namespace);
    claims.delete(&claim, &DeleteParams::default()).await?;
    checked
}
