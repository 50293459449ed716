//! Submissions, each once, and cancellations.

use firecrest_client::{
    AdoptPolicy, Adoption, Earlier, JobId, JobName, Look, Mark, MarkSeen, Settling, Sha256, TimeWindow,
    Verdict,
};
use tokio::time::Instant;

use super::{
    super::{ClusterError, ClusterErrorKind, JobRequest, SubmitEffect, SubmitFailure, words},
    CommandError, Input, NOT_TAKEN, NOT_WHOLE, ShellCluster, ShellCommand,
    commands::{self, Draft},
    output,
};

/// What is read of a mark.
const LONGEST_MARK: u64 = 100;

/// Why it is not known which job a name is.
enum Unknown {
    /// Several jobs have the name or the mark; this is one of them.
    Several(JobId, ClusterError),
    Unsettled(ClusterError),
}

impl Unknown {
    fn into_error(self) -> ClusterError {
        match self {
            Self::Several(_, error) | Self::Unsettled(error) => error,
        }
    }

    /// The failure of a submission whose effect is else this one.
    fn into_failure(self, effect: SubmitEffect) -> SubmitFailure {
        match self {
            Self::Several(id, source) => SubmitFailure {
                effect: SubmitEffect::Started(id),
                source,
            },
            Self::Unsettled(source) => SubmitFailure { effect, source },
        }
    }
}

impl ShellCluster {
    pub(super) async fn submit_once(
        &self,
        request: &JobRequest,
        earlier: Earlier,
    ) -> Result<JobId, SubmitFailure> {
        let policy = &self.policy.adopt;
        let before = match earlier {
            Earlier::Never => self.glance(&request.name, &request.mark, policy).await,
            Earlier::Possible => self.settle(&request.name, &request.mark, policy).await,
        };
        let effect = match earlier {
            Earlier::Never => SubmitEffect::NotStarted,
            Earlier::Possible => SubmitEffect::Unknown,
        };
        if let Adoption::Found(id) = before.map_err(|unknown| unknown.into_failure(effect))? {
            return Ok(id);
        }
        let mut submits = 1;
        loop {
            let failure = match self.submit_now(request).await {
                Err(failure) if failure.effect == SubmitEffect::Unknown => failure,
                answer => return answer,
            };
            tracing::debug!(name = %request.name, submits, fault = %failure.source, "the submission is looked up");
            match self.settle(&request.name, &request.mark, policy).await {
                Ok(Adoption::Found(id)) => return Ok(id),
                Ok(Adoption::Nothing) if submits < policy.submits => submits += 1,
                Ok(Adoption::Nothing) => {
                    let effect = SubmitEffect::NotStarted;
                    return Err(SubmitFailure { effect, ..failure });
                }
                Err(unknown) => return Err(unknown.into_failure(SubmitEffect::Unknown)),
            }
        }
    }

    /// Submits, without any look.
    async fn submit_now(&self, request: &JobRequest) -> Result<JobId, SubmitFailure> {
        let script = request.script.as_bytes();
        let place = request.directory.join(request.name.as_str());
        let draft = place.as_ref().ok().and_then(Draft::of);
        let failure = |effect, error| SubmitFailure {
            effect,
            source: self.error(format!("submit {}", request.name), error),
        };
        let Some(draft) = draft else {
            let reason = format!("{} is no directory for a job", request.directory);
            return Err(failure(SubmitEffect::NotStarted, CommandError::Refused(reason)));
        };
        let command = ShellCommand {
            line: commands::submit(&draft, &request.name, Sha256::of(script)),
            input: Input::Bytes(script.to_vec()),
            time: self.policy.submit,
        };
        match self.once(&command).await {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                output::read_submitted(&text).ok_or_else(|| {
                    let reason = format!("sbatch tells no job's id: {}", text.trim());
                    failure(SubmitEffect::Unknown, CommandError::Refused(reason))
                })
            }
            Err(error) => Err(failure(effect_of(&error), error)),
        }
    }

    pub(super) async fn adopt_now(
        &self,
        name: &JobName,
        mark: &Mark,
        policy: &AdoptPolicy,
    ) -> Result<Adoption, ClusterError> {
        let settled = self.settle(name, mark, policy).await;
        settled.map_err(Unknown::into_error)
    }

    async fn settle(&self, name: &JobName, mark: &Mark, policy: &AdoptPolicy) -> Result<Adoption, Unknown> {
        let begun = Instant::now();
        let mut settling = Settling::new(*policy);
        loop {
            let at = begun.elapsed();
            let (look, blind) = self.look_for(name, mark, policy).await?;
            match settling.observe(&look, at, begun.elapsed(), policy.interval) {
                Verdict::Found(ids) => return self.single(name, ids).map(Adoption::Found),
                Verdict::Nothing => return Ok(Adoption::Nothing),
                Verdict::LookAgain => tokio::time::sleep(policy.interval).await,
                Verdict::Unsettled => return Err(Unknown::Unsettled(self.unsettled(name, blind))),
            }
        }
    }

    /// One look for a name that is new: nothing seen is no reason not to submit.
    async fn glance(&self, name: &JobName, mark: &Mark, policy: &AdoptPolicy) -> Result<Adoption, Unknown> {
        let (look, _) = self.look_for(name, mark, policy).await?;
        let now = std::time::Duration::ZERO;
        match Settling::new(*policy).observe(&look, now, now, policy.interval) {
            Verdict::Found(ids) => self.single(name, ids).map(Adoption::Found),
            Verdict::Nothing | Verdict::LookAgain | Verdict::Unsettled => Ok(Adoption::Nothing),
        }
    }

    /// One look at the list and the mark, and why it could not see if it could not.
    async fn look_for(
        &self,
        name: &JobName,
        mark: &Mark,
        policy: &AdoptPolicy,
    ) -> Result<(Look, Option<ClusterError>), Unknown> {
        let window = policy.window.unwrap_or(TimeWindow::Day);
        let (listed, content) = tokio::join!(self.listed(window), self.read_now(mark.path(), LONGEST_MARK));
        let mut blind = None;
        let listed = match listed {
            Ok(jobs) => {
                let named = jobs.into_iter().filter(|job| job.name == name.as_str());
                Some(named.map(|job| job.id).collect())
            }
            Err(error) => {
                blind = Some(pass(self.error(format!("look for job {name}"), error))?);
                None
            }
        };
        let mark = match content {
            Ok(None) => MarkSeen::Absent,
            Ok(Some(content)) => JobId::try_new(String::from_utf8_lossy(&content).trim())
                .map_or(MarkSeen::Unclear, MarkSeen::Holds),
            Err(error) => {
                blind = Some(pass(error)?);
                MarkSeen::Unclear
            }
        };
        Ok((Look { listed, mark }, blind))
    }

    fn single(&self, name: &JobName, ids: Vec<JobId>) -> Result<JobId, Unknown> {
        let names = ids.iter().map(JobId::as_str).collect::<Vec<_>>().join(", ");
        let several = ids.len() > 1;
        let reason = format!("several jobs have its name or its mark: {names}; cancel all but one");
        let error = |reason| self.error(format!("find the one job {name}"), CommandError::Refused(reason));
        match ids.into_iter().next() {
            Some(id) if several => Err(Unknown::Several(id, error(reason))),
            Some(id) => Ok(id),
            None => Err(Unknown::Unsettled(error("no job has its name".to_owned()))),
        }
    }

    fn unsettled(&self, name: &JobName, blind: Option<ClusterError>) -> ClusterError {
        let operation = format!("settle whether job {name} was started");
        match blind {
            Some(error) => ClusterError { operation, ..error },
            None => ClusterError {
                cluster: self.name.clone(),
                operation,
                kind: ClusterErrorKind::Away,
                source: "the looks came to no end in their time: look again before you submit it again"
                    .into(),
            },
        }
    }

    pub(super) async fn cancel_now(&self, id: &JobId) -> Result<(), ClusterError> {
        match self.repeat(&self.command(commands::cancel(id))).await {
            Ok(_) => Ok(()),
            Err(CommandError::Exit { text, .. }) if words::is_unknown_job(&text) => Ok(()),
            Err(error) => Err(self.error(format!("cancel job {id}"), error)),
        }
    }
}

