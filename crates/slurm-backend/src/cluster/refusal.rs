//! Why Slurm does not take a job or will never start it, and what to do about it: pure.

use super::ClusterErrorKind;

#[cfg(test)]
mod tests;

/// What Slurm has against a job, by its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The account is unknown, not allowed here, or missing.
    Account,
    /// There is no such partition.
    Partition,
    /// The partition is down, drained or inactive.
    PartitionDown,
    /// The partition is not for this user.
    PartitionClosed,
    /// The walltime is more than the partition, the account or the quality of service gives.
    Walltime,
    /// The number of nodes is more than the partition gives.
    NodeCount,
    /// No nodes have, or not so many, what is asked for together.
    Nodes,
    /// A node in a list of nodes is unknown.
    NodeNames,
    /// A node that must be there is down, drained or reserved.
    NodesAway,
    /// The quality of service is unknown or not allowed.
    Qos,
    /// The user has as many jobs running as may run at once.
    RunningJobs,
    /// The user has as many jobs submitted as may be.
    SubmittedJobs,
    /// The jobs of the user or the account hold as much as they may at once.
    Held,
    /// The job is larger, or smaller, than one of its kind may be.
    JobSize,
    /// The account has used up what it was given.
    Budget,
    /// The reservation is unknown, over, or of others.
    Reservation,
    /// No node has a feature of this name.
    Constraint,
    /// GPUs or other generic resources are not asked for as this cluster has them.
    Gres,
    /// There is no such licence.
    Licence,
    /// Memory is not to be had so.
    Memory,
    /// An option, or its value, is none of this Slurm's.
    Argument,
    /// The job waits for another that will not end as it should.
    Dependency,
}

/// Which of the two jobs of ours it is: their keys differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobRole {
    /// The server's.
    Server,
    /// The load generator's.
    Load,
}

impl JobRole {
    /// As messages call it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Server => "the server's job",
            Self::Load => "the load generator's job",
        }
    }

    /// The job that a message of ours is about; the server's where it names none.
    pub fn of_message(text: &str) -> Self {
        if text.contains(Self::Load.words()) {
            Self::Load
        } else {
            Self::Server
        }
    }
}

/// Words of Slurm, in lower case. The first that a text holds counts, so what says more stands before what says less.
const WORDS: &[(&str, Refusal)] = &[
    ("invalid account", Refusal::Account),
    ("account parameter is required", Refusal::Account),
    ("specify account", Refusal::Account),
    ("specify an account", Refusal::Account),
    ("account has insufficient", Refusal::Account),
    ("invalidaccount", Refusal::Account),
    ("accountnotallowed", Refusal::Account),
    ("time limit is invalid", Refusal::Walltime),
    ("invalid --time", Refusal::Walltime),
    ("time limit specification", Refusal::Walltime),
    ("time-min specification", Refusal::Walltime),
    ("partitiontimelimit", Refusal::Walltime),
    ("permitted to use this partition", Refusal::PartitionClosed),
    ("partition not available", Refusal::PartitionDown),
    ("partition configuration not available", Refusal::PartitionDown),
    ("partitiondown", Refusal::PartitionDown),
    ("partitioninactive", Refusal::PartitionDown),
    ("partitionnodelimit", Refusal::NodeCount),
    ("partitionconfig", Refusal::NodeCount),
    ("node count specification invalid", Refusal::NodeCount),
    ("invalid node count", Refusal::NodeCount),
    ("not a valid node count", Refusal::NodeCount),
    ("invalid partition", Refusal::Partition),
    ("no partition specified", Refusal::Partition),
    ("invalid qos", Refusal::Qos),
    ("invalidqos", Refusal::Qos),
    ("reservation is invalid", Refusal::Reservation),
    ("invalid reservation", Refusal::Reservation),
    ("to requested reservation", Refusal::Reservation),
    ("requested reservation", Refusal::Reservation),
    ("reservationdeleted", Refusal::Reservation),
    ("requiresreservation", Refusal::Reservation),
    ("feature specification", Refusal::Constraint),
    ("subset of --constraints", Refusal::Constraint),
    ("invalid generic resource", Refusal::Gres),
    ("duplicate generic resource", Refusal::Gres),
    ("invalid gres", Refusal::Gres),
    ("gres option unsupported", Refusal::Gres),
    ("invalid trackable resource", Refusal::Gres),
    ("invalid tres", Refusal::Gres),
    ("invalid license", Refusal::Licence),
    ("memory specification", Refusal::Memory),
    ("memory required by task", Refusal::Memory),
    ("invalid --mem", Refusal::Memory),
    ("invalid node name", Refusal::NodeNames),
    ("required node not available", Refusal::NodesAway),
    ("reqnodenotavail", Refusal::NodesAway),
    ("node configuration is not available", Refusal::Nodes),
    ("cpu count per node can not be satisfied", Refusal::Nodes),
    ("more processors requested than permitted", Refusal::Nodes),
    ("badconstraints", Refusal::Nodes),
    ("dependencyneversatisfied", Refusal::Dependency),
    ("job dependency problem", Refusal::Dependency),
    ("sbatch: unrecognized option", Refusal::Argument),
    ("sbatch: invalid option", Refusal::Argument),
    ("sbatch: error: invalid --", Refusal::Argument),
];

impl Refusal {
    /// What the words of sbatch, of FirecREST or of a reason for waiting say; nothing if none is known.
    pub fn of_text(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        let mut names = lower.split(|c: char| !c.is_ascii_alphanumeric());
        // The name of the limit says more than the sentence behind it.
        if let Some(limit) = names.find_map(of_limit) {
            return Some(limit);
        }
        let known = WORDS.iter().find(|(words, _)| lower.contains(words));
        let policy = lower.contains("accounting/qos policy") || lower.contains("job limit exceeded");
        known
            .map(|(_, refusal)| *refusal)
            .or_else(|| policy.then_some(Self::SubmittedJobs))
    }

