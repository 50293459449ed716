//! The clusters of a campaign, and the way to each.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow};
use firecrest_client::{AdoptPolicy, Client, ClientBuilder, Sha256, SystemName};
use gipfel_experiment::Campaign as State;
use gipfel_model::{
    ClusterKind, DeploymentSpec, ExperimentSpec, LoadPlacement, SlurmReach, deployment::Placement,
};
use gipfel_slurm_backend::{
    Cluster, LoadGenerator, Place, Site,
    cluster::{
        firecrest::{FirecrestCluster, FirecrestOptions},
        shell::{ShellCluster, ShellPolicy, SshOptions},
    },
};

use crate::{
    bundles::{self, Architecture},
    load_generator,
    program::Program,
};

/// The file of variables that is looked for in the working directory.
pub(crate) const ENV_FILE: &str = ".env";

/// The variable that names FirecREST's system when neither the configuration nor the profile does.
const SYSTEM: &str = "FIRECREST_SYSTEM";

/// A lost submission is looked for this long; the driver asks again in the meantime.
const POLICY: AdoptPolicy = AdoptPolicy {
    grace: Duration::from_secs(40),
    looks: 3,
    interval: Duration::from_secs(10),
    total: Duration::from_mins(2),
    submits: 1,
    window: None,
};

/// How long lost submissions are looked for.
pub(crate) fn policy() -> AdoptPolicy {
    POLICY
}

/// The clusters that a campaign's servers and load generators live on; none for most campaigns. `named` is the load
/// generator that the user gave.
pub(crate) fn places(state: &State, results_dir: &Path, named: Option<&Path>) -> anyhow::Result<Vec<Place>> {
    let account = account(state);
    let place = |reach: SlurmReach| {
        let (site, cluster) = open(&reach, account.as_deref())?;
        let load_generator = load_generator_for(&site, results_dir, named)?;
        Ok(Place::new(reach, cluster, site, load_generator))
    };
    reaches(state).into_iter().map(place).collect()
}

/// A cluster on which nothing is started.
pub(crate) fn place(reach: SlurmReach) -> anyhow::Result<Place> {
    let (site, cluster) = open(&reach, None)?;
    Ok(Place::new(reach, cluster, site, None))
}

fn open(reach: &SlurmReach, account: Option<&str>) -> anyhow::Result<(Site, Arc<dyn Cluster>)> {
    open_with(reach, account, Path::new(ENV_FILE))
}

fn open_with(
    reach: &SlurmReach,
    account: Option<&str>,
    env_file: &Path,
) -> anyhow::Result<(Site, Arc<dyn Cluster>)> {
    let site = Site::load(reach.site())?;
    let cluster = connect(reach, &site, account, env_file).with_context(|| {
        let named = reach.firecrest_system.as_deref().or(reach.ssh_host.as_deref());
        let name = named.unwrap_or(&site.name);
        format!("failed to prepare the way to the cluster `{name}`")
    })?;
    Ok((site, cluster))
}

/// The clusters of a campaign's servers and load generators, each once.
pub(crate) fn reaches(state: &State) -> Vec<SlurmReach> {
    let servers = state
        .deployments
        .iter()
        .filter_map(|deployment| of_server(&deployment.spec));
    let loads = state.runs().filter_map(|(_, run)| of_load(&run.experiment));
    once(servers.chain(loads))
}

/// The clusters of experiments, each once.
pub(crate) fn reaches_of(experiments: &[ExperimentSpec]) -> Vec<SlurmReach> {
    let servers = experiments
        .iter()
        .filter_map(|experiment| of_server(&experiment.deployment));
    once(servers.chain(experiments.iter().filter_map(of_load)))
}

/// Each once.
pub(crate) fn once<'a>(all: impl Iterator<Item = &'a SlurmReach>) -> Vec<SlurmReach> {
    let mut reaches: Vec<SlurmReach> = Vec::new();
    for reach in all {
        if !reaches.contains(reach) {
            reaches.push(reach.clone());
        }
    }
    reaches
}

