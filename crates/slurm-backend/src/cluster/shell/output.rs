//! What Slurm's commands print, read.

use std::{collections::BTreeMap, time::Duration};

use firecrest_client::{JobId, JobState, PendingReason, RemotePath, expand_nodes};

use super::{
    super::{ClusterFacts, FileFacts, JobFacts},
    commands::SEPARATOR,
};

/// The jobs of `squeue`. A line that is not understood is passed over: names of other jobs may hold line breaks.
pub(super) fn read_queue(text: &str) -> Vec<JobFacts> {
    text.lines().filter_map(queued).collect()
}

fn queued(line: &str) -> Option<JobFacts> {
    let [
        id,
        state,
        reason,
        nodes,
        partition,
        elapsed,
        limit,
        start,
        name,
        comment,
    ] = fields(line)?;
    let state = JobState::parse(state);
    let waits = (state == JobState::Pending).then(|| PendingReason::of(reason));
    Some(JobFacts {
        id: JobId::try_new(id).ok()?,
        name: name.to_owned(),
        comment: told(comment),
        nodes: nodes_of(nodes),
        partition: told(partition),
        elapsed: duration(elapsed),
        limit: duration(limit),
        started: started(&state, start),
        exit_code: None,
        signal: None,
        waits,
        state,
    })
}

/// The jobs of `sacct`.
pub(super) fn read_accounting(text: &str) -> Vec<JobFacts> {
    text.lines().filter_map(accounted).collect()
}

fn accounted(line: &str) -> Option<JobFacts> {
    let [
        id,
        state,
        exit,
        elapsed,
        start,
        limit,
        nodes,
        partition,
        name,
        comment,
    ] = fields(line)?;
    let state = JobState::parse(state);
    let (exit_code, signal) = ended_with(&state, exit);
    let minutes: Option<u64> = limit.parse().ok();
    Some(JobFacts {
        id: JobId::try_new(id).ok()?,
        name: name.to_owned(),
        comment: told(comment),
        nodes: nodes_of(nodes),
        partition: told(partition),
        elapsed: elapsed.parse().ok().map(Duration::from_secs),
        limit: minutes.map(|minutes| Duration::from_secs(60 * minutes)),
        started: started(&state, start),
        exit_code,
        signal,
        waits: (state == JobState::Pending).then_some(PendingReason::Untold),
        state,
    })
}

/// Exit code and signal of the batch script, from what `scontrol show job` prints on one line.
pub(super) fn read_exit(text: &str, state: &JobState) -> (Option<i32>, Option<i32>) {
    // What the user has written stands before the state.
    let facts = text.split_once(" JobState=").map_or(text, |(_, facts)| facts);
    let exit = facts.split_once(" ExitCode=").map(|(_, rest)| rest);
    let exit = exit.and_then(|rest| rest.split_whitespace().next());
    exit.map_or((None, None), |exit| ended_with(state, exit))
}

/// Both accounts of jobs as one: the controller knows better what a job does, the accounting how it ended.
pub(super) fn merge(queue: Vec<JobFacts>, accounting: Vec<JobFacts>) -> Vec<JobFacts> {
    let mut jobs: BTreeMap<JobId, JobFacts> = BTreeMap::new();
    for job in accounting {
        jobs.insert(job.id.clone(), job);
    }
    for mut job in queue {
        if let Some(accounted) = jobs.remove(&job.id) {
            job.comment = job.comment.or(accounted.comment);
            if job.state.is_ended() {
                job.exit_code = accounted.exit_code;
                job.signal = accounted.signal;
            }
        }
        jobs.insert(job.id.clone(), job);
    }
    jobs.into_values().collect()
}

/// The user, accounts and directories, from lines of `key=value`.
pub(super) fn read_facts(text: &str) -> Option<ClusterFacts> {
    let mut facts = ClusterFacts::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match key {
            _ if value.is_empty() => {}
            "user" => value.clone_into(&mut facts.user),
            "account" if !facts.accounts.iter().any(|known| known == value) => {
                facts.accounts.push(value.to_owned());
            }
            "root" => facts.roots.extend(
                RemotePath::try_new(value)
                    .ok()
                    .filter(|root| !facts.roots.contains(root)),
            ),
            _ => {}
        }
    }
    (!facts.user.is_empty()).then_some(facts)
}

/// Length, time and mode, from `stat -c %s,%Y,%a`.
pub(super) fn read_stat(text: &str) -> Option<FileFacts> {
    let mut parts = text.trim().split(',');
    let facts = FileFacts {
        bytes: parts.next()?.parse().ok()?,
        modified: parts.next()?.parse().ok()?,
        mode: u16::from_str_radix(parts.next()?, 8).ok()? & 0o777,
    };
    parts.next().is_none().then_some(facts)
}

/// The id of `sbatch --parsable`, which may follow upon what the site prints.
pub(super) fn read_submitted(text: &str) -> Option<JobId> {
    let last = text.lines().rfind(|line| !line.trim().is_empty())?;
    let id = last.trim().split(';').next()?;
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| JobId::try_new(id).ok()).flatten()
}

fn fields<const COUNT: usize>(line: &str) -> Option<[&str; COUNT]> {
    let fields: Vec<&str> = line.split(SEPARATOR).collect();
    fields.try_into().ok()
}

/// A text that says something.
fn told(text: &str) -> Option<String> {
    let text = text.trim();
    (!matches!(text, "" | "(null)" | "N/A" | "None assigned" | "Unknown")).then(|| text.to_owned())
}

/// A list that is not understood is shown as it is.
fn nodes_of(text: &str) -> Vec<String> {
    told(text).map_or_else(Vec::new, |list| {
        expand_nodes(&list).unwrap_or_else(|_| vec![list])
    })
}

/// When a job began; of a job that has not, Slurm tells its guess.
fn started(state: &JobState, text: &str) -> Option<i64> {
    let has_begun = !matches!(
        state,
        JobState::Pending | JobState::Configuring | JobState::Requeued
    );
    text.parse().ok().filter(|_| has_begun)
}

/// `3:0` and `0:15` say something once a job has ended.
fn ended_with(state: &JobState, text: &str) -> (Option<i32>, Option<i32>) {
    let parts = text.split_once(':').filter(|_| state.is_ended());
    parts.map_or((None, None), |(code, signal)| {
        let signal = signal.parse().ok().filter(|signal| *signal != 0);
        (code.parse().ok(), signal)
    })
}

/// `[days-]hours:minutes:seconds`, with hours left out if there are none.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (days.parse::<u64>().ok()?, clock),
        None => (0, text),
    };
    let parts: Option<Vec<u64>> = clock.split(':').map(|part| part.parse().ok()).collect();
    let seconds = match parts?.as_slice() {
        [minutes, seconds] => 60 * minutes + seconds,
        [hours, minutes, seconds] => 3600 * hours + 60 * minutes + seconds,
        _ => return None,
    };
    Some(Duration::from_secs(
        days.checked_mul(86_400)?.checked_add(seconds)?,
    ))
}

#[cfg(test)]
mod tests;
