//! `gipfel clean`: ends what of ours lives on clusters and removes what it has left there.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Context, anyhow};
use firecrest_client::JobId;
use gipfel_experiment::{Driver, Journal};
use gipfel_model::{CampaignId, format_duration};
use gipfel_slurm_backend::{Leftover, Living, Place};

use crate::{
    cli::CleanArguments,
    commands::{
        ps, results,
        survey::{self, Surveyed},
    },
    exit::Exit,
    failure::Failure,
    occupancy::Occupant,
    print, words,
};

/// `gipfel clean`.
pub(crate) fn clean(arguments: &CleanArguments) -> Result<Exit, Failure> {
    let clusters = &arguments.clusters;
    let places = survey::places(arguments.config.as_deref(), clusters)?;
    survey::expect_some(&places, &clusters.results_dir)?;
    let runtime = results::runtime()?;
    let surveyed = runtime.block_on(survey::survey(places));
    end_jobs(&surveyed, arguments, &runtime)?;
    if arguments.files {
        remove_files(&surveyed, arguments, &runtime)?;
    }
    match survey::first_error(surveyed) {
        None => Ok(Exit::Done),
        Some(error) => Err(Failure {
            exit: Exit::Fault,
            ..Failure::usage(error)
        }),
    }
}

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is ended.
    End,
    /// It is a kept server, and nobody has named it.
    Keep,
    /// It is not meant.
    Leave,
}

/// What becomes of a job by what the user has named.
fn fate(alive: &Living, named: Option<&str>, all: bool) -> Fate {
    match named {
        Some(name) if belongs(name, alive.campaign.as_ref().map(CampaignId::as_str), &alive.id) => Fate::End,
        Some(_) => Fate::Leave,
        None if alive.kept && !all => Fate::Keep,
        None => Fate::End,
    }
}

fn belongs(name: &str, campaign: Option<&str>, id: &str) -> bool {
    campaign.is_some_and(|campaign| campaign.contains(name)) || id.contains(name)
}

fn end_jobs(
    surveyed: &[Surveyed],
    arguments: &CleanArguments,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), Failure> {
    let mut ends: Vec<(&Place, Vec<JobId>)> = Vec::new();
    let mut count = 0;
    for Surveyed { place, living } in surveyed {
        let mut jobs = Vec::new();
        for alive in living.iter().flatten() {
            let what = format!(
                "{} {} (job {}, {})",
                ps::kind(alive),
                alive.id,
                alive.job.id,
                survey::title(place)
            );
            match fate(alive, arguments.campaign.as_deref(), arguments.all) {
                Fate::End => {
                    print(&format!("lives: {what}\n"))?;
                    jobs.push(alive.job.id.clone());
                }
                Fate::Keep => print(&format!(
                    "is left: {what}; --all or --campaign {} ends it\n",
                    alive.id
                ))?,
                Fate::Leave => {}
            }
        }
        count += jobs.len();
        if !jobs.is_empty() {
            ends.push((place, jobs));
        }
    }
    if count == 0 {
        print("there is no job of ours to end\n")?;
        return Ok(());
    }
    let jobs = if count == 1 {
        "1 job".to_owned()
    } else {
        format!("{count} jobs")
    };
    warn_of_driver(surveyed, &ends, arguments)?;
    if !is_wanted(&format!("End {jobs}?"), arguments.yes)? {
        print("nothing was ended\n")?;
        return Ok(());
    }
    for (place, jobs) in ends {
        let ended = runtime.block_on(place.end_jobs(&jobs));
        let what = || format!("not everything on {} was ended", survey::title(place));
        ended.with_context(what).map_err(Failure::experiment)?;
    }
    print(&format!("ended {jobs}\n"))?;
    Ok(())
}

