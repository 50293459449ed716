//! What a test orders while the simulator runs.

use std::sync::Arc;

use crate::{
    clock::now_ms,
    cluster::Cluster,
    jobs::{job::JobState, processes::Processes, record::JobRecord},
    remote::Services,
    state::State,
};

/// Why an order is not carried out.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum OrderError {
    /// There is no such system.
    #[error("there is no system `{system}`")]
    NoSystem {
        /// The system.
        system: String,
    },
    /// There is no such cluster.
    #[error("there is no cluster `{cluster}`")]
    NoCluster {
        /// The cluster.
        cluster: String,
    },
    /// The cluster is a real Slurm.
    #[error("cluster `{cluster}` is a real Slurm; give the order by its own commands")]
    RealSlurm {
        /// The cluster.
        cluster: String,
    },
    /// There is no such node, or it is not down.
    #[error("there is no such node to change: `{node}`")]
    NoNode {
        /// The node.
        node: String,
    },
    /// There is no such job, or it does not run.
    #[error("there is no such job to end: {job}")]
    NoJob {
        /// The job.
        job: u64,
    },
}

/// A job as the simulator knows it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct JobSummary {
    /// The cluster.
    pub cluster: String,
    /// The number.
    pub id: String,
    /// The name.
    pub name: String,
    /// The state, in Slurm's words.
    pub state: String,
    /// The owner.
    pub user: String,
    /// The nodes, as Slurm writes them.
    pub nodes: String,
    /// The exit code of an ended job.
    pub exit_code: Option<i32>,
    /// The folder in which it runs.
    pub working_directory: String,
}

pub(crate) fn jobs(state: &State) -> Vec<JobSummary> {
    let summary = |cluster: &String, job: JobRecord| JobSummary {
        cluster: cluster.clone(),
        id: job.id,
        name: job.name,
        state: job.state,
        user: job.user,
        nodes: job.nodes,
        exit_code: job.exit.map(|exit| exit.code),
        working_directory: job.working_directory,
    };
    let mut jobs = Vec::new();
    for (name, cluster) in &state.clusters {
        if let Cluster::Processes(processes) = cluster.as_ref() {
            jobs.extend(
                processes
                    .records(|_| true)
                    .into_iter()
                    .map(|job| summary(name, job)),
            );
        }
    }
    jobs
}

pub(crate) async fn set_services(state: &State, system: &str, services: Services) -> Result<(), OrderError> {
    let found = state.systems.get(system);
    let found = found.ok_or_else(|| OrderError::NoSystem {
        system: system.to_owned(),
    })?;
    state.set_services(found, services).await;
    Ok(())
}

pub(crate) fn check_health(state: &State) {
    for system in state.systems.values() {
        system.health.look(system.link.services());
    }
}

pub(crate) fn set_node(state: &State, cluster: &str, node: &str, down: bool) -> Result<(), OrderError> {
    let processes = processes(state, cluster)?;
    let now = now_ms();
    let found = processes.command(|scheduler| {
        if down {
            scheduler
                .fail_node(node, now)
                .map_or((false, Vec::new()), |effects| (true, effects))
        } else {
            (scheduler.restore_node(node), Vec::new())
        }
    });
    if found {
        Ok(())
    } else {
        Err(OrderError::NoNode {
            node: node.to_owned(),
        })
    }
}

pub(crate) fn pause(state: &State, cluster: &str, paused: bool) -> Result<(), OrderError> {
    processes(state, cluster)?.command(|scheduler| {
        scheduler.is_paused = paused;
        ((), Vec::new())
    });
    Ok(())
}

pub(crate) fn end_job(state: &State, cluster: &str, job: u64, job_state: JobState) -> Result<(), OrderError> {
    let processes = processes(state, cluster)?;
    let now = now_ms();
    let found = processes.command(|scheduler| {
        let effect = match job_state {
            JobState::Pending => scheduler.requeue(job, now),
            job_state => scheduler.end_as(job, job_state, now),
        };
        (effect.is_some(), effect.into_iter().collect())
    });
    if found {
        Ok(())
    } else {
        Err(OrderError::NoJob { job })
    }
}

/// The processes of a cluster; a real Slurm takes no orders from a test.
fn processes<'a>(state: &'a State, cluster: &str) -> Result<&'a Arc<Processes>, OrderError> {
    match state.clusters.get(cluster).map(AsRef::as_ref) {
        Some(Cluster::Processes(processes)) => Ok(processes),
        Some(Cluster::Slurm(_)) => Err(OrderError::RealSlurm {
            cluster: cluster.to_owned(),
        }),
        None => Err(OrderError::NoCluster {
            cluster: cluster.to_owned(),
        }),
    }
}
