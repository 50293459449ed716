//! Jobs: what a script asks for, the scheduler, and what runs them.

pub(crate) mod directives;
pub(crate) mod hostlist;
pub(crate) mod job;
pub(crate) mod processes;
pub(crate) mod record;
pub(crate) mod scheduler;
pub(crate) mod slurm;
mod slurm_output;
pub(crate) mod submission;
