use super::{Refusal::*, *};
use proptest::prelude::*;

/// What sbatch of Slurm 22.05 to 24.11 writes.
#[test]
fn words_of_sbatch() {
    let check = |why: &str, expected: Refusal| {
        let text = format!("sbatch: error: Batch job submission failed: {why}");
        assert_eq!(Refusal::of_text(&text), Some(expected), "{text}");
        // `--test-only` begins otherwise.
        let text = format!("allocation failure: {why}");
        assert_eq!(Refusal::of_text(&text), Some(expected), "{text}");
    };
    check(
        "Invalid account or account/partition combination specified",
        Account,
    );
    check("Invalid partition name specified", Partition);
    check("No partition specified or system default partition", Partition);
    check(
        "Required partition not available (inactive or drain)",
        PartitionDown,
    );
    check(
        "Requested partition configuration not available now",
        PartitionDown,
    );
    check(
        "User's group not permitted to use this partition",
        PartitionClosed,
    );
    check(
        "Requested time limit is invalid (missing or exceeds some limit)",
        Walltime,
    );
    check("Time limit specification required, but not provided", Walltime);
    check("Node count specification invalid", NodeCount);
    check("Requested node configuration is not available", Nodes);
    check("More processors requested than permitted", Nodes);
    check("Invalid node name specified", NodeNames);
    check(
        "Required node not available (down, drained or reserved)",
        NodesAway,
    );
    check("Invalid qos specification", Qos);
    check("Requested reservation is invalid", Reservation);
    check("Access denied to requested reservation", Reservation);
    check("Requested reservation not usable now", Reservation);
    check("Invalid feature specification", Constraint);
    check("Invalid generic resource (gres) specification", Gres);
    check(
        "Invalid GRES specification (with and without type identification)",
        Gres,
    );
    check("Invalid Trackable RESource (TRES) specification", Gres);
    check(
        "Requested GRES option unsupported by configured SelectType plugin",
        Gres,
    );
    check("Invalid license specification", Licence);
    check("Memory required by task is not available", Memory);
    check("Job dependency problem", Dependency);
    check(
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        SubmittedJobs,
    );
}

#[test]
fn words_before_a_submission() {
    let check =
        |text: &str, expected: Option<Refusal>| assert_eq!(Refusal::of_text(text), expected, "{text}");
    check("sbatch: error: Invalid --time specification", Some(Walltime));
    check(
        "sbatch: error: invalid partition specified: gpu\nsbatch: error: Batch job submission failed: Invalid \
         partition name specified",
        Some(Partition),
    );
    check("sbatch: unrecognized option '--nosuch=1'", Some(Argument));
    check("sbatch: error: \"x\" is not a valid node count", Some(NodeCount));
    check("sbatch: error: Invalid --nice value", Some(Argument));
    check(
        "sbatch: error: Memory specification can not be satisfied",
        Some(Memory),
    );
    check(
        "sbatch: error: CPU count per node can not be satisfied",
        Some(Nodes),
    );
    check(
        "sbatch: error: You must specify an account (--account)",
        Some(Account),
    );
    check("sbatch: error: QOSMaxSubmitJobPerUserLimit", Some(SubmittedJobs));
    check(
        "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: Job violates \
         accounting/QOS policy (job submit limit, user's size and/or time limits)",
        Some(Walltime),
    );
    check(
        "sbatch: error: Unable to open file /nosuch: No such file or directory",
        None,
    );
    check("the disk quota is exceeded", None);
    check("", None);
}

