//! Carries the calls of a schedule out, and keeps what the client said of them.

use std::{collections::BTreeMap, error::Error, fmt::Debug, path::PathBuf, time::Duration};

use firecrest_client::{
    Class, Earlier, JobFilter, JobId, JobName, JobSpec, Mark, Outcome, Script, Sha256, SubmitError,
    Submitted, TransferError,
};
use tokio::time::{Instant, timeout};

use super::{
    Mutation,
    draw::{Manner, Plan, Step},
    site::{ADOPTION, CALL_BOUND, SUBMIT_BOUND, Site, TRANSFER_BOUND, transfer_options},
};

/// What the client said of a submission in the end.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Job(JobId),
    Nothing,
    Unknown,
}

/// A submission, whose name no other has.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) name: JobName,
    pub(crate) mark: Mark,
    pub(crate) told: Told,
}

/// What the client said of all steps.
#[derive(Debug, Default)]
pub(crate) struct Played {
    pub(crate) submissions: Vec<Submission>,
    /// Jobs whose end the server has agreed to.
    pub(crate) cancelled: Vec<JobId>,
    /// Files of the cluster that the client said were written, with their content.
    pub(crate) written: Vec<(PathBuf, Vec<u8>)>,
    /// Uploads of which it is not known whether they left a job, and jobs that could not be ended.
    pub(crate) waiting_uploads: usize,
    pub(crate) violations: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) good: usize,
    pub(crate) failed: usize,
    pub(crate) steps: BTreeMap<&'static str, usize>,
}

impl Played {
    fn add(&mut self, other: Self) {
        self.submissions.extend(other.submissions);
        self.cancelled.extend(other.cancelled);
        self.written.extend(other.written);
        self.waiting_uploads += other.waiting_uploads;
        self.violations.extend(other.violations);
        self.notes.extend(other.notes);
        self.good += other.good;
        self.failed += other.failed;
        for (name, count) in other.steps {
            *self.steps.entry(name).or_default() += count;
        }
    }
}

/// Carries the lanes out side by side.
pub(crate) async fn play(plan: &Plan, site: &Site, mutation: Option<Mutation>) -> anyhow::Result<Played> {
    let lane = |number: usize| Lane {
        site,
        seed: plan.seed,
        number,
        mutation,
        played: Played::default(),
    };
    let steps = |number: usize| plan.lanes.get(number).map_or(&[][..], Vec::as_slice);
    let (first, second) = tokio::join!(lane(0).play(steps(0)), lane(1).play(steps(1)));
    let mut played = first?;
    played.add(second?);
    Ok(played)
}

struct Lane<'a> {
    site: &'a Site,
    seed: u64,
    number: usize,
    mutation: Option<Mutation>,
    played: Played,
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str("; caused by: ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Content that differs at each place and in each file.
fn content(bytes: usize, salt: u64) -> Vec<u8> {
    let mut state = salt | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..bytes).map(next).collect()
}

