//! What a configuration comes to.

use gipfel_model::ExperimentSpec;

use crate::fault::{Place, Unsupported, Warning};

/// Every experiment of a file with every default filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The experiments, in the order of the file.
    pub experiments: Vec<ExperimentSpec>,
    /// How many run at the same time.
    pub max_parallel_experiments: u32,
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
        self.unsupported.iter().map(ToString::to_string).collect()
    }
}
