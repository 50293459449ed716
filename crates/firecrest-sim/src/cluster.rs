//! The cluster of a system: the simulator's own scheduler, or a real Slurm.

use std::{io, sync::Arc};

use serde_json::{Value, json};
use tokio::process::Child;

use crate::{
    clock::now_s,
    jobs::{
        directives::Refusal,
        job::JobId,
        processes::Processes,
        record::{JobRecord, MetadataRecord},
        scheduler::{CancelRefusal, Scheduler},
        slurm::Slurm,
        submission::{Submission, partition_nodes},
    },
    options::UserOptions,
};

/// What runs the jobs.
pub(crate) enum Cluster {
    /// Processes of this machine under the simulator's own scheduler.
    Processes(Arc<Processes>),
    /// A Slurm, by its commands.
    Slurm(Box<Slurm>),
}

/// Which jobs are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) id: Option<JobId>,
    /// All users' without it.
    pub(crate) user: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) account: Option<String>,
    /// Jobs that were not over by this time, in seconds since 1970.
    pub(crate) since_s: i64,
}

impl Cluster {
    /// Whether jobs run as their users, who must own their files then.
    pub(crate) fn runs_as_users(&self) -> bool {
        matches!(self, Self::Slurm(_)) && rustix::process::getuid().is_root()
    }

    pub(crate) async fn submit(&self, submission: &Submission) -> Result<String, Refusal> {
        match self {
            Self::Processes(processes) => processes.submit(submission).map(|id| id.to_string()),
            Self::Slurm(slurm) => slurm.submit(submission).await,
        }
    }

    pub(crate) async fn jobs(
        &self,
        filter: &Filter,
        caller: &UserOptions,
    ) -> Result<Vec<JobRecord>, Refusal> {
        match self {
            Self::Slurm(slurm) => slurm.jobs(filter, caller).await,
            Self::Processes(processes) => Ok(processes.records(|job| {
                filter.id.is_none_or(|id| job.is_meant_by(id))
                    && filter.user.as_ref().is_none_or(|user| *user == job.request.user)
                    && filter.name.as_ref().is_none_or(|name| *name == job.request.name)
                    && filter
                        .account
                        .as_ref()
                        .is_none_or(|account| *account == job.request.account)
                    && job.end.is_none_or(|end| end / 1000 >= filter.since_s)
            })),
        }
    }

    pub(crate) async fn metadata(
        &self,
        id: JobId,
        caller: &UserOptions,
        scheduler_answers: bool,
    ) -> Result<Option<MetadataRecord>, Refusal> {
        match self {
            Self::Processes(processes) => Ok(processes.metadata(id, caller.uid, scheduler_answers)),
            Self::Slurm(slurm) => slurm.metadata(id, caller).await,
        }
    }

    pub(crate) async fn cancel(&self, id: JobId, caller: &UserOptions) -> Result<(), Refusal> {
        let refusal = match self {
            Self::Slurm(slurm) => return slurm.cancel(id, caller).await,
            Self::Processes(processes) => match processes.cancel(id, caller.uid) {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            },
        };
        let (exit_status, why) = match refusal {
            CancelRefusal::Unknown => (0, "Invalid job id specified"),
            CancelRefusal::Ended => (0, "Job/step already completing or completed"),
            CancelRefusal::Denied => (210, "Access/permission denied"),
        };
        Err(Refusal::new(
            exit_status,
            format!("scancel: Terminating job {id}\nscancel: error: Kill job error on job id {id}: {why}\n"),
        ))
    }

    pub(crate) fn attach(&self, id: JobId, caller: &UserOptions, command: &str) -> Option<io::Result<Child>> {
        match self {
            Self::Processes(processes) => processes.attach(id, caller.uid, command),
            Self::Slurm(slurm) => Some(slurm.attach(id, caller, command)),
        }
    }

    pub(crate) async fn nodes(&self) -> Result<Value, Refusal> {
        match self {
            Self::Processes(processes) => Ok(nodes(&processes.scheduler())),
            Self::Slurm(slurm) => slurm.nodes().await,
        }
    }

    pub(crate) async fn partitions(&self, hidden: bool) -> Result<Value, Refusal> {
        match self {
            Self::Processes(processes) => Ok(partitions(&processes.scheduler(), hidden)),
            Self::Slurm(slurm) => slurm.partitions().await,
        }
    }

    /// A Slurm's reservations are those of the configuration, too.
    pub(crate) fn reservations(&self) -> Value {
        let now = now_s();
        let cluster = match self {
            Self::Processes(processes) => &processes.scheduler().cluster.clone(),
            Self::Slurm(slurm) => &slurm.cluster,
        };
        let shown = cluster.reservations.iter().map(|reservation| {
            let is_active = (reservation.start_s..reservation.end_s).contains(&now);
            json!({
                "name": reservation.name,
                "nodeList": reservation.node_list,
                "endTime": reservation.end_s,
                "startTime": reservation.start_s,
                "features": null,
                "state": if is_active { "active" } else { "inactive" },
            })
        });
        shown.collect()
    }
}

fn nodes(scheduler: &Scheduler) -> Value {
    let cluster = &scheduler.cluster;
    let shown = cluster.nodes.iter().map(|name| {
        let (state, used) = scheduler.node_state(name);
        let partitions = cluster.partitions.iter();
        let partitions = partitions.filter(|partition| partition_nodes(cluster, partition).contains(name));
        // The real server shows the number of sockets for that of cores and of threads, too.
        json!({
            "sockets": 4,
            "cores": 4,
            "threads": 4,
            "cpus": cluster.cpus_per_node,
            "cpuLoad": 0.0,
            "freeMemory": 800_000,
            "features": "sim",
            "name": name,
            "address": "127.0.0.1",
            "hostname": "localhost",
            "state": [state],
            "partitions": partitions.map(|partition| &partition.name).collect::<Vec<_>>(),
            "weight": 1,
            "allocMemory": 800_000,
            "allocCpus": used,
            "idleCpus": cluster.cpus_per_node - used,
        })
    });
    shown.collect()
}

fn partitions(scheduler: &Scheduler, hidden: bool) -> Value {
    let cluster = &scheduler.cluster;
    let shown = cluster
        .partitions
        .iter()
        .filter(|partition| hidden || !partition.hidden);
    let shown = shown.map(|partition| {
        let nodes = partition_nodes(cluster, partition).len();
        json!({
            "name": partition.name,
            "cpus": nodes as u64 * u64::from(cluster.cpus_per_node),
            "totalNodes": nodes,
            "partition": "UP",
        })
    });
    shown.collect()
}
