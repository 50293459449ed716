//! Servers and load generators as Slurm jobs.
//!
//! Everything that is asked of a cluster goes through [`Cluster`], which is the same by FirecREST, by Slurm's own commands
//! on this machine, and by those of a login node over ssh.

pub mod cluster;

pub use cluster::{
    Cluster, ClusterError, ClusterErrorKind, ClusterFacts, FileFacts, FilePiece, JobFacts, JobRequest,
    SubmitEffect, SubmitFailure,
};
