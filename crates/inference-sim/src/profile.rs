//! Simulated servers as data.

use std::path::{Path, PathBuf};

use crate::{model::StepLaw, profile_form::RawFile};
use gipfel_model::{ArrivalProcess, LengthDistribution, Slo, WorkloadSpec};

const EMBEDDED: &str = include_str!("../../../examples/servers.toml");

/// One simulated server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerProfile {
    /// What `--profile` names; also the served model's name unless another is given.
    pub name: String,
    /// The cost and the limits of its steps.
    pub law: StepLaw,
    /// Tokens of a prompt in the workload that `truth` holds for.
    pub input: LengthDistribution,
    /// Tokens of an answer in that workload.
    pub output: LengthDistribution,
    /// The objectives that `truth` holds for.
    pub slos: Vec<Slo>,
    /// The highest rate within the objectives, in requests per second, where it is known.
    pub truth: Option<f64>,
}

impl ServerProfile {
    /// The workload that `truth` holds for.
    pub fn workload(&self, seed: u64) -> WorkloadSpec {
        WorkloadSpec {
            prompts: gipfel_model::PromptSource::default(),
            arrivals: ArrivalProcess::Poisson,
            input_length: self.input,
            output_length: self.output,
            seed,
            requests: gipfel_model::RequestForm::default(),
        }
    }
}

/// Why no profile could be had.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file could not be read.
    #[error("failed to read the server profiles in `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text is not TOML of the documented form.
    #[error("the server profiles in `{file}` are not of the documented form")]
    Form {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// Values that make no server, all of them, one a line.
    #[error("the server profiles in `{file}` hold values that are not allowed:\n  {}", faults.join("\n  "))]
    Values {
        /// The file.
        file: String,
        /// Each value with its server and what is allowed.
        faults: Vec<String>,
    },
    /// A name that no profile has.
    #[error("there is no server profile `{name}`, only {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that exist, separated by commas.
        known: String,
    },
    /// No name where several profiles exist.
    #[error("the file holds several server profiles, name one of {known}")]
    Ambiguous {
        /// The names that exist, separated by commas.
        known: String,
    },
}

/// The servers of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiles(Vec<ServerProfile>);

