//! How often and how long something is tried.

use std::time::Duration;

/// The bounds of retries and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How often a submission is tried that did not start, and how often a load generator that died is started.
    pub attempts: u32,
    /// How often an end is tried at least before its object is given up as lost.
    pub end_attempts: u32,
    /// How long an end is tried at least before its object is given up as lost.
    pub end_patience: Duration,
    /// How long a run whose load generator has ended waits at least to hear of a server that does not answer.
    pub check_patience: Duration,
    /// How long a load generator may take to leave by itself after it was asked to stop.
    pub stop_grace: Duration,
    /// How often collecting a run's database is tried.
    pub collect_attempts: u32,
    /// After how many failed observations in a row an object is shown as unreachable; it stays owned. Deadlines of
    /// a server count from then on although it cannot be seen.
    pub unreachable_after: u32,
    /// A fault built in on purpose, which the walk has to find.
    #[cfg(test)]
    pub(crate) mutation: Option<Mutation>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attempts: 3,
            end_attempts: 8,
            end_patience: Duration::from_mins(2),
            check_patience: Duration::from_secs(30),
            stop_grace: Duration::from_mins(1),
            collect_attempts: 5,
            unreachable_after: 4,
            #[cfg(test)]
            mutation: None,
        }
    }
}

/// The faults that the walk has to find.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// An interrupt takes an open submission for one that did not happen.
    IgnoreOpenSubmission,
    /// A run is ended without its load generator when its server dies.
    ForgetRunHandleOnServerDeath,
}

impl Limits {
    #[cfg(test)]
    pub(crate) fn mutated(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }
}

/// Whole milliseconds of a duration, on the scale of the step's time.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
