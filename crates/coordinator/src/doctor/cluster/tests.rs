use std::{sync::Arc, time::Duration};

use firecrest_client::Sha256;
use gipfel_slurm_backend::{
    LoadGenerator, Site,
    cluster::{
        Cluster as _,
        offers::PartitionFacts,
        simulated::{Call, Mishap, SimulatedCluster},
    },
};

use super::*;
use crate::doctor::State;

const CONFIGURATION: &str = "
defaults: { rate_levels: [1], cluster: commands, site: SITE, partition: debug, benchmarker_partition: long, gpus_per_node: 4 }
experiments:
- { model: m, backend: vllm, deployment: slurm, image: /images/vllm.sif, container: apptainer }
";

fn cluster() -> Arc<SimulatedCluster> {
    let cluster = SimulatedCluster::new("alps");
    let partition = |name: &str| PartitionFacts {
        name: name.to_owned(),
        state: Some("UP".to_owned()),
        time_limit: Some(Duration::from_mins(90)),
        nodes: Some(4),
        whole_nodes: Some(true),
        ..PartitionFacts::default()
    };
    cluster.set_offers(Offers {
        partitions: vec![partition("debug"), partition("long")],
        ..Offers::default()
    });
    cluster.set_free(1 << 40);
    cluster.store("/images/vllm.sif", b"image");
    cluster.store("/scratch/me/.hf_token", b"a secret");
    Arc::new(cluster)
}

/// What the doctor says, with the milliseconds taken out.
fn examined(cluster: &Arc<SimulatedCluster>, configuration: &str) -> Vec<Finding> {
    let configuration = configuration.replace("SITE", "generic");
    let plan = gipfel_config::parse(&configuration, "a.yaml").unwrap_or_else(|faults| panic!("{faults}"));
    let wanted = jobs::wanted(&plan.experiments);
    let program = LoadGenerator {
        program: "gipfel-loadgen".into(),
        sha256: Sha256::of(b"program"),
    };
    let place = Place::new(
        wanted[0].reach.clone(),
        Arc::<SimulatedCluster>::clone(cluster),
        Site::built_in("generic").expect("a profile"),
        Some(program),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut findings = Vec::new();
    let mut say = |finding: Finding| {
        findings.push(finding);
        Ok(())
    };
    runtime
        .block_on(examine(&place, &wanted[0], &mut say))
        .expect("it is examined");
    findings
}

fn lines(findings: &[Finding]) -> String {
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let milliseconds = regex::Regex::new(r"\d+ ms").expect("an expression");
    milliseconds.replace_all(&text.join("\n"), "N ms").into_owned()
}

#[test]
fn a_cluster_that_can_be_used() {
    let cluster = cluster();
    let before = cluster.paths();
    insta::assert_snapshot!(lines(&examined(&cluster, CONFIGURATION)), @r"
    ok     reach        alps: user me, answers in N ms
    ok     scratch      `/scratch/me/gipfel` can be made and can be written: a file takes N ms and is seen N ms later
    ok     space        1024.0 GiB are free at `/scratch/me/gipfel`
    ok     partition    the server's job asks `debug` for 1 node for 01:00:00, which it gives
    ok     sbatch       takes the server's job: gipfel-d-doctor would start at once
    ok     image        `/images/vllm.sif` is there
    ok     model        `m` is taken from the Hugging Face hub
    ok     token        `~/.hf_token` is there and private (mode 600)
    ok     partition    the load generator's job asks `long` for 1 node for 01:00:00, which it gives
    ok     sbatch       takes the load generator's job: gipfel-r-doctor would start at once
    note   cost         the load generator takes a whole node of `long`: about 0.2, at worst 1.0 node-hours a run
                        hint: `benchmarker: same-job` sends from the server's first node and costs none
    ok     load         the load generator 1310ca2c8932… is brought by the first run
    ");
    assert_eq!(cluster.paths(), before, "nothing is left behind");
    let base = RemotePath::try_new("/scratch/me/gipfel").expect("a path");
    let listed = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(cluster.list(&base));
    assert_eq!(listed.expect("it can be asked"), None, "nor the directory");
    assert_eq!(cluster.submitted().len(), 0);
}

#[test]
fn each_fault_has_a_remedy() {
    let check = |change: &dyn Fn(&SimulatedCluster), (from, to): (&str, &str), expected: &[&str]| {
        let cluster = cluster();
        change(&cluster);
        assert!(CONFIGURATION.contains(from), "{from}");
        let before = cluster.paths();
        let findings = examined(&cluster, &CONFIGURATION.replace(from, to));
        let faults: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.state == State::Fault)
            .collect();
        assert_eq!(faults.len(), expected.len(), "{}", lines(&findings));
        for (fault, expected) in faults.iter().zip(expected) {
            let text = fault.to_string();
            assert!(text.contains(expected), "`{text}` lacks `{expected}`");
            assert!(fault.hint.is_some(), "{text}");
        }
        assert_eq!(cluster.paths(), before, "nothing is left behind");
    };
    let well = |_: &SimulatedCluster| {};
    let refused = |call, kind, words: &'static str| {
        move |cluster: &SimulatedCluster| cluster.plan(&[call], Mishap::Refused(kind, words.to_owned()), 1)
    };
    check(
        &well,
        ("partition: debug", "partition: gpu"),
        &["partition `gpu` does not exist on alps; it has debug, long"],
    );
    check(
        &well,
        (
            "gpus_per_node: 4",
            "gpus_per_node: 4, benchmarker_time_limit: '03:00:00'",
        ),
        &["partition `long` of alps gives at most 01:30:00, and the load generator's job asks for 03:00:00"],
    );
    check(
        &well,
        ("/images/vllm.sif", "/images/other.sif"),
        &["`/images/other.sif` is not there"],
    );
    check(
        &well,
        ("model: m", "model: /models/m"),
        &["`/models/m` is not there"],
    );
    check(
        &well,
        ("experiments:", "dataset: { source: sonnet }\nexperiments:"),
        &[],
    );
    check(
        &well,
        (
            "gpus_per_node: 4",
            "gpus_per_node: 4, hf_home: /scratch/hf, dataset: { source: sonnet }",
        ),
        &["`/scratch/hf/gipfel/sonnet.txt` is not there"],
    );
    check(
        &|cluster| cluster.erase("/scratch/me/.hf_token"),
        ("\nexperiments", "\nexperiments"),
        &["`~/.hf_token` is not there"],
    );
    check(
        &|cluster| cluster.store("/scratch/me/.hf_token", b""),
        ("\nexperiments", "\nexperiments"),
        &["`~/.hf_token` is empty"],
    );
    check(
        &|cluster| cluster.set_free(1 << 20),
        ("\nexperiments", "\nexperiments"),
        &["0.0 GiB are free"],
    );
    check(
        &refused(Call::Write, ClusterErrorKind::Full, "Disk quota exceeded"),
        ("\nexperiments", "\nexperiments"),
        &["Disk quota exceeded"],
    );
    check(
        &refused(
            Call::TryOut,
            ClusterErrorKind::Invalid,
            "allocation failure: Invalid qos specification",
        ),
        ("\nexperiments", "\nexperiments"),
        &["set `qos`"],
    );
    check(
        &refused(
            Call::Facts,
            ClusterErrorKind::Refused,
            "the host does not let you in",
        ),
        ("\nexperiments", "\nexperiments"),
        &["the host does not let you in"],
    );
}
