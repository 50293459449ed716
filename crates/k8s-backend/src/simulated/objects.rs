//! The objects of a simulated cluster, and what its controllers make of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::{Value, json};

use super::{
    changes::Changes,
    extensions, facts,
    processes::{self, InPod, Processes},
    schema, status,
};

/// What becomes of the pods.
#[derive(Clone, Debug, Default)]
pub enum Shape {
    /// They find a node, load and are ready.
    #[default]
    Happy,
    /// They end in this status, with these events.
    Status {
        /// The pod's `status`.
        status: Value,
        /// The events of the pod, each with `reason` and `message`.
        events: Vec<Value>,
    },
    /// None is made; the Deployment says this.
    Refused(String),
    /// They run as processes of this machine, with their volumes under this directory.
    Processes(PathBuf),
}

#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) shape: Shape,
    /// By kind and name, such as `pods/p`.
    pub(super) held: BTreeMap<String, Value>,
    pub(super) ages: BTreeMap<String, u32>,
    uids: u32,
    pub(super) processes: Option<Processes>,
    /// Groups of APIs that are not Kubernetes' own.
    installed: BTreeSet<&'static str>,
    pub(super) changes: Changes,
    /// What containers say; nothing: what is usual.
    pub(super) said: Option<String>,
}

impl Objects {
    pub(super) fn new(shape: Shape) -> Self {
        let processes = match &shape {
            Shape::Processes(directory) => Some(Processes::new(processes::root(directory))),
            Shape::Happy | Shape::Status { .. } | Shape::Refused(_) => None,
        };
        Self {
            shape,
            processes,
            ..Self::default()
        }
    }

    /// The cluster knows the kinds of this group from now on.
    pub(super) fn install(&mut self, group: &'static str) {
        self.installed.insert(group);
    }

    /// A command beside a pod's own; nothing when the pod does not run.
    pub(super) fn beside(&mut self, pod: &str, command: Vec<String>, has_input: bool) -> Option<InPod> {
        self.processes.as_ref()?.beside(pod, command, has_input)
    }

    pub(super) fn kill_pods(&mut self) {
        if let Some(processes) = &mut self.processes {
            processes.kill();
        }
    }

    /// The pods' containers end by themselves.
    pub(super) fn crash_pods(&mut self) {
        for (_, pod) in self.held.iter_mut().filter(|(key, _)| key.starts_with("pods/")) {
            let name = pod["spec"]["containers"][0]["name"].clone();
            pod["status"]["phase"] = json!("Running");
            pod["status"]["containerStatuses"] = json!([{
                "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "terminated": { "exitCode": 1, "reason": "Error" } }
            }]);
        }
        self.changes.record(&mut self.held);
    }

    /// The pods go, and their owners begin anew.
    pub(super) fn replace_pods(&mut self, reason: Option<&str>) {
        let pods: Vec<String> = self
            .held
            .keys()
            .filter(|key| key.starts_with("pods/"))
            .cloned()
            .collect();
        for key in &pods {
            if let Some(pod) = self.held.get_mut(key) {
                let condition = reason.map(|reason| {
                    json!({ "type": "DisruptionTarget", "status": "True", "reason": reason, "message": "of the test" })
                });
                pod["status"]["conditions"] = json!(condition.into_iter().collect::<Vec<_>>());
                pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T21:20:06Z");
            }
        }
        self.changes.record(&mut self.held);
        for key in pods {
            self.held.remove(&key);
        }
        self.ages.clear();
        self.changes.record(&mut self.held);
    }

    /// Whether there is such a pod.
    pub(super) fn has_pod(&self, name: &str) -> bool {
        self.held.contains_key(&format!("pods/{name}"))
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.held.keys().cloned().collect()
    }

    pub(super) fn request(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, String) {
        self.control();
        self.changes.record(&mut self.held);
        let answer = self.answer(method, path, query, body);
        self.changes.record(&mut self.held);
        answer
    }

    fn answer(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, String) {
        let parts: Vec<&str> = path
            .split("/namespaces/")
            .nth(1)
            .unwrap_or_default()
            .split('/')
            .collect();
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if let Some(answer) = facts::answer(method, path, &body) {
            return answer;
        }
        // Of an API that nobody has installed there is nothing, not even a failure in the usual form.
        let is_unknown =
            |group: &str| path.starts_with(&format!("/apis/{group}/")) && !self.installed.contains(group);
        if extensions::GROUPS.into_iter().any(is_unknown) {
            return (404, "404 page not found\n".to_owned());
        }
        if let ("GET", Some(version)) = (method, path.strip_prefix("/apis/"))
            && version.matches('/').count() == 1
        {
            let list = extensions::resources(version);
            return (200, list.to_string());
        }
        match (method, parts.as_slice()) {
            ("GET", [_, kind]) => (200, self.list(kind, query)),
            ("GET", [_, "pods", name, "log"]) => self.log(name, query.contains("previous=true")),
            ("GET", [_, kind, name]) => self.get(kind, name),
            ("POST", [_, kind]) => self.create(kind, body),
            ("PATCH", [_, kind, name]) => self.apply(kind, name, body),
            ("DELETE", [_, kind, name]) => self.delete(kind, name, &body),
            _ => (404, "404 page not found\n".to_owned()),
        }
    }

