//! What is asked of a cluster by a configuration: pure.

use std::path::PathBuf;

use gipfel_config::TooManyNodeHours;
use gipfel_loadgen::dataset::known_path;
use gipfel_model::{
    DeploymentSpec, ExperimentSpec, LoadPlacement, NodeHours, SlurmLoad, SlurmReach, SlurmSpec,
    deployment::Placement,
};

use super::{Finding, State};

/// What the experiments of a configuration want of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// The cluster.
    pub(crate) reach: SlurmReach,
    /// Servers that differ.
    pub(crate) servers: Vec<(&'a DeploymentSpec, &'a SlurmSpec)>,
    /// Load generators that differ, each with the first run that it is for.
    pub(crate) loads: Vec<(&'a SlurmLoad, &'a ExperimentSpec)>,
    /// Whether a load generator runs there at all, in a server's job perhaps.
    pub(crate) sends_there: bool,
    /// Where the files of data sets lie that a load generator reads there; absent: in a folder that nobody has named.
    pub(crate) data: Vec<Option<PathBuf>>,
}

impl Wanted<'_> {
    fn reads(&mut self, experiment: &ExperimentSpec) {
        let Some(dataset) = &experiment.workload.prompts.dataset else {
            return;
        };
        for file in &dataset.files {
            let known = || known_path(file.form, dataset.hf_home.as_deref()?);
            let path = file.path.clone().or_else(known);
            if !self.data.contains(&path) {
                self.data.push(path);
            }
        }
    }

    /// The account of the first job that names one.
    pub(crate) fn account(&self) -> Option<&str> {
        let servers = self.servers.iter().map(|(_, slurm)| &slurm.job);
        let mut jobs = servers.chain(self.loads.iter().map(|(load, _)| &load.job));
        jobs.find_map(|job| job.account.as_deref())
    }
}

/// The clusters of these experiments, in their order.
pub(crate) fn wanted(experiments: &[ExperimentSpec]) -> Vec<Wanted<'_>> {
    let mut all: Vec<Wanted<'_>> = Vec::new();
    for experiment in experiments {
        let spec = &experiment.deployment;
        if let Placement::Slurm(slurm) = &spec.placement {
            let of = entry(&mut all, &slurm.reach);
            // Repeats have servers of their own, which are asked for alike.
            let is_same = |other: &&(&DeploymentSpec, &SlurmSpec)| alike(other.0, spec);
            if of.servers.iter().find(is_same).is_none() {
                of.servers.push((spec, slurm));
            }
            if experiment.load == LoadPlacement::SameJob {
                of.sends_there = true;
                of.reads(experiment);
            }
        }
        if let LoadPlacement::Slurm(load) = &experiment.load {
            let of = entry(&mut all, &load.reach);
            if !of.loads.iter().any(|(other, _)| *other == load.as_ref()) {
                of.loads.push((load, experiment));
            }
            of.sends_there = true;
            of.reads(experiment);
        }
    }
    all
}

fn alike(one: &DeploymentSpec, other: &DeploymentSpec) -> bool {
    let other = DeploymentSpec {
        instance: one.instance,
        ..other.clone()
    };
    *one == other
}

fn entry<'a, 'b>(all: &'b mut Vec<Wanted<'a>>, reach: &SlurmReach) -> &'b mut Wanted<'a> {
    let place = all.iter().position(|one| one.reach == *reach).unwrap_or_else(|| {
        all.push(Wanted {
            reach: reach.clone(),
            servers: Vec::new(),
            loads: Vec::new(),
            sends_there: false,
            data: Vec::new(),
        });
        all.len() - 1
    });
    &mut all[place]
}

/// What the load generator's nodes cost.
pub(crate) fn cost_of_load(load: &SlurmLoad, run: &ExperimentSpec, takes_whole_nodes: bool) -> Finding {
    let cost = NodeHours::of_load(load, run, true);
    let nodes = match (load.nodes, takes_whole_nodes) {
        (1, true) => "a whole node".to_owned(),
        (1, false) => "a share of a node".to_owned(),
        (nodes, true) => format!("{nodes} whole nodes"),
        (nodes, false) => format!("shares of {nodes} nodes"),
    };
    let text = format!(
        "the load generator takes {nodes} of `{}`: {cost} node-hours a run",
        load.job.partition
    );
    let finding = Finding::new(
        if takes_whole_nodes {
            State::Note
        } else {
            State::Well
        },
        "cost",
        text,
    );
    if takes_whole_nodes {
        finding.hint("`benchmarker: same-job` sends from the server's first node and costs none")
    } else {
        finding
    }
}

