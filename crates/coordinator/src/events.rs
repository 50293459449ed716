//! What `--json` prints: one object in a line for each event. `docs/events.md` documents every kind.

use std::path::Path;

use gipfel_experiment::{Campaign, Update};
use gipfel_model::format::Format;
use gipfel_results_analysis::Summary;
use serde_json::{Value, json};

use crate::exit::Exit;

/// The version of the events, in the first one.
const EVENTS_FORMAT: Format = Format {
    name: "gipfel-events",
    major: 1,
    minor: 0,
};

/// The campaign that the events are about, and the process that drives it.
pub(crate) fn campaign(campaign: &Campaign, directory: &Path, pid: u32) -> Value {
    let experiments = campaign.runs().map(|(deployment, run)| {
        json!({
            "run": run.id,
            "server": deployment.id,
            "model": run.experiment.deployment.model,
            "backend": run.experiment.deployment.backend,
            "deployment": deployment.kind(),
            "repeat": run.experiment.repeat,
        })
    });
    json!({
        "event": "campaign",
        "header": EVENTS_FORMAT.header(),
        "campaign": campaign.campaign_id,
        "directory": directory,
        "pid": pid,
        "experiments": experiments.collect::<Vec<_>>(),
    })
}

pub(crate) fn note(text: &str) -> Value {
    json!({"event": "note", "message": text})
}

pub(crate) fn update(update: &Update) -> Value {
    match update {
        Update::Deployment { id, phase } => {
            json!({"event": "deployment", "deployment": id, "phase": phase.name(), "detail": phase})
        }
        Update::Run { id, phase } => {
            json!({"event": "run", "run": id, "phase": phase.name(), "detail": phase})
        }
        Update::Progress { id, progress } => json!({"event": "progress", "run": id, "progress": progress}),
        Update::Trouble { about, message } => json!({"event": "trouble", "about": about, "message": message}),
        Update::Unreachable { about } => json!({"event": "unreachable", "about": about}),
    }
}

pub(crate) fn summary(summary: &Summary) -> anyhow::Result<Value> {
    Ok(json!({"event": "summary", "summary": serde_json::to_value(summary)?}))
}

/// How the program ends.
pub(crate) fn end(exit: Exit) -> Value {
    json!({"event": "end", "exit_code": exit as u8})
}

#[cfg(test)]
mod tests {
    use gipfel_experiment::RunPhase;

    use super::*;
    use crate::view::samples;

    fn every_event() -> Vec<Value> {
        let state = samples::snapshot().campaign;
        let deployment = Update::Deployment {
            id: state.deployments[0].id.clone(),
            phase: state.deployments[0].phase.clone(),
        };
        let run = Update::Run {
            id: "r-0".parse().expect("a run"),
            phase: RunPhase::Waiting,
        };
        let progress = Update::Progress {
            id: "r-0".parse().expect("a run"),
            progress: Box::new(samples::level(32.0, 30.0, Some(101.0))),
        };
        let trouble = Update::Trouble {
            about: "r-0".to_owned(),
            message: "failed to fetch its database".to_owned(),
        };
        let unreachable = Update::Unreachable {
            about: "r-0".to_owned(),
        };
        let empty = Summary {
            header: EVENTS_FORMAT.header(),
            judged_by: None,
            runs: Vec::new(),
            repeats: Vec::new(),
        };
        let mut events = vec![campaign(&state, Path::new("results/c-1"), 4711), note("a note")];
        events.extend(
            [deployment, run, progress, trouble, unreachable]
                .iter()
                .map(update),
        );
        events.push(summary(&empty).expect("JSON"));
        events.push(end(Exit::Done));
        events
    }

    #[test]
    fn every_event_is_documented_with_its_keys() {
        let text = include_str!("../../../docs/events.md");
        for event in every_event() {
            let kind = event["event"].as_str().expect("a kind");
            let row = text
                .lines()
                .find(|line| line.starts_with(&format!("| `{kind}` |")))
                .unwrap_or_else(|| panic!("docs/events.md lacks `{kind}`"));
            let keys = event.as_object().expect("an object").keys();
            for key in keys.filter(|key| *key != "event") {
                assert!(
                    row.contains(&format!("`{key}`")),
                    "the row of `{kind}` lacks `{key}`"
                );
            }
        }
    }

    #[test]
    fn events_are_what_programs_rely_on() {
        let events = every_event();
        insta::assert_snapshot!(events[1], @r#"{"event":"note","message":"a note"}"#);
        insta::assert_snapshot!(events[2], @r#"{"deployment":"d-0","detail":{"ready":{"endpoint":{"api_key":"none","url":"http://127.0.0.1:8000"},"failures":0,"handle":{"detail":"1","name":"d-0","system":"local"}}},"event":"deployment","phase":"ready"}"#);
        insta::assert_snapshot!(events[3], @r#"{"detail":"waiting","event":"run","phase":"waiting","run":"r-0"}"#);
        insta::assert_snapshot!(events[5], @r#"{"about":"r-0","event":"trouble","message":"failed to fetch its database"}"#);
        insta::assert_snapshot!(events[6], @r#"{"about":"r-0","event":"unreachable"}"#);
        insta::assert_snapshot!(events[8], @r#"{"event":"end","exit_code":0}"#);
    }
}
