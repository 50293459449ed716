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
    if let Some(most) = plan.max_node_hours {
        let line = format!("  max_node_hours: {most}");
        text.push_str(&noted(&line, &origins.of_defaults("max_node_hours")));
    }
    text.push_str("experiments:\n");
    for (index, (experiment, repeats)) in repeats::grouped(&plan.experiments).into_iter().enumerate() {
        for line in render::full(experiment, repeats) {
            match &line.path {
                Some(path) => text.push_str(&noted(&line.text, &origins.of(index, path))),
                None => text.extend([line.text.as_str(), "\n"]),
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
    // Of a key that several files give, the first place is the one that counts.
    let given = plan
        .given
        .iter()
        .rev()
        .map(|place| (place.path.clone(), json!(at(place))));
    let cost = plan.node_hours();
    json!({
        "max_parallel_experiments": plan.max_parallel_experiments,
        "max_node_hours": plan.max_node_hours,
        "node_hours": { "expected": cost.expected, "worst": cost.worst },
        "experiments": experiments.collect::<Vec<_>>(),
        "warnings": texts(&plan.warnings),
        "given": given.collect::<Map<_, _>>(),
    })
}

fn texts(remarks: &[impl ToString]) -> Vec<String> {
    remarks.iter().map(ToString::to_string).collect()
}

/// A line with a comment, aligned where the line is short.
fn noted(line: &str, note: &str) -> String {
    format!("{line:<52}  # {note}\n")
}

/// Where the keys of all files stand: those of the configuration first, then those of a file that goes before another.
struct Origins<'a> {
    given: &'a [Place],
}

impl Origins<'_> {
    /// The place of an experiment's key: its own, the one of the nearest defaults, or the built-in default.
    fn of(&self, experiment: usize, path: &str) -> String {
        let (names, second) = spellings(path);
        let found = self.find(experiment, &names);
        Self::words(found.or_else(|| self.find(experiment, &second)))
    }

    fn find(&self, experiment: usize, names: &[String]) -> Option<&Place> {
        let is_one_of = |path: &str| names.iter().any(|name| name == path);
        let own = format!("experiments[{experiment}].");
        let is_own = |place: &&Place| place.path.strip_prefix(&own).is_some_and(is_one_of);
        let is_default =
            |place: &&Place| is_one_of(place.path.strip_prefix("defaults.").unwrap_or(&place.path));
        let mut given = self.given.iter();
        given.find(is_own).or_else(|| self.given.iter().find(is_default))
    }

    fn of_defaults(&self, key: &str) -> String {
        let path = format!("defaults.{key}");
        Self::words(self.given.iter().find(|place| place.path == path))
    }

    fn words(found: Option<&Place>) -> String {
        found.map_or_else(|| "default".to_owned(), at)
    }
}

fn at(place: &Place) -> String {
    format!("{}:{}", place.file, place.line)
}

/// The keys under which a value may have been given, and those that say it where none of these does.
fn spellings(path: &str) -> (Vec<String>, Vec<String>) {
    let (others, second): (&[&str], &[&str]) = match path {
        "slos" => (&["latency_slos"], &[]),
        "informational_slos" => (&[], &["latency_slos"]),
        "dataset.seed" => (&["seed"], &[]),
        "search.budget" => (&[], &["total_time", "total_time_s"]),
        _ => (&[], &[]),
    };
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut names = vec![path.to_owned(), format!("{path}_s")];
    names.extend::<Vec<String>>(owned(others));
    (names, owned(second))
}
