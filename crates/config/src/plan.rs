//! What a configuration comes to.

use gipfel_model::{ExperimentSpec, NodeHours};

use crate::fault::{Place, Unsupported, Warning};

/// Every experiment of a file with every default filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The experiments, in the order of the file.
    pub experiments: Vec<ExperimentSpec>,
    /// How many run at the same time.
    pub max_parallel_experiments: u32,
    /// The most node-hours that all Slurm jobs together may take at worst; absent: no limit.
    pub max_node_hours: Option<f64>,
    /// What is allowed and perhaps not meant.
    pub warnings: Vec<Warning>,
    /// What is read and checked, and cannot be run by this version.
    pub unsupported: Vec<Unsupported>,
    /// Where each key of the file stands.
    pub given: Vec<Place>,
}

impl Plan {
    /// The sentences with which a run of this plan is refused; empty when it can be run.
    pub fn check_supported(&self) -> Vec<String> {
        let unsupported = self.unsupported.iter().map(ToString::to_string);
        unsupported.chain(self.check_node_hours()).collect()
    }

    /// What all Slurm jobs cost.
    pub fn node_hours(&self) -> NodeHours {
        NodeHours::of_experiments(&self.experiments)
    }

    /// The sentence with which a plan that may cost too much is refused.
    fn check_node_hours(&self) -> Option<String> {
        let (most, cost) = (self.max_node_hours?, self.node_hours());
        (cost.worst > most).then(|| {
            format!(
                "the jobs may take {:.1} node-hours if they live until their walltimes, and `max_node_hours` is {most}: \
                 shorten `server_time_limit` or `benchmarker_time_limit`, choose experiments with `--only`, or raise \
                 the limit",
                cost.worst
            )
        })
    }
}
