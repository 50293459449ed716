use super::*;

fn plan(experiment: &str) -> Vec<ExperimentSpec> {
    let text = format!(
        "experiments: [{{ model: m, backend: vllm, deployment: k8s, image: i, rate_levels: [100], {experiment} }}]"
    );
    gipfel_config::parse(&text, "a.yaml")
        .unwrap_or_else(|faults| panic!("{faults}"))
        .experiments
}

fn wanted(experiments: &[ExperimentSpec]) -> Wanted<'_> {
    let namespaces = kubernetes::namespaces(experiments);
    Wanted::of(&namespaces[0], experiments)
}

#[test]
fn needs_are_those_of_the_experiments() {
    let check = |experiment: &str, expected: &[&str]| {
        let experiments = plan(experiment);
        let found: Vec<String> = wanted(&experiments)
            .needs()
            .keys()
            .map(|(_, resource, part)| format!("{resource}/{part}").trim_end_matches('/').to_owned())
            .collect();
        assert_eq!(found, expected, "{experiment}");
    };
    check(
        "ingress_domain: none",
        &[
            "configmaps",
            "events",
            "pods",
            "pods/log",
            "pods/portforward",
            "services",
            "deployments",
        ],
    );
    check(
        "benchmarker: in-cluster, backend_config: { tensor_parallel_size: 16 }",
        &[
            "configmaps",
            "events",
            "pods",
            "pods/exec",
            "pods/log",
            "secrets",
            "services",
            "jobs",
            "leaderworkersets",
            "ingresses",
        ],
    );
}

#[test]
fn quotas_have_to_leave_room() {
    let experiments = plan("backend_config: { tensor_parallel_size: 4 }");
    let check = |used: &str, expected: &str| {
        let limits = [(
            "requests.nvidia.com/gpu".to_owned(),
            (used.to_owned(), "8".to_owned()),
        )];
        let quota = Quota {
            name: "gpus".to_owned(),
            limits: limits.into(),
        };
        let finding = quotas(&wanted(&experiments), Ok(vec![quota]));
        assert_eq!(finding.to_string().lines().next(), Some(expected));
    };
    check("4", "ok     quota        requests.nvidia.com/gpu 4 of 8");
    check(
        "5",
        "fault  quota        `gpus` has 5 of 8 requests.nvidia.com/gpu in use, and m needs 4",
    );
}

#[test]
fn nodes_have_to_have_the_gpus() {
    let node = |gpus: u64, kind: &str| NodeFacts {
        name: "n".to_owned(),
        gpus,
        architecture: "arm64".to_owned(),
        labels: [("kind".to_owned(), kind.to_owned())].into(),
    };
    let check = |experiment: &str, nodes: &[NodeFacts], expected: &str| {
        let experiments = plan(experiment);
        let wanted = wanted(&experiments);
        let (spec, k8s) = wanted.servers[0];
        assert_eq!(gpus(spec, k8s, nodes).to_string(), expected);
    };
    let both = [node(4, "gh200"), node(0, "cpu")];
    check(
        "backend_config: { tensor_parallel_size: 4 }",
        &both,
        "ok     gpus         m: 1 of 2 nodes have 4 nvidia.com/gpu",
    );
    check(
        "backend_config: { tensor_parallel_size: 8 }",
        &both,
        "fault  gpus         m: 1 of 2 nodes have 4 nvidia.com/gpu, and it needs 2\n                    hint: are \
         `gpus_per_node` and `kubernetes.gpu_resource` the cluster's?",
    );
    check(
        "kubernetes: { node_selector: { kind: h100 } }",
        &both,
        "fault  gpus         m: 0 of 2 nodes have 1 nvidia.com/gpu, and it needs 1\n                    hint: no node \
         has the labels of `kubernetes.node_selector`",
    );
}

#[test]
fn a_missing_claim_needs_a_class() {
    let class = |name: &str, is_default| Class {
        name: name.to_owned(),
        is_default,
    };
    let check = |named: Option<&str>, classes: &[Class], expected: &str| {
        let volume = Volume {
            claim: "models",
            class: named,
        };
        let finding = storage(&volume, Ok(classes.to_vec()));
        assert_eq!(finding.to_string().lines().next(), Some(expected));
    };
    let classes = [class("a", false), class("b", true)];
    check(
        None,
        &classes,
        "ok     volume       `models` will be made, of class b",
    );
    check(
        Some("a"),
        &classes,
        "ok     volume       `models` will be made, of class a",
    );
    check(
        Some("c"),
        &classes,
        "fault  volume       `models` is not there, and there is no class `c`",
    );
    check(
        None,
        &classes[..1],
        "fault  volume       `models` is not there, and no class is the default",
    );
}
