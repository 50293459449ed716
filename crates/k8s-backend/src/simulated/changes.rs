//! What has changed of the pods, version by version, for those who watch.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::watch;

/// A change of a pod, as a watch tells it.
#[derive(Clone, Debug)]
struct Change {
    version: u64,
    kind: &'static str,
    object: Value,
}

/// What a watch is to be told next.
#[derive(Debug)]
pub(super) enum News {
    /// These lines, and how far they reach.
    Lines(String, u64),
    /// What it asks for is forgotten, so it ends with this line.
    Expired(String),
}

/// The changes since the beginning, or since they were last forgotten.
#[derive(Debug)]
pub(super) struct Changes {
    version: u64,
    forgotten: u64,
    log: Vec<Change>,
    told: BTreeMap<String, Value>,
    wake: watch::Sender<u64>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            version: 1,
            forgotten: 0,
            log: Vec::new(),
            told: BTreeMap::new(),
            wake: watch::Sender::new(1),
        }
    }
}

impl Changes {
    /// Gives every pod that has changed its version.
    pub(super) fn record(&mut self, held: &mut BTreeMap<String, Value>) {
        let before = self.version;
        for (key, pod) in held.iter_mut().filter(|(key, _)| key.starts_with("pods/")) {
            let known = self.told.get(key);
            if known == Some(pod) {
                continue;
            }
            // Another pod may have taken the name of one that is gone.
            let is_same = known.is_some_and(|known| known["metadata"]["uid"] == pod["metadata"]["uid"]);
            if let Some(gone) = known.filter(|_| !is_same).cloned() {
                Self::push(&mut self.log, &mut self.version, "DELETED", gone);
            }
            let kind = if is_same { "MODIFIED" } else { "ADDED" };
            *pod = Self::push(&mut self.log, &mut self.version, kind, pod.clone());
            self.told.insert(key.clone(), pod.clone());
        }
        let gone: Vec<String> = self
            .told
            .keys()
            .filter(|key| !held.contains_key(*key))
            .cloned()
            .collect();
        for pod in gone.iter().filter_map(|key| self.told.remove(key)) {
            Self::push(&mut self.log, &mut self.version, "DELETED", pod);
        }
        if self.version != before {
            self.wake.send_replace(self.version);
        }
    }

    fn push(log: &mut Vec<Change>, version: &mut u64, kind: &'static str, mut object: Value) -> Value {
        *version += 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        log.push(Change {
            version: *version,
            kind,
            object: object.clone(),
        });
        object
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Wakes at each change.
    pub(super) fn wake(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }

    /// As when etcd is compacted: only what follows can be watched.
    pub(super) fn forget(&mut self) {
        self.version += 1;
        self.forgotten = self.version;
        self.log.clear();
    }

    /// What happened after this version to pods with these labels.
    pub(super) fn since(&self, version: u64, wanted: &[(String, String)]) -> News {
        if version < self.forgotten {
            let message = format!("too old resource version: {version} ({})", self.forgotten);
            let status: Value = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": message, "reason": "Expired", "code": 410
            });
            return News::Expired(line("ERROR", &status));
        }
        let is_wanted = |change: &&Change| {
            let labels = &change.object["metadata"]["labels"];
            change.version > version && wanted.iter().all(|(key, value)| labels[key] == **value)
        };
        let lines = self
            .log
            .iter()
            .filter(is_wanted)
            .map(|change| line(change.kind, &change.object));
        News::Lines(lines.collect(), self.version)
    }
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}
