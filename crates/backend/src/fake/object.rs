//! One object's scripted life.

use std::collections::VecDeque;

use gipfel_model::CampaignId;

use super::Submit;
use crate::{BackendError, Failure, FailureReason};

/// How an object ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfEnd {
    /// A load generator that measured everything; a server that ended without an error, which is a failure too.
    Completed,
    /// A failure.
    Failed(Failure),
}

/// The life of an object; by default it is up at the first observation and lives until it is ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What happens to each submit that starts something, in order; the others are answered.
    pub submits: Vec<Submit>,
    /// Observations that say queued.
    pub queued: u32,
    /// Observations after those that say starting; for a load generator: running, without progress yet.
    pub starting: u32,
    /// Observations after those until it ends by itself; without it, it lives until it is ended.
    pub ends_after: Option<(u32, SelfEnd)>,
    /// Observations, from the first one, that fail and tell nothing; time passes meanwhile.
    pub unreachable: u32,
    /// Calls of `end` that fail with the object alive.
    pub end_fails: u32,
    /// Observations that a load generator lives on after it was asked to stop.
    pub stops_after: u32,
}

/// An object, from its first submit on.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) campaign: String,
    pub(super) script: Script,
    pub(super) submits: VecDeque<Submit>,
    pub(super) life: Life,
    pub(super) age: u32,
    /// The age at which it was asked to stop.
    pub(super) stopped_at: Option<u32>,
    pub(super) ends_failed: u32,
    pub(super) starts: u32,
}

/// Whether it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Never came to life.
    Never,
    /// Comes to life after so many searches.
    Late(u32),
    Lives,
    Ended(End),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Itself(SelfEnd),
    Stopped,
    ByUs,
}

/// What an observation shows.
pub(super) enum View {
    Queued,
    Starting,
    Up,
    Ended(End),
}

impl Object {
    pub(super) fn new(campaign: &CampaignId, script: &Script) -> Self {
        Self {
            campaign: campaign.to_string(),
            submits: script.submits.iter().copied().collect(),
            script: script.clone(),
            life: Life::Never,
            age: 0,
            stopped_at: None,
            ends_failed: 0,
            starts: 0,
        }
    }

    pub(super) fn come_to_life(&mut self) {
        self.life = Life::Lives;
        self.age = 0;
        self.stopped_at = None;
        self.starts += 1;
    }

    pub(super) fn observe(&mut self) -> Result<View, BackendError> {
        let age = self.age;
        self.age += 1;
        let up_at = self.script.queued + self.script.starting;
        if self.life == Life::Lives {
            if self
                .stopped_at
                .is_some_and(|stopped_at| age >= stopped_at + self.script.stops_after)
            {
                self.life = Life::Ended(End::Stopped);
            }
            if let Some((after, end)) = &self.script.ends_after
                && age >= up_at + after
            {
                self.life = Life::Ended(End::Itself(end.clone()));
            }
        }
        if age < self.script.unreachable {
            return Err(BackendError::transient("observe", "the system cannot be reached"));
        }
        Ok(match &self.life {
            Life::Ended(end) => View::Ended(end.clone()),
            Life::Never | Life::Late(_) => View::Queued,
            Life::Lives if age < self.script.queued => View::Queued,
            Life::Lives if age < up_at => View::Starting,
            Life::Lives => View::Up,
        })
    }
}

fn cancelled() -> Failure {
    Failure {
        reason: FailureReason::Cancelled,
        message: "it was ended".to_owned(),
        log_tail: String::new(),
    }
}

/// The failure that an ended server shows.
pub(super) fn failure(end: End) -> Failure {
    match end {
        End::Itself(SelfEnd::Failed(failure)) => failure,
        End::Itself(SelfEnd::Completed) => Failure {
            reason: FailureReason::ServerFailed,
            message: "it ended by itself without an error".to_owned(),
            log_tail: String::new(),
        },
        End::Stopped | End::ByUs => cancelled(),
    }
}