    /// The kind of the call's error.
    pub(super) fn kind(self) -> ClusterErrorKind {
        match self {
            Self::Account => ClusterErrorKind::Account,
            Self::Partition | Self::PartitionDown | Self::PartitionClosed | Self::Qos | Self::Reservation => {
                ClusterErrorKind::Partition
            }
            Self::Walltime => ClusterErrorKind::Walltime,
            Self::RunningJobs | Self::SubmittedJobs | Self::Held | Self::JobSize | Self::Budget => {
                ClusterErrorKind::Limit
            }
            Self::NodeCount
            | Self::Nodes
            | Self::NodeNames
            | Self::NodesAway
            | Self::Constraint
            | Self::Gres
            | Self::Licence
            | Self::Memory
            | Self::Argument
            | Self::Dependency => ClusterErrorKind::Invalid,
        }
    }

    /// What to do about it, by the keys of a configuration.
    pub fn remedy(self, role: JobRole) -> String {
        let (partition, walltime, options) = match role {
            JobRole::Server => ("`partition`", "`server_time_limit`", "`sbatch_args`"),
            JobRole::Load => (
                "`benchmarker_partition`",
                "`benchmarker_time_limit`",
                "`benchmarker_sbatch_args`",
            ),
        };
        let own = |key: &str| match role {
            JobRole::Server => format!("`{key}`, or --{key} in {options}"),
            JobRole::Load => format!("--{key} in {options}"),
        };
        let nodes = match role {
            JobRole::Server => "fewer GPUs (`tensor_parallel_size`, `pipeline_parallel_size`)",
            JobRole::Load => "a smaller `benchmarker_nodes`",
        };
        match self {
            Self::Account => {
                "set `account` to a project that may compute here; `gipfel doctor slurm CONFIG` names those that the \
                 cluster tells of"
                    .to_owned()
            }
            Self::Partition => format!("set {partition} to one that the cluster has"),
            Self::PartitionDown => {
                format!("wait until it is up again (the site's status page may say when), or set another {partition}")
            }
            Self::PartitionClosed => format!("set {partition} to one that is open to you, or ask the site"),
            Self::Walltime => format!("shorten {walltime}, or set a {partition} that gives more time"),
            Self::NodeCount => format!("ask for {nodes}, or set a {partition} that gives more nodes"),
            Self::Nodes => format!(
                "no nodes of the partition fit all that is asked for: {nodes}, {partition}, `gpus_per_node`, {}",
                own("constraint")
            ),
            Self::NodeNames => format!("a name in {} is no node of this cluster", own("exclude")),
            Self::NodesAway => {
                format!("a node that is asked for is down or reserved: look at {}", own("reservation"))
            }
            Self::Qos => format!("set {} to one of yours, or leave it out", own("qos")),
            Self::RunningJobs => {
                "another job of yours takes the place: set `benchmarker: same-job`, or another partition for one of the \
                 two jobs (`benchmarker_partition`)"
                    .to_owned()
            }
            Self::SubmittedJobs => {
                "end jobs of yours that are not needed any more, or set `benchmarker: same-job`, or lower \
                 `max_parallel_experiments`"
                    .to_owned()
            }
            Self::Held => format!("wait until other jobs of yours end, ask for {nodes}, or set another {partition}"),
            Self::JobSize => format!(
                "one job may not be so large (or so small) here: {nodes}, {walltime}, or another {partition} or {}",
                own("qos")
            ),
            Self::Budget => "set another `account`, or ask for more hours".to_owned(),
            Self::Reservation => format!("set {} to one that lasts and is open to you, or leave it out", own("reservation")),
            Self::Constraint => format!("set {} to features that nodes have", own("constraint")),
            Self::Gres => format!(
                "GPUs are asked for as the profile of `site` says (`gpu_request`): set another profile, `gpus_per_node`, \
                 or mend {options}"
            ),
            Self::Licence => format!("mend --licenses in {options}"),
            Self::Memory => format!("mend --mem in {options}"),
            Self::Argument => format!("mend {options}: this Slurm does not know such an option or value"),
            Self::Dependency => format!("leave --dependency out of {options}"),
        }
    }
}

/// What the name of a limit of a quality of service or an association says: `QOSMaxJobsPerUserLimit`, `AssocGrpCpuLimit`.
fn of_limit(name: &str) -> Option<Refusal> {
    let rest = name
        .strip_prefix("qos")
        .or_else(|| name.strip_prefix("association"))
        .or_else(|| name.strip_prefix("assoc"))?;
    let begins = ["max", "grp", "min", "job", "resource", "time", "usage", "not"];
    if !begins.iter().any(|word| rest.starts_with(word)) {
        return None;
    }
    let has = |word: &str| rest.contains(word);
    Some(if rest == "notallowed" {
        Refusal::Qos
    } else if has("submit") {
        Refusal::SubmittedJobs
    } else if has("walldurationperjob") || rest.starts_with("timelimit") {
        Refusal::Walltime
    } else if has("jobs") || rest.starts_with("joblimit") {
        Refusal::RunningJobs
    } else if has("perjob") || has("pernode") || rest.starts_with("min") {
        Refusal::JobSize
    } else if has("minutes") && !has("runminutes") || has("usagethreshold") || has("grpwall") {
        Refusal::Budget
    } else {
        Refusal::Held
    })
}
