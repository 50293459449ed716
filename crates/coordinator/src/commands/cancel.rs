//! `gipfel cancel`: ends a campaign and keeps what was measured.

use std::time::Duration;

use anyhow::{Context, anyhow};
use gipfel_experiment::{Campaign as State, Limits, LiveObject};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    campaign::{Campaign, Options},
    cli::CancelArguments,
    commands::{
        attach,
        choose::{self, Chosen},
        others, results,
    },
    display::Display,
    exit::Exit,
    failure::Failure,
    occupancy::Occupant,
    signals::Signals,
    words,
};

/// Between two looks at the files of the campaign.
const LOOK: Duration = Duration::from_millis(200);
/// Longer than a driver tries to end everything: a minute for load generators to leave, two for ends that are refused.
const PATIENCE: Duration = Duration::from_mins(4);

/// `gipfel cancel`.
pub(crate) fn cancel(arguments: &CancelArguments) -> Result<Exit, Failure> {
    let chosen = choose::campaign(&arguments.results_dir, arguments.campaign.campaign.as_deref())?;
    let display = Display::new(false, false);
    let state = chosen.files.journal().map_err(Failure::usage)?;
    let runtime = results::runtime()?;
    if let Some(driver) = &chosen.driver {
        runtime.block_on(ask(driver, &chosen, state, &display))?;
    }
    let state = chosen.files.journal().map_err(Failure::usage)?;
    if state.is_settled() && living(&state).is_empty() {
        return Ok(conclude(&state, &chosen, &display));
    }
    display.note(&format!(
        "nobody drives campaign {}: ending what lives",
        chosen.files.id
    ));
    let state = runtime.block_on(end(&chosen, &display))?;
    Ok(conclude(&state, &chosen, &display))
}

fn living(state: &State) -> Vec<LiveObject> {
    state.live().into_iter().filter(|live| !live.kept).collect()
}

/// Asks the driving process to end the campaign and waits until it has.
async fn ask(driver: &Occupant, chosen: &Chosen, mut seen: State, display: &Display) -> Result<(), Failure> {
    if driver.is_elsewhere() {
        let error = anyhow!(
            "campaign `{}` is driven by {}, which cannot be reached from here",
            driver.campaign,
            driver.whereabouts()
        );
        return Err(Failure::usage(error).hint(format!(
            "run `gipfel cancel` on {}; if that process is gone, {} takes the campaign up",
            driver.host,
            words::command(&format!("resume {}", driver.campaign), &chosen.files.results_dir)
        )));
    }
    // The second time it would leave at once.
    if seen.interrupted {
        display.note(&format!(
            "{} is ending campaign {} already",
            driver.process, driver.campaign
        ));
    } else {
        let what = || format!("failed to ask {} to end the campaign", driver.process);
        driver
            .process
            .terminate()
            .with_context(what)
            .map_err(Failure::usage)?;
        display.note(&format!(
            "asked {} to end campaign {} and to keep what was measured",
            driver.process, driver.campaign
        ));
    }
    let give_up = Instant::now() + PATIENCE;
    let mut clock = tokio::time::interval(LOOK);
    loop {
        clock.tick().await;
        let driven = attach::is_driven(chosen);
        if let Ok(now) = chosen.files.journal() {
            let changes = now.changes_since(Some(&seen), &Limits::default());
            for change in &changes {
                display.show(change);
            }
            seen = now;
        }
        if !driven {
            return Ok(());
        }
        if Instant::now() >= give_up {
            let minutes = PATIENCE.as_secs() / 60;
            let error = anyhow!("{} has not ended within {minutes} minutes", driver.process);
            return Err(Failure::experiment(error).hint(format!(
                "`kill -9 {}` ends gipfel itself; `gipfel cancel` then ends what lives",
                driver.process.pid
            )));
        }
    }
}

/// Drives the end of a campaign that nobody drives.
async fn end(chosen: &Chosen, display: &Display) -> Result<State, Failure> {
    let options = Options {
        results_dir: chosen.files.results_dir.clone(),
        ..Options::default()
    };
    let campaign = Campaign::call_off(&chosen.files.id, &options).map_err(Failure::campaign)?;
    let mut signals = Signals::listen().context("failed to listen to signals")?;
    let (commands, listen) = mpsc::channel(4);
    let mut running = std::pin::pin!(campaign.run(listen, |update| display.show(&update)));
    let finished = loop {
        tokio::select! {
            finished = &mut running => break finished,
            command = signals.next() => {
                display.note("interrupted: leaving at once");
                // It is called off already, so one interrupt is the second one.
                let _ = commands.try_send(command);
            }
        }
    };
    let finished = finished.map_err(Failure::experiment)?;
    for trouble in &finished.not_merged {
        display.note(trouble);
    }
    Ok(finished.state)
}

/// Says what is left of the campaign.
fn conclude(state: &State, chosen: &Chosen, display: &Display) -> Exit {
    let results_dir = &chosen.files.results_dir;
    let command = |verb: &str| words::command(&format!("{verb} {}", chosen.files.id), results_dir);
    let living = living(state);
    for live in &living {
        display.note(&format!("still lives: {}", words::live(live)));
    }
    for kept in state.live().iter().filter(|live| live.kept) {
        display.note(&format!(
            "left running, as it was asked for: {}",
            words::live(kept)
        ));
    }
    let kept = match state.runs().filter(|(_, run)| run.database.is_some()).count() {
        0 => "nothing was measured".to_owned(),
        1 => format!("the results of 1 run are kept in {}", results_dir.display()),
        n => format!("the results of {n} runs are kept in {}", results_dir.display()),
    };
    if !living.is_empty() {
        display.note(&format!(
            "campaign {} could not be ended whole; {kept}; {} tries again",
            chosen.files.id,
            command("cancel")
        ));
        return Exit::ExperimentFailed;
    }
    let more = if state.is_unfinished() {
        format!("; {} would go on", command("resume"))
    } else {
        String::new()
    };
    display.note(&format!(
        "campaign {} is over and nothing of it runs; {kept}{more}",
        chosen.files.id
    ));
    for line in others::may_live(&chosen.files.results_dir, Some(&chosen.files.id)) {
        display.note(&line);
    }
    Exit::Done
}
