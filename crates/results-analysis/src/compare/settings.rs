//! What two results were asked, and by what they were measured.

use std::collections::{BTreeMap, BTreeSet};

use gipfel_model::{DeploymentKind, Provenance, Slo};
use gipfel_results_db::RunRow;
use serde::Serialize;
use serde_json::Value;

/// The values of each setting over the runs of one side.
pub(super) type Settings = BTreeMap<String, BTreeSet<String>>;

/// The objectives that decide, under this name.
const OBJECTIVES: &str = "slos";
/// What the server is asked to do; where these differ, the peaks are answers to different questions.
const WORKLOAD: [&str; 2] = ["workload.", "dataset_config."];
/// The same distribution drawn anew is the same workload.
const SEED: &str = "seed";
/// Parts of the run configuration that name the run, or that are told elsewhere.
const OWN: [&str; 14] = [
    "header",
    "run_id",
    "campaign_id",
    "deployment_id",
    "deployment",
    "repeat",
    "model",
    "backend",
    "endpoint",
    "slos",
    "informational_slos",
    "provenance",
    "created_at",
    "server_load_time_s",
];

/// Facts that are another's for each run, or that are told elsewhere.
const FOR_ITSELF: [&str; 10] = [
    Provenance::RUN_CONFIG,
    Provenance::RENDERED_FILES,
    Provenance::ENDPOINT,
    Provenance::SERVER_JOB,
    Provenance::SERVER_QUEUED,
    Provenance::SERVER_LOAD_STEPS,
    Provenance::SERVER_NODE_HOURS,
    Provenance::LOADGEN_JOB,
    Provenance::LOADGEN_QUEUED,
    Provenance::LOADGEN_NODE_HOURS,
];

/// Something in which the two differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingDifference {
    /// Its name: a part of the run configuration, or of the provenance.
    pub name: String,
    /// What A has; absent when it is not recorded. Of repeats that differ, all of them.
    pub a: Option<String>,
    /// What B has.
    pub b: Option<String>,
}

/// Adds what one run was told and by what it was measured.
pub(super) fn collect(settings: &mut Settings, row: &RunRow, provenance: &Provenance) {
    let mut add = |name: &str, value: String| {
        settings.entry(name.to_owned()).or_default().insert(value);
    };
    add("model", row.model.clone());
    add("backend", row.backend.clone());
    if let Some(deployment) = row.deployment {
        add("deployment", deployment.to_string());
    }
    add(OBJECTIVES, sorted(&row.slos));
    for (name, value) in &provenance.0 {
        if FOR_ITSELF.contains(&name.as_str()) {
            continue;
        }
        add(name, value.clone());
    }
    let config = provenance
        .0
        .get(Provenance::RUN_CONFIG)
        .and_then(|text| serde_json::from_str(text).ok());
    if let Some(Value::Object(config)) = config {
        for (name, value) in config.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
            flatten(name, value, &mut add);
        }
        // A server that gipfel started has another port each time.
        if row.deployment == Some(DeploymentKind::External)
            && let Some(url) = config
                .get("endpoint")
                .and_then(|endpoint| endpoint["url"].as_str())
        {
            add("endpoint.url", url.to_owned());
        }
    }
}

fn sorted(slos: &[Slo]) -> String {
    let mut slos: Vec<String> = slos.iter().map(Slo::to_string).collect();
    slos.sort();
    slos.join(", ")
}

/// The leaves of a value under dotted names; lists stay whole.
fn flatten(name: &str, value: &Value, add: &mut impl FnMut(&str, String)) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (member, value) in members {
                flatten(&format!("{name}.{member}"), value, add);
            }
        }
        Value::String(text) => add(name, text.clone()),
        other => add(name, other.to_string()),
    }
}

/// Why the peaks of the two answer different questions, in sentences.
pub(super) fn incomparable(a: &Settings, b: &Settings) -> Vec<String> {
    let mut reasons = Vec::new();
    for difference in differences(a, b) {
        let SettingDifference { name, a, b } = difference;
        if name == OBJECTIVES {
            let said = |slos: Option<String>| {
                slos.filter(|slos| !slos.is_empty())
                    .unwrap_or_else(|| "none".to_owned())
            };
            reasons.push(format!(
                "the objectives differ: A has {}, B has {}",
                said(a),
                said(b)
            ));
        } else if WORKLOAD.iter().any(|part| name.starts_with(part)) && !name.ends_with(SEED) {
            // What an imported or an older run does not record cannot be told to differ.
            if let (Some(a), Some(b)) = (a, b) {
                reasons.push(format!("the workloads differ in {name}: {a} in A, {b} in B"));
            }
        }
    }
    reasons
}

/// All in which the two differ.
pub(super) fn differences(a: &Settings, b: &Settings) -> Vec<SettingDifference> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names
        .into_iter()
        .filter(|name| a.get(*name) != b.get(*name))
        .map(|name| SettingDifference {
            name: name.clone(),
            a: a.get(name).map(together),
            b: b.get(name).map(together),
        })
        .collect()
}

fn together(values: &BTreeSet<String>) -> String {
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    values.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new();
        for (name, value) in pairs {
            settings
                .entry((*name).to_owned())
                .or_default()
                .insert((*value).to_owned());
        }
        settings
    }

    #[test]
    fn objectives_and_workloads_must_be_the_same() {
        let check = |a: &[(&str, &str)], b: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(incomparable(&settings(a), &settings(b)), expected);
        };
        check(
            &[("slos", "ttft p95 <= 500ms"), ("gpu_type", "GH200")],
            &[("slos", "ttft p95 <= 500ms"), ("gpu_type", "A100")],
            &[],
        );
        check(
            &[("slos", "ttft p95 <= 500ms")],
            &[("slos", "")],
            &["the objectives differ: A has ttft p95 <= 500ms, B has none"],
        );
        check(
            &[("workload.input_length.mean", "512"), ("workload.seed", "1")],
            &[("workload.input_length.mean", "256"), ("workload.seed", "2")],
            &["the workloads differ in workload.input_length.mean: 512 in A, 256 in B"],
        );
        check(&[("workload.arrivals", "poisson")], &[], &[]);
    }

    #[test]
    fn differences_name_both_values() {
        let a = settings(&[
            ("gpu_type", "GH200"),
            ("engine_version", "0.22"),
            ("nodes", "n1"),
            ("nodes", "n2"),
        ]);
        let b = settings(&[("gpu_type", "GH200"), ("engine_version", "0.23")]);
        let found: Vec<_> = differences(&a, &b)
            .into_iter()
            .map(|one| (one.name, one.a.unwrap_or_default(), one.b.unwrap_or_default()))
            .collect();
        let expected = [("engine_version", "0.22", "0.23"), ("nodes", "n1 | n2", "")];
        assert_eq!(
            found,
            expected.map(|(name, a, b)| (name.to_owned(), a.to_owned(), b.to_owned()))
        );
    }

    #[test]
    fn a_configuration_becomes_dotted_names() {
        let config = serde_json::json!({"a": {"b": 1, "c": null, "d": [1.0, 2.0]}, "e": "text", "f": true});
        let mut found = Vec::new();
        flatten("x", &config, &mut |name, value| {
            found.push(format!("{name}={value}"));
        });
        assert_eq!(found, ["x.a.b=1", "x.a.d=[1.0,2.0]", "x.e=text", "x.f=true"]);
    }
}
