//! Checked names: what enters a URL, a shell command on the cluster or a Slurm comment.

use std::{fmt, str::FromStr};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {expected}: {reason}")]
pub struct NameError {
    /// The refused text.
    pub value: String,
    /// What was expected.
    pub expected: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks the text.
            pub fn try_new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                match $check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(reason) => Err(NameError { value: text, expected: $expected, reason }),
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a system (a cluster) behind the API, such as `clariden`.
    SystemName,
    "a system's name",
    check_word
);

name!(
    /// An absolute path on the cluster.
    ///
    /// The server puts paths into shell commands, and a quote in one breaks the command, so only characters
    /// that no shell interprets are taken: letters, digits and `/ . _ - + = : , @ %`.
    RemotePath,
    "a path on the cluster",
    check_path
);

name!(
    /// The name of a job: 1 to 235 characters that no shell interprets.
    JobName,
    "a job's name",
    check_job_name
);

name!(
    /// A job's id as Slurm writes it: `1234`, `1234_5` for a task of an array, or `1234_[6-9]` for those that wait.
    JobId,
    "a job's id",
    check_job_id
);

/// The longest name that the server takes as a filter.
const LONGEST_JOB_NAME: usize = 235;

fn is_safe(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '=' | ':' | ',' | '@' | '%')
}

fn refuse_unsafe(text: &str, also: &[char]) -> Result<(), String> {
    match text.chars().find(|c| !is_safe(*c) && !also.contains(c)) {
        Some(c) => Err(format!(
            "the character {c:?} is not taken, since the cluster's shell may interpret it"
        )),
        None => Ok(()),
    }
}

fn check_word(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if matches!(text, "." | "..") {
        return Err("it would change the path of the request".to_owned());
    }
    refuse_unsafe(text, &[])
}

fn check_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err("it is not absolute; the server expands neither `~` nor variables".to_owned());
    }
    refuse_unsafe(text, &['/'])
}

fn check_job_name(text: &str) -> Result<(), String> {
    if text.len() > LONGEST_JOB_NAME {
        return Err(format!("it is longer than {LONGEST_JOB_NAME} characters"));
    }
    check_word(text)
}

fn check_job_id(text: &str) -> Result<(), String> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("it does not begin with a digit".to_owned());
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '.' | '-' | ',' | '%' | '[' | ']')))
    {
        Some(c) => Err(format!("it contains {c:?}")),
        None => Ok(()),
    }
}

impl RemotePath {
    /// The path of an entry of this directory.
    pub fn join(&self, entry: &str) -> Result<Self, NameError> {
        Self::try_new(format!("{}/{entry}", self.0.trim_end_matches('/')))
    }

    /// The directory and the name of a file's path; nothing for a path that ends with `/`, `.` or `..`.
    pub fn split(&self) -> Option<(Self, &str)> {
        let (directory, name) = self.0.rsplit_once('/')?;
        if matches!(name, "" | "." | "..") {
            return None;
        }
        let directory = if directory.is_empty() { "/" } else { directory };
        Some((Self(directory.to_owned()), name))
    }
}

impl JobId {
    /// The id that `sbatch` gave: an array's without the task, a step's without the step.
    pub fn submitted(&self) -> Self {
        let digits = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        Self(self.0[..digits].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked() {
        let check = |text: &str, expected: Result<(), &str>| {
            let found = RemotePath::try_new(text)
                .map(|_| ())
                .map_err(|error| error.reason);
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        };
        let shell =
            |c: char| format!("the character {c:?} is not taken, since the cluster's shell may interpret it");
        check("/capstor/scratch/cscs/a.b_c-d", Ok(()));
        check("/", Ok(()));
        check(
            "relative/x",
            Err("it is not absolute; the server expands neither `~` nor variables"),
        );
        check(
            "~/x",
            Err("it is not absolute; the server expands neither `~` nor variables"),
        );
        check("/a b", Err(&shell(' ')));
        check("/a'b", Err(&shell('\'')));
        check("/a$(b)", Err(&shell('$')));
        check("/a\nb", Err(&shell('\n')));
    }

    #[test]
    fn paths_are_split() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let path = RemotePath::try_new(text).expect("a path");
            let found = path.split();
            assert_eq!(
                found
                    .as_ref()
                    .map(|(directory, name)| (directory.as_str(), *name)),
                expected
            );
        };
        check("/a/b", Some(("/a", "b")));
        check("/b", Some(("/", "b")));
        check("/a/", None);
        check("/a/..", None);
    }

    #[test]
    fn ids_lose_their_task() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                JobId::try_new(text).expect("an id").submitted().as_str(),
                expected
            );
        };
        check("62", "62");
        check("62_1", "62");
        check("62.batch", "62");
        check("62+1", "62");
        check("62_[3,5-9%2]", "62");
        assert!(JobId::try_new("abc").is_err());
        assert!(JobId::try_new("1/../2").is_err());
    }
}
