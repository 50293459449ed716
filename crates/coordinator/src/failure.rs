//! Errors as people see them: `error:`, `caused by:`, `hint:` and an exit code.

use std::{fmt::Write, io};

use gipfel_experiment::JournalError;

use crate::{exit::Exit, occupancy::OccupancyError, remedy};

/// A failure with the exit code that it stands for and, if there is one, what to do about it.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What went wrong, with its causes.
    pub error: anyhow::Error,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// Wrong usage or configuration.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Usage,
            error: error.into(),
            hint: None,
        }
    }

    /// A campaign that cannot be driven in its results directory.
    pub(crate) fn campaign(error: anyhow::Error) -> Self {
        let hint = match (error.downcast_ref(), error.downcast_ref()) {
            (Some(occupancy), _) => Some(OccupancyError::hint(occupancy)),
            (None, Some(journal)) => journal_hint(journal),
            (None, None) => None,
        };
        Self {
            exit: Exit::Usage,
            error,
            hint,
        }
    }

    /// An experiment that failed.
    pub fn experiment(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::ExperimentFailed,
            error: error.into(),
            hint: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The text for standard error.
    pub fn render(&self) -> String {
        let mut text = format!("error: {}\n", self.error);
        for cause in self.error.chain().skip(1) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  caused by: {cause}");
        }
        let hint = self.hint.as_deref().or_else(|| remedy::of_error(&self.error));
        if let Some(hint) = hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            exit: Exit::Internal,
            error,
            hint: None,
        }
    }
}

fn journal_hint(error: &JournalError) -> Option<String> {
    match error {
        JournalError::Io { source, .. } => Some(directory_hint(source).to_owned()),
        JournalError::NoCampaign { .. } => {
            Some("`gipfel list` names those that there are; --results-dir looks elsewhere".to_owned())
        }
        JournalError::Damaged { .. } => Some(
            "the databases of its runs are not touched: `gipfel results merge` reads them; with the directory moved away, \
             `gipfel run` begins anew"
                .to_owned(),
        ),
        JournalError::Format { .. } => {
            Some("go on with the gipfel that began it, or begin anew with another --results-dir".to_owned())
        }
        JournalError::NoServer { .. } => Some("`gipfel status` names the servers of a campaign".to_owned()),
        _ => None,
    }
}

/// What to do about a results directory that refuses.
pub(crate) fn directory_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or keep results on another disk with --results-dir"
        }
        _ => "choose a directory that can be written with --results-dir",
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_failure_shows_its_causes_and_what_to_do() {
        let error = Err::<(), _>(std::io::Error::other("no such file")).context("failed to read `a.yaml`");
        let failure = Failure::usage(error.expect_err("it is an error")).hint("look at the path");
        insta::assert_snapshot!(failure.render(), @r"
        error: failed to read `a.yaml`
          caused by: no such file
        hint: look at the path
        ");
    }
}
