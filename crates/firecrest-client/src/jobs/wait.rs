//! Waiting for the end of a job.

use std::time::Duration;

use tokio::time::Instant;

use super::{Jobs, state::PendingReason, types::Job};
use crate::{classify::Class, error::Error, names::JobId};

/// How the end of a job is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitOptions {
    /// The most time to wait.
    pub total: Duration,
    /// The time between the first two looks; it doubles with each further one.
    pub initial: Duration,
    /// The most time between looks.
    pub longest: Duration,
    /// How long a job may be unknown before it counts as lost.
    pub unknown_for: Duration,
}

impl Default for WaitOptions {
    /// A day, with looks 1 to 15 s apart, and two minutes for a job to be known.
    fn default() -> Self {
        Self {
            total: Duration::from_hours(24),
            initial: Duration::from_secs(1),
            longest: Duration::from_secs(15),
            unknown_for: Duration::from_mins(2),
        }
    }
}

/// Why the end of a job was not seen. Nothing was done to the job.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The time was up.
    #[error("job {id} has not ended after {spent:.0?}; it is {seen}")]
    OutOfTime {
        /// The job.
        id: JobId,
        /// The time that was waited.
        spent: Duration,
        /// What was seen of it last.
        seen: String,
        /// Why the last look failed, if it did.
        #[source]
        last: Option<Box<Error>>,
    },
    /// The scheduler does not know the job.
    #[error("job {id} has been unknown to the scheduler for {spent:.0?}")]
    Lost {
        /// The job.
        id: JobId,
        /// For how long.
        spent: Duration,
        /// What the last look was answered.
        #[source]
        last: Option<Box<Error>>,
    },
    /// The job waits for what will not come.
    #[error("job {id} will not start: {reason}; cancel it and change what it asks for")]
    WillNotStart {
        /// The job.
        id: JobId,
        /// The scheduler's reason.
        reason: String,
    },
    /// A look was refused, and would be again.
    #[error(transparent)]
    Call(#[from] Error),
}

impl Jobs {
    /// Waits until a job has ended, with all tasks if it is an array.
    ///
    /// Looks that fail are passed over until the time is up: the accounting may be away while jobs run on. A
    /// longer time that the server asks for is kept between looks.
    pub async fn wait(&self, id: &JobId, options: &WaitOptions) -> Result<Vec<Job>, WaitError> {
        let begun = Instant::now();
        let (mut pause, mut unknown_since) = (options.initial, None);
        let mut seen = "not seen yet".to_owned();
        loop {
            let last = match sight(id, self.get_call(id, true).await)? {
                Sight::Ended(jobs) => return Ok(jobs),
                Sight::Alive(state) => {
                    (seen, unknown_since) = (state, None);
                    None
                }
                Sight::Blind(error) => Some(error),
                Sight::Unknown(last) => {
                    let since: Instant = *unknown_since.get_or_insert_with(Instant::now);
                    let (id, spent) = (id.clone(), since.elapsed());
                    if spent >= options.unknown_for {
                        return Err(WaitError::Lost { id, spent, last });
                    }
                    last
                }
            };
            let (id, spent) = (id.clone(), begun.elapsed());
            let asked = last.as_ref().map_or(Duration::ZERO, |error| error.asked());
            if spent.saturating_add(pause.max(asked)) > options.total {
                return Err(WaitError::OutOfTime {
                    id,
                    spent,
                    seen,
                    last,
                });
            }
            tokio::time::sleep(pause.max(asked)).await;
            pause = pause.saturating_mul(2).min(options.longest);
        }
    }
}

/// What a look at a job saw.
enum Sight {
    Ended(Vec<Job>),
    /// It has not ended, and is in this state.
    Alive(String),
    /// The scheduler does not know it, yet or any more.
    Unknown(Option<Box<Error>>),
    /// The look failed, and the next one may not.
    Blind(Box<Error>),
}

fn sight(id: &JobId, look: Result<Vec<Job>, Error>) -> Result<Sight, WaitError> {
    match look {
        Ok(jobs) if jobs.is_empty() => Ok(Sight::Unknown(None)),
        Ok(jobs) if jobs.iter().all(|job| job.status.state.is_ended()) => Ok(Sight::Ended(jobs)),
        Ok(jobs) => {
            refuse_hopeless(id, &jobs)?;
            let states = jobs.iter().map(|job| format!("{:?}", job.status.state));
            Ok(Sight::Alive(states.collect::<Vec<_>>().join(", ")))
        }
        Err(error) if is_unknown_job(&error) => Ok(Sight::Unknown(Some(Box::new(error)))),
        Err(error) if error.class() == Class::Retry => Ok(Sight::Blind(Box::new(error))),
        Err(error) => Err(error.into()),
    }
}

/// Whether the job is missing, and not the system.
fn is_unknown_job(error: &Error) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| refusal.status == 404 && !refusal.mentions("System not found"))
}

fn refuse_hopeless(id: &JobId, jobs: &[Job]) -> Result<(), WaitError> {
    let reasons = jobs.iter().filter_map(|job| job.status.pending_reason());
    for reason in reasons {
        match reason {
            PendingReason::Never(reason) => {
                return Err(WaitError::WillNotStart {
                    id: id.clone(),
                    reason,
                });
            }
            PendingReason::Untold | PendingReason::Waits(_) | PendingReason::Limit(_) => {}
        }
    }
    Ok(())
}
