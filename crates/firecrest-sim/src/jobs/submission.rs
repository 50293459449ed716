//! A submission, from the fields of the API and the lines of the script to a request or a refusal.

use std::{sync::Arc, time::Duration};

use crate::{
    jobs::{
        directives::{self, Directives, Refusal, TimeLimit},
        job::JobRequest,
    },
    options::{ClusterOptions, PartitionOptions, UserOptions},
};

/// What a caller submits.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub(crate) user: Arc<UserOptions>,
    pub(crate) system: String,
    pub(crate) working_directory: String,
    /// The script's text.
    pub(crate) script: String,
    /// The name that the job has when nobody names it.
    pub(crate) default_name: String,
    pub(crate) name: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) partition: Option<String>,
    pub(crate) reservation: Option<String>,
    pub(crate) constraints: Option<String>,
    pub(crate) standard_output: Option<String>,
    pub(crate) standard_error: Option<String>,
    pub(crate) standard_input: Option<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Whether the script's paths are those that callers see.
    pub(crate) paths_are_shown: bool,
}

/// The variables that `--export=ALL,K=V,…` sets: a comma in a value begins the next one.
pub(crate) fn exported(environment: &[(String, String)]) -> Vec<(String, String)> {
    let joined: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    joined
        .join(",")
        .split(',')
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Accepts or refuses a submission by the rules of the cluster.
pub(crate) fn admit(cluster: &ClusterOptions, submission: &Submission) -> Result<JobRequest, Refusal> {
    let asked = directives::read(&submission.script)?;
    let partition = partition(cluster, submission, &asked)?;
    let account = account(submission, &asked)?;
    let reservation = submission.reservation.as_ref().or(asked.reservation.as_ref());
    if let Some(name) = reservation
        && !cluster
            .reservations
            .iter()
            .any(|reservation| reservation.name == *name)
    {
        return Err(Refusal::submission("Requested reservation is invalid"));
    }
    let nodes = nodes(cluster, partition, &asked)?;
    let limit_s = limit_s(cluster, partition, &asked)?;
    let user = &submission.user;
    let default_output = if asked.array.is_empty() {
        "slurm-%j.out"
    } else {
        "slurm-%A_%a.out"
    };
    let output = submission.standard_output.clone().or(asked.output);
    let output = output.unwrap_or_else(|| default_output.to_owned());
    Ok(JobRequest {
        name: submission
            .name
            .clone()
            .or(asked.name)
            .unwrap_or_else(|| submission.default_name.clone()),
        user: user.name.clone(),
        uid: user.uid,
        group: user.group().0.to_owned(),
        account,
        partition: partition.name.clone(),
        nodes,
        tasks: tasks(asked.tasks, asked.tasks_per_node, nodes),
        limit_s,
        system: submission.system.clone(),
        working_directory: submission.working_directory.clone(),
        script: submission.script.clone(),
        standard_error: submission
            .standard_error
            .clone()
            .or(asked.error)
            .unwrap_or_else(|| output.clone()),
        standard_output: output,
        standard_input: submission
            .standard_input
            .clone()
            .or(asked.input)
            .unwrap_or("/dev/null".to_owned()),
        environment: exported(&submission.environment),
        requeue: asked.requeue.unwrap_or(true),
        held: asked.held,
        dependency: asked.dependency,
        begin_after_s: asked.begin_after_s.unwrap_or_default(),
        array: asked.array,
        paths_are_shown: submission.paths_are_shown,
    })
}

fn partition<'a>(
    cluster: &'a ClusterOptions,
    submission: &Submission,
    asked: &Directives,
) -> Result<&'a PartitionOptions, Refusal> {
    let invalid = |name: &str| {
        Refusal::new(
            1,
            format!(
                "sbatch: error: invalid partition specified: {name}\n\
                 sbatch: error: Batch job submission failed: Invalid partition name specified\n"
            ),
        )
    };
    match submission.partition.as_ref().or(asked.partition.as_ref()) {
        None => cluster.partitions.first().ok_or_else(|| invalid("(null)")),
        Some(name) => {
            let first = name.split(',').next().unwrap_or(name);
            cluster
                .partitions
                .iter()
                .find(|partition| partition.name == first)
                .ok_or_else(|| invalid(name))
        }
    }
}

fn account(submission: &Submission, asked: &Directives) -> Result<String, Refusal> {
    let accounts = &submission.user.accounts;
    let found = match submission.account.as_ref().or(asked.account.as_ref()) {
        None => accounts.first(),
        Some(name) => accounts.iter().find(|account| *account == name),
    };
    found
        .cloned()
        .ok_or_else(|| Refusal::submission("Invalid account or account/partition combination specified"))
}

fn nodes(
    cluster: &ClusterOptions,
    partition: &PartitionOptions,
    asked: &Directives,
) -> Result<usize, Refusal> {
    let nodes = match (asked.nodes, asked.tasks, asked.tasks_per_node) {
        (Some(nodes), _, _) => nodes,
        (None, Some(tasks), Some(each)) if each > 0 => tasks.div_ceil(each),
        _ => 1,
    };
    let gpus = asked.gpus_per_node.unwrap_or_default();
    let there = partition_nodes(cluster, partition).len();
    if nodes == 0 || nodes as usize > there || gpus > cluster.gpus_per_node {
        return Err(Refusal::submission(
            "Requested node configuration is not available",
        ));
    }
    Ok(nodes as usize)
}

/// The nodes of a partition.
pub(crate) fn partition_nodes<'a>(
    cluster: &'a ClusterOptions,
    partition: &'a PartitionOptions,
) -> &'a [String] {
    if partition.nodes.is_empty() {
        &cluster.nodes
    } else {
        &partition.nodes
    }
}

fn tasks(tasks: Option<u32>, per_node: Option<u32>, nodes: usize) -> u32 {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    tasks.unwrap_or_else(|| nodes.saturating_mul(per_node.unwrap_or(1)))
}

fn limit_s(
    cluster: &ClusterOptions,
    partition: &PartitionOptions,
    asked: &Directives,
) -> Result<Option<u64>, Refusal> {
    let longest_s = partition.time_limit.as_secs();
    let limit_s = match asked.time {
        None => Some(longest_s),
        Some(TimeLimit::Seconds(seconds)) => Some(seconds),
        Some(TimeLimit::Unlimited) => None,
    };
    if cluster.enforce_time_limit && exceeds(limit_s, partition.time_limit) {
        let text = "Requested time limit is invalid (missing or exceeds some limit)";
        return Err(Refusal::submission(text));
    }
    Ok(limit_s)
}

/// Whether a job's time is longer than its partition allows.
pub(crate) fn exceeds(limit_s: Option<u64>, longest: Duration) -> bool {
    limit_s.is_none_or(|limit_s| limit_s > longest.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn a_comma_in_a_value_begins_the_next_variable() {
        let check = |given: &[_], expected: &[_]| assert_eq!(exported(&pairs(given)), pairs(expected));
        check(
            &[("A", "x,y=z"), ("B", "sp ace")],
            &[("A", "x"), ("y", "z"), ("B", "sp ace")],
        );
        check(&[("A", "x,y")], &[("A", "x")]);
        check(&[], &[]);
    }
}
