//! Servers and load generators as Slurm jobs.
//!
//! Everything that is asked of a cluster goes through [`Cluster`], which is the same by FirecREST, by Slurm's own commands
//! on this machine, and by those of a login node over ssh.

pub mod backend;
pub mod cluster;
pub mod render;
pub mod site;
pub mod tunnel;

pub use backend::{
    FoundServer, Leftover, Living, LoadGenerator, Place, Purpose, SlurmBackend, TunnelWay, Whose, job_of,
};
pub use cluster::{
    Cluster, ClusterError, ClusterErrorKind, ClusterFacts, FileFacts, FilePiece, JobFacts, JobRequest,
    SubmitEffect, SubmitFailure,
};
pub use render::{
    BENCHMARKER_SCRIPT, BenchmarkerJob, MARK_FILE, QueuedRun, RenderError, RenderedFile, RenderedJob,
    SERVER_SCRIPT, ServerJob, job_name, mark,
};
pub use site::{Site, SiteError};
