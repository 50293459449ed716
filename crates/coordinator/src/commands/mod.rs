//! The subcommands.

pub(crate) mod config;
pub(crate) mod loadgen;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod sim;
