//! What belongs to no namespace of a simulated cluster, or is asked about one.

use serde_json::{Value, json};

/// The answer to a request of that kind; nothing for others.
pub(super) fn answer(method: &str, path: &str, body: &Value) -> Option<(u16, String)> {
    let list = |items: Value| {
        let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items});
        Some((200, list.to_string()))
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", ["version"]) => {
            let version = json!({
                "major": "1", "minor": "36", "gitVersion": "v1.36.2", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""
            });
            Some((200, version.to_string()))
        }
        ("GET", ["api", "v1", "namespaces", name]) => {
            let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
            Some((200, namespace.to_string()))
        }
        ("POST", [.., "selfsubjectreviews"]) => {
            let mut review = body.clone();
            review["status"] = json!({"userInfo": {"username": "me"}});
            Some((201, review.to_string()))
        }
        ("POST", [.., "selfsubjectaccessreviews"]) => {
            let mut review = body.clone();
            review["status"] = json!({"allowed": true});
            Some((201, review.to_string()))
        }
        ("GET", ["api", "v1", "nodes"]) => list(json!([{
            "metadata": {"name": "node-1"},
            "status": {"allocatable": {"nvidia.com/gpu": "4"}, "nodeInfo": {
                "architecture": "arm64", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
                "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "linux",
                "osImage": "", "systemUUID": ""
            }}
        }])),
        ("GET", [.., "storageclasses"]) => list(json!([{
            "metadata": {"name": "shared", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "p"
        }])),
        ("GET", [.., "ingressclasses"]) => list(json!([{"metadata": {"name": "nginx"}}])),
        _ => None,
    }
}
