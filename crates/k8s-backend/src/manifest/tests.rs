use std::time::Duration;

use gipfel_model::{K8sIngress, K8sSecretKey};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::*;

fn spec(k8s: K8sSpec) -> DeploymentSpec {
    DeploymentSpec {
        model: "org/m".to_owned(),
        backend: BackendKind::Vllm,
        placement: Placement::K8s(Box::new(k8s)),
        backend_config: json!({"tensor_parallel_size": 4})
            .as_object()
            .cloned()
            .unwrap_or_default(),
        instance: 0,
        server_ready_timeout: Duration::from_mins(15),
    }
}

fn full() -> K8sSpec {
    K8sSpec {
        image: Some("vllm:1".to_owned()),
        ingress: Some(K8sIngress {
            domain: "example.org".to_owned(),
            class: Some("nginx".to_owned()),
            tls_issuer: Some("issuer".to_owned()),
            ca_file: None,
        }),
        image_pull_secrets: vec!["pull".to_owned()],
        node_selector: [("type".to_owned(), "gh200".to_owned())].into(),
        tolerations: vec![gipfel_model::K8sToleration {
            key: "hpc".to_owned(),
            value: None,
            effect: None,
        }],
        environment: [("NCCL_DEBUG".to_owned(), "INFO".to_owned())].into(),
        model_cache: Some(K8sModelCache {
            claim: "models".to_owned(),
            size: "200Gi".to_owned(),
            storage_class: None,
            mount_path: "/models".to_owned(),
            is_filled: true,
        }),
        hf_token: Some(K8sToken::Secret(K8sSecretKey {
            name: "hf".to_owned(),
            key: "token".to_owned(),
        })),
        ..K8sSpec::new("ml")
    }
}

fn manifests(k8s: K8sSpec) -> Result<Manifests, ManifestError> {
    let campaign = "c-1".parse().expect("an id");
    let id = "d-1".parse().expect("an id");
    Manifests::new(&campaign, &id, &spec(k8s))
}

fn json_of(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("it is written")
}

#[test]
fn what_ends_with_the_server_has_an_owner() {
    let manifests = manifests(full()).expect("it renders").owned_by("u-1");
    let owner = |object: Value| object["metadata"]["ownerReferences"][0]["uid"].clone();
    assert_eq!(owner(json_of(&manifests.workload)), "u-1");
    assert_eq!(owner(json_of(&manifests.service)), "u-1");
    assert_eq!(owner(json_of(&manifests.ingress)), "u-1");
    assert_eq!(owner(json_of(&manifests.model_cache)), Value::Null);
    assert_eq!(owner(json_of(&manifests.claim)), Value::Null);
}

#[test]
fn the_pod_has_what_was_asked_for() {
    let manifests = manifests(full()).expect("it renders");
    let deployment = json_of(&manifests.workload);
    let check = |path: &str, expected: Value| {
        let found = deployment.pointer(&format!("/spec/template/spec/{path}"));
        assert_eq!(found, Some(&expected), "{path}");
    };
    check("containers/0/image", json!("vllm:1"));
    check("containers/0/command/0", json!("vllm"));
    check("containers/0/resources/limits", json!({"nvidia.com/gpu": "4"}));
    check("containers/0/startupProbe/failureThreshold", json!(180));
    check("containers/0/startupProbe/httpGet/path", json!("/health"));
    check("nodeSelector", json!({"type": "gh200"}));
    check("tolerations", json!([{"key": "hpc", "operator": "Exists"}]));
    check("imagePullSecrets", json!([{"name": "pull"}]));
    check(
        "volumes/0/emptyDir",
        json!({"medium": "Memory", "sizeLimit": "16Gi"}),
    );
    check(
        "volumes/1/persistentVolumeClaim",
        json!({"claimName": "models", "readOnly": true}),
    );
    let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
    for (name, value) in [
        ("NCCL_NET", "Socket"),
        ("NCCL_DEBUG", "INFO"),
        ("HF_HOME", "/models"),
        ("HF_HUB_OFFLINE", "1"),
    ] {
        let entry = json!({"name": name, "value": value}).to_string();
        assert!(variables.contains(&entry), "{entry} in {variables}");
    }
    assert!(variables.contains("\"secretKeyRef\""), "{variables}");
    assert!(!variables.contains("CUDA_COMPATIBILITY"), "{variables}");
}

