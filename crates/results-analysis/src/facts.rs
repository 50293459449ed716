//! What the recorded run configuration says beside the run's own row. Configurations of all versions are read, so only
//! what is needed of them is looked at.

use gipfel_model::{Provenance, SearchSpec};
use serde_json::Value;

/// What a run was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// What was searched; absent when the rates were listed or doubled.
    pub(crate) search: Option<SearchSpec>,
    /// How many prompts its data set holds; absent for synthetic prompts, of which there are as many as arrivals.
    pub(crate) prompts: Option<u64>,
    /// What the repeats of one experiment have in common; absent when nothing was recorded.
    pub(crate) experiment: Option<String>,
}

/// What differs between the runs of one experiment.
const OWN: &[&str] = &[
    "run_id",
    "deployment_id",
    "repeat",
    "endpoint",
    "served_model",
    "server_load_time_s",
    "provenance",
    "created_at",
];

impl Facts {
    pub(crate) fn new(provenance: &Provenance) -> Self {
        let config = provenance.0.get(Provenance::RUN_CONFIG);
        match config.and_then(|text| serde_json::from_str(text).ok()) {
            Some(config) => Self::read(config),
            None => Self::default(),
        }
    }

    fn read(config: Value) -> Self {
        let search = config["schedule"]["rates"].get("search");
        let dataset = &config["dataset_config"];
        Self {
            search: search.and_then(|search| serde_json::from_value(search.clone()).ok()),
            prompts: dataset["prompts"].as_u64(),
            experiment: experiment(config),
        }
    }
}

fn experiment(mut config: Value) -> Option<String> {
    for part in ["workload", "dataset_config"] {
        if let Some(part) = config.get_mut(part).and_then(Value::as_object_mut) {
            part.remove("seed");
            // How many prompts a mixture has depends on the order in which they are drawn.
            part.remove("prompts");
        }
    }
    let object = config.as_object_mut()?;
    for key in OWN {
        object.remove(*key);
    }
    Some(config.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(config: &str) -> Facts {
        let mut provenance = Provenance::default();
        provenance.set(Provenance::RUN_CONFIG, config);
        Facts::new(&provenance)
    }

    #[test]
    fn a_search_is_known() {
        let search = r#"{"min_rate": 2.0, "max_rate": null, "precision": 0.03, "budget_s": 600.0}"#;
        let found = facts(&format!(r#"{{"schedule": {{"rates": {{"search": {search}}}}}}}"#));
        let found = found.search.expect("a search");
        assert_eq!((found.min_rate.get(), found.precision), (2.0, 0.03));
        assert_eq!(
            facts(r#"{"schedule": {"rates": {"listed": [1.0]}}}"#).search,
            None
        );
        assert_eq!(facts("no JSON"), Facts::default());
        assert_eq!(Facts::new(&Provenance::default()), Facts::default());
    }

    #[test]
    fn repeats_have_all_but_themselves_in_common() {
        let config = |repeat: u32, model: &str| {
            facts(&format!(
                r#"{{"run_id": "r-{repeat}", "repeat": {repeat}, "model": "{model}", "workload": {{"seed": {repeat}, "arrivals": "poisson"}}}}"#
            ))
            .experiment
        };
        assert_eq!(config(0, "m"), config(1, "m"));
        assert_ne!(config(0, "m"), config(1, "n"));
        assert!(config(0, "m").is_some());
    }

    #[test]
    fn only_a_data_set_has_a_number_of_prompts() {
        let prompts = |dataset: &str| facts(&format!(r#"{{"dataset_config": {dataset}}}"#)).prompts;
        assert_eq!(prompts(r#"{"num_prompts": 300}"#), None);
        assert_eq!(
            prompts(r#"{"prompts": 300, "sharegpt_fraction": 0.5}"#),
            Some(300)
        );
    }
}
