//! The simulator over HTTP.

mod failures;
mod jobs;
mod program;
mod recordings;
mod replay;
mod schedules;
mod shape;
mod site;
mod slurm;
mod storage;
mod wire;