/// What FirecREST makes of them.
#[test]
fn words_of_firecrest() {
    let check = |text: &str, expected: Refusal| assert_eq!(Refusal::of_text(text), Some(expected), "{text}");
    let unexpected = |code: i32, text: &str| {
        format!("Unexpected Slurm command response. exit_status:{code} std_err:sbatch: {text}\n")
    };
    check("Account parameter is required on this system.", Account);
    check(
        &unexpected(
            1,
            "error: Batch job submission failed: Invalid account or account/partition combination specified",
        ),
        Account,
    );
    check(&unexpected(255, "error: Invalid --time specification"), Walltime);
    check(&unexpected(255, "unrecognized option '--nosuch=1'"), Argument);
    check(
        &unexpected(
            1,
            "error: Batch job submission failed: Requested reservation is invalid",
        ),
        Reservation,
    );
    check(
        "Job submission rejected: accounting/QOS policy limit exceeded. sbatch: error: AssocMaxSubmitJobLimit\nsbatch: \
         error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or \
         time limits)",
        SubmittedJobs,
    );
}

#[test]
fn reasons_for_waiting() {
    let check = |text: &str, expected: Option<Refusal>| {
        assert_eq!(Refusal::of_text(text), expected, "{text}");
    };
    check("PartitionTimeLimit", Some(Walltime));
    check("PartitionNodeLimit", Some(NodeCount));
    check("PartitionConfig", Some(NodeCount));
    check("PartitionDown", Some(PartitionDown));
    check("PartitionInactive", Some(PartitionDown));
    check("QOSMaxJobsPerUserLimit", Some(RunningJobs));
    check("AssocMaxJobsLimit", Some(RunningJobs));
    check("AssocGrpJobsLimit", Some(RunningJobs));
    check("QOSMaxWallDurationPerJobLimit", Some(Walltime));
    check("AssocMaxWallDurationPerJobLimit", Some(Walltime));
    check("QOSMaxNodePerJobLimit", Some(JobSize));
    check("QOSMaxNodeMinutesPerJob", Some(JobSize));
    check("QOSMinNode", Some(JobSize));
    check("QOSMaxNodePerUserLimit", Some(Held));
    check("QOSGrpNodeLimit", Some(Held));
    check("AssocGrpCPURunMinutesLimit", Some(Held));
    check("AssocGrpNodeMinutes", Some(Budget));
    check("AssocGrpBillingMinutes", Some(Budget));
    check("QOSNotAllowed", Some(Qos));
    check("InvalidQOS", Some(Qos));
    check("InvalidAccount", Some(Account));
    check("BadConstraints", Some(Nodes));
    check("ReservationDeleted", Some(Reservation));
    check("ReqNodeNotAvail, UnavailableNodes:nid001001", Some(NodesAway));
    check("DependencyNeverSatisfied", Some(Dependency));
    check("Priority", None);
    check("Resources", None);
    check("BeginTime", None);
    check("None", None);
}

#[test]
fn remedies_name_the_keys_of_their_job() {
    let check = |refusal: Refusal, role: JobRole, expected: &str| {
        let remedy = refusal.remedy(role);
        assert!(remedy.contains(expected), "{remedy}");
    };
    check(Partition, JobRole::Server, "set `partition`");
    check(Partition, JobRole::Load, "set `benchmarker_partition`");
    check(Walltime, JobRole::Server, "`server_time_limit`");
    check(Walltime, JobRole::Load, "`benchmarker_time_limit`");
    check(Qos, JobRole::Server, "set `qos`");
    check(Qos, JobRole::Load, "--qos in `benchmarker_sbatch_args`");
    check(RunningJobs, JobRole::Load, "`benchmarker: same-job`");
    check(NodeCount, JobRole::Load, "`benchmarker_nodes`");
    assert_eq!(
        JobRole::of_message("submit the load generator's job: no"),
        JobRole::Load
    );
    assert_eq!(JobRole::of_message("submit it: no"), JobRole::Server);
}

proptest! {
    #[test]
    fn any_text_is_read(text in "\\PC{0,80}") {
        let found = Refusal::of_text(&text);
        // Lines before it, as a site's profile may print them, change nothing.
        let framed = format!("Welcome.\n{text}");
        prop_assert_eq!(Refusal::of_text(&framed), found);
    }
}
