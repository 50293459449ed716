//! The Slurm jobs of a dry run.

use std::{fmt::Write, path::Path};

use anyhow::Context;
use firecrest_client::RemotePath;
use gipfel_experiment::{Campaign as State, Deployment, Run};
use gipfel_model::{
    EndpointSpec, LoadPlacement, NodeHours, RunConfig, SlurmReach, SlurmSpec, deployment::Placement,
};
use gipfel_slurm_backend::{
    BENCHMARKER_SCRIPT, BenchmarkerJob, QueuedRun, RenderedJob, SERVER_SCRIPT, ServerJob, Site, render,
};

use super::{Server, save};

/// Stands for the user's name on the cluster, which nobody is asked for.
const USER: &str = "USER";

/// Stands for the checksum under which gipfel's own load generator would lie.
const SHA256: &str = "SHA256";

/// Writes the files of a server's job.
pub(super) fn server(
    state: &State,
    deployment: &Deployment,
    slurm: &SlurmSpec,
    directory: &Path,
) -> anyhow::Result<Server> {
    let site = Site::load(slurm.reach.site())?;
    let base = base(&slurm.reach, &site)?;
    let job = render::server(&ServerJob {
        attempt: 1,
        id: &deployment.id,
        campaign: &state.campaign_id,
        spec: &deployment.spec,
        slurm,
        site: &site,
        directory: &base.join(deployment.id.as_str())?,
    })
    .with_context(|| format!("the job of {} cannot be made", deployment.spec.model))?;
    write(&job, SERVER_SCRIPT, &directory.join(deployment.id.as_str()))?;
    let runs = deployment.runs.iter().map(|run| &run.experiment);
    let cost = NodeHours::of_server(&deployment.spec, slurm, runs);
    Ok(Server {
        endpoint: EndpointSpec::new(&format!("http://FIRST-NODE:{}", slurm.port)),
        how: words(&job, &slurm.job.partition, &site, &cost),
        cost: Some(cost),
    })
}

/// Writes the files of a load generator in a job of its own, or in the server's; nothing for one on this machine.
pub(super) fn load(
    state: &State,
    deployment: &Deployment,
    run: &Run,
    directory: &Path,
) -> anyhow::Result<Option<(String, Option<NodeHours>)>> {
    let server = match &deployment.spec.placement {
        Placement::Slurm(slurm) => Some(&slurm.reach),
        Placement::Local(_) | Placement::External(_) | Placement::K8s(_) => None,
    };
    match (&run.experiment.load, server) {
        (LoadPlacement::Slurm(load), _) => {
            let site = Site::load(load.reach.site())?;
            let is_first = deployment.runs.first().is_some_and(|first| first.id == run.id);
            let paths = Paths::new(state, deployment, run, &load.reach, &site)?;
            let job = render::benchmarker(&BenchmarkerJob {
                attempt: 1,
                id: &run.id,
                campaign: &state.campaign_id,
                load,
                site: &site,
                directory: &paths.run,
                program: &paths.program,
                deployment: server.map(|_| &paths.deployment),
                endpoint_timeout: deployment.spec.server_ready_timeout,
            })
            .with_context(|| format!("the job of {} cannot be made", run.id))?;
            write(&job, BENCHMARKER_SCRIPT, &directory.join(run.id.as_str()))?;
            let cost = NodeHours::of_load(load, &run.experiment, is_first);
            Ok(Some((words(&job, &load.job.partition, &site, &cost), Some(cost))))
        }
        (LoadPlacement::SameJob, Some(reach)) => {
            let site = Site::load(reach.site())?;
            let paths = Paths::new(state, deployment, run, reach, &site)?;
            let file = render::queued_run(&QueuedRun {
                attempt: 1,
                id: &run.id,
                site: &site,
                directory: &paths.run,
                program: &paths.program,
                deployment: &paths.deployment,
                endpoint_timeout: deployment.spec.server_ready_timeout,
            })?;
            let queue = directory.join(deployment.id.as_str()).join("queue");
            save(&queue, &file.name, file.content.trim_end())?;
            Ok(Some(("in the server's job".to_owned(), None)))
        }
        (LoadPlacement::SameJob, None) | (LoadPlacement::Local | LoadPlacement::InCluster(_), _) => Ok(None),
    }
}

/// The configuration as the load generator's job is given it.
pub(super) fn as_sent(config: RunConfig, run: &Run) -> anyhow::Result<RunConfig> {
    match &run.experiment.load {
        LoadPlacement::Slurm(load) => Ok(Site::load(load.reach.site())?.through_proxy(config)),
        LoadPlacement::SameJob | LoadPlacement::Local | LoadPlacement::InCluster(_) => Ok(config),
    }
}

/// Where a run's files lie on the cluster.
struct Paths {
    run: RemotePath,
    deployment: RemotePath,
    program: RemotePath,
}

impl Paths {
    fn new(
        state: &State,
        deployment: &Deployment,
        run: &Run,
        reach: &SlurmReach,
        site: &Site,
    ) -> anyhow::Result<Self> {
        let base = base(reach, site)?;
        let sha256 = state.load_generator.as_deref().unwrap_or(SHA256);
        Ok(Self {
            run: base.join(run.id.as_str())?,
            deployment: base.join(deployment.id.as_str())?,
            program: base.join(&format!("load-generators/{sha256}/gipfel-loadgen"))?,
        })
    }
}

fn base(reach: &SlurmReach, site: &Site) -> anyhow::Result<RemotePath> {
    if let Some(base) = &reach.scratch_base {
        return RemotePath::try_new(base.as_str()).context("`scratch_base` cannot be used");
    }
    let of_site = site
        .scratch(USER)
        .transpose()
        .context("the profile's directory cannot be used")?;
    match of_site {
        Some(base) => Ok(base),
        None => RemotePath::try_new(format!("/home/{USER}/gipfel")).context("there is no directory"),
    }
}

fn words(job: &RenderedJob, partition: &str, site: &Site, cost: &NodeHours) -> String {
    let nodes = match job.nodes {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    };
    let site = &site.name;
    let mut text = format!(
        "job {} on {nodes} of {site}, partition {partition}; node-hours {cost}",
        job.name
    );
    for warning in &job.warnings {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  warning: {warning}");
    }
    text
}

fn write(job: &RenderedJob, script: &str, directory: &Path) -> anyhow::Result<()> {
    save(directory, script, job.script.trim_end())?;
    job.files
        .iter()
        .try_for_each(|file| save(directory, &file.name, file.content.trim_end()))
}
