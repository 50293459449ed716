//! Where a campaign stands, one line for each experiment: what the live view, `status` and `attach` show.
//!
//! Pure but for [`files`], which reads what the driving process leaves on disk.

pub(crate) mod experiment;
mod figures;
pub(crate) mod files;
mod layout;
pub(crate) mod lines;
#[cfg(test)]
pub(crate) mod samples;
mod standing;
pub(crate) mod table;

pub(crate) use experiment::{Experiment, Group, Snapshot};
