use proptest::prelude::*;

use super::*;

/// What a Slurm 22.05 printed, with `|` for the separator.
const QUEUE: &str = "\
2|FAILED|NonZeroExitCode|nid001003|normal|0:00|5:00|1795374554|odd name|(null)
8|FAILED|BadConstraints||normal|0:00|1-00:00:00|1795374554|sbatch|(null)
4|PENDING|Resources||normal|0:00|1-00:00:00|1795374854|waits|(null)
5|PENDING|Priority||normal|0:00|UNLIMITED|N/A|sbatch|(null)
1|RUNNING|None|nid[001001-001002]|normal|0:02|5:00|1795374554|gipfel-a|gipfel campaign=c-1
";

fn separated(text: &str) -> String {
    text.replace('|', &SEPARATOR.to_string())
}

fn summary(job: &JobFacts) -> String {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    format!(
        "{} {} {:?} {:?} waits {:?} nodes {:?} for {:?} of {:?} since {:?} exit {:?} signal {:?}",
        job.id,
        job.name,
        job.comment,
        job.state,
        job.waits,
        job.nodes,
        seconds(job.elapsed),
        seconds(job.limit),
        job.started,
        job.exit_code,
        job.signal
    )
}

fn summaries(jobs: &[JobFacts]) -> String {
    jobs.iter().map(summary).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_queue_is_read() {
    insta::assert_snapshot!(summaries(&read_queue(&separated(QUEUE))), @r#"
    2 odd name None Failed waits None nodes ["nid001003"] for Some(0) of Some(300) since Some(1795374554) exit None signal None
    8 sbatch None Failed waits None nodes [] for Some(0) of Some(86400) since Some(1795374554) exit None signal None
    4 waits None Pending waits Some(Waits("Resources")) nodes [] for Some(0) of Some(86400) since None exit None signal None
    5 sbatch None Pending waits Some(Waits("Priority")) nodes [] for Some(0) of None since None exit None signal None
    1 gipfel-a Some("gipfel campaign=c-1") Running waits None nodes ["nid001001", "nid001002"] for Some(2) of Some(300) since Some(1795374554) exit None signal None
    "#);
}

#[test]
fn lines_that_are_none_are_passed_over() {
    let text = separated("a broken\n1|RUNNING|None|n1|normal|0:02|5:00|1|name|\nname|(null)\n\n");
    assert_eq!(read_queue(&text).len(), 1);
    assert_eq!(read_accounting(&separated("a broken\n1|RUNNING|0:0\n\n")), []);
}

/// In the form that `sacct` documents.
const ACCOUNTING: &str = "\
1|RUNNING|0:0|12|1795374554|5|nid[001001-001002]|normal|gipfel-a|
2|FAILED|3:0|0|1795374554|5|nid001003|normal|odd name|
7|CANCELLED by 25001|0:15|3|1795374554|Partition_Limit|nid001003|normal|gipfel-b|gipfel campaign=c-1
9|TIMEOUT|0:0|300|1795374554|5|nid001003|normal|gipfel-c|
11|PENDING|0:0|0|Unknown|5|None assigned|normal|gipfel-d|
";

#[test]
fn the_accounting_is_read() {
    insta::assert_snapshot!(summaries(&read_accounting(&separated(ACCOUNTING))), @r#"
    1 gipfel-a None Running waits None nodes ["nid001001", "nid001002"] for Some(12) of Some(300) since Some(1795374554) exit None signal None
    2 odd name None Failed waits None nodes ["nid001003"] for Some(0) of Some(300) since Some(1795374554) exit Some(3) signal None
    7 gipfel-b Some("gipfel campaign=c-1") Cancelled { by: Some("25001") } waits None nodes ["nid001003"] for Some(3) of None since Some(1795374554) exit Some(0) signal Some(15)
    9 gipfel-c None Timeout waits None nodes ["nid001003"] for Some(300) of Some(300) since Some(1795374554) exit Some(0) signal None
    11 gipfel-d None Pending waits Some(Untold) nodes [] for Some(0) of Some(300) since None exit None signal None
    "#);
}

#[test]
fn both_accounts_are_one() {
    let (queue, accounting) = (separated(QUEUE), separated(ACCOUNTING));
    let merged = merge(read_queue(&queue), read_accounting(&accounting));
    let states: Vec<String> = merged
        .iter()
        .map(|job| format!("{} {:?} {:?}", job.id, job.state, job.exit_code))
        .collect();
    insta::assert_snapshot!(states.join("\n"), @r#"
    1 Running None
    11 Pending None
    2 Failed Some(3)
    4 Pending None
    5 Pending None
    7 Cancelled { by: Some("25001") } Some(0)
    8 Failed None
    9 Timeout Some(0)
    "#);
}

#[test]
fn exits_are_read() {
    let check =
        |text: &str, state: JobState, expected| assert_eq!(read_exit(text, &state), expected, "{text}");
    let job = |exit: &str| {
        format!(
            "JobId=2 JobName=a ExitCode=9:9 UserId=root(0) JobState=FAILED Reason=NonZeroExitCode Requeue=1 \
             ExitCode={exit} RunTime=00:00:00"
        )
    };
    check(&job("3:0"), JobState::Failed, (Some(3), None));
    check(
        &job("0:15"),
        JobState::Cancelled { by: None },
        (Some(0), Some(15)),
    );
    check(&job("0:0"), JobState::Running, (None, None));
    check("", JobState::Failed, (None, None));
}

#[test]
fn durations_are_read() {
    let check = |text: &str, expected: Option<u64>| {
        assert_eq!(duration(text).map(|time| time.as_secs()), expected, "{text}");
    };
    check("0:02", Some(2));
    check("5:00", Some(300));
    check("01:30:00", Some(5400));
    check("1-00:00:00", Some(86_400));
    check("UNLIMITED", None);
    check("INVALID", None);
    check("1-x:00", None);
    check("", None);
}

#[test]
fn ids_are_read() {
    let check = |text: &str, expected: Option<&str>| {
        assert_eq!(
            read_submitted(text).as_ref().map(JobId::as_str),
            expected,
            "{text}"
        );
    };
    check("42\n", Some("42"));
    check("42;clariden\n", Some("42"));
    check("the site says hello\n42\n\n", Some("42"));
    check("Submitted batch job 42\n", None);
    check("", None);
}

#[test]
fn facts_are_read() {
    let facts =
        read_facts("user=me\nroot=\nroot=/users/me\nroot=/users/me\naccount=a-2\naccount=a-1\naccount=a-2\n");
    insta::assert_debug_snapshot!(facts, @r#"
    Some(
        ClusterFacts {
            user: "me",
            accounts: [
                "a-2",
                "a-1",
            ],
            roots: [
                RemotePath(
                    "/users/me",
                ),
            ],
            most_down: None,
        },
    )
    "#);
    assert_eq!(read_facts("user=\n"), None);
    assert_eq!(
        read_stat("5000,1795374554,100600\n").map(|facts| (facts.bytes, facts.modified, facts.mode)),
        Some((5000, 1_795_374_554, 0o600))
    );
    assert_eq!(read_stat("5000,x,600\n"), None);
}

proptest! {
    #[test]
    fn any_output_is_taken(text in "([A-Z0-9:\\-\\[\\], ]{0,6}\u{1f}){0,12}\\PC{0,8}") {
        for job in read_queue(&text).iter().chain(&read_accounting(&text)) {
            prop_assert!(job.started.is_none() || job.state != JobState::Pending);
            prop_assert!(job.exit_code.is_none() || job.state.is_ended());
        }
        prop_assert!(read_facts(&text).is_none_or(|facts| !facts.user.is_empty()));
        prop_assert!(read_stat(&text).is_none_or(|facts| facts.mode <= 0o777));
        prop_assert_eq!(read_exit(&text, &JobState::Running), (None, None));
        prop_assert!(read_submitted(&text).is_none_or(|id| text.contains(id.as_str())));
    }

    #[test]
    fn durations_come_back(seconds in 0u64..10_000_000) {
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let text = format!("{days}-{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
        prop_assert_eq!(duration(&text), Some(Duration::from_secs(seconds)));
    }

    /// A job is told of once, and its state is the controller's.
    #[test]
    fn merging_loses_no_job(queue in proptest::collection::btree_set(1u32..20, 0..9),
                            accounting in proptest::collection::btree_set(1u32..20, 0..9)) {
        let line = |id: &u32, state: &str| separated(&format!("{id}|{state}|x|n1|p|0:01|1:00|1|name|"));
        let queued: String = queue.iter().map(|id| line(id, "RUNNING") + "\n").collect();
        let accounted: String = accounting.iter().map(|id| line(id, "COMPLETED") + "\n").collect();
        let merged = merge(read_queue(&queued), read_accounting(&accounted));
        prop_assert_eq!(merged.len(), queue.union(&accounting).count());
        for job in merged {
            let number: u32 = job.id.as_str().parse().expect("a number");
            prop_assert_eq!(job.state == JobState::Running, queue.contains(&number));
        }
    }
}
