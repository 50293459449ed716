//! Everything that a run was told, and where its figures come from.

use gipfel_model::Provenance;
use serde_json::{Map, Value};

use crate::report::{model::Run, words};

/// Groups of settings, the facts, and the configuration as it was written.
pub(crate) struct Settings {
    pub(crate) groups: Vec<Group>,
    /// The whole run configuration as JSON; empty for imported runs.
    pub(crate) json: String,
}

/// Settings that belong together.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<(String, String)>,
}

/// The parts of a run configuration that are shown in groups of their own.
const PARTS: [(&str, &str); 5] = [
    ("workload", "Workload"),
    ("schedule", "Load and search"),
    ("timeouts", "Timeouts"),
    ("backend_config", "Engine settings"),
    ("dataset_config", "Data set"),
];

/// Facts under names that people read.
const FACTS: [(&str, &str); 20] = [
    (Provenance::ENGINE_VERSION, "Engine version"),
    (Provenance::IMAGE_DIGEST, "Image digest"),
    (Provenance::MODEL_REVISION, "Model revision"),
    (Provenance::SERVER_NODES, "Server's nodes"),
    (Provenance::SERVER_JOB, "Server's job"),
    (Provenance::SERVER_QUEUED, "Server's wait in the queue, s"),
    (Provenance::SERVER_LOAD_STEPS, "Server's start by its log, s"),
    (Provenance::SERVER_NODE_HOURS, "Server's node-hours"),
    (Provenance::GPU_TYPE, "GPU"),
    (Provenance::GPU_DRIVER, "GPU driver"),
    (Provenance::GIPFEL_VERSION, "Gipfel version"),
    (Provenance::LOADGEN_VERSION, "Load generator version"),
    (Provenance::LOADGEN_SHA256, "Load generator SHA-256"),
    (Provenance::LOADGEN_NODE, "Load generator's node"),
    (Provenance::LOADGEN_JOB, "Load generator's job"),
    (
        Provenance::LOADGEN_QUEUED,
        "Load generator's wait in the queue, s",
    ),
    (Provenance::LOADGEN_NODE_HOURS, "Load generator's node-hours"),
    (Provenance::WORKERS, "Sending threads"),
    (Provenance::WORKLOAD_VERSION, "Workload algorithm"),
    (Provenance::RENDERED_FILES, "Rendered files, SHA-256"),
];

pub(crate) fn of_run(run: Run<'_>) -> Settings {
    let provenance = &run.facts.provenance.0;
    let config: Option<Value> = provenance
        .get(Provenance::RUN_CONFIG)
        .and_then(|text| serde_json::from_str(text).ok());
    let mut groups = vec![Group {
        name: "Run",
        rows: identity(run, config.as_ref()),
    }];
    if let Some(Value::Object(config)) = &config {
        groups.extend(PARTS.iter().map(|(key, name)| Group {
            name,
            rows: part(config, key),
        }));
    }
    groups.push(Group {
        name: "Provenance",
        rows: facts(run),
    });
    groups.retain(|group| !group.rows.is_empty());
    Settings {
        groups,
        json: config
            .and_then(|config| serde_json::to_string_pretty(&config).ok())
            .unwrap_or_default(),
    }
}

fn identity(run: Run<'_>, config: Option<&Value>) -> Vec<(String, String)> {
    let summary = run.summary;
    let of_config = |pointer: &str| {
        let value = config?.pointer(pointer)?;
        value.as_str().map(str::to_owned)
    };
    // Where the load generator found it, the configuration did not know it.
    let found = run.facts.provenance.0.get(Provenance::ENDPOINT).cloned();
    let join = |slos: &[gipfel_model::Slo]| {
        slos.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    };
    let rows = [
        ("Run", Some(summary.run_id.clone())),
        ("Campaign", summary.campaign_id.clone()),
        ("Deployment", summary.deployment_id.clone()),
        ("Where", summary.deployment.map(|kind| kind.to_string())),
        ("Model", Some(summary.model.clone())),
        ("Model's name in requests", of_config("/served_model")),
        ("Engine", Some(summary.backend.clone())),
        ("Endpoint", found.or_else(|| of_config("/endpoint/url"))),
        ("Repeat", Some((summary.repeat + 1).to_string())),
        ("Created", summary.created_at.clone()),
        ("Server loaded in", summary.server_load_time_s.map(words::span)),
        ("Objectives", Some(join(&summary.slos))),
        ("Informational", Some(join(&summary.informational_slos))),
        ("State", Some(summary.state.to_string())),
        ("Error", summary.error.clone()),
    ];
    rows.into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.filter(|value| !value.is_empty())?)))
        .collect()
}

fn part(config: &Map<String, Value>, key: &str) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    match config.get(key) {
        // The windows of listed levels mean nothing for a search.
        Some(schedule) if schedule.pointer("/rates/search").is_some() => {
            flatten("search", &schedule["rates"]["search"], &mut rows);
        }
        Some(value) => flatten("", value, &mut rows),
        None => {}
    }
    rows
}

/// Objects become rows with dotted names; everything else is a value.
fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(&name, value, rows);
            }
        }
        Value::Null => rows.push((name.to_owned(), "not set".to_owned())),
        Value::String(text) => rows.push((name.to_owned(), text.clone())),
        Value::Array(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect();
            rows.push((name.to_owned(), items.join(", ")));
        }
        other => rows.push((name.to_owned(), other.to_string())),
    }
}

fn facts(run: Run<'_>) -> Vec<(String, String)> {
    let facts = &run.facts.provenance.0;
    let known = FACTS
        .iter()
        .filter_map(|(key, name)| Some(((*name).to_owned(), facts.get(*key)?)));
    let is_known = |key: &str| key == Provenance::RUN_CONFIG || FACTS.iter().any(|(known, _)| *known == key);
    let other = facts
        .iter()
        .filter(|(key, _)| !is_known(key))
        .map(|(key, value)| (key.clone(), value));
    known
        .chain(other)
        .map(|(name, value)| (name, digests(value).unwrap_or_else(|| value.clone())))
        .collect()
}

/// A JSON object of names and digests, one to a line.
fn digests(value: &str) -> Option<String> {
    let files: Map<String, Value> = serde_json::from_str(value).ok()?;
    let lines: Vec<String> = files
        .iter()
        .map(|(name, digest)| format!("{name} {}", digest.as_str().unwrap_or_default()))
        .collect();
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_flattened() {
        let mut rows = Vec::new();
        let value = serde_json::json!({"a": {"b": 1, "c": [1, "x"]}, "d": null, "e": "text"});
        flatten("", &value, &mut rows);
        let lines: Vec<String> = rows
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        a.b = 1
        a.c = 1, x
        d = not set
        e = text
        ");
    }

    #[test]
    fn digests_are_listed() {
        assert_eq!(digests(r#"{"a.sh":"00ff"}"#).as_deref(), Some("a.sh 00ff"));
        assert_eq!(digests("plain"), None);
    }
}
