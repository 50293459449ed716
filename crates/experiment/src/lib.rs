//! The life of deployments and runs: a pure step, its driver, its journal.
//!
//! [`Campaign`] is the whole state of one `gipfel run`. [`Campaign::step`] takes an event and gives the effects that
//! follow; it reads no clock and does no I/O. The [`Driver`] carries the effects out through the backends' traits and
//! feeds the answers back as events. The [`Journal`] keeps the campaign on disk, written before an effect leaves, so
//! that no job is forgotten whenever the driver dies: [`Campaign::resume`] takes up what lives.

mod again;
mod campaign;
mod deployment;
mod driver;
mod event;
mod journal;
mod limits;
mod plan;
mod resume;
mod run;
#[cfg(test)]
mod samples;
mod step;
#[cfg(test)]
mod step_tests;
#[cfg(test)]
mod walk;

pub use again::{Decision, EarlierOutcome, EarlierRun, Retry, UnknownReason, decide};
pub use campaign::{Campaign, LiveObject, ObjectKind, STATE_FORMAT};
pub use deployment::{Deployment, DeploymentOutcome, DeploymentPhase};
pub use driver::{
    Backends, Command, Deadlines, Departure, Driver, DriverError, DriverOptions, Left, Load,
    RunConfigBuilder, System, Update,
};
pub use event::{DeploymentEvent, Effect, Event, RunEvent, Scope, SubmitFailure};
pub use journal::{Borrowed, Journal, JournalError};
pub use limits::Limits;
pub use plan::{CampaignFacts, MakeIds, PlanError, ServerChoice, plan_campaign, redirect_all};
pub use run::{Life, Run, RunOutcome, RunPhase};