impl Lane<'_> {
    async fn play(mut self, steps: &[Step]) -> anyhow::Result<Played> {
        for (index, step) in steps.iter().enumerate() {
            self.step(index, *step).await?;
        }
        Ok(self.played)
    }

    async fn step(&mut self, index: usize, step: Step) -> anyhow::Result<()> {
        let label = format!("{}-{}-{index}", self.seed, self.number);
        let (name, bound) = name_and_bound(step);
        *self.played.steps.entry(name).or_default() += 1;
        let begun = Instant::now();
        let done = match step {
            Step::Submit { manner, is_long } => timeout(bound, self.submit(&label, manner, is_long)).await,
            Step::GetJob | Step::CancelJob | Step::ListJobs => timeout(bound, self.job_call(name)).await,
            Step::MakeDirectory | Step::Upload { .. } => timeout(bound, self.write(&label, step)).await,
            Step::Download { bytes } | Step::Checksum { bytes } => {
                timeout(bound, self.read(&label, name, bytes)).await
            }
            Step::SendLarge { bytes } => timeout(bound, self.send_large(&label, bytes)).await,
            Step::FetchLarge { bytes } => timeout(bound, self.fetch_large(&label, bytes)).await,
        };
        let Ok(done) = done else {
            let spent = begun.elapsed();
            self.never(format!("{name} {label} had not ended after {spent:.1?}"));
            return Ok(());
        };
        done
    }

    fn never(&mut self, violation: String) {
        self.played.violations.push(violation);
    }

    /// Keeps how a call ended, and gives its value.
    fn note<T: Debug, E: Error>(&mut self, what: &str, result: Result<T, E>) -> Result<T, E> {
        match &result {
            Ok(value) => {
                self.played.good += 1;
                self.played.notes.push(format!("{what}: {value:.400?}"));
            }
            Err(error) => {
                self.played.failed += 1;
                self.played
                    .notes
                    .push(format!("{what}: {}; {error:?}", chain(error)));
            }
        }
        result
    }

    async fn submit(&mut self, label: &str, manner: Manner, is_long: bool) -> anyhow::Result<()> {
        let name: JobName = format!("job-{label}").parse()?;
        let mark = Mark::new(self.site.path(&format!("mark-{label}"))?);
        let seconds = if is_long { "20" } else { "0" };
        let script = format!("#!/bin/sh\n{}sleep {seconds}\n", mark.script_lines());
        let mut spec = JobSpec::new(self.site.path("")?, Script::Inline(script));
        spec.name = Some(name.clone());
        let jobs = self.site.client.jobs(&self.site.system);
        let told = match manner {
            _ if self.mutation == Some(Mutation::BlindSubmit) => self.submit_blindly(label, &spec).await,
            Manner::Plain => {
                let result = jobs.submit(&spec).await;
                told(&self.note(&format!("submit {label}"), result), |id| id)
            }
            Manner::Adopting | Manner::Resumed => {
                let result = jobs
                    .submit_or_adopt(&spec, &mark, Earlier::Never, &ADOPTION)
                    .await;
                let first = told(
                    &self.note(&format!("submit or adopt {label}"), result),
                    Submitted::id,
                );
                if matches!(manner, Manner::Resumed) {
                    let result = jobs
                        .submit_or_adopt(&spec, &mark, Earlier::Possible, &ADOPTION)
                        .await;
                    let second = told(&self.note(&format!("resume {label}"), result), Submitted::id);
                    self.resumed(label, first, second)
                } else {
                    first
                }
            }
        };
        self.played.submissions.push(Submission { name, mark, told });
        Ok(())
    }

    /// A job that was seen by the first caller is there for the second, too.
    fn resumed(&mut self, label: &str, first: Told, second: Told) -> Told {
        match (first, second) {
            (Told::Job(first), Told::Job(second)) if first != second => {
                self.never(format!("submission {label} has the jobs {first} and {second}"));
                Told::Job(first)
            }
            (Told::Job(first), Told::Nothing) => {
                self.never(format!(
                    "job {first} of {label} was there, and was not found again"
                ));
                Told::Job(first)
            }
            (Told::Job(first), Told::Unknown | Told::Job(_)) => Told::Job(first),
            (Told::Nothing | Told::Unknown, second) => second,
        }
    }

    async fn submit_blindly(&mut self, label: &str, spec: &JobSpec) -> Told {
        let jobs = self.site.client.jobs(&self.site.system);
        loop {
            let result = jobs.submit(spec).await;
            let result = self.note(&format!("blind submit {label}"), result);
            let is_internal = result.as_ref().is_err_and(|error| status(error) == Some(500));
            if !is_internal {
                return told(&result, |id| id);
            }
        }
    }

    /// Calls about the lane's last job.
    async fn job_call(&mut self, name: &str) -> anyhow::Result<()> {
        let jobs = self.site.client.jobs(&self.site.system);
        let last = self.played.submissions.iter().rev().find_map(|submission| {
            if let Told::Job(id) = &submission.told {
                Some((id.clone(), submission.name.clone()))
            } else {
                None
            }
        });
        let Some((id, job_name)) = last else {
            let result = jobs.list(&JobFilter::default()).await;
            let _ = self.note("list of all jobs", result);
            return Ok(());
        };
        match name {
            "get job" => {
                let result = jobs.get(&id).await;
                if let Ok(found) = self.note("get job", result)
                    && found.iter().any(|job| job.name != job_name.as_str())
                {
                    self.never(format!("job {id} is told as another"));
                }
            }
            "cancel job" => {
                let result = jobs.cancel(&id).await;
                if self.note("cancel job", result).is_ok() {
                    self.played.cancelled.push(id);
                }
            }
            _ => {
                let result = jobs.list(&JobFilter::named(job_name.clone())).await;
                if let Ok(found) = self.note("list jobs", result)
                    && found.iter().any(|job| job.id != id)
                {
                    self.never(format!("the list of {job_name} has another job than {id}"));
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, label: &str, step: Step) -> anyhow::Result<()> {
        let files = self.site.client.files(&self.site.system);
        if let Step::Upload { bytes } = step {
            let path = self.site.path(&format!("up-{label}"))?;
            let content = content(bytes, self.seed);
            let result = files.upload(&path, content.clone()).await;
            if self.note("upload", result).is_ok() {
                self.played.written.push((path.as_str().into(), content));
            }
        } else {
            let path = self.site.path(&format!("a-{label}/b/c"))?;
            let result = files.make_directory(&path).await;
            if self.note("make directory", result).is_ok() && !PathBuf::from(path.as_str()).is_dir() {
                self.never(format!("the directory {path} was made, and is not there"));
            }
        }
        Ok(())
    }

    async fn read(&mut self, label: &str, name: &str, bytes: usize) -> anyhow::Result<()> {
        let files = self.site.client.files(&self.site.system);
        let path = self.site.path(&format!("there-{label}"))?;
        let content = content(bytes, self.seed);
        std::fs::write(path.as_str(), &content)?;
        let is_right = if name == "download" {
            let result = files.download(&path).await.map(Vec::from);
            self.note(name, result).map_or(true, |found| found == content)
        } else {
            let result = files.checksum(&path).await;
            self.note(name, result)
                .map_or(true, |found| found == Sha256::of(&content))
        };
        if !is_right {
            self.never(format!("{name} of {path} is not of its content"));
        }
        Ok(())
    }

    async fn send_large(&mut self, label: &str, bytes: usize) -> anyhow::Result<()> {
        let source = self.site.local(&format!("source-{label}"));
        let target = self.site.path(&format!("large-up-{label}"))?;
        let content = content(bytes, self.seed);
        std::fs::write(&source, &content)?;
        let transfers = self.site.client.transfers(&self.site.system);
        let result = transfers.upload(&source, &target, &transfer_options()).await;
        match self.note("upload by parts", result) {
            Ok(_) => self.played.written.push((target.as_str().into(), content)),
            Err(error) if may_leave_a_job(&error) => self.played.waiting_uploads += 1,
            Err(_) => {}
        }
        Ok(())
    }

    async fn fetch_large(&mut self, label: &str, bytes: usize) -> anyhow::Result<()> {
        let source = self.site.path(&format!("large-down-{label}"))?;
        let destination = self.site.local(&format!("destination-{label}"));
        let content = content(bytes, self.seed);
        std::fs::write(source.as_str(), &content)?;
        let transfers = self.site.client.transfers(&self.site.system);
        let result = transfers
            .download(&source, &destination, &transfer_options())
            .await;
        let is_whole = self.note("download by parts", result).is_ok();
        if is_whole && std::fs::read(&destination)? != content {
            self.never(format!("the download of {source} is not of its content"));
        }
        if !is_whole && destination.exists() {
            self.never(format!("the failed download of {source} has left a file"));
        }
        Ok(())
    }
}

fn name_and_bound(step: Step) -> (&'static str, Duration) {
    match step {
        Step::Submit { .. } => ("submit", SUBMIT_BOUND),
        Step::GetJob => ("get job", CALL_BOUND),
        Step::CancelJob => ("cancel job", CALL_BOUND),
        Step::ListJobs => ("list jobs", CALL_BOUND),
        Step::MakeDirectory => ("make directory", CALL_BOUND),
        Step::Upload { .. } => ("upload", CALL_BOUND),
        Step::Download { .. } => ("download", CALL_BOUND),
        Step::Checksum { .. } => ("checksum", CALL_BOUND),
        Step::SendLarge { .. } => ("upload by parts", TRANSFER_BOUND),
        Step::FetchLarge { .. } => ("download by parts", TRANSFER_BOUND),
    }
}

fn told<T>(result: &Result<T, SubmitError>, id: impl Fn(&T) -> &JobId) -> Told {
    match result {
        Ok(value) => Told::Job(id(value).clone()),
        Err(error) => match &error.outcome {
            Outcome::NotStarted => Told::Nothing,
            Outcome::Started(id) => Told::Job(id.clone()),
            Outcome::Unknown => Told::Unknown,
        },
    }
}

fn status(error: &SubmitError) -> Option<u16> {
    match &error.fault {
        firecrest_client::SubmitFault::Call(error) => error.status(),
        _ => None,
    }
}

/// Whether the error says that a job may wait for what does not come any more.
fn may_leave_a_job(error: &TransferError) -> bool {
    match error {
        TransferError::JobLeft { .. } => true,
        TransferError::Call(error) => error.class() == Class::Ambiguous,
        _ => false,
    }
}