#[test]
fn the_way_in_fits_the_url() {
    let id: DeploymentId = "d-1".parse().expect("an id");
    let ingress = manifests(full())
        .expect("it renders")
        .ingress
        .expect("it has a way in");
    let host = json_of(&ingress)["spec"]["rules"][0]["host"].clone();
    assert_eq!(
        Some(url(&id, &full()).as_str()),
        host.as_str().map(|host| format!("https://{host}")).as_deref()
    );
    let inside = K8sSpec {
        ingress: None,
        ..full()
    };
    let name = object_name("d-1");
    assert_eq!(url(&id, &inside), format!("http://{name}.ml.svc:8080"));
    assert_eq!(manifests(inside).expect("it renders").ingress, None);
}

#[test]
fn objects_read_back_with_no_field_ignored() {
    fn check<T: Serialize + DeserializeOwned>(object: &T) {
        let text = json_of(object);
        let again: T = serde_json::from_value(text.clone()).expect("it reads back");
        assert_eq!(json_of(&again), text);
    }
    let manifests = manifests(full()).expect("it renders").owned_by("u");
    check(&manifests.claim);
    let Workload::Deployment(deployment) = &manifests.workload else {
        panic!("a server on one node is a Deployment");
    };
    check(deployment.as_ref());
    check(&manifests.service);
    check(&manifests.ingress);
    check(&manifests.model_cache);
}