fn of_server(spec: &DeploymentSpec) -> Option<&SlurmReach> {
    match &spec.placement {
        Placement::Slurm(slurm) => Some(&slurm.reach),
        Placement::Local(_) | Placement::External(_) | Placement::K8s(_) => None,
    }
}

fn of_load(experiment: &ExperimentSpec) -> Option<&SlurmReach> {
    match &experiment.load {
        LoadPlacement::Slurm(load) => Some(&load.reach),
        LoadPlacement::Local | LoadPlacement::SameJob | LoadPlacement::InCluster(_) => None,
    }
}

/// The cluster of a doctor, who looks at it with the variables of this file.
pub(crate) fn place_of_doctor(
    reach: &SlurmReach,
    results_dir: &Path,
    named: Option<&Path>,
    env_file: &Path,
) -> anyhow::Result<Place> {
    let (site, cluster) = open_with(reach, None, env_file)?;
    let load_generator = load_generator_for(&site, results_dir, named)?;
    Ok(Place::new(reach.clone(), cluster, site, load_generator))
}

/// The account of the first job that names one; transfers of large files are charged to it.
fn account(state: &State) -> Option<String> {
    state
        .deployments
        .iter()
        .find_map(|deployment| match &deployment.spec.placement {
            Placement::Slurm(slurm) => slurm.job.account.clone(),
            Placement::Local(_) | Placement::External(_) | Placement::K8s(_) => None,
        })
}

fn connect(
    reach: &SlurmReach,
    site: &Site,
    account: Option<&str>,
    env_file: &Path,
) -> anyhow::Result<Arc<dyn Cluster>> {
    let shell = ShellPolicy {
        adopt: POLICY,
        ..ShellPolicy::default()
    };
    Ok(match reach.cluster {
        ClusterKind::Commands => Arc::new(ShellCluster::local(shell)),
        ClusterKind::Ssh => {
            let host = reach
                .ssh_host
                .as_deref()
                .context("`cluster: ssh` needs `ssh_host`")?;
            Arc::new(ShellCluster::ssh(host, SshOptions::default(), shell)?)
        }
        ClusterKind::Firecrest => {
            let variables = variables(env_file)?;
            let look_up = |name: &str| std::env::var(name).ok().or_else(|| variables.get(name).cloned());
            let client: Client = ClientBuilder::from_variables(look_up)
                .context("there are no credentials for FirecREST: export them, or write them into `.env`")?
                .build()
                .context("the credentials for FirecREST cannot be used")?;
            let profile = site.firecrest.as_ref().map(|facts| facts.system.clone());
            let system = reach
                .firecrest_system
                .clone()
                .or_else(|| look_up(SYSTEM))
                .or(profile);
            let system = system.context("FirecREST's system is not known: write `firecrest_system`")?;
            let options = FirecrestOptions {
                adopt: POLICY,
                transfer_account: account.map(str::to_owned),
            };
            Arc::new(FirecrestCluster::new(
                client,
                SystemName::try_new(system)?,
                options,
            ))
        }
    })
}

/// The lines `NAME=VALUE` of a file; none when there is no file.
pub(crate) fn variables(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let read = dotenvy::from_path_iter(path).and_then(Iterator::collect);
    // The error's own words would show the line, and with it a secret.
    read.map_err(|error| match error {
        dotenvy::Error::Io(error) => anyhow!("`{}` cannot be read: {error}", path.display()),
        _ => anyhow!("`{}` has a line that is not `NAME=VALUE`", path.display()),
    })
}

/// The load generator for the nodes of a cluster: the user's, else the one that gipfel carries for them, if it does.
fn load_generator_for(
    site: &Site,
    results_dir: &Path,
    named: Option<&Path>,
) -> anyhow::Result<Option<LoadGenerator>> {
    if let Some(program) = named {
        let (program, read) = named_program(program)?;
        if let Program::Linux(read) = read {
            fits(site, read.architecture)?;
        }
        return Ok(Some(program));
    }
    match carried(architecture(site)?, results_dir)? {
        Some(kept) => named_program(&kept).map(|(program, _)| Some(program)),
        None => Ok(None),
    }
}

