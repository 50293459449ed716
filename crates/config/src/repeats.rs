//! One experiment over several fresh servers.

use gipfel_model::{ExperimentSpec, deployment::Placement};

/// The repeats of an experiment. Each has a seed of its own, so that none repeats another's arrivals, and a server of
/// its own where gipfel starts it; behind a URL there is only the one.
pub(crate) fn expand(first: ExperimentSpec, repeats: u32) -> Vec<ExperimentSpec> {
    (0..repeats).map(|repeat| nth(&first, repeat)).collect()
}

fn nth(first: &ExperimentSpec, repeat: u32) -> ExperimentSpec {
    let mut experiment = first.clone();
    experiment.repeat = repeat;
    experiment.workload.seed = first.workload.seed.wrapping_add(u64::from(repeat));
    if let Some(seed) = experiment.dataset_config.get_mut("seed") {
        *seed = experiment.workload.seed.into();
    }
    if !is_external(first) {
        experiment.deployment.instance = repeat;
    }
    experiment
}

/// Whether every repeat goes to the same server.
pub(crate) fn is_external(experiment: &ExperimentSpec) -> bool {
    matches!(experiment.deployment.placement, Placement::External(_))
}

/// Experiments as a file has them, each with the number of its repeats.
pub(crate) fn grouped(experiments: &[ExperimentSpec]) -> Vec<(&ExperimentSpec, u32)> {
    let mut groups: Vec<(&ExperimentSpec, u32)> = Vec::new();
    for experiment in experiments {
        match groups.last_mut() {
            Some((first, repeats)) if first.repeat == 0 && *experiment == nth(first, *repeats) => {
                *repeats += 1;
            }
            _ => groups.push((experiment, 1)),
        }
    }
    groups
}