#[test]
fn what_cannot_be_put_into_one_pod_is_refused() {
    let check = |k8s: K8sSpec, expected: &str| {
        let error = manifests(k8s).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(
        K8sSpec {
            image: None,
            ..full()
        },
        "no image is named",
    );
}

/// The server of an engine with so many GPUs on nodes of four.
fn several(backend: BackendKind, config: Value) -> Result<Manifests, ManifestError> {
    let mut spec = spec(full());
    spec.backend = backend;
    spec.backend_config = config.as_object().cloned().unwrap_or_default();
    let (campaign, id) = ("c-1".parse().expect("an id"), "d-1".parse().expect("an id"));
    Manifests::new(&campaign, &id, &spec)
}

#[test]
fn nodes_are_joined_without_ray() {
    let check = |backend, leader: &str, worker: &str| {
        let manifests = several(backend, json!({"tensor_parallel_size": 16})).expect("it renders");
        let group = json_of(&manifests.workload);
        let template = &group["spec"]["leaderWorkerTemplate"];
        assert_eq!(template["size"], 4);
        let container = |name: &str| template[name]["spec"]["containers"][0].clone();
        let words = |name: &str| {
            let words = container(name)["command"].as_array().cloned().unwrap_or_default();
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            words.join(" ")
        };
        assert!(
            words("leaderTemplate").ends_with(leader),
            "{}",
            words("leaderTemplate")
        );
        assert!(
            words("workerTemplate").ends_with(worker),
            "{}",
            words("workerTemplate")
        );
        assert!(container("workerTemplate")["readinessProbe"].is_null());
        assert_eq!(
            container("leaderTemplate")["readinessProbe"]["httpGet"]["path"],
            "/health"
        );
        assert_eq!(
            container("workerTemplate")["resources"]["limits"]["nvidia.com/gpu"],
            "4"
        );
        assert_eq!(container("workerTemplate")["env"][0]["name"], "POD_IP");
        assert_eq!(
            json_of(&manifests.service)["spec"]["selector"]["gipfel/role"],
            "leader"
        );
    };
    check(
        BackendKind::Vllm,
        "--nnodes 4 --node-rank $(LWS_WORKER_INDEX) --master-addr $(LWS_LEADER_ADDRESS) --master-port 29500",
        "--master-port 29500 --headless",
    );
    check(
        BackendKind::Sglang,
        "--nnodes 4 --node-rank $(LWS_WORKER_INDEX) --dist-init-addr $(LWS_LEADER_ADDRESS):29500",
        "--dist-init-addr $(LWS_LEADER_ADDRESS):29500",
    );
}

#[test]
fn what_cannot_be_spread_is_refused() {
    let config = json!({"tensor_parallel_size": 8, "distributed_executor_backend": "ray"});
    let error = several(BackendKind::Vllm, config).expect_err("it is refused");
    assert!(error.to_string().contains("without Ray"), "{error}");
}

#[test]
fn installed_kinds_fit_their_schemas() {
    let check = |backend, config: Value, schema: &str| {
        let schema: Value = serde_json::from_str(schema).expect("a schema");
        let schema = jsonschema::draft202012::new(&schema).expect("a schema");
        let manifests = several(backend, config).expect("it renders").owned_by("u");
        let object = json_of(&manifests.workload);
        let faults: Vec<String> = schema
            .iter_errors(&object)
            .map(|fault| fault.to_string())
            .collect();
        assert_eq!(faults, Vec::<String>::new(), "{object:#}");
        let mut spoilt = object;
        spoilt["spec"]["replica"] = json!(1);
        assert!(!schema.is_valid(&spoilt), "a key that nobody knows is found");
    };
    let group = include_str!("../../tests/schemas/leader-worker-set.json");
    let graph = include_str!("../../tests/schemas/dynamo-graph.json");
    check(BackendKind::Vllm, json!({"tensor_parallel_size": 16}), group);
    check(BackendKind::Sglang, json!({"tensor_parallel_size": 8}), group);
    check(BackendKind::Dynamo, json!({"tensor_parallel_size": 1}), graph);
    check(BackendKind::Dynamo, json!({"tensor_parallel_size": 8}), graph);
}

#[test]
fn installed_kinds_read_back() {
    let manifests = several(BackendKind::Vllm, json!({"tensor_parallel_size": 8})).expect("it renders");
    let Workload::Group(group) = &manifests.workload else {
        panic!("a server on two nodes is a LeaderWorkerSet");
    };
    let again: Extension<GroupSpec> = serde_json::from_value(json_of(group)).expect("it reads back");
    assert_eq!(again, **group);
    let manifests = several(BackendKind::Dynamo, json!({"tensor_parallel_size": 8})).expect("it renders");
    let Workload::Graph(graph) = &manifests.workload else {
        panic!("a server of Dynamo is a graph");
    };
    let again: Extension<GraphSpec> = serde_json::from_value(json_of(graph)).expect("it reads back");
    assert_eq!(again, **graph);
}

#[test]
fn a_token_from_here_has_a_secret_of_its_own() {
    let k8s = K8sSpec {
        hf_token: Some(K8sToken::Environment("MY_TOKEN".to_owned())),
        ..full()
    };
    let manifests = manifests(k8s).expect("it renders").owned_by("u");
    let token = manifests.token.as_ref().expect("a Secret");
    assert_eq!(token.variable, "MY_TOKEN");
    assert_eq!(json_of(&token.secret)["stringData"]["token"], "***");
    assert_eq!(
        json_of(&token.secret)["metadata"]["ownerReferences"][0]["uid"],
        "u"
    );
    let pod = json_of(&manifests.workload)["spec"]["template"]["spec"].clone();
    let variables = pod["containers"][0]["env"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of_pod = variables.iter().find(|variable| variable["name"] == "HF_TOKEN");
    let reference = of_pod.expect("a variable")["valueFrom"]["secretKeyRef"].clone();
    assert_eq!(reference["name"], json_of(&token.secret)["metadata"]["name"]);
    assert_eq!(reference["key"], "token");
    assert_eq!(
        json_of(&token.filled("value".to_owned()))["stringData"]["token"],
        "value"
    );
}