/// The load generator that gipfel carries for nodes of this kind, kept in the results directory.
fn carried(architecture: Architecture, results_dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    for bundle in bundles::embedded() {
        let bundle = bundle.context("a load generator that gipfel carries is damaged")?;
        if bundle.manifest.target == architecture.target() {
            return load_generator::keep(&bundle.program, results_dir).map(Some);
        }
    }
    Ok(None)
}

/// The load generator for pods on nodes of this kind: the user's, else the one that gipfel carries for them.
pub(crate) fn load_generator_for_pods(
    architecture: Architecture,
    results_dir: &Path,
    named: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    let Some(program) = named else {
        return carried(architecture, results_dir)?.ok_or_else(|| {
            anyhow!(
                "this gipfel carries no load generator for {}, on which pods are to send: `cargo xtask bundle` makes one for \
                 `--loadgen`, or `kubernetes.load.architecture` names another kind",
                architecture.name()
            )
        });
    };
    let (_, read) = named_program(program)?;
    let found = match read {
        Program::Linux(read) => read.architecture,
        Program::Other => None,
    };
    if found == Some(architecture) {
        return Ok(program.to_owned());
    }
    Err(anyhow!(
        "the load generator `{}` is not for {}, the kind of `kubernetes.load.architecture`",
        program.display(),
        architecture.name()
    ))
}

/// The kind of a cluster's nodes.
fn architecture(site: &Site) -> anyhow::Result<Architecture> {
    let named = site.architecture.as_deref().unwrap_or(std::env::consts::ARCH);
    named
        .parse()
        .map_err(|error: String| anyhow!("the profile `{}`: {error}", site.name))
}

/// Fails unless the cluster's nodes are of this kind.
fn fits(site: &Site, found: Option<Architecture>) -> anyhow::Result<()> {
    let wanted = architecture(site)?;
    if found == Some(wanted) {
        return Ok(());
    }
    let found = match found {
        Some(found) => format!("one for {}", found.name()),
        None => "for another kind of machine".to_owned(),
    };
    Err(anyhow!(
        "the load generator is {found}, and nodes of `{}` are {}: give another by `--loadgen`, or, if the profile is \
         wrong, one of your own with its `architecture`",
        site.name,
        wanted.name()
    ))
}

fn named_program(program: &Path) -> anyhow::Result<(LoadGenerator, Program)> {
    let bytes = std::fs::read(program)
        .with_context(|| format!("cannot read the load generator `{}`", program.display()))?;
    let read = Program::read(&bytes);
    let program = LoadGenerator {
        program: PathBuf::from(program),
        sha256: Sha256::of(&bytes),
    };
    Ok((program, read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::tests::header;

    #[test]
    fn a_load_generator_is_for_the_clusters_nodes() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("gipfel-loadgen");
        let check = |site: &str, machine: u16, expected: &str| {
            std::fs::write(&path, header(machine, &[1])).expect("it is written");
            let site = Site::built_in(site).expect("a profile");
            let found = load_generator_for(&site, folder.path(), Some(&path));
            let words = found.map_or_else(|error| error.to_string(), |_| String::new());
            assert!(words.starts_with(expected), "{words}");
            assert_eq!(words.is_empty(), expected.is_empty(), "{words}");
        };
        let (aarch64, x86_64) = (183, 62);
        check("clariden", aarch64, "");
        check("bristen", x86_64, "");
        check(
            "clariden",
            x86_64,
            "the load generator is one for x86_64, and nodes of `clariden` are aarch64",
        );
        check(
            "bristen",
            243,
            "the load generator is for another kind of machine, and nodes of `bristen`",
        );
    }
}
