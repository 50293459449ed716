//! Which backend serves which kind of deployment, and what the load generator is told.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use gipfel_backend::Redirected;
use gipfel_experiment::{Backends, Campaign, Deployment, Load, Run, RunConfigBuilder, System};
use gipfel_k8s_backend::ForwardWay;
use gipfel_local_backend::{LocalBackend, UrlDeployer};
use gipfel_model::{
    BackendKind, BenchmarkerKind, DeploymentKind, EndpointSpec, Provenance, RunConfig,
    run_config::RUN_CONFIG_FORMAT,
};
use gipfel_slurm_backend::{SlurmBackend, TunnelWay};

use crate::{clusters, ids::now_iso, kubernetes, load_generator};

/// The backends for a campaign whose files lie in `directory`; `load_generator` is the program `gipfel-loadgen` when it
/// is not gipfel itself.
pub(crate) fn backends(
    state: &Campaign,
    directory: &Path,
    results_dir: &Path,
    load_generator: Option<PathBuf>,
) -> anyhow::Result<Backends> {
    let executable = std::env::current_exe().context("failed to find gipfel's own executable")?;
    let directory = std::path::absolute(directory).context("failed to resolve the results directory")?;
    let places = clusters::places(state, results_dir, load_generator.as_deref())?;
    let own_directory = directory.clone();
    let loads = kubernetes::loads(state, &directory, results_dir, load_generator.as_deref())?;
    let mut local = LocalBackend::new(directory, executable);
    if let Some(program) = load_generator {
        // One for a cluster's nodes cannot send from here: what does is gipfel itself then.
        if load_generator::runs_here(&program)? {
            local = local.with_load_generator(program);
        } else if places.is_empty() && loads.is_none() {
            bail!(
                "the load generator `{}` is no program for this machine, and no cluster is used",
                program.display()
            );
        }
    }
    let local = Arc::new(local);
    let url = Arc::new(UrlDeployer::new());
    let mut backends = Backends::new()
        .with(DeploymentKind::Local, System::whole(&local))
        .with(DeploymentKind::External, System::split(&url, &local));
    if let Some(k8s) = kubernetes::backend(state, &own_directory)? {
        let k8s = Arc::new(k8s);
        let server = System {
            runner: Arc::new(Redirected::new(&local, ForwardWay::new(&k8s))),
            ..System::split(&k8s, &local)
        };
        backends = backends.with(DeploymentKind::K8s, server);
    }
    if let Some(loads) = loads {
        backends = backends.with_load(BenchmarkerKind::InCluster, Load::whole(&Arc::new(loads)));
    }
    if places.is_empty() {
        return Ok(backends);
    }
    let kept = state.deployments.iter().filter(|deployment| deployment.keep);
    let kept = kept.map(|deployment| deployment.id.clone());
    let slurm = Arc::new(SlurmBackend::new(places, clusters::policy()).keeping(kept));
    let server = System {
        runner: Arc::new(Redirected::new(&local, TunnelWay::new(&slurm))),
        ..System::split(&slurm, &local)
    };
    Ok(backends
        .with(DeploymentKind::Slurm, server)
        .with_load(BenchmarkerKind::Slurm, Load::whole(&slurm))
        .with_load(BenchmarkerKind::SameJob, Load::whole(&slurm)))
}

/// Makes the run configuration once the server answers.
pub(crate) fn run_config_builder() -> RunConfigBuilder {
    Box::new(run_config)
}

/// What the load generator of `run` is told.
pub(crate) fn run_config(
    campaign: &Campaign,
    deployment: &Deployment,
    endpoint: &EndpointSpec,
    run: &Run,
) -> RunConfig {
    let experiment = &run.experiment;
    let mut provenance = deployment.provenance.clone();
    provenance.set(Provenance::GIPFEL_VERSION, crate::VERSION);
    RunConfig {
        header: RUN_CONFIG_FORMAT.header(),
        run_id: run.id.clone(),
        campaign_id: campaign.campaign_id.clone(),
        deployment_id: deployment.server_id(),
        deployment: deployment.kind(),
        repeat: experiment.repeat,
        model: experiment.deployment.model.clone(),
        served_model: served_model(deployment),
        backend: experiment.deployment.backend,
        endpoint: endpoint.clone(),
        backend_config: experiment.deployment.backend_config.clone(),
        dataset_config: experiment.dataset_config.clone(),
        workload: experiment.workload.clone(),
        schedule: experiment.schedule.clone(),
        slos: experiment.slos.clone(),
        informational_slos: experiment.informational_slos.clone(),
        timeouts: experiment.timeouts,
        workers: experiment.workers,
        server_load_time: deployment.load_time,
        provenance,
        created_at: now_iso(),
    }
}

/// An Ollama server lists every model that it has, so the user's choice decides there.
fn served_model(deployment: &Deployment) -> Option<String> {
    (deployment.spec.backend == BackendKind::Ollama).then(|| deployment.spec.model.clone())
}
