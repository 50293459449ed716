//! `gipfel status`: where a campaign stands, from its files.

use std::{fmt::Write, io::IsTerminal};

use anyhow::Context;
use gipfel_experiment::{Driver, ObjectKind};
use serde_json::{Value, json};

use crate::{
    cli::StatusArguments,
    commands::{
        choose::{self, Chosen},
        others,
        results::TABLE_WIDTH,
    },
    exit::Exit,
    failure::Failure,
    print, terminal,
    view::{
        Experiment, Snapshot,
        table::{self, Size},
    },
    words,
};

/// `gipfel status`.
pub(crate) fn status(arguments: &StatusArguments) -> Result<Exit, Failure> {
    let chosen = choose::campaign(&arguments.results_dir, arguments.campaign.campaign.as_deref())?;
    let snapshot = chosen.files.snapshot().map_err(Failure::usage)?;
    let experiments = snapshot.experiments(Driver::unix_now_ms());
    if arguments.json {
        let status = json(&chosen, &snapshot, &experiments);
        let text = serde_json::to_string_pretty(&status).context("failed to write the status")?;
        print(&format!("{text}\n"))?;
    } else {
        print(&text(&chosen, &snapshot, &experiments))?;
    }
    Ok(Exit::Done)
}

/// What a campaign is in one word: a gipfel drives it, `resume` has something to do, or neither.
pub(crate) fn word(chosen: &Chosen, snapshot: &Snapshot) -> &'static str {
    if chosen.driver.is_some() {
        "driven"
    } else if snapshot.campaign.is_unfinished() {
        "unfinished"
    } else {
        "over"
    }
}

fn text(chosen: &Chosen, snapshot: &Snapshot, experiments: &[Experiment]) -> String {
    let campaign = &snapshot.campaign;
    let mut text = format!(
        "campaign {} in {}, begun {}\n",
        campaign.campaign_id,
        chosen.files.directory().display(),
        campaign.created_at
    );
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}\n", driver_words(chosen, snapshot));
    let (size, colour) = paper(experiments.len());
    for line in table::render(experiments, size) {
        let _ = writeln!(text, "{}", line.render(colour));
    }
    let failed = experiments.iter().filter(|experiment| experiment.failed);
    for (place, experiment) in failed.enumerate() {
        let blank = if place == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{blank}{} {}", experiment.label(), experiment.state);
    }
    let live = campaign.live();
    if !live.is_empty() {
        text.push_str("\nlives, as far as the journal knows:\n");
        for live in &live {
            let _ = writeln!(text, "  {}", words::live(live));
        }
    }
    let others = others::may_live(&chosen.files.results_dir, Some(&chosen.files.id));
    for (place, line) in others.iter().enumerate() {
        let blank = if place == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{blank}{line}");
    }
    text
}

/// As wide as the terminal, and as long as the table.
pub(crate) fn paper(rows: usize) -> (Size, bool) {
    let stdout = std::io::stdout();
    let is_terminal = stdout.is_terminal();
    let columns = if is_terminal {
        terminal::size_of(&stdout).columns
    } else {
        TABLE_WIDTH.into()
    };
    (Size { columns, rows }, is_terminal && terminal::wants_colour())
}

fn driver_words(chosen: &Chosen, snapshot: &Snapshot) -> String {
    let results_dir = &chosen.files.results_dir;
    let command = |verb: &str| words::command(&format!("{verb} {}", chosen.files.id), results_dir);
    match &chosen.driver {
        Some(driver) if snapshot.campaign.interrupted => {
            format!("{} is ending it", driver.whereabouts())
        }
        Some(driver) => format!(
            "{} has driven it since {} (`{}`)\n{} shows it, {} ends it",
            driver.whereabouts(),
            driver.since,
            driver.command,
            command("attach"),
            command("cancel")
        ),
        None if !snapshot.campaign.is_settled() => format!(
            "nobody drives it: {} goes on, {} ends it",
            command("resume"),
            command("cancel")
        ),
        None if snapshot.campaign.is_unfinished() => {
            format!("it is over and not complete: {} goes on", command("resume"))
        }
        None => "it is over".to_owned(),
    }
}

fn json(chosen: &Chosen, snapshot: &Snapshot, experiments: &[Experiment]) -> Value {
    let campaign = &snapshot.campaign;
    let live: Vec<Value> = campaign
        .live()
        .iter()
        .map(|live| {
            let kind = match live.kind {
                ObjectKind::Deployment => "server",
                ObjectKind::Run => "load-generator",
            };
            json!({"kind": kind, "name": live.name, "handle": live.handle, "kept": live.kept})
        })
        .collect();
    let driver = chosen.driver.as_ref().map(|driver| {
        json!({
            "pid": driver.process.pid,
            "host": driver.host,
            "since": driver.since,
            "command": driver.command,
        })
    });
    json!({
        "campaign": campaign.campaign_id,
        "directory": chosen.files.directory(),
        "created_at": campaign.created_at,
        "state": word(chosen, snapshot),
        "interrupted": campaign.interrupted,
        "driver": driver,
        "experiments": experiments,
        "live": live,
    })
}
