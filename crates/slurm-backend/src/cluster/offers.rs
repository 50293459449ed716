//! What a cluster's Slurm offers, and what it has against a job before anybody submits it: pure.

use std::{collections::BTreeSet, time::Duration};

use gipfel_model::{DeploymentSpec, SlurmJob, SlurmLoad, SlurmSpec, Walltime};

use super::refusal::{JobRole, Refusal};
use crate::{
    render::{gpu_request, gpus_of_node},
    site::{GpuRequest, Site},
};

#[cfg(test)]
mod tests;

/// What Slurm offers, as far as the way to the cluster tells it. What is not told is absent, or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// The partitions.
    pub partitions: Vec<PartitionFacts>,
    /// The accounts that the user's jobs can be charged to.
    pub accounts: Vec<String>,
    /// The qualities of service that the user may have.
    pub qos: Vec<String>,
    /// The reservations.
    pub reservations: Option<Vec<String>>,
}

/// A partition, as far as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionFacts {
    /// Its name.
    pub name: String,
    /// Its state, such as `UP`.
    pub state: Option<String>,
    /// The longest walltime.
    pub time_limit: Option<Duration>,
    /// All its nodes.
    pub nodes: Option<u64>,
    /// The most nodes of one job.
    pub nodes_of_job: Option<u64>,
    /// Whether a job gets its nodes as a whole.
    pub whole_nodes: Option<bool>,
    /// The most GPUs of a node.
    pub gpus_of_node: Option<u64>,
    /// The features that its nodes have; absent: not told.
    pub features: Option<BTreeSet<String>>,
    /// The only accounts that it is open to; absent: all, or not told.
    pub accounts: Option<Vec<String>>,
    /// The only qualities of service that it is open to; absent: all, or not told.
    pub qos: Option<Vec<String>>,
}

/// What a job of ours asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which job it is.
    pub role: JobRole,
    /// The cluster, for messages.
    pub cluster: &'a str,
    /// What both kinds of jobs ask for.
    pub job: &'a SlurmJob,
    /// Its nodes.
    pub nodes: u32,
    /// GPUs of each node; 0 for none.
    pub gpus: u32,
}

impl<'a> Asked<'a> {
    /// What a server's job asks for.
    pub fn of_server(cluster: &'a str, spec: &DeploymentSpec, slurm: &'a SlurmSpec, site: &Site) -> Self {
        Self {
            role: JobRole::Server,
            cluster,
            job: &slurm.job,
            nodes: slurm.nodes(spec.gpus()),
            gpus: match gpu_request(spec, site) {
                GpuRequest::None => 0,
                GpuRequest::GpusPerNode | GpuRequest::Gres => gpus_of_node(spec, slurm, site),
            },
        }
    }

    /// What a load generator's job asks for.
    pub fn of_load(cluster: &'a str, load: &'a SlurmLoad) -> Self {
        Self {
            role: JobRole::Load,
            cluster,
            job: &load.job,
            nodes: load.nodes,
            gpus: 0,
        }
    }
}

/// What Slurm will have against a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// What it is.
    pub refusal: Refusal,
    /// In words, with what there is in its place.
    pub words: String,
}

impl Offers {
    /// All that is known against a job.
    pub fn objections(&self, asked: &Asked<'_>) -> Vec<Objection> {
        let found = [
            self.partition_missing(asked),
            self.partition_down(asked),
            self.walltime(asked),
            self.node_count(asked),
            self.gpus(asked),
            self.account(asked),
            self.qos(asked),
            self.reservation(asked),
            self.constraint(asked),
        ];
        found.into_iter().flatten().collect()
    }

    /// What explains a refusal of Slurm.
    pub fn explain(&self, refusal: Refusal, asked: &Asked<'_>) -> Option<String> {
        let all = self.objections(asked);
        let is_like = |one: &&Objection| {
            one.refusal == refusal
                // Slurm's words for these say nothing of which it is.
                || refusal == Refusal::Nodes
                    && matches!(
                        one.refusal,
                        Refusal::NodeCount | Refusal::Gres | Refusal::Constraint
                    )
                || refusal == Refusal::Account && one.refusal == Refusal::Partition
        };
        all.iter().find(is_like).map(|found| found.words.clone())
    }

    /// The partition of this name.
    pub fn partition(&self, name: &str) -> Option<&PartitionFacts> {
        self.partitions.iter().find(|partition| partition.name == name)
    }

    /// A list of partitions is possible; each of them is looked at.
    fn asked_partitions(&self, asked: &Asked<'_>) -> Vec<&PartitionFacts> {
        asked
            .job
            .partition
            .split(',')
            .filter_map(|name| self.partition(name))
            .collect()
    }

    fn partition_missing(&self, asked: &Asked<'_>) -> Option<Objection> {
        if self.partitions.is_empty() {
            return None;
        }
        let missing = asked
            .job
            .partition
            .split(',')
            .find(|name| self.partition(name).is_none())?;
        let names: Vec<&str> = self
            .partitions
            .iter()
            .map(|partition| partition.name.as_str())
            .collect();
        objection(
            Refusal::Partition,
            format!(
                "partition `{missing}` does not exist on {}; it has {}",
                asked.cluster,
                names.join(", ")
            ),
        )
    }

    fn partition_down(&self, asked: &Asked<'_>) -> Option<Objection> {
        let down = self.asked_partitions(asked).into_iter().find_map(|partition| {
            let state = partition.state.as_deref()?;
            (!state.eq_ignore_ascii_case("up")).then_some((partition, state))
        });
        let (partition, state) = down?;
        objection(
            Refusal::PartitionDown,
            format!(
                "partition `{}` of {} is {}",
                partition.name,
                asked.cluster,
                state.to_lowercase()
            ),
        )
    }