/// What everything costs, and whether it may.
pub(crate) fn cost(cost: NodeHours, refusal: Option<TooManyNodeHours>) -> Finding {
    let text = format!("node-hours of all jobs: {cost} (if every job lives until its walltime)");
    match refusal {
        Some(refusal) => Finding::fault("cost", refusal.to_string()).hint(TooManyNodeHours::REMEDY),
        None => Finding::well("cost", text),
    }
}

/// Whether the file with the token can be used; its content is never read.
pub(crate) fn token(path: &str, found: Option<(u64, u16)>) -> Finding {
    match found {
        None => Finding::fault("token", format!("`{path}` is not there"))
            .hint("write the Hugging Face token into it on the cluster, with `umask 077`; `hf_token_path` names another file"),
        Some((0, _)) => Finding::fault("token", format!("`{path}` is empty"))
            .hint("write the Hugging Face token into it, with `umask 077`"),
        Some((_, mode)) if mode & 0o077 != 0 => {
            Finding::fault("token", format!("`{path}` may be read by others (mode {mode:o})"))
                .hint(format!("`chmod 600 {path}` on the cluster; if others could read it, make a new token"))
        }
        Some((_, mode)) => Finding::well("token", format!("`{path}` is there and private (mode {mode:o})")),
    }
}

/// Less than this is too little for logs and results.
const LEAST_SPACE: u64 = 1 << 30;

/// Whether a directory has room.
pub(crate) fn space(directory: &str, free: u64) -> Finding {
    let text = format!(
        "{:.1} GiB are free at `{directory}`",
        free as f64 / f64::from(1 << 30)
    );
    if free < LEAST_SPACE {
        Finding::fault("space", text).hint("free some space, or set `scratch_base` to another file system")
    } else {
        Finding::well("space", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiments(text: &str) -> Vec<ExperimentSpec> {
        gipfel_config::parse(text, "a.yaml")
            .unwrap_or_else(|faults| panic!("{faults}"))
            .experiments
    }

    #[test]
    fn equal_jobs_are_looked_at_once() {
        let experiments = experiments(
            "defaults: { rate_levels: [1], repeats: 2 }\n\
             experiments:\n\
             - { model: a, backend: vllm, deployment: slurm }\n\
             - { model: a, backend: vllm, deployment: slurm, rate_levels: [2] }\n\
             - { model: b, backend: vllm, deployment: slurm, benchmarker: same-job }\n\
             - { model: c, backend: vllm, deployment: slurm, cluster: commands, benchmarker: same-job }\n\
             - { model: d, backend: openai, deployment: external, url: 'http://h:1', benchmarker: slurm }\n",
        );
        let wanted = wanted(&experiments);
        let told: Vec<_> = wanted
            .iter()
            .map(|one| (one.servers.len(), one.loads.len(), one.sends_there))
            .collect();
        assert_eq!(told, [(2, 1, true), (1, 0, true)]);
    }

    #[test]
    fn a_load_generators_node_has_its_price() {
        let experiments = experiments(
            "defaults: { rate_levels: [1], benchmarker_time_limit: '02:00:00', measurement_duration: 30min, \
             warmup_duration: 0s }\n\
             experiments: [{ model: a, backend: vllm, deployment: slurm }]\n",
        );
        let wanted = wanted(&experiments);
        let (load, run) = wanted[0].loads[0];
        assert_eq!(
            cost_of_load(load, run, true).to_string(),
            "note   cost         the load generator takes a whole node of `normal`: about 0.7, at worst 2.0 node-hours a \
             run\n                    hint: `benchmarker: same-job` sends from the server's first node and costs none"
        );
        assert_eq!(
            cost_of_load(load, run, false).to_string(),
            "ok     cost         the load generator takes a share of a node of `normal`: about 0.7, at worst 2.0 \
             node-hours a run"
        );
    }

    #[test]
    fn tokens_are_private() {
        let check = |found, state, words: &str| {
            let finding = token("~/.hf_token", found);
            assert_eq!(finding.state, state);
            assert!(finding.to_string().contains(words), "{finding}");
        };
        check(None, State::Fault, "is not there");
        check(Some((0, 0o600)), State::Fault, "is empty");
        check(Some((37, 0o644)), State::Fault, "(mode 644)");
        check(Some((37, 0o640)), State::Fault, "chmod 600");
        check(Some((37, 0o600)), State::Well, "private");
        check(Some((37, 0o400)), State::Well, "private");
    }

    #[test]
    fn space_is_enough_or_not() {
        assert_eq!(
            space("/s", 3 << 30).to_string(),
            "ok     space        3.0 GiB are free at `/s`"
        );
        assert_eq!(space("/s", 1000).state, State::Fault);
    }
}