impl Profiles {
    /// The servers that gipfel knows by name.
    #[expect(clippy::expect_used, reason = "a test parses the embedded text")]
    pub fn embedded() -> Self {
        Self::parse(EMBEDDED, "servers.toml").expect("the embedded profiles are valid")
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let text = std::fs::read_to_string(path).map_err(|source| ProfileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads a text; `file` names it in messages.
    pub fn parse(text: &str, file: &str) -> Result<Self, ProfileError> {
        let raw: RawFile = toml::from_str(text).map_err(|source| ProfileError::Form {
            file: file.to_owned(),
            source,
        })?;
        let faults = raw.faults();
        if !faults.is_empty() {
            return Err(ProfileError::Values {
                file: file.to_owned(),
                faults,
            });
        }
        Ok(Self(raw.into_profiles()))
    }

    /// The server of this name; without a name the only one there is.
    pub fn select(&self, name: Option<&str>) -> Result<&ServerProfile, ProfileError> {
        match (name, self.0.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err(ProfileError::Ambiguous { known: self.names() }),
            (Some(name), all) => {
                all.iter()
                    .find(|profile| profile.name == name)
                    .ok_or_else(|| ProfileError::Unknown {
                        name: name.to_owned(),
                        known: self.names(),
                    })
            }
        }
    }

    /// Every server, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &ServerProfile> {
        self.0.iter()
    }

    fn names(&self) -> String {
        self.0
            .iter()
            .map(|profile| profile.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn the_embedded_servers_are_valid() {
        let profiles = Profiles::embedded();
        assert_eq!(
            profiles.names(),
            "quickstart, 8B_slots256, 70B_tp4, 8B_tpot, 8B_heavytail"
        );
        assert!(
            profiles
                .iter()
                .all(|profile| profile.truth.is_some() && !profile.slos.is_empty())
        );
        let tpot = profiles.select(Some("8B_tpot")).expect("a profile");
        assert_eq!(tpot.law.token_budget, 2048);
        assert_eq!(
            tpot.input,
            LengthDistribution::Normal {
                mean: 512.0,
                std: 200.0,
                min: 16,
                max: 65_536
            }
        );
    }

    const VALID: &str = r#"
[[server]]
name = "a"
t0_ms = 7
token_us = 29
context_ns = 45
token_budget = 8192
max_seqs = 256
kv_tokens = 500_000
workload = { input = { distribution = "fixed", value = 5 }, output = { distribution = "lognormal", median = 8, sigma = 1 } }
slos = ["ttft p95 <= 500ms"]
"#;

    fn message(text: &str) -> String {
        match Profiles::parse(text, "servers.toml") {
            Ok(_) => "valid".to_owned(),
            Err(error) => {
                let cause = error
                    .source()
                    .map(|cause| format!("\n{cause}"))
                    .unwrap_or_default();
                format!("{error}{cause}")
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(message(VALID), "valid");
        insta::assert_snapshot!(message(&VALID.replace("max_seqs", "max_seq")), @"
        the server profiles in `servers.toml` are not of the documented form
        TOML parse error at line 8, column 1
          |
        8 | max_seq = 256
          | ^^^^^^^
        unknown field `max_seq`, expected one of `name`, `t0_ms`, `token_us`, `context_ns`, `token_budget`, `max_seqs`, `kv_tokens`, `step_noise`, `workload`, `slos`, `truth`
        ");
        insta::assert_snapshot!(message(&VALID.replace("sigma = 1", "std = 1")), @r#"
        the server profiles in `servers.toml` are not of the documented form
        TOML parse error at line 10, column 70
           |
        10 | workload = { input = { distribution = "fixed", value = 5 }, output = { distribution = "lognormal", median = 8, std = 1 } }
           |                                                                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        unknown field `std`, expected one of `median`, `sigma`, `min`, `max`
        "#);
        insta::assert_snapshot!(message(&VALID.replace("500ms", "500")), @r#"
        the server profiles in `servers.toml` are not of the documented form
        TOML parse error at line 11, column 8
           |
        11 | slos = ["ttft p95 <= 500"]
           |        ^^^^^^^^^^^^^^^^^^^
        the limit `500` is no duration with a unit, such as `500ms` or `1.5s`
        "#);
        insta::assert_snapshot!(message(""), @"
        the server profiles in `servers.toml` hold values that are not allowed:
          no `[[server]]`: at least one is needed
        ");
    }

    #[test]
    fn all_values_are_checked_at_once() {
        let text = VALID
            .replace("t0_ms = 7", "t0_ms = 0\nstep_noise = 0.5\ntruth = -1")
            .replace("value = 5", "value = 0")
            .replace("median = 8", "median = 8, min = 9, max = 8");
        insta::assert_snapshot!(message(&format!("{text}{text}")), @"
        the server profiles in `servers.toml` hold values that are not allowed:
          a: `t0_ms` must be greater than 0
          a: `step_noise` must lie between 0 and 0.2
          a: `truth` must be greater than 0
          a: workload.input: `min` must be at least 1 token
          a: workload.output: `max` must not be less than the minimum
          a: `t0_ms` must be greater than 0
          a: `step_noise` must lie between 0 and 0.2
          a: `truth` must be greater than 0
          a: workload.input: `min` must be at least 1 token
          a: workload.output: `max` must not be less than the minimum
          a: the name is given twice
        ");
    }

    #[test]
    fn a_name_is_needed_where_several_servers_are() {
        let one = Profiles::parse(VALID, "servers.toml").expect("valid");
        assert_eq!(
            one.select(None).map(|profile| profile.name.clone()).ok(),
            Some("a".to_owned())
        );
        let check = |name, expected: &str| {
            let error = Profiles::embedded()
                .select(name)
                .map(|_| ())
                .map_err(|error| error.to_string());
            assert_eq!(error, Err(expected.to_owned()));
        };
        check(
            None,
            "the file holds several server profiles, name one of quickstart, 8B_slots256, 70B_tp4, 8B_tpot, 8B_heavytail",
        );
        check(
            Some("8B"),
            "there is no server profile `8B`, only quickstart, 8B_slots256, 70B_tp4, 8B_tpot, 8B_heavytail",
        );
    }
}