    fn get(&self, kind: &str, name: &str) -> (u16, String) {
        match self.held.get(&format!("{kind}/{name}")) {
            Some(object) => (200, object.to_string()),
            None => missing(kind, name),
        }
    }

    /// A container's log; that before its restart, where it was restarted.
    fn log(&self, name: &str, is_previous: bool) -> (u16, String) {
        let Some(pod) = self.held.get(&format!("pods/{name}")) else {
            return missing("pods", name);
        };
        let container = &pod["status"]["containerStatuses"][0];
        let refused = |message: String| (400, status(400, "BadRequest", &message));
        let was_restarted = container["restartCount"].as_u64().unwrap_or(0) > 0;
        if is_previous {
            return if was_restarted {
                (200, "loading before the restart\n".to_owned())
            } else {
                refused(format!(
                    "previous terminated container \"server\" in pod \"{name}\" not found"
                ))
            };
        }
        // One that waits for its restart has the log of its last end.
        let waits = container["state"]["waiting"]["reason"].as_str();
        if let Some(reason) = waits.filter(|_| !was_restarted) {
            return refused(format!(
                "container \"server\" in pod \"{name}\" is waiting to start: {reason}"
            ));
        }
        let of_process = self.processes.as_ref().and_then(|processes| processes.log(name));
        let said = of_process.or_else(|| self.said.clone());
        (200, said.unwrap_or_else(|| "loading\nserving\n".to_owned()))
    }

    fn list(&self, kind: &str, query: &str) -> String {
        let items: Vec<Value> = if kind == "events" {
            self.events(query)
        } else {
            let wanted = selector(query);
            self.held
                .iter()
                .filter(|(key, _)| key.split('/').next() == Some(kind))
                .map(|(_, object)| object)
                .filter(|object| {
                    wanted
                        .iter()
                        .all(|(key, value)| object["metadata"]["labels"][key] == **value)
                })
                .cloned()
                .collect()
        };
        let version = self.changes.version().to_string();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items})
            .to_string()
    }

    /// What is told of pods, and of those that could not be made.
    fn events(&self, query: &str) -> Vec<Value> {
        let of_pods = match &self.shape {
            Shape::Status { events, .. } => events.iter().map(event).collect(),
            Shape::Refused(message) => {
                let refused = json!({ "reason": "FailedCreate", "message": message });
                let owners = self
                    .held
                    .values()
                    .filter(|object| extensions::plural(&object["kind"]).is_some());
                owners
                    .map(|owner| {
                        let mut event = event(&refused);
                        event["involvedObject"] = json!({ "name": owner["metadata"]["name"] });
                        event
                    })
                    .collect()
            }
            Shape::Happy | Shape::Processes(_) => Vec::new(),
        };
        let is_asked = |event: &Value| {
            let reason = query.split("fieldSelector=reason%3D").nth(1);
            reason.is_none_or(|rest| rest.split('&').next() == event["reason"].as_str())
        };
        of_pods.into_iter().filter(is_asked).collect()
    }

    fn create(&mut self, kind: &str, object: Value) -> (u16, String) {
        let name = text(&object["metadata"]["name"]);
        if self.held.contains_key(&format!("{kind}/{name}")) {
            let message = format!("{kind} \"{name}\" already exists");
            return (409, status(409, "AlreadyExists", &message));
        }
        (201, self.store(kind, &name, object).to_string())
    }

    fn apply(&mut self, kind: &str, name: &str, object: Value) -> (u16, String) {
        // A typo is told like a trouble of the server's own.
        if let Some(fault) = schema::fault(&object) {
            return (500, status(500, "", &fault));
        }
        let Some(held) = self.held.get_mut(&format!("{kind}/{name}")) else {
            return (201, self.store(kind, name, object).to_string());
        };
        // Also of an object on its way out; it goes all the same.
        held["spec"] = object["spec"].clone();
        (200, held.to_string())
    }

    pub(super) fn store(&mut self, kind: &str, name: &str, mut object: Value) -> Value {
        self.uids += 1;
        object["metadata"]["uid"] = json!(format!("uid-{}", self.uids));
        object["metadata"]["generation"] = json!(1);
        self.held.insert(format!("{kind}/{name}"), object.clone());
        object
    }

    fn delete(&mut self, kind: &str, name: &str, options: &Value) -> (u16, String) {
        let Some(object) = self.held.get_mut(&format!("{kind}/{name}")) else {
            return missing(kind, name);
        };
        let wanted = &options["preconditions"]["uid"];
        if !wanted.is_null() && *wanted != object["metadata"]["uid"] {
            return (
                409,
                status(409, "Conflict", "the UID in the precondition does not match"),
            );
        }
        object["metadata"]["deletionTimestamp"] = json!("2026-11-21T21:20:06Z");
        (200, object.to_string())
    }
}

fn event(event: &Value) -> Value {
    json!({
        "metadata": {}, "involvedObject": {}, "reason": event["reason"], "message": event["message"]
    })
}

fn missing(kind: &str, name: &str) -> (u16, String) {
    (
        404,
        status(404, "NotFound", &format!("{kind} \"{name}\" not found")),
    )
}

pub(super) fn selector(query: &str) -> Vec<(String, String)> {
    let selector = query
        .split('&')
        .find_map(|part| part.strip_prefix("labelSelector="))
        .unwrap_or_default();
    let plain = selector
        .replace("%3D", "=")
        .replace("%2C", ",")
        .replace("%2F", "/");
    plain
        .split(',')
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
