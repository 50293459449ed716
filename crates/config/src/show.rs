//! A plan with everything that was filled in, and where each value comes from.

use serde_json::{Map, Value, json};

use crate::{fault::Place, local, plan::Plan, render, repeats};

/// Writes a plan as the YAML that it stands for, each line with the place that its value comes from, or `default`.
///
/// [`crate::parse_yaml`] reads the same experiments from it; values of `environment` that look like secrets are masked.
pub fn show(plan: &Plan) -> String {
    let mut plan = plan.clone();
    for experiment in &mut plan.experiments {
        local::mask_secrets(&mut experiment.deployment);
    }
    let origins = Origins { given: &plan.given };
    let mut text = String::from("version: 1\ndefaults:\n");
    text.push_str(&noted(
        &format!("  max_parallel_experiments: {}", plan.max_parallel_experiments),
        &origins.of_defaults("max_parallel_experiments"),
    ));
    text.push_str("experiments:\n");
    for (index, (experiment, repeats)) in repeats::grouped(&plan.experiments).into_iter().enumerate() {
        let mut parent = String::new();
        for line in render::full(experiment, repeats).lines() {
            let note = key_of(line).map(|(nested, key)| {
                if nested {
                    return origins.of(index, &format!("{parent}.{key}"));
                }
                key.clone_into(&mut parent);
                origins.of(index, key)
            });
            match note {
                Some(note) => text.push_str(&noted(line, &note)),
                None => text.extend([line, "\n"]),
            }
        }
    }
    text
}

/// The plan as JSON: each run as it will be carried out, what is said of the file, and where its keys stand.
pub fn show_json(plan: &Plan) -> Value {
    let experiments = plan.experiments.iter().map(|experiment| {
        let mut experiment = experiment.clone();
        local::mask_secrets(&mut experiment.deployment);
        json!(experiment)
    });
    let given = plan
        .given
        .iter()
        .map(|place| (place.path.clone(), json!(at(place))));
    json!({
        "max_parallel_experiments": plan.max_parallel_experiments,
        "experiments": experiments.collect::<Vec<_>>(),
        "warnings": texts(&plan.warnings),
        "not_yet": texts(&plan.unsupported),
        "given": given.collect::<Map<_, _>>(),
    })
}

fn texts(remarks: &[impl ToString]) -> Vec<String> {
    remarks.iter().map(ToString::to_string).collect()
}

/// The key of a line, and whether it stands below another one of an experiment; none of items and of what lies deeper.
fn key_of(line: &str) -> Option<(bool, &str)> {
    let item = line.strip_prefix("  - ");
    let rest = item.or_else(|| line.strip_prefix("    "))?;
    let nested = rest.strip_prefix("  ");
    let (nested, rest) = (nested.is_some(), nested.unwrap_or(rest));
    let key = rest.split_once(':')?.0;
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
    key.chars().all(is_key).then_some((nested, key))
}

/// A line with a comment, aligned where the line is short.
fn noted(line: &str, note: &str) -> String {
    format!("{line:<52}  # {note}\n")
}

/// Where the keys of a file stand.
struct Origins<'a> {
    given: &'a [Place],
}

impl Origins<'_> {
    /// The place of an experiment's key: its own, the one of the defaults, or the built-in default.
    fn of(&self, experiment: usize, path: &str) -> String {
        let names = spellings(path);
        let own = format!("experiments[{experiment}].");
        let scopes = [own.as_str(), "defaults.", ""];
        let found = scopes.iter().find_map(|scope| {
            let mut paths = names.iter().map(|name| format!("{scope}{name}"));
            paths.find_map(|path| self.given.iter().find(|place| place.path == path))
        });
        found.map_or_else(|| "default".to_owned(), at)
    }

    fn of_defaults(&self, key: &str) -> String {
        let path = format!("defaults.{key}");
        let found = self.given.iter().find(|place| place.path == path);
        found.map_or_else(|| "default".to_owned(), at)
    }
}

fn at(place: &Place) -> String {
    format!("{}:{}", place.file, place.line)
}

/// The keys under which a value may have been given.
fn spellings(path: &str) -> Vec<String> {
    let others: &[&str] = match path {
        "slos" | "informational_slos" => &["latency_slos"],
        "dataset.seed" => &["seed"],
        "search.budget" => &["search.budget_s", "total_time", "total_time_s"],
        _ => &[],
    };
    let own = [path.to_owned(), format!("{path}_s")];
    own.into_iter()
        .chain(others.iter().map(|other| (*other).to_owned()))
        .collect()
}