/// A campaign that is driven ends better by its driver, which collects what was measured.
fn warn_of_driver(
    surveyed: &[Surveyed],
    ends: &[(&Place, Vec<JobId>)],
    arguments: &CleanArguments,
) -> Result<(), Failure> {
    let results_dir = &arguments.clusters.results_dir;
    let Some(driver) = Occupant::find(results_dir) else {
        return Ok(());
    };
    let mut living = surveyed.iter().flat_map(|one| one.living.iter().flatten());
    let is_driven = living.any(|alive| {
        let is_ended = ends.iter().any(|(_, jobs)| jobs.contains(&alive.job.id));
        is_ended && alive.campaign.as_ref() == Some(&driver.campaign)
    });
    if is_driven {
        let cancel = words::command(&format!("cancel {}", driver.campaign), results_dir);
        print(&format!(
            "warning: {} drives campaign {}: {cancel} ends it and collects what was measured\n",
            driver.whereabouts(),
            driver.campaign
        ))?;
    }
    Ok(())
}

fn remove_files(
    surveyed: &[Surveyed],
    arguments: &CleanArguments,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), Failure> {
    let now = Driver::unix_now_ms() / 1000;
    for Surveyed { place, living } in surveyed {
        // What lives must be known before anything is removed.
        if living.is_err() {
            continue;
        }
        let what = || format!("failed to look through our files on {}", survey::title(place));
        let found = runtime.block_on(async {
            let living = place.living().await?;
            place.leftovers(&living).await
        });
        let found = found.with_context(what).map_err(Failure::experiment)?;
        let removed: Vec<Leftover> = found
            .into_iter()
            .filter(|leftover| is_removed(leftover, arguments, now))
            .filter(|leftover| !is_unfinished(leftover, arguments))
            .collect();
        if removed.is_empty() {
            let age = format_duration(arguments.older_than);
            print(&format!(
                "{}: no directory of ours is left over that is older than {age}\n",
                survey::title(place)
            ))?;
            continue;
        }
        for leftover in &removed {
            print(&format!("is left over: {}\n", leftover.path))?;
        }
        let count = match removed.len() {
            1 => "1 directory".to_owned(),
            count => format!("{count} directories"),
        };
        let question = format!("Remove {count} on {}?", survey::title(place));
        if !is_wanted(&question, arguments.yes)? {
            print("nothing was removed\n")?;
            continue;
        }
        for leftover in &removed {
            let done = runtime.block_on(place.remove(leftover));
            done.with_context(|| format!("failed to remove {}", leftover.path))
                .map_err(Failure::experiment)?;
        }
        print(&format!("removed {count}\n"))?;
    }
    Ok(())
}

fn is_removed(leftover: &Leftover, arguments: &CleanArguments, now: i64) -> bool {
    let age = Duration::from_secs(u64::try_from(now - leftover.modified).unwrap_or(0));
    let campaign = leftover.campaign.as_ref().map(CampaignId::as_str);
    let is_meant = match &arguments.campaign {
        Some(name) => belongs(name, campaign, leftover.id.as_deref().unwrap_or_default()),
        None => true,
    };
    is_meant && age >= arguments.older_than
}

/// A campaign of this results directory that `resume` goes on with needs its files, unless the user names it.
fn is_unfinished(leftover: &Leftover, arguments: &CleanArguments) -> bool {
    let Some(campaign) = leftover
        .campaign
        .as_ref()
        .filter(|_| arguments.campaign.is_none())
    else {
        return false;
    };
    let state = Journal::load(&arguments.clusters.results_dir, campaign);
    state.is_ok_and(|state| state.is_unfinished())
}

/// Whether the user wants it. Without a terminal only `--yes` says so.
fn is_wanted(question: &str, yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    let (mut stdin, mut stderr) = (io::stdin().lock(), io::stderr());
    if !io::stdin().is_terminal() {
        let error = anyhow!("there is no terminal to ask on: nothing was done");
        return Err(Failure::usage(error).hint("--yes does it without asking"));
    }
    let mut answer = String::new();
    write!(stderr, "{question} [y/N] ")
        .and_then(|()| stderr.flush())
        .and_then(|()| stdin.read_line(&mut answer))
        .context("failed to ask")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
