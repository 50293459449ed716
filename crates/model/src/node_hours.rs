//! What jobs cost, in node-hours.

use std::{fmt, iter::Sum, ops::Add, time::Duration};

use crate::{
    deployment::{DeploymentSpec, Placement},
    run_config::{ExperimentSpec, LevelSchedule, Rates},
    slurm::{LoadPlacement, SlurmLoad, SlurmSpec, Walltime},
};

/// A large model takes about so long to load; a smaller one less.
const LOADING: Duration = Duration::from_mins(10);

/// Doubling rates seldom take more levels.
const DOUBLINGS: u32 = 8;

/// What a search takes when nobody limits it and answers are short.
const SEARCH: Duration = Duration::from_mins(15);

/// What jobs take, as far as that is known before they run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeHours {
    /// What is probable: loading and the levels as they are written.
    pub expected: f64,
    /// What is taken if every job lives until its walltime.
    pub worst: f64,
}

impl NodeHours {
    /// The server's job, which carries out these runs one after another.
    pub fn of_server<'a>(
        spec: &DeploymentSpec,
        slurm: &SlurmSpec,
        runs: impl IntoIterator<Item = &'a ExperimentSpec>,
    ) -> Self {
        let loading = LOADING.min(spec.server_ready_timeout);
        let busy = runs
            .into_iter()
            .map(|run| length(&run.schedule))
            .fold(loading, Duration::saturating_add);
        Self::of_job(slurm.nodes(spec.gpus()), busy, slurm.job.walltime)
    }

    /// The load generator's job, which waits while its server loads if it is the first of that server.
    pub fn of_load(load: &SlurmLoad, run: &ExperimentSpec, is_first: bool) -> Self {
        let waits = is_first && run.load.waits_for(&run.deployment.placement);
        let waiting = if waits {
            LOADING.min(run.deployment.server_ready_timeout)
        } else {
            Duration::ZERO
        };
        let busy = waiting.saturating_add(length(&run.schedule));
        Self::of_job(load.nodes, busy, load.job.walltime)
    }

    /// All jobs of these experiments, of which equal deployments share a server.
    pub fn of_experiments(experiments: &[ExperimentSpec]) -> Self {
        let is_first = |index: usize| {
            let spec = &experiments[index].deployment;
            !experiments[..index].iter().any(|other| other.deployment == *spec)
        };
        let loads = experiments
            .iter()
            .enumerate()
            .map(|(index, run)| match &run.load {
                LoadPlacement::Slurm(load) => Self::of_load(load, run, is_first(index)),
                LoadPlacement::Local | LoadPlacement::SameJob | LoadPlacement::InCluster(_) => {
                    Self::default()
                }
            });
        let servers = experiments.iter().enumerate().map(|(index, first)| {
            let spec = &first.deployment;
            let is_same = |other: &&ExperimentSpec| other.deployment == *spec;
            match &spec.placement {
                Placement::Slurm(slurm) if is_first(index) => {
                    Self::of_server(spec, slurm, experiments.iter().filter(is_same))
                }
                _ => Self::default(),
            }
        });
        servers.chain(loads).sum()
    }

    fn of_job(nodes: u32, busy: Duration, walltime: Walltime) -> Self {
        let nodes = f64::from(nodes);
        Self {
            expected: nodes * busy.min(walltime.duration()).as_secs_f64() / 3600.0,
            worst: nodes * walltime.hours(),
        }
    }
}

impl Add for NodeHours {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            expected: self.expected + other.expected,
            worst: self.worst + other.worst,
        }
    }
}

impl Sum for NodeHours {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for NodeHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "about {:.1}, at worst {:.1}", self.expected, self.worst)
    }
}

/// How long the levels take as they are written; stretching and draining come on top.
fn length(schedule: &LevelSchedule) -> Duration {
    let all = match &schedule.rates {
        Rates::Search(search) => return search.budget.unwrap_or(SEARCH),
        Rates::Listed(rates) => {
            let levels = rates
                .iter()
                .map(|rate| schedule.warmup.saturating_add(schedule.measured_at(*rate)));
            levels.fold(Duration::ZERO, Duration::saturating_add)
        }
        Rates::Doubling { first } => {
            let level = schedule.warmup.saturating_add(schedule.measured_at(*first));
            level.saturating_mul(DOUBLINGS)
        }
    };
    schedule.total_time.map_or(all, |most| all.min(most))
}
