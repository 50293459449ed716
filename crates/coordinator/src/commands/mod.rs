//! The subcommands.

pub(crate) mod again;
pub(crate) mod compare;
pub(crate) mod conclude;
pub(crate) mod config;
pub(crate) mod export;
pub(crate) mod loadgen;
pub(crate) mod new;
pub(crate) mod packaging;
pub(crate) mod peak;
pub(crate) mod report;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod sim;
