//! Level verdicts and search strategies: observations in, commands out.
//!
//! Nothing here reads a clock, sends a request or waits: the caller brings what it has observed and carries out what it
//! is told.
//!
//! - [`decide_in_flight`] says of one running request what is already certain;
//! - [`judge`] and [`certain_reject`] say of one level whether it meets the objectives;
//! - [`LevelSearch`] says which level comes next;
//! - [`highest_passing_level`] and [`non_monotonic`] read the answer from the levels.

mod adaptive;
mod conclude;
mod evidence;
mod fit;
mod in_flight;
mod levels;
mod posterior;
mod summary;
mod verdict;

pub use adaptive::{AdaptiveSearch, Counted, Directive, Observation};
pub use conclude::conclude;
pub use evidence::{attainment, evidence_of};
pub use in_flight::decide_in_flight;
pub use levels::{Command, DoneReason, LevelSearch};
pub use summary::{highest_passing_level, non_monotonic};
pub use verdict::{certain_reject, judge, judge_simply};
