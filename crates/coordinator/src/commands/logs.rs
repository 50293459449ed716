//! `gipfel logs`: what servers, load generators and a detached gipfel have printed.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};
use gipfel_experiment::{Campaign as State, Deployment, Journal};
use gipfel_model::CampaignId;

use crate::{
    background,
    cli::LogsArguments,
    commands::{
        attach,
        choose::{self, Chosen},
        results,
    },
    exit::Exit,
    failure::Failure,
    print,
    signals::Signals,
    view::files::CampaignFiles,
};

/// Between two looks at files that grow.
const LOOK: Duration = Duration::from_millis(250);
/// How much of a log's end is looked at for its last lines.
const TAIL_BYTES: u64 = 4 << 20;

/// `gipfel logs`.
pub(crate) fn logs(arguments: &LogsArguments) -> Result<Exit, Failure> {
    let (chosen, object) = choose_object(&arguments.results_dir, arguments.name.as_deref())?;
    let state = chosen.files.journal().map_err(Failure::usage)?;
    let mut tails = Tails::default();
    tails.look_for(&chosen.files, &state, arguments, object.as_deref());
    if tails.0.is_empty() {
        return Err(
            Failure::usage(anyhow!("campaign `{}` has no such logs", chosen.files.id))
                .hint("a server behind a URL keeps its own"),
        );
    }
    let several = tails.0.len() > 1;
    for tail in &mut tails.0 {
        let text = tail.last_lines(arguments.lines)?;
        print(&prefixed(&text, several.then_some(tail.name.as_str())))?;
    }
    if arguments.follow {
        return results::runtime()?.block_on(follow(&chosen, arguments, object.as_deref(), tails));
    }
    Ok(Exit::Done)
}

/// Prints what is added, until the campaign's driver is gone.
async fn follow(
    chosen: &Chosen,
    arguments: &LogsArguments,
    object: Option<&str>,
    mut tails: Tails,
) -> Result<Exit, Failure> {
    let mut signals = Signals::listen().context("failed to listen to signals")?;
    let mut clock = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            _ = signals.next() => return Ok(Exit::Interrupted),
            _ = clock.tick() => {}
        }
        // Asked first, so that the last words are read of what is over.
        let driven = attach::is_driven(chosen);
        if let Ok(state) = chosen.files.journal() {
            tails.look_for(&chosen.files, &state, arguments, object);
        }
        let several = tails.0.len() > 1;
        for tail in &mut tails.0 {
            let text = tail.new_lines(!driven)?;
            print(&prefixed(&text, several.then_some(tail.name.as_str())))?;
        }
        if !driven {
            return Ok(Exit::Done);
        }
    }
}

/// The campaign that is named, or the one that has the run or server that is named, with its name.
fn choose_object(results_dir: &Path, named: Option<&str>) -> Result<(Chosen, Option<String>), Failure> {
    let Some(text) = named else {
        return Ok((choose::campaign(results_dir, None)?, None));
    };
    let ids = Journal::campaigns(results_dir).map_err(Failure::usage)?;
    let mut names: Vec<(String, CampaignId)> = Vec::new();
    for id in ids {
        // The logs of a campaign whose journal cannot be read are found by its own name only.
        if let Ok(state) = Journal::load(results_dir, &id) {
            names.extend(objects(&state).into_iter().map(|name| (name, id.clone())));
        }
        names.push((id.to_string(), id));
    }
    let (name, id) =
        choose::only_one("campaign, run or server", text, names, |(name, _)| name).map_err(Failure::usage)?;
    let chosen = choose::campaign(results_dir, Some(id.as_str()))?;
    let object = (name != id.as_str()).then_some(name);
    Ok((chosen, object))
}

fn objects(state: &State) -> Vec<String> {
    let servers = state
        .deployments
        .iter()
        .map(|deployment| deployment.id.to_string());
    servers
        .chain(state.runs().map(|(_, run)| run.id.to_string()))
        .collect()
}

/// Puts the log's name before each line.
fn prefixed(text: &str, name: Option<&str>) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        if let Some(name) = name {
            lines.push_str(name);
            lines.push_str(" | ");
        }
        lines.push_str(line);
        lines.push('\n');
    }
    lines
}

/// Logs that are read piece by piece.
#[derive(Default)]
struct Tails(Vec<Tail>);

