//! `gipfel attach`: the view of a campaign that another process drives.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, anyhow};
use gipfel_experiment::{Campaign as State, Driver, Left, Limits, Update};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    campaign::Finished,
    cli::AttachArguments,
    commands::{
        choose::{self, Chosen},
        conclude, results,
    },
    display::Display,
    exit::Exit,
    failure::Failure,
    occupancy::Occupant,
    signals::Signals,
    view::Snapshot,
    words,
};

/// Between two looks at the files of the campaign.
const LOOK: Duration = Duration::from_millis(500);

const FOOTER: &str = "ctrl-C leaves this view; the campaign goes on";

/// `gipfel attach`.
pub(crate) fn attach(arguments: &AttachArguments) -> Result<Exit, Failure> {
    let results_dir = &arguments.show.results_dir;
    let chosen = choose::campaign(results_dir, arguments.campaign.campaign.as_deref())?;
    let display = Display::of(&arguments.show);
    let snapshot = chosen.files.snapshot().map_err(Failure::usage)?;
    if chosen.driver.is_none() && !snapshot.campaign.is_settled() {
        return Err(abandoned(&chosen));
    }
    let driver = chosen.driver.as_ref().map_or(0, |driver| driver.process.pid);
    display.begin(&snapshot.campaign, results_dir, driver, FOOTER);
    let ended = if chosen.driver.is_some() {
        results::runtime()?.block_on(watch(&chosen, snapshot, &display))?
    } else {
        for experiment in snapshot.experiments(Driver::unix_now_ms()) {
            display.note(&format!("{}: {}", experiment.label(), experiment.state));
        }
        true
    };
    if !ended {
        display.clear();
        display.note(&format!(
            "left; the campaign goes on: {} shows it again, {} ends it",
            words::command("attach", results_dir),
            words::command("cancel", results_dir)
        ));
        return Ok(Exit::Interrupted);
    }
    let state = chosen.files.journal().map_err(Failure::usage)?;
    if !state.is_settled() && !state.interrupted {
        display.clear();
        return Err(abandoned(&chosen));
    }
    let exit = conclude::conclude(&finished(state, results_dir.clone()), &arguments.show, &display)?;
    display.end(exit);
    Ok(exit)
}

fn abandoned(chosen: &Chosen) -> Failure {
    let command =
        |verb: &str| words::command(&format!("{verb} {}", chosen.files.id), &chosen.files.results_dir);
    Failure::experiment(anyhow!(
        "nobody drives campaign `{}` any more, and it is not over",
        chosen.files.id
    ))
    .hint(format!(
        "{} goes on with it, {} ends what lives",
        command("resume"),
        command("cancel")
    ))
}

/// Shows what happens until the driving process is gone; false if the user left before.
async fn watch(chosen: &Chosen, mut seen: Snapshot, display: &Display) -> anyhow::Result<bool> {
    let mut signals = Signals::listen().context("failed to listen to signals")?;
    let mut resized = signal(SignalKind::window_change()).context("failed to listen to signals")?;
    let mut clock = tokio::time::interval(LOOK);
    display.take_up(&seen);
    loop {
        tokio::select! {
            // Whatever the signal, only the view ends.
            _ = signals.next() => return Ok(false),
            _ = resized.recv() => display.tick(),
            _ = clock.tick() => {
                // Asked first, so that the last words are read of a driver that is gone.
                let driven = is_driven(chosen);
                // A journal that is replaced at this moment is read the next time.
                if let Ok(now) = chosen.files.snapshot() {
                    tell(&seen, &now, display);
                    seen = now;
                }
                display.tick();
                if !driven {
                    return Ok(true);
                }
            }
        }
    }
}

pub(crate) fn is_driven(chosen: &Chosen) -> bool {
    Occupant::find(&chosen.files.results_dir).is_some_and(|occupant| occupant.campaign == chosen.files.id)
}

/// Tells what the driving process was told.
fn tell(seen: &Snapshot, now: &Snapshot, display: &Display) {
    for (id, progress) in &now.progress {
        if seen.progress.get(id) != Some(progress) {
            display.show(&Update::Progress {
                id: id.clone(),
                progress: Box::new(progress.clone()),
            });
        }
    }
    let changes = now
        .campaign
        .changes_since(Some(&seen.campaign), &Limits::default());
    for change in &changes {
        display.show(change);
    }
}

/// The campaign as its driver left it.
fn finished(state: State, results_dir: PathBuf) -> Finished {
    let directory = results_dir.join(state.campaign_id.as_str());
    let databases = state.runs().filter_map(|(_, run)| run.database.as_ref());
    Finished {
        left: if state.interrupted {
            Left::Interrupted
        } else {
            Left::Finished
        },
        databases: databases.map(|database| directory.join(database)).collect(),
        results: results_dir.join("results.db"),
        not_merged: Vec::new(),
        state,
    }
}
