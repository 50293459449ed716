//! Finding out what became of a submission.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Jobs,
    mark::Mark,
    settle::{AdoptPolicy, Adoption, Look, MarkSeen, Settling, Verdict},
    types::JobFilter,
};
use crate::{
    classify::Class,
    error::Error,
    names::{JobId, JobName},
};

/// Why it is not known what became of a submission.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The looks came to no end in their time.
    #[error(
        "after {looks} looks in {spent:.1?} it is not settled whether a job `{name}` was started: look again \
         before you submit it again"
    )]
    Unsettled {
        /// The job's name.
        name: JobName,
        /// How many looks were made.
        looks: u32,
        /// The time they took.
        spent: Duration,
        /// Why the last look saw nothing, if it did not.
        #[source]
        last: Option<Box<Error>>,
    },
    /// A look was refused, and would be again.
    #[error("it cannot be looked up whether a job `{name}` was started")]
    Refused {
        /// The job's name.
        name: JobName,
        /// The refusal.
        #[source]
        error: Box<Error>,
    },
    /// More than one job has the name or the mark.
    #[error(
        "several jobs belong to the one submission `{name}`: {}; cancel all but one",
        ids.iter().map(JobId::as_str).collect::<Vec<_>>().join(", ")
    )]
    Several {
        /// The job's name.
        name: JobName,
        /// The jobs.
        ids: Vec<JobId>,
    },
}

impl Jobs {
    /// Finds the job that a submission under this name started, or settles that it started none.
    ///
    /// It looks at the list of jobs, which may be late or lack a job, and at the job's own mark. That nothing
    /// was started is settled by several looks over a time, as `policy` says. It changes nothing.
    pub async fn adopt(
        &self,
        name: &JobName,
        mark: &Mark,
        policy: &AdoptPolicy,
    ) -> Result<Adoption, AdoptError> {
        let begun = Instant::now();
        let mut settling = Settling::new(*policy);
        let mut looks = 0;
        loop {
            looks += 1;
            let at = begun.elapsed();
            let (look, last) = self.look(name, mark, policy).await?;
            let asked = last.as_ref().map_or(Duration::ZERO, Error::asked);
            let pause = policy.interval.max(asked);
            match settling.observe(&look, at, begun.elapsed(), pause) {
                Verdict::Found(ids) => return single(name, ids).map(Adoption::Found),
                Verdict::Nothing => return Ok(Adoption::Nothing),
                Verdict::LookAgain => tokio::time::sleep(pause).await,
                Verdict::Unsettled => {
                    let spent = begun.elapsed();
                    return Err(AdoptError::Unsettled {
                        name: name.clone(),
                        looks,
                        spent,
                        last: last.map(Box::new),
                    });
                }
            }
        }
    }

    /// One look for a name that is new: nothing seen is no reason not to submit.
    pub(super) async fn glance(
        &self,
        name: &JobName,
        mark: &Mark,
        policy: &AdoptPolicy,
    ) -> Result<Adoption, AdoptError> {
        let (look, _) = self.look(name, mark, policy).await?;
        match Settling::new(*policy).observe(&look, Duration::ZERO, Duration::ZERO, policy.interval) {
            Verdict::Found(ids) => single(name, ids).map(Adoption::Found),
            Verdict::Nothing | Verdict::LookAgain | Verdict::Unsettled => Ok(Adoption::Nothing),
        }
    }

    /// One look, and why it could not see if it could not.
    async fn look(
        &self,
        name: &JobName,
        mark: &Mark,
        policy: &AdoptPolicy,
    ) -> Result<(Look, Option<Error>), AdoptError> {
        let filter = JobFilter {
            window: policy.window,
            ..JobFilter::named(name.clone())
        };
        let files = self.client.files(&self.system);
        let (listed, content) = tokio::join!(self.list_call(&filter, true), files.view_once(mark.path()));
        let mut blind = None;
        let listed = match listed {
            Ok(jobs) => Some(jobs.into_iter().map(|job| job.id).collect()),
            Err(error) => {
                blind = Some(pass(name, error)?);
                None
            }
        };
        let mark = match content {
            Ok(text) => JobId::try_new(text.trim()).map_or(MarkSeen::Unclear, MarkSeen::Holds),
            Err(error) if error.is_missing_file() => MarkSeen::Absent,
            Err(error) => {
                let error = pass(name, error)?;
                let asks_for_more = blind
                    .as_ref()
                    .is_none_or(|earlier: &Error| earlier.asked() <= error.asked());
                if asks_for_more {
                    blind = Some(error);
                }
                MarkSeen::Unclear
            }
        };
        Ok((Look { listed, mark }, blind))
    }
}

/// The error of a look that may see more the next time.
fn pass(name: &JobName, error: Error) -> Result<Error, AdoptError> {
    match error.class() {
        Class::Retry | Class::Ambiguous => Ok(error),
        Class::Permanent | Class::Unauthenticated => Err(AdoptError::Refused {
            name: name.clone(),
            error: Box::new(error),
        }),
    }
}

fn single(name: &JobName, mut ids: Vec<JobId>) -> Result<JobId, AdoptError> {
    match (ids.pop(), ids.is_empty()) {
        (Some(id), true) => Ok(id),
        (last, _) => {
            ids.extend(last);
            Err(AdoptError::Several {
                name: name.clone(),
                ids,
            })
        }
    }
}
