//! Submitting a job once.

use std::fmt;

use serde::Deserialize;

use super::{
    Jobs,
    adopt::AdoptError,
    mark::Mark,
    settle::{AdoptPolicy, Adoption, Earlier},
    spec::{JobSpec, SpecError},
};
use crate::{
    call::{Call, path},
    classify::{CallKind, Class},
    error::Error,
    lenient,
    names::{JobId, NameError},
};

/// What a failed submission left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// No job was started, and none will be.
    NotStarted,
    /// This job was started.
    Started(JobId),
    /// A job may have been started, or may start yet: [`Jobs::adopt`] finds out.
    Unknown,
}

/// A submission that failed, with what it left behind.
#[derive(Debug, thiserror::Error)]
#[error("the submission failed: {outcome}")]
pub struct SubmitError {
    /// What it left behind.
    pub outcome: Outcome,
    /// What went wrong.
    #[source]
    pub fault: SubmitFault,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted => formatter.write_str("nothing was started"),
            Self::Started(id) => write!(formatter, "job {id} of that name is there"),
            Self::Unknown => formatter.write_str(
                "it is not known whether it was started; look it up by its name before you submit again",
            ),
        }
    }
}

/// What went wrong with a submission.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitFault {
    /// It was not sent, since the server would get it wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// It has no name, by which it could be found again.
    #[error("the job has no name, by which it could be found again: give it one of its own")]
    NoName,
    /// The call failed.
    #[error(transparent)]
    Call(Error),
    /// An earlier submission could not be looked up.
    #[error(transparent)]
    Adopt(AdoptError),
}

/// A job that runs under the name, however it came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It was submitted now.
    Now(JobId),
    /// It had been submitted before.
    Adopted(JobId),
}

impl Submitted {
    /// The job.
    pub fn id(&self) -> &JobId {
        match self {
            Self::Now(id) | Self::Adopted(id) => id,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    #[serde(deserialize_with = "lenient::text")]
    job_id: String,
}

impl Jobs {
    /// Submits a job once.
    ///
    /// The server may answer with an error and start the job all the same. So the call is repeated only where
    /// it is certain that nothing was started, and its error says what is known. A future that is dropped leaves
    /// behind what an error with [`Outcome::Unknown`] does.
    pub async fn submit(&self, spec: &JobSpec) -> Result<JobId, SubmitError> {
        let body = spec.body().map_err(|fault| SubmitError {
            outcome: Outcome::NotStarted,
            fault: fault.into(),
        })?;
        let call = Call::post(CallKind::Submit, path::jobs(&self.system)).json(body);
        let answer = match self.client.run(call).await {
            Ok(done) => done.json_then(|created: Created| {
                JobId::try_new(created.job_id).map_err(|fault: NameError| fault.to_string())
            }),
            Err(error) => Err(error),
        };
        answer.map_err(|error| SubmitError {
            outcome: left_behind(error.class()),
            fault: SubmitFault::Call(error),
        })
    }

    /// Submits a job unless one of its name or mark is there, and finds out what a call without a clear
    /// answer has done.
    ///
    /// The job is submitted again only when it is settled that an earlier submission started nothing and
    /// can no longer start anything.
    pub async fn submit_or_adopt(
        &self,
        spec: &JobSpec,
        mark: &Mark,
        earlier: Earlier,
        policy: &AdoptPolicy,
    ) -> Result<Submitted, SubmitError> {
        let Some(name) = &spec.name else {
            return Err(SubmitError {
                outcome: Outcome::NotStarted,
                fault: SubmitFault::NoName,
            });
        };
        let adoption = match earlier {
            Earlier::Never => self.glance(name, mark, policy).await,
            Earlier::Possible => self.adopt(name, mark, policy).await,
        };
        if let Adoption::Found(id) = adoption.map_err(|error| not_settled(earlier, error))? {
            return Ok(Submitted::Adopted(id));
        }
        let mut submits = 1;
        loop {
            let error = match self.submit(spec).await {
                Ok(id) => return Ok(Submitted::Now(id)),
                Err(error) if error.outcome != Outcome::Unknown => return Err(error),
                Err(error) => error,
            };
            tracing::debug!(%name, submits, fault = %error.fault, "the submission is looked up");
            match self.adopt(name, mark, policy).await {
                Ok(Adoption::Found(id)) => return Ok(Submitted::Adopted(id)),
                Ok(Adoption::Nothing) if submits >= policy.submits => {
                    return Err(SubmitError {
                        outcome: Outcome::NotStarted,
                        fault: error.fault,
                    });
                }
                Ok(Adoption::Nothing) => submits += 1,
                Err(error) => return Err(not_settled(Earlier::Possible, error)),
            }
        }
    }
}

fn left_behind(class: Class) -> Outcome {
    match class {
        Class::Ambiguous => Outcome::Unknown,
        // A submission is repeated only after attempts that started nothing.
        Class::Retry | Class::Permanent | Class::Unauthenticated => Outcome::NotStarted,
    }
}

fn not_settled(earlier: Earlier, error: AdoptError) -> SubmitError {
    let outcome = match (&error, earlier) {
        (AdoptError::Several { ids, .. }, _) => {
            ids.first().cloned().map_or(Outcome::Unknown, Outcome::Started)
        }
        (_, Earlier::Never) => Outcome::NotStarted,
        (_, Earlier::Possible) => Outcome::Unknown,
    };
    SubmitError {
        outcome,
        fault: SubmitFault::Adopt(error),
    }
}
