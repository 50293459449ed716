//! `gipfel list`: the campaigns of a results directory.

use std::fmt::Write;

use anyhow::Context;
use gipfel_experiment::{Driver, Journal};
use serde_json::{Value, json};

use crate::{
    cli::ListArguments,
    commands::{
        choose::{self, Chosen},
        status,
    },
    exit::Exit,
    failure::Failure,
    print,
    view::{Experiment, Snapshot},
};

/// `gipfel list`.
pub(crate) fn list(arguments: &ListArguments) -> Result<Exit, Failure> {
    let results_dir = &arguments.results_dir;
    let mut text = String::new();
    let mut entries = Vec::new();
    let ids = Journal::campaigns(results_dir).map_err(Failure::usage)?;
    for id in &ids {
        let chosen = choose::campaign(results_dir, Some(id.as_str()))?;
        // One journal that cannot be read does not hide the others.
        let entry = match chosen.files.snapshot() {
            Ok(snapshot) => Entry::of(&chosen, &snapshot),
            Err(error) => Entry {
                id: id.to_string(),
                begun: String::new(),
                state: "unreadable",
                experiments: vec![error.to_string()],
            },
        };
        entry.write(&mut text);
        entries.push(entry.json());
    }
    if arguments.json {
        text = serde_json::to_string_pretty(&entries).context("failed to write the list")? + "\n";
    } else if ids.is_empty() {
        text = format!("there is no campaign under `{}`\n", results_dir.display());
    }
    print(&text)?;
    Ok(Exit::Done)
}

struct Entry {
    id: String,
    begun: String,
    state: &'static str,
    experiments: Vec<String>,
}

impl Entry {
    fn of(chosen: &Chosen, snapshot: &Snapshot) -> Self {
        let experiments = snapshot.experiments(Driver::unix_now_ms());
        Self {
            id: chosen.files.id.to_string(),
            begun: snapshot.campaign.created_at.clone(),
            state: status::word(chosen, snapshot),
            experiments: experiments.iter().map(words).collect(),
        }
    }

    fn write(&self, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}  {}  {}", self.id, self.begun, self.state);
        for experiment in &self.experiments {
            let _ = writeln!(text, "  {experiment}");
        }
    }

    fn json(&self) -> Value {
        json!({
            "campaign": self.id,
            "created_at": self.begun,
            "state": self.state,
            "experiments": self.experiments,
        })
    }
}

/// `apertus-8b on vllm, local: complete, peak 25.3 (24.1–26.4) req/s`.
fn words(experiment: &Experiment) -> String {
    let figures = experiment.figures.as_ref();
    let peak = figures.and_then(|figures| figures.peak.as_ref());
    let peak = peak.map_or_else(String::new, |peak| format!(", peak {peak} req/s"));
    format!(
        "{}, {}: {}{peak}",
        experiment.label(),
        experiment.deployment,
        experiment.state
    )
}
