//! Who may touch what, and the words of the commands that may not.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::PermissionsExt as _,
};

use http::StatusCode;

use crate::{
    answer::Problem,
    options::UserOptions,
    paths::{Owner, Place},
};

/// A failure of a command: its exit status and its words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CommandFailure {
    pub(crate) exit_status: i32,
    pub(crate) text: String,
}

impl CommandFailure {
    pub(crate) fn new(exit_status: i32, text: impl Into<String>) -> Self {
        Self {
            exit_status,
            text: text.into(),
        }
    }
}

impl From<CommandFailure> for Problem {
    fn from(failure: CommandFailure) -> Self {
        let text = &failure.text;
        let status = if text.contains("No such file or directory") {
            StatusCode::NOT_FOUND
        } else if text.contains("Permission denied") || text.contains("Operation not permitted") {
            StatusCode::FORBIDDEN
        } else if text.contains("File exists") {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let message = format!(
            "Remote process failed with exit status:{} and error message:{text}",
            failure.exit_status
        );
        Problem::new(status, message)
    }
}

/// The words of an error, as the C library has them.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// What somebody wants of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Access {
    Read,
    Write,
}

pub(crate) fn owns(user: &UserOptions, place: &Place) -> bool {
    match &place.owner {
        Owner::Anybody => true,
        Owner::User(name) => *name == user.name,
        Owner::Root => false,
    }
}

/// Whether the mode of a file gives this user this access.
pub(crate) fn allows(user: &UserOptions, place: &Place, metadata: &Metadata, access: Access) -> bool {
    let bit = match access {
        Access::Read => 0o4,
        Access::Write => 0o2,
    };
    let shift = if owns(user, place) { 6 } else { 0 };
    metadata.permissions().mode() >> shift & bit != 0
}

/// Whether this user may make or remove entries of the folder of `place`.
pub(crate) fn may_change_folder(user: &UserOptions, place: &Place) -> io::Result<()> {
    let parent = place.real.parent().unwrap_or(&place.real);
    let metadata = fs::metadata(parent)?;
    let shift = if owns(user, place) && !place.is_top { 6 } else { 0 };
    let allowed = metadata.permissions().mode() >> shift & 0o2 != 0 && place.owner != Owner::Root;
    if allowed {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(
            rustix::io::Errno::ACCESS.raw_os_error(),
        ))
    }
}

/// A quote ends the quoting of the server's own command line.
pub(crate) fn refuse_quotes(path: &str) -> Result<(), CommandFailure> {
    if path.contains('\'') {
        let text = "bash: -c: line 1: unexpected EOF while looking for matching `''";
        return Err(CommandFailure::new(2, text));
    }
    Ok(())
}