/// What a submission that failed so has left behind.
fn effect_of(error: &CommandError) -> SubmitEffect {
    let unknown = match error {
        CommandError::Shell(error) => error.may_have_run(),
        CommandError::Exit { code, text } => {
            let is_begun = !matches!(*code, NOT_TAKEN | NOT_WHOLE);
            // What sbatch says of a controller that does not answer is no word of the controller's.
            let is_refused = says_why(text) && words::kind_of(text) != Some(ClusterErrorKind::Away);
            is_begun && !is_refused
        }
        CommandError::Refused(_) | CommandError::Local(_) => false,
    };
    if unknown {
        SubmitEffect::Unknown
    } else {
        SubmitEffect::NotStarted
    }
}

/// Whether sbatch, or the shell in its place, says why it did not submit: one that was killed says nothing.
fn says_why(text: &str) -> bool {
    [
        "sbatch: error:",
        "sbatch: fatal:",
        "sbatch: unrecognized",
        "sbatch: invalid",
        "not found",
        "sbatch: option",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// The error of a look that may see more the next time.
fn pass(error: ClusterError) -> Result<ClusterError, Unknown> {
    if error.kind.is_retryable() {
        Ok(error)
    } else {
        Err(Unknown::Unsettled(error))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ShellError, *};

    #[test]
    fn failed_submissions_are_judged() {
        let check =
            |error: CommandError, expected: SubmitEffect| assert_eq!(effect_of(&error), expected, "{error}");
        let exit = |code: i32, text: &str| CommandError::Exit {
            code,
            text: text.to_owned(),
        };
        let refused = |why: &str| exit(1, &format!("sbatch: error: Batch job submission failed: {why}"));
        check(
            refused("Invalid partition name specified"),
            SubmitEffect::NotStarted,
        );
        check(
            refused("Unable to contact slurm controller (connect failure)"),
            SubmitEffect::Unknown,
        );
        check(
            refused("Socket timed out on send/recv operation"),
            SubmitEffect::Unknown,
        );
        check(
            exit(255, "sbatch: unrecognized option '--nosuch'"),
            SubmitEffect::NotStarted,
        );
        check(exit(127, "sh: 1: sbatch: not found"), SubmitEffect::NotStarted);
        check(
            exit(NOT_WHOLE, "the input did not arrive whole"),
            SubmitEffect::NotStarted,
        );
        check(
            exit(NOT_TAKEN, "cat: write error: No space left on device"),
            SubmitEffect::NotStarted,
        );
        check(exit(143, "Terminated"), SubmitEffect::Unknown);
        check(exit(1, ""), SubmitEffect::Unknown);
        let unreachable = ShellError::Unreachable {
            host: "login".to_owned(),
            text: "no route".to_owned(),
        };
        check(CommandError::Shell(unreachable), SubmitEffect::NotStarted);
        let lost = ShellError::NoAnswer("the time was up".to_owned());
        check(CommandError::Shell(lost), SubmitEffect::Unknown);
    }
}
