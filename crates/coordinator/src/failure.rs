//! Errors as people see them: `error:`, `caused by:`, `hint:` and an exit code.

use std::fmt::Write;

use crate::exit::Exit;

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
        if let Some(hint) = &self.hint {
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
