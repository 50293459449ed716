//! `gipfel loadgen`: the load generator in this executable.

use gipfel_model::RunState;

use crate::{exit::Exit, failure::Failure};

/// Carries out a run as `gipfel-loadgen` does.
pub(crate) fn run(options: &gipfel_loadgen::Options) -> Result<Exit, Failure> {
    match gipfel_loadgen::run_blocking(options) {
        Ok(RunState::Completed) => Ok(Exit::Done),
        Ok(_) => Ok(Exit::Interrupted),
        Err(error) => Err(Failure::experiment(error)),
    }
}
