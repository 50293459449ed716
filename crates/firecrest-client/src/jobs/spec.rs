//! What a job is to be.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::names::{JobName, RemotePath};

/// A job as it is submitted.
///
/// Nodes, time and GPUs have no fields in the API: they are `#SBATCH` lines of the script. What is set here
/// wins over such lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// Where it runs. Slurm accepts a directory that is missing, and the job fails without output.
    pub working_directory: RemotePath,
    /// What it runs.
    pub script: Script,
    /// Its name, by which it is found again: give every submission one of its own.
    pub name: Option<JobName>,
    /// The account that it is charged to.
    pub account: Option<String>,
    /// Its partition.
    pub partition: Option<String>,
    /// Its reservation.
    pub reservation: Option<String>,
    /// The features that its nodes must have.
    pub constraints: Option<String>,
    /// Variables of its environment; none set leaves the server's own.
    pub environment: Option<BTreeMap<String, String>>,
    /// The file of its output.
    pub standard_output: Option<String>,
    /// The file of its errors.
    pub standard_error: Option<String>,
    /// The file of its input.
    pub standard_input: Option<String>,
}

/// What a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// This text, which begins with `#!`.
    Inline(String),
    /// This file on the cluster.
    File(RemotePath),
}

/// Why a job is not submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Slurm would refuse the script.
    #[error(
        "the script does not begin with `#!` and the path of its interpreter: begin it with `#!/bin/bash -l`"
    )]
    NoInterpreter,
    /// The server would split the value.
    #[error(
        "the variable `{0}` has a comma in its value, at which the server splits it: set it in the script with \
         `export`"
    )]
    Comma(String),
    /// The server puts the value between quotes into a command of the login node's shell.
    #[error(
        "{0} has a quote or a line's end, at which the server's command breaks: leave it out, or set it in the script"
    )]
    Quote(String),
    /// The name is none.
    #[error("`{0}` is no name of a variable: use letters, digits and `_`, not beginning with a digit")]
    Variable(String),
}

impl JobSpec {
    /// A job that runs the script in this directory.
    pub fn new(working_directory: RemotePath, script: Script) -> Self {
        Self {
            working_directory,
            script,
            name: None,
            account: None,
            partition: None,
            reservation: None,
            constraints: None,
            environment: None,
            standard_output: None,
            standard_error: None,
            standard_input: None,
        }
    }

    /// The body of the request.
    pub(super) fn body(&self) -> Result<Value, SpecError> {
        let mut job = Map::new();
        let mut put = |key: &str, value: &str| job.insert(key.to_owned(), value.into());
        put("workingDirectory", self.working_directory.as_str());
        match &self.script {
            Script::Inline(text) if !text.starts_with("#!") => return Err(SpecError::NoInterpreter),
            Script::Inline(text) => put("script", text),
            Script::File(path) => put("scriptPath", path.as_str()),
        };
        let optional = [
            ("name", self.name.as_ref().map(JobName::as_str)),
            ("account", self.account.as_deref()),
            ("partition", self.partition.as_deref()),
            ("reservation", self.reservation.as_deref()),
            ("constraints", self.constraints.as_deref()),
            ("standardOutput", self.standard_output.as_deref()),
            ("standardError", self.standard_error.as_deref()),
            ("standardInput", self.standard_input.as_deref()),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                check_quoted(key, value)?;
                put(key, value);
            }
        }
        if let Some(environment) = &self.environment {
            environment
                .iter()
                .try_for_each(|(key, value)| check_variable(key, value))?;
            job.insert("env".to_owned(), json!(environment));
        }
        Ok(json!({ "job": job }))
    }
}

fn check_variable(key: &str, value: &str) -> Result<(), SpecError> {
    let is_name = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(SpecError::Variable(key.to_owned()));
    }
    if value.contains(',') {
        return Err(SpecError::Comma(key.to_owned()));
    }
    check_quoted(&format!("the variable `{key}`"), value)
}

fn check_quoted(what: &str, value: &str) -> Result<(), SpecError> {
    if value.contains(['\'', '\n', '\r', '\0']) {
        return Err(SpecError::Quote(what.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(script: Script) -> JobSpec {
        JobSpec::new(RemotePath::try_new("/scratch").expect("a path"), script)
    }

    #[test]
    fn bodies_are_written() {
        let check = |spec: &JobSpec, expected: Result<Value, SpecError>| assert_eq!(spec.body(), expected);
        let inline = Script::Inline("#!/bin/bash\ntrue\n".to_owned());
        check(
            &spec(inline.clone()),
            Ok(json!({ "job": { "workingDirectory": "/scratch", "script": "#!/bin/bash\ntrue\n" } })),
        );
        check(
            &spec(Script::Inline("true".to_owned())),
            Err(SpecError::NoInterpreter),
        );
        let variables = |key: &str, value: &str| JobSpec {
            environment: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
            ..spec(inline.clone())
        };
        check(&variables("A", "x,y=z"), Err(SpecError::Comma("A".to_owned())));
        check(&variables("1A", "x"), Err(SpecError::Variable("1A".to_owned())));
        check(&variables("A B", "x"), Err(SpecError::Variable("A B".to_owned())));
        let quote = |what: &str| Err(SpecError::Quote(what.to_owned()));
        check(&variables("A", "it's"), quote("the variable `A`"));
        check(&variables("A", "x\ny"), quote("the variable `A`"));
        let account = JobSpec {
            account: Some("a' ; touch x '".to_owned()),
            ..spec(inline.clone())
        };
        check(&account, quote("account"));
    }
}
