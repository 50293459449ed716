//! What the controllers and the kubelet of a simulated cluster do with its objects.

use serde_json::{Value, json};

use super::{
    extensions,
    objects::{Objects, Shape, text},
    processes::Processes,
};

/// How many requests a pod needs for each of its states.
const STEP: u32 = 3;

impl Objects {
    /// One step of the controllers: what is owned goes before its owner, and Deployments have a pod.
    pub(super) fn control(&mut self) {
        let uids: Vec<Value> = self.held.values().map(|o| o["metadata"]["uid"].clone()).collect();
        let owner = |object: &Value| object["metadata"]["ownerReferences"][0]["uid"].clone();
        let dying: Vec<Value> = self
            .held
            .values()
            .filter(|object| !object["metadata"]["deletionTimestamp"].is_null())
            .map(|object| object["metadata"]["uid"].clone())
            .collect();
        let owners: Vec<Value> = self.held.values().map(owner).collect();
        let mut gone = Vec::new();
        self.held.retain(|key, object| {
            let metadata = &object["metadata"];
            let is_dying = !metadata["deletionTimestamp"].is_null();
            let is_orphan = !owner(object).is_null() && !uids.contains(&owner(object));
            let goes = is_orphan || is_dying && !owners.contains(&metadata["uid"]);
            gone.extend(goes.then(|| key.clone()));
            !goes
        });
        for name in gone.iter().filter_map(|key| key.strip_prefix("pods/")) {
            if let Some(processes) = &mut self.processes {
                processes.end(name);
            }
        }
        for object in self
            .held
            .values_mut()
            .filter(|object| dying.contains(&owner(object)))
        {
            object["metadata"]["deletionTimestamp"] = json!("2026-11-21T21:20:06Z");
        }
        match self.processes.take() {
            Some(mut processes) => {
                self.run_pods(&mut processes);
                self.processes = Some(processes);
            }
            None => self.roll_out(),
        }
    }

    /// The pods of Deployments and Jobs as processes, with what their owners say of them.
    fn run_pods(&mut self, processes: &mut Processes) {
        let owners: Vec<(String, Value)> = self
            .held
            .iter()
            .filter(|(_, object)| object["kind"] == "Deployment" || object["kind"] == "Job")
            .filter(|(_, object)| object["metadata"]["deletionTimestamp"].is_null())
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        for (key, mut owner) in owners {
            let is_job = owner["kind"] == "Job";
            let count = if is_job {
                owner["spec"]["completions"].as_u64().unwrap_or(1)
            } else {
                1
            };
            let statuses: Vec<Value> = (0..count)
                .map(|index| self.run_pod(processes, &owner, is_job.then_some(index)))
                .collect();
            let in_phase = |phase: &str| statuses.iter().filter(|status| status["phase"] == phase).count();
            let ready = statuses
                .iter()
                .filter(|status| status["containerStatuses"][0]["ready"] == true)
                .count();
            owner["status"] = if is_job {
                json!({ "active": in_phase("Running"), "succeeded": in_phase("Succeeded"), "failed": in_phase("Failed") })
            } else {
                json!({
                    "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": ready
                })
            };
            self.held.insert(key, owner);
        }
    }

    fn run_pod(&mut self, processes: &mut Processes, owner: &Value, index: Option<u64>) -> Value {
        let mut name = format!("{}-pod", text(&owner["metadata"]["name"]));
        let mut pod = pod_of(owner, &owner["spec"]["template"], &name);
        if let Some(index) = index {
            name = format!("{name}-{index}");
            pod["metadata"]["name"] = json!(name);
            pod["metadata"]["annotations"] =
                json!({ "batch.kubernetes.io/job-completion-index": index.to_string() });
            let variable = json!({ "name": "JOB_COMPLETION_INDEX", "value": index.to_string() });
            let is_indexed = owner["spec"]["completionMode"] == "Indexed";
            let environment = pod["spec"]["containers"][0]["env"].as_array_mut();
            if let Some(environment) = environment.filter(|_| is_indexed) {
                environment.push(variable);
            }
        }
        let key = format!("pods/{name}");
        if !self.held.contains_key(&key) && !processes.is_known(&name) {
            let pod = self.store("pods", &name, pod);
            if let Err(error) = processes.start(&name, &pod, &self.held) {
                let status = json!({
                    "phase": "Pending",
                    "conditions": [{ "type": "PodScheduled", "status": "True" }],
                    "containerStatuses": [{
                        "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                        "state": { "waiting": { "reason": "RunContainerError", "message": error.to_string() } }
                    }]
                });
                self.set_status(&key, status);
            }
        }
        if let Some(status) = processes.status(&name) {
            self.set_status(&key, status);
        }
        self.held
            .get(&key)
            .map_or(Value::Null, |pod| pod["status"].clone())
    }