impl Tails {
    /// Adds the logs that exist by now.
    fn look_for(
        &mut self,
        files: &CampaignFiles,
        state: &State,
        arguments: &LogsArguments,
        object: Option<&str>,
    ) {
        let known: BTreeSet<PathBuf> = self.0.iter().map(|tail| tail.path.clone()).collect();
        let wanted = wanted(files, state, arguments, object);
        let new = wanted
            .into_iter()
            .filter(|(_, path)| !known.contains(path) && path.is_file());
        self.0.extend(new.map(|(name, path)| Tail {
            name,
            path,
            at: 0,
            partial: Vec::new(),
        }));
    }
}

/// The logs that the arguments ask for, with the names that stand before their lines.
fn wanted(
    files: &CampaignFiles,
    state: &State,
    arguments: &LogsArguments,
    object: Option<&str>,
) -> Vec<(String, PathBuf)> {
    let mut wanted = Vec::new();
    let is_asked = |name: &str| object.is_none_or(|object| object == name);
    if !arguments.server && !arguments.load && object.is_none() {
        wanted.push(("gipfel".to_owned(), background::log_file(&files.directory())));
    }
    for deployment in &state.deployments {
        let runs = deployment.runs.iter();
        // A run's server is of interest with it.
        let with_its_run = runs.clone().any(|run| is_asked(run.id.as_str()));
        if !arguments.load && (is_asked(deployment.id.as_str()) || with_its_run) {
            wanted.push((deployment.id.to_string(), server_log(files, deployment)));
        }
        for run in runs.filter(|run| !arguments.server && is_asked(run.id.as_str())) {
            wanted.push((run.id.to_string(), files.load_log(&run.id)));
        }
    }
    wanted
}

/// A borrowed server prints into the directory of the campaign that started it.
fn server_log(files: &CampaignFiles, deployment: &Deployment) -> PathBuf {
    let own = files.server_log(&deployment.id);
    let Some(handle) = &deployment.borrowed else {
        return own;
    };
    let campaigns = Journal::campaigns(&files.results_dir).unwrap_or_default();
    let mut logs = campaigns.iter().map(|id| {
        let directory = files.results_dir.join(id.as_str());
        directory.join(&handle.name).join("server.log")
    });
    logs.find(|log| log.is_file()).unwrap_or(own)
}

struct Tail {
    name: String,
    path: PathBuf,
    /// How far it has been read.
    at: u64,
    /// The begin of a line whose end has not been written.
    partial: Vec<u8>,
}

impl Tail {
    /// The last lines of what is there now.
    fn last_lines(&mut self, lines: usize) -> anyhow::Result<String> {
        let length = std::fs::metadata(&self.path).map_or(0, |found| found.len());
        self.at = length.saturating_sub(TAIL_BYTES);
        let text = self.new_lines(true)?;
        let all: Vec<&str> = text.lines().collect();
        let last = &all[all.len().saturating_sub(lines)..];
        Ok(prefixed(&last.join("\n"), None))
    }

    /// The whole lines that were added since the last look; at the end, what stands there without an end too.
    fn new_lines(&mut self, at_the_end: bool) -> anyhow::Result<String> {
        let what = || format!("failed to read `{}`", self.path.display());
        let mut bytes = std::mem::take(&mut self.partial);
        let mut file = File::open(&self.path).with_context(what)?;
        file.seek(SeekFrom::Start(self.at)).with_context(what)?;
        self.at += file.read_to_end(&mut bytes).with_context(what)? as u64;
        if !at_the_end {
            let end = bytes.iter().rposition(|byte| *byte == b'\n');
            self.partial = bytes.split_off(end.map_or(0, |end| end + 1));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_read_line_by_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("server.log");
        let write = |text: &str| std::fs::write(&path, text).expect("it is written");
        write("one\ntwo\nthree\n");
        let mut tail = Tail {
            name: "d-1".to_owned(),
            path: path.clone(),
            at: 0,
            partial: Vec::new(),
        };
        assert_eq!(tail.last_lines(2).expect("a log"), "two\nthree\n");
        assert_eq!(tail.new_lines(false).expect("a log"), "");
        write("one\ntwo\nthree\nfour\nfi");
        assert_eq!(tail.new_lines(false).expect("a log"), "four\n");
        write("one\ntwo\nthree\nfour\nfive\nsi");
        assert_eq!(tail.new_lines(false).expect("a log"), "five\n");
        assert_eq!(tail.new_lines(true).expect("a log"), "si");
    }

    #[test]
    fn lines_of_several_logs_are_told_apart() {
        assert_eq!(prefixed("one\ntwo\n", None), "one\ntwo\n");
        assert_eq!(prefixed("one\ntwo", Some("d-1")), "d-1 | one\nd-1 | two\n");
        assert_eq!(prefixed("", Some("d-1")), "");
    }
}
