//! Exit codes, which scripts may rely on.

use std::process::ExitCode;

/// How `gipfel` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// A fault of gipfel itself.
    Internal = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Measured, and no rate meets the objectives.
    NoRate = 10,
    /// An experiment failed.
    ExperimentFailed = 11,
    /// Measured, but the samples do not support an answer.
    Unresolved = 12,
    /// Compared, and the second result is worse beyond noise.
    Worse = 13,
    /// A test of this machine found a fault.
    Fault = 14,
    /// Interrupted; what was measured is kept.
    Interrupted = 130,
}

impl Exit {
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Internal,
        Self::Usage,
        Self::NoRate,
        Self::ExperimentFailed,
        Self::Unresolved,
        Self::Worse,
        Self::Fault,
        Self::Interrupted,
    ];

    /// The end that a process's exit code stands for.
    pub(crate) fn of_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| *exit as i32 == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
