//! The load generator against the simulator: whole runs, and what is left of those that break.

#![expect(clippy::expect_used, reason = "a test may panic")]

mod breaks;
mod datasets;
mod faults;
mod job;
mod publish;
mod ranks;
mod runs;
mod search;
#[cfg(feature = "service")]
mod serve;
mod support;
