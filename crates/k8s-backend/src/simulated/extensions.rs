//! What the operators of a simulated cluster make of LeaderWorkerSets and Dynamo's graphs.

use serde_json::{Value, json};

/// The groups of APIs that a cluster has only where somebody has installed them.
pub(super) const GROUPS: [&str; 4] = [
    "leaderworkerset.x-k8s.io",
    "nvidia.com",
    "grove.io",
    "scheduling.volcano.sh",
];

/// What discovery says of a version of a group: of each group the kind that servers may need.
pub(super) fn resources(version: &str) -> Value {
    let plural = match version.split('/').next() {
        Some("leaderworkerset.x-k8s.io") => "leaderworkersets",
        Some("nvidia.com") => "dynamographdeployments",
        Some("grove.io") => "podcliquesets",
        _ => "podgroups",
    };
    json!({ "kind": "APIResourceList", "groupVersion": version, "resources": [{
        "name": plural, "singularName": "", "namespaced": true, "kind": "K", "verbs": ["create", "get", "list"]
    }] })
}

/// The kinds that make pods, with their plural.
const KINDS: [(&str, &str); 3] = [
    ("Deployment", "deployments"),
    ("LeaderWorkerSet", "leaderworkersets"),
    ("DynamoGraphDeployment", "dynamographdeployments"),
];

/// The plural of a kind that makes pods; nothing for others.
pub(super) fn plural(kind: &Value) -> Option<&'static str> {
    KINDS
        .iter()
        .find(|(known, _)| kind == *known)
        .map(|(_, plural)| *plural)
}

/// The pods of an object, each with what its name ends with and its template.
pub(super) fn pods(object: &Value) -> Vec<(String, Value)> {
    let spec = &object["spec"];
    match object["kind"].as_str() {
        Some("LeaderWorkerSet") => {
            let template = &spec["leaderWorkerTemplate"];
            let size = template["size"].as_u64().unwrap_or(1);
            let workers = (1..size).map(|index| (format!("0-{index}"), template["workerTemplate"].clone()));
            std::iter::once(("0".to_owned(), template["leaderTemplate"].clone()))
                .chain(workers)
                .collect()
        }
        Some("DynamoGraphDeployment") => {
            let components = spec["components"].as_array().cloned().unwrap_or_default();
            components.iter().flat_map(of_component).collect()
        }
        _ => vec![("pod".to_owned(), spec["template"].clone())],
    }
}

fn of_component(component: &Value) -> Vec<(String, Value)> {
    let name = component["name"].as_str().unwrap_or_default().to_lowercase();
    let nodes = component["multinode"]["nodeCount"].as_u64().unwrap_or(1);
    (0..nodes)
        .map(|node| (format!("{name}-{node}"), component["podTemplate"].clone()))
        .collect()
}

/// What the object's controller says when all its pods are ready.
pub(super) fn complete(kind: &Value) -> Value {
    match kind.as_str() {
        Some("LeaderWorkerSet") => json!({
            "observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1
        }),
        Some("DynamoGraphDeployment") => json!({
            "state": "successful",
            "conditions": [{ "type": "Ready", "status": "True", "reason": "all_resources_are_ready", "message": "" }]
        }),
        _ => json!({ "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1 }),
    }
}
