//! What a configuration comes to.

use std::fmt;

use gipfel_model::{ExperimentSpec, NodeHours};

use crate::fault::{Place, Warning};

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
    /// Where each key of the file stands.
    pub given: Vec<Place>,
}

/// A plan that may cost more than it is allowed to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TooManyNodeHours {
    /// What the jobs take at worst.
    pub worst: f64,
    /// What they may take.
    pub most: f64,
}

impl fmt::Display for TooManyNodeHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worst, most } = self;
        write!(
            f,
            "the jobs may take {worst:.1} node-hours if they live until their walltimes, and `max_node_hours` is {most}"
        )
    }
}

impl std::error::Error for TooManyNodeHours {}

impl TooManyNodeHours {
    /// What to do about it.
    pub const REMEDY: &str = "shorten `server_time_limit` or `benchmarker_time_limit`, send from the server's job with \
                              `benchmarker: same-job`, choose experiments with `--only`, or raise `max_node_hours`";
}

impl Plan {
    /// What all Slurm jobs cost.
    pub fn node_hours(&self) -> NodeHours {
        NodeHours::of_experiments(&self.experiments)
    }

    /// Why a plan that may cost more than `max_node_hours` is refused.
    pub fn check_node_hours(&self) -> Option<TooManyNodeHours> {
        let (most, cost) = (self.max_node_hours?, self.node_hours());
        (cost.worst > most).then_some(TooManyNodeHours {
            worst: cost.worst,
            most,
        })
    }
}