    fn set_status(&mut self, key: &str, status: Value) {
        if let Some(pod) = self.held.get_mut(key) {
            pod["spec"]["nodeName"] = json!("node-1");
            pod["status"] = status;
        }
    }

    fn roll_out(&mut self) {
        let workloads: Vec<(&'static str, Value)> = self
            .held
            .values()
            .filter_map(|object| Some((extensions::plural(&object["kind"])?, object)))
            .filter(|(_, object)| object["metadata"]["deletionTimestamp"].is_null())
            .map(|(plural, object)| (plural, object.clone()))
            .collect();
        for (plural, mut workload) in workloads {
            let name = text(&workload["metadata"]["name"]);
            let age = self.ages.entry(text(&workload["metadata"]["uid"])).or_default();
            *age += 1;
            let step = *age / STEP;
            workload["status"] = self.workload_status(&workload["kind"], step);
            if let Some(status) = self.pod_status(step) {
                for (end, template) in extensions::pods(&workload) {
                    let (key, name) = (format!("pods/{name}-{end}"), format!("{name}-{end}"));
                    if !self.held.contains_key(&key) {
                        let mut pod = pod_of(&workload, &template, &name);
                        if workload["kind"] != "Deployment" {
                            // As operators do.
                            pod["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("an-operator");
                        }
                        self.store("pods", &name, pod);
                    }
                    if let Some(pod) = self.held.get_mut(&key) {
                        pod["status"] = status.clone();
                    }
                }
            }
            self.held.insert(format!("{plural}/{name}"), workload);
        }
    }

    fn workload_status(&self, kind: &Value, step: u32) -> Value {
        match &self.shape {
            Shape::Refused(message) if kind == "Deployment" => {
                json!({"observedGeneration": 1, "conditions": [{
                    "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message
                }]})
            }
            Shape::Happy if step >= 3 => extensions::complete(kind),
            Shape::Happy | Shape::Status { .. } | Shape::Refused(_) | Shape::Processes(_) => {
                json!({"observedGeneration": 1})
            }
        }
    }

    fn pod_status(&self, step: u32) -> Option<Value> {
        let condition =
            |kind: &str, is_so: bool| json!({"type": kind, "status": if is_so { "True" } else { "False" }});
        match &self.shape {
            Shape::Refused(_) | Shape::Processes(_) => None,
            Shape::Status { status, .. } if step >= 1 => Some(status.clone()),
            Shape::Happy | Shape::Status { .. } => Some(json!({
                "phase": if step >= 1 { "Running" } else { "Pending" },
                "conditions": [condition("PodScheduled", step >= 1), condition("Ready", step >= 3)],
                "containerStatuses": if step >= 1 { json!([running(step >= 3)]) } else { json!([]) }
            })),
        }
    }
}

fn running(is_ready: bool) -> Value {
    json!({
        "name": "server", "image": "i", "imageID": "", "ready": is_ready, "restartCount": 0,
        "state": { "running": { "startedAt": "2026-11-21T21:20:06Z" } }
    })
}

fn pod_of(owner: &Value, template: &Value, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{
                "apiVersion": owner["apiVersion"], "kind": owner["kind"],
                "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]
            }]
        },
        "spec": template["spec"]
    })
}
