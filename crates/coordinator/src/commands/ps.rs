//! `gipfel ps`: what of ours lives on clusters, whoever started it, and what lives on this machine.

use std::{fmt::Write, path::Path, time::Duration};

use anyhow::Context;
use firecrest_client::{JobState, PendingReason};
use gipfel_experiment::Journal;
use gipfel_slurm_backend::{Living, Purpose};
use serde_json::{Value, json};

use crate::{
    cli::PsArguments,
    commands::{
        others, results,
        survey::{self, Surveyed},
    },
    exit::Exit,
    failure::Failure,
    print, words,
};

/// `gipfel ps`.
pub(crate) fn ps(arguments: &PsArguments) -> Result<Exit, Failure> {
    let results_dir = &arguments.clusters.results_dir;
    let places = survey::places(arguments.config.as_deref(), &arguments.clusters)?;
    let here = others::on_this_machine(results_dir);
    if here.is_empty() {
        survey::expect_some(&places, results_dir)?;
    }
    let runtime = results::runtime()?;
    let surveyed = runtime.block_on(survey::survey(places));
    let knows = |campaign: &str| knows(results_dir, campaign);
    if arguments.json {
        let clusters: Vec<Value> = surveyed.iter().map(|one| cluster_json(one, &knows)).collect();
        let all = json!({"clusters": clusters, "here": here});
        let text = serde_json::to_string_pretty(&all).context("failed to write what lives")?;
        print(&format!("{text}\n"))?;
    } else {
        print(&text(&surveyed, &here, &knows))?;
    }
    match survey::first_error(surveyed) {
        None => Ok(Exit::Done),
        Some(error) => Err(Failure {
            exit: Exit::Fault,
            ..Failure::usage(error)
        }),
    }
}

/// Whether the results directory has the campaign.
fn knows(results_dir: &Path, campaign: &str) -> bool {
    let id = campaign.parse().ok();
    id.is_some_and(|id| Journal::load(results_dir, &id).is_ok())
}

fn text(surveyed: &[Surveyed], here: &[String], knows: &dyn Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for Surveyed { place, living } in surveyed {
        // Writing to a string cannot fail.
        let _ = match living {
            Ok(living) if living.is_empty() => {
                writeln!(text, "{}: nothing of ours lives", survey::title(place))
            }
            Ok(living) => {
                let _ = writeln!(text, "{}:", survey::title(place));
                living
                    .iter()
                    .try_for_each(|alive| write!(text, "{}", job_words(alive, knows)))
            }
            Err(_) => writeln!(text, "{}: not known", survey::title(place)),
        };
    }
    if !here.is_empty() {
        text.push_str("by the journals here:\n");
        for line in here {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// A job in a few lines.
fn job_words(alive: &Living, knows: &dyn Fn(&str) -> bool) -> String {
    let job = &alive.job;
    let mut text = format!("  {}  {}, {}", job.id, kind(alive), state(&job.state));
    if let Some(reason) = waits(alive) {
        let _ = write!(text, " ({reason})");
    }
    if !job.nodes.is_empty() {
        let _ = write!(text, " on {}", job.nodes.join(", "));
    }
    if let Some(elapsed) = job.elapsed.filter(|elapsed| !elapsed.is_zero()) {
        let _ = write!(text, " for {}", clock(elapsed));
    }
    if let Some(left) = alive.time_left() {
        let _ = write!(text, ", {} left", clock(left));
    }
    if let Some(cost) = alive.node_hours().filter(|cost| *cost > 0.0) {
        let _ = write!(text, ", {cost:.2} node-hours so far");
    }
    let _ = write!(text, "\n      {}", alive.id);
    if let Some(spec) = &alive.server {
        let _ = write!(text, ": {} on {}", spec.model, spec.backend);
    }
    if let Some(url) = &alive.endpoint {
        let _ = write!(text, " at {url}");
    }
    let campaign = match &alive.campaign {
        Some(campaign) if knows(campaign.as_str()) => format!("campaign {campaign}, of the results here"),
        Some(campaign) => format!("campaign {campaign}, of other results"),
        None => "campaign not known: its directory is not under this `scratch_base`".to_owned(),
    };
    let _ = writeln!(text, "\n      {campaign}");
    text
}

/// `kept server`.
pub(crate) fn kind(alive: &Living) -> &'static str {
    match (alive.purpose, alive.kept) {
        (Purpose::Server, true) => "kept server",
        (Purpose::Server, false) => "server",
        (Purpose::LoadGenerator, _) => "load generator",
    }
}

fn state(state: &JobState) -> String {
    match state {
        JobState::Pending | JobState::Requeued => "waits".to_owned(),
        JobState::Configuring => "starts".to_owned(),
        JobState::Running | JobState::Resizing => "runs".to_owned(),
        JobState::Suspended => "is suspended".to_owned(),
        JobState::Completing => "ends".to_owned(),
        JobState::Unknown(word) => word.clone(),
        ended => format!("{ended:?}").to_lowercase(),
    }
}

fn waits(alive: &Living) -> Option<&str> {
    match alive.job.waits.as_ref()? {
        PendingReason::Untold => None,
        PendingReason::Waits(reason) | PendingReason::Limit(reason) | PendingReason::Never(reason) => {
            Some(reason)
        }
    }
}

fn clock(duration: Duration) -> String {
    words::clock(duration.as_secs_f64())
}

fn cluster_json(surveyed: &Surveyed, knows: &dyn Fn(&str) -> bool) -> Value {
    let Surveyed { place, living } = surveyed;
    let jobs: Vec<Value> = living
        .iter()
        .flatten()
        .map(|alive| job_json(alive, knows))
        .collect();
    json!({
        "cluster": place.cluster.name(),
        "way": place.reach.cluster.as_str(),
        "profile": place.site.name,
        "jobs": jobs,
        "error": living.as_ref().err().map(|error| format!("{error:#}")),
    })
}

fn job_json(alive: &Living, knows: &dyn Fn(&str) -> bool) -> Value {
    let job = &alive.job;
    let kind = match alive.purpose {
        Purpose::Server => "server",
        Purpose::LoadGenerator => "load-generator",
    };
    json!({
        "job": job.id.to_string(),
        "kind": kind,
        "name": alive.id,
        "campaign": alive.campaign,
        "is_known_here": alive.campaign.as_ref().is_some_and(|campaign| knows(campaign.as_str())),
        "kept": alive.kept,
        "state": state(&job.state),
        "waits_for": waits(alive),
        "partition": job.partition,
        "nodes": job.nodes,
        "elapsed_s": job.elapsed.map(|elapsed| elapsed.as_secs()),
        "left_s": alive.time_left().map(|left| left.as_secs()),
        "node_hours": alive.node_hours(),
        "model": alive.server.as_ref().map(|spec| &spec.model),
        "endpoint": alive.endpoint,
    })
}
