//! Names of campaigns, deployments and runs.
//!
//! An id is `YYYYmmdd-HHMMSS_<model-slug>_<backend>_<slurm|k8s|local|external>_<4 hex>`; a deployment's begins with
//! `d-`, a campaign's is `c-YYYYmmdd-HHMMSS_<4 hex>`. Ids name directories and remote objects, so they hold only
//! lower-case letters, digits, dots, hyphens and underscores.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::deployment::{BackendKind, DeploymentKind};

/// A text that is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind} id: an id holds lower-case letters, digits, `.`, `-` and `_`")]
pub struct IdError {
    /// What kind of id was wanted.
    pub kind: &'static str,
    /// What was found.
    pub text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                let valid = !text.is_empty()
                    && !text.starts_with('.')
                    && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b));
                if valid { Ok(Self(text)) } else { Err(IdError { kind: $kind, text }) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Names one `gipfel run`.
    CampaignId,
    "campaign"
);
id!(
    /// Names one server with a life of its own.
    DeploymentId,
    "deployment"
);
id!(
    /// Names one workload against one deployment.
    RunId,
    "run"
);

/// The part of a model's name after the last `/`, in lower case, anything else than letters, digits, dots and
/// hyphens made a hyphen.
pub fn model_slug(model: &str) -> String {
    let last = model.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let mut slug = String::new();
    for c in last.to_lowercase().chars() {
        let allowed = c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
        match (allowed, slug.ends_with('-')) {
            (true, _) => slug.push(c),
            (false, false) => slug.push('-'),
            (false, true) => {}
        }
    }
    let slug = slug.trim_matches(|c| c == '-' || c == '.');
    if slug.is_empty() {
        "model".to_owned()
    } else {
        slug.to_owned()
    }
}

/// The parts that an id is made of; the time and the random part come from the caller.
#[derive(Clone, Copy, Debug)]
pub struct IdParts<'a> {
    /// `YYYYmmdd-HHMMSS`, in UTC.
    pub timestamp: &'a str,
    /// Four hexadecimal digits tell ids of one second apart.
    pub random: u16,
}

impl IdParts<'_> {
    /// A campaign's id.
    pub fn campaign(&self) -> CampaignId {
        CampaignId(format!("c-{}_{:04x}", self.timestamp, self.random))
    }

    /// A deployment's id.
    pub fn deployment(&self, model: &str, backend: BackendKind, kind: DeploymentKind) -> DeploymentId {
        DeploymentId(format!("d-{}", self.run_text(model, backend, kind)))
    }

    /// A run's id.
    pub fn run(&self, model: &str, backend: BackendKind, kind: DeploymentKind) -> RunId {
        RunId(self.run_text(model, backend, kind))
    }

    fn run_text(&self, model: &str, backend: BackendKind, kind: DeploymentKind) -> String {
        format!(
            "{}_{}_{backend}_{kind}_{:04x}",
            self.timestamp,
            model_slug(model),
            self.random
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_documented_form() {
        let parts = IdParts {
            timestamp: "20261121-224312",
            random: 0x0a1f,
        };
        let run = parts.run(
            "swiss-ai/Apertus-8B Instruct",
            BackendKind::Vllm,
            DeploymentKind::Local,
        );
        assert_eq!(
            run.as_str(),
            "20261121-224312_apertus-8b-instruct_vllm_local_0a1f"
        );
        let deployment = parts.deployment("sim", BackendKind::Sim, DeploymentKind::External);
        assert_eq!(deployment.as_str(), "d-20261121-224312_sim_sim_external_0a1f");
        assert_eq!(parts.campaign().as_str(), "c-20261121-224312_0a1f");
    }

    #[test]
    fn ids_name_no_other_directory() {
        for text in ["", "..", ".hidden", "a/b", "A", "a b"] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }

    #[test]
    fn slugs() {
        let check = |model: &str, slug: &str| assert_eq!(model_slug(model), slug);
        check("meta-llama/Llama-3.1-405B-Instruct", "llama-3.1-405b-instruct");
        check("weird__name!!", "weird-name");
        check("///", "model");
    }
}
