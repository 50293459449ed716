use super::*;

fn partition(name: &str) -> PartitionFacts {
    PartitionFacts {
        name: name.to_owned(),
        state: Some("UP".to_owned()),
        time_limit: Some(Duration::from_mins(90)),
        nodes: Some(40),
        nodes_of_job: Some(2),
        whole_nodes: Some(true),
        gpus_of_node: Some(4),
        features: Some(["gh200".to_owned(), "hsn".to_owned()].into()),
        accounts: None,
        qos: None,
    }
}

fn offers() -> Offers {
    let down = PartitionFacts {
        state: Some("DOWN".to_owned()),
        accounts: Some(vec!["staff".to_owned()]),
        qos: Some(vec!["high".to_owned(), "low".to_owned()]),
        ..partition("old")
    };
    Offers {
        partitions: vec![
            partition("debug"),
            PartitionFacts {
                name: "untold".to_owned(),
                ..PartitionFacts::default()
            },
            down,
        ],
        accounts: vec!["a-1".to_owned(), "staff".to_owned()],
        qos: vec!["high".to_owned(), "normal".to_owned()],
        reservations: Some(vec!["r-1".to_owned()]),
    }
}

fn job() -> SlurmJob {
    SlurmJob {
        account: None,
        partition: "debug".to_owned(),
        qos: None,
        reservation: None,
        constraint: None,
        exclude: None,
        walltime: Walltime::DEFAULT,
        sbatch_args: Vec::new(),
    }
}

fn found(offers: &Offers, job: &SlurmJob, nodes: u32, gpus: u32) -> Vec<Objection> {
    offers.objections(&Asked {
        role: JobRole::Server,
        cluster: "alps",
        job,
        nodes,
        gpus,
    })
}

#[test]
fn objections_say_what_there_is() {
    let check = |change: &dyn Fn(&mut SlurmJob), (nodes, gpus), expected: &[&str]| {
        let mut job = job();
        change(&mut job);
        let words: Vec<String> = found(&offers(), &job, nodes, gpus)
            .into_iter()
            .map(|objection| objection.words)
            .collect();
        assert_eq!(words, expected);
        // Who knows nothing has nothing against it.
        assert_eq!(found(&Offers::default(), &job, nodes, gpus), []);
    };
    let set = |field: fn(&mut SlurmJob) -> &mut Option<String>, value: &'static str| {
        move |job: &mut SlurmJob| *field(job) = Some(value.to_owned())
    };
    check(&|_| {}, (2, 4), &[]);
    check(
        &|job| job.partition = "gpu".to_owned(),
        (1, 4),
        &["partition `gpu` does not exist on alps; it has debug, untold, old"],
    );
    check(&|job| job.partition = "debug,untold".to_owned(), (1, 4), &[]);
    check(&|job| job.partition = "untold".to_owned(), (100, 8), &[]);
    check(
        &|job| job.walltime = "2:00:00".parse().expect("a walltime"),
        (1, 0),
        &["partition `debug` of alps gives at most 01:30:00, and the server's job asks for 02:00:00"],
    );
    check(
        &|_| {},
        (3, 8),
        &[
            "partition `debug` of alps gives a job at most 2 nodes, and the server's job asks for 3",
            "nodes of partition `debug` of alps have 4 GPUs, and the server's job asks for 8 of each",
        ],
    );
    check(
        &set(|job| &mut job.account, "a-2"),
        (1, 1),
        &["jobs on alps cannot be charged to `a-2`; you have a-1, staff"],
    );
    check(
        &|job| {
            job.partition = "old".to_owned();
            job.account = Some("a-1".to_owned());
            job.qos = Some("normal".to_owned());
        },
        (1, 1),
        &[
            "partition `old` of alps is down",
            "partition `old` of alps is not open to account `a-1`",
            "partition `old` of alps is open to the qualities of service high, low only",
        ],
    );
    check(
        &set(|job| &mut job.qos, "best"),
        (1, 1),
        &["you have no quality of service `best` on alps; there are high, normal"],
    );
    check(
        &set(|job| &mut job.reservation, "r-2"),
        (1, 1),
        &["alps has no reservation `r-2`; there are r-1"],
    );
    check(&set(|job| &mut job.constraint, "[gh200*2&hsn*2]"), (1, 1), &[]);
    check(
        &set(|job| &mut job.constraint, "gh200&nvme"),
        (1, 1),
        &["no node of partition `debug` of alps has the feature `nvme`; there are gh200, hsn"],
    );
}

#[test]
fn refusals_are_explained_by_what_is_known() {
    let check = |refusal: Refusal, nodes: u32, expected: Option<&str>| {
        let job = job();
        let asked = Asked {
            role: JobRole::Load,
            cluster: "alps",
            job: &job,
            nodes,
            gpus: 0,
        };
        let words = offers().explain(refusal, &asked);
        assert_eq!(words.as_deref(), expected, "{refusal:?}");
    };
    let few =
        "partition `debug` of alps gives a job at most 2 nodes, and the load generator's job asks for 9";
    check(Refusal::NodeCount, 9, Some(few));
    check(Refusal::Nodes, 9, Some(few));
    check(Refusal::Nodes, 1, None);
    check(Refusal::Walltime, 9, None);
}
