//! What runs a line of shell.

use std::{io, path::PathBuf, time::Duration};

use gipfel_backend::BoxFuture;

use super::super::ClusterErrorKind;

/// Runs lines of POSIX shell somewhere.
pub trait Shell: Send + Sync {
    /// Runs a line and waits for its end, within its time.
    ///
    /// A line has no line break and no `!`, so that every login shell hands it on as it is.
    fn run<'a>(&'a self, command: &'a ShellCommand) -> BoxFuture<'a, Result<ShellOutput, ShellError>>;
}

/// A line of shell, and what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellCommand {
    /// The line.
    pub line: String,
    /// Its standard input. An input may be cut off by a fault: the line compares its checksum.
    pub input: Input,
    /// How long it may take.
    pub time: Duration,
}

/// The standard input of a line.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// None.
    Nothing,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The content of this local file.
    File(PathBuf),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("Nothing"),
            // A file may hold a secret.
            Self::Bytes(bytes) => write!(formatter, "{} bytes", bytes.len()),
            Self::File(path) => write!(formatter, "the file {}", path.display()),
        }
    }
}

/// What a line left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellOutput {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

/// The most of an error's text that is shown.
const LONGEST_TEXT: usize = 1000;

impl ShellOutput {
    /// The text of its standard error, of a length that can be shown.
    pub(super) fn error_text(&self) -> String {
        let text = self.stderr.trim();
        match text.char_indices().nth(LONGEST_TEXT) {
            Some((cut, _)) => format!("{}…", &text[..cut]),
            None => text.to_owned(),
        }
    }
}

/// Why it is not known what a line did, or why it did nothing.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// It was not begun: the shell cannot be started.
    #[error("`{program}` cannot be started")]
    NoProgram {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was not begun: the input cannot be read.
    #[error("failed to read {}", path.display())]
    NoInput {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was not begun: the host does not let the user in.
    #[error(
        "{host} does not let you in without a question: {text}; try `ssh {host} true` until it answers by itself"
    )]
    Refused {
        /// The host.
        host: String,
        /// What ssh said.
        text: String,
    },
    /// It was not begun: the host cannot be reached.
    #[error("{host} cannot be reached: {text}")]
    Unreachable {
        /// The host.
        host: String,
        /// What ssh said.
        text: String,
    },
    /// It may have been carried out, in part or wholly.
    #[error("no whole answer came: {0}")]
    NoAnswer(String),
}

impl ShellError {
    /// What kind of refusal it is.
    pub fn kind(&self) -> ClusterErrorKind {
        match self {
            Self::NoProgram { .. } | Self::NoInput { .. } => ClusterErrorKind::Invalid,
            Self::Refused { .. } => ClusterErrorKind::Refused,
            Self::Unreachable { .. } | Self::NoAnswer(_) => ClusterErrorKind::Away,
        }
    }

    /// Whether the line may have had an effect.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::NoAnswer(_) => true,
            Self::NoProgram { .. }
            | Self::NoInput { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. } => false,
        }
    }
}