    fn walltime(&self, asked: &Asked<'_>) -> Option<Objection> {
        let walltime = asked.job.walltime;
        let short = self.asked_partitions(asked).into_iter().find_map(|partition| {
            let limit = partition.time_limit?;
            (walltime.duration() > limit).then_some((partition, limit))
        });
        let (partition, limit) = short?;
        objection(
            Refusal::Walltime,
            format!(
                "partition `{}` of {} gives at most {}, and {} asks for {walltime}",
                partition.name,
                asked.cluster,
                clock(limit),
                asked.role.words()
            ),
        )
    }

    fn node_count(&self, asked: &Asked<'_>) -> Option<Objection> {
        let few = self.asked_partitions(asked).into_iter().find_map(|partition| {
            let most = [partition.nodes, partition.nodes_of_job]
                .into_iter()
                .flatten()
                .min()?;
            (u64::from(asked.nodes) > most).then_some((partition, most))
        });
        let (partition, most) = few?;
        objection(
            Refusal::NodeCount,
            format!(
                "partition `{}` of {} gives a job at most {most} nodes, and {} asks for {}",
                partition.name,
                asked.cluster,
                asked.role.words(),
                asked.nodes
            ),
        )
    }

    fn gpus(&self, asked: &Asked<'_>) -> Option<Objection> {
        let few = self.asked_partitions(asked).into_iter().find_map(|partition| {
            let most = partition.gpus_of_node?;
            (u64::from(asked.gpus) > most).then_some((partition, most))
        });
        let (partition, most) = few?;
        objection(
            Refusal::Gres,
            format!(
                "nodes of partition `{}` of {} have {most} GPUs, and {} asks for {} of each",
                partition.name,
                asked.cluster,
                asked.role.words(),
                asked.gpus
            ),
        )
    }

    fn account(&self, asked: &Asked<'_>) -> Option<Objection> {
        let Some(account) = &asked.job.account else {
            return None;
        };
        let is_unknown = !self.accounts.is_empty() && !self.accounts.contains(account);
        if is_unknown {
            let words = format!(
                "jobs on {} cannot be charged to `{account}`; you have {}",
                asked.cluster,
                self.accounts.join(", ")
            );
            return objection(Refusal::Account, words);
        }
        self.asked_partitions(asked).into_iter().find_map(|partition| {
            let open = partition.accounts.as_ref()?;
            let is_open = open.iter().any(|one| one.eq_ignore_ascii_case(account));
            let words = || {
                format!(
                    "partition `{}` of {} is not open to account `{account}`",
                    partition.name, asked.cluster
                )
            };
            if is_open {
                None
            } else {
                objection(Refusal::Account, words())
            }
        })
    }

    fn qos(&self, asked: &Asked<'_>) -> Option<Objection> {
        let qos = asked.job.qos.as_ref()?;
        if !self.qos.is_empty() && !self.qos.contains(qos) {
            let words = format!(
                "you have no quality of service `{qos}` on {}; there are {}",
                asked.cluster,
                self.qos.join(", ")
            );
            return objection(Refusal::Qos, words);
        }
        self.asked_partitions(asked).into_iter().find_map(|partition| {
            let open = partition.qos.as_ref().filter(|open| !open.contains(qos))?;
            objection(
                Refusal::Qos,
                format!(
                    "partition `{}` of {} is open to the qualities of service {} only",
                    partition.name,
                    asked.cluster,
                    open.join(", ")
                ),
            )
        })
    }

    fn reservation(&self, asked: &Asked<'_>) -> Option<Objection> {
        let (named, known) = (asked.job.reservation.as_ref()?, self.reservations.as_ref()?);
        if known.contains(named) {
            return None;
        }
        let there_are = match known.as_slice() {
            [] => "there is none".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        objection(
            Refusal::Reservation,
            format!("{} has no reservation `{named}`; {there_are}", asked.cluster),
        )
    }

    fn constraint(&self, asked: &Asked<'_>) -> Option<Objection> {
        let constraint = asked.job.constraint.as_ref()?;
        let partitions = self.asked_partitions(asked);
        let known: Option<Vec<_>> = partitions
            .iter()
            .map(|partition| partition.features.as_ref())
            .collect();
        let known: BTreeSet<&String> = known
            .filter(|known| !known.is_empty())?
            .into_iter()
            .flatten()
            .collect();
        let is_name = |word: &&str| !word.is_empty() && !word.bytes().all(|byte| byte.is_ascii_digit());
        let mut words = constraint
            .split(|c: char| "&|,*[]()".contains(c))
            .map(str::trim)
            .filter(is_name);
        let missing = words.find(|word| !known.iter().any(|feature| feature == word))?;
        let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
        let there_are = if names.is_empty() {
            "there is none".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        objection(
            Refusal::Constraint,
            format!(
                "no node of partition `{}` of {} has the feature `{missing}`; {there_are}",
                asked.job.partition, asked.cluster
            ),
        )
    }
}

#[expect(clippy::unnecessary_wraps, reason = "each check ends with it")]
fn objection(refusal: Refusal, words: String) -> Option<Objection> {
    Some(Objection { refusal, words })
}

/// A limit as Slurm writes it.
fn clock(limit: Duration) -> String {
    Walltime::from_secs(limit.as_secs()).map_or_else(|| "no time".to_owned(), |limit| limit.to_string())
}
