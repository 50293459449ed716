//! The fields that an API server knows: those of our own typed objects, and of what is applied nothing else.

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service},
    networking::v1::Ingress,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    extension::Extension,
    manifest::{GraphSpec, GroupSpec},
};

/// What is wrong with an object that is applied, in the server's words; nothing when it can be stored.
pub(super) fn fault(object: &Value) -> Option<String> {
    let fault = match object["kind"].as_str()? {
        "ConfigMap" => fault_of::<ConfigMap>(object),
        "Secret" => fault_of::<Secret>(object),
        "Service" => fault_of::<Service>(object),
        "PersistentVolumeClaim" => fault_of::<PersistentVolumeClaim>(object),
        "Ingress" => fault_of::<Ingress>(object),
        "Deployment" => fault_of::<Deployment>(object),
        "Job" => fault_of::<Job>(object),
        "LeaderWorkerSet" => fault_of::<Extension<GroupSpec>>(object),
        "DynamoGraphDeployment" => fault_of::<Extension<GraphSpec>>(object),
        kind => Some(format!("no kind {kind} is registered")),
    }?;
    let (metadata, version, kind) = (&object["metadata"], &object["apiVersion"], &object["kind"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {fault}",
        text(&metadata["namespace"]),
        text(&metadata["name"]),
        text(version),
        text(kind)
    ))
}

fn fault_of<K: Serialize + DeserializeOwned>(object: &Value) -> Option<String> {
    let typed: K = match serde_json::from_value(object.clone()) {
        Ok(typed) => typed,
        Err(error) => return Some(error.to_string()),
    };
    let known = serde_json::to_value(typed).unwrap_or_default();
    unknown(object, &known).map(|path| format!("{path}: field not declared in schema"))
}

/// The path of the first field that is lost when the object is read.
fn unknown(object: &Value, known: &Value) -> Option<String> {
    match (object, known) {
        (Value::Object(fields), Value::Object(known)) => fields.iter().find_map(|(name, value)| {
            match known.get(name) {
                Some(known) => unknown(value, known).map(|path| format!(".{name}{path}")),
                // What is empty need not be written.
                None => (!value.is_null()).then(|| format!(".{name}")),
            }
        }),
        (Value::Array(items), Value::Array(known)) => {
            let mut pairs = items.iter().zip(known).enumerate();
            pairs.find_map(|(index, (item, known))| {
                unknown(item, known).map(|path| format!("[{index}]{path}"))
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_schema_has_is_refused() {
        let service = |spec: &Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s", "namespace": "ml" }, "spec": spec });
        let check = |object: &Value, expected: Option<&str>| {
            assert_eq!(fault(object).as_deref(), expected, "{object}");
        };
        check(&service(&json!({ "ports": [{ "port": 80 }] })), None);
        let start = "failed to create typed patch object (ml/s; v1, Kind=Service): ";
        check(
            &service(&json!({ "ports": [{ "port": 80, "prot": "TCP" }] })),
            Some(&format!(
                "{start}.spec.ports[0].prot: field not declared in schema"
            )),
        );
        let wrong = fault(&service(&json!({ "ports": "80" }))).expect("it is no list");
        assert!(wrong.starts_with(start), "{wrong}");
    }
}
