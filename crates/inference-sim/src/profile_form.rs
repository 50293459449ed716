//! The form of a file of profiles, and what its values may be.

use gipfel_model::{LengthDistribution, Slo};
use serde::Deserialize;

use crate::{model::StepLaw, profile::ServerProfile};

/// The longest prompt or answer where a file gives none.
const DEFAULT_MAX_TOKENS: u32 = 65_536;

/// Beyond this the clamped tail of the noise would change the mean step.
const MAX_NOISE: f64 = 0.2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFile {
    #[serde(default)]
    server: Vec<RawServer>,
}

impl RawFile {
    /// Every value that makes no server.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.server.is_empty() {
            faults.push("no `[[server]]`: at least one is needed".to_owned());
        }
        for (index, server) in self.server.iter().enumerate() {
            server.check(&mut faults);
            if self.server[..index].iter().any(|other| other.name == server.name) {
                faults.push(format!("{}: the name is given twice", server.name));
            }
        }
        faults
    }

    pub(crate) fn into_profiles(self) -> Vec<ServerProfile> {
        self.server.into_iter().map(RawServer::into_profile).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawServer {
    name: String,
    t0_ms: f64,
    token_us: f64,
    context_ns: f64,
    token_budget: u32,
    max_seqs: u32,
    kv_tokens: u32,
    #[serde(default = "default_noise")]
    step_noise: f64,
    workload: RawWorkload,
    slos: Vec<Slo>,
    truth: Option<f64>,
}

fn default_noise() -> f64 {
    0.05
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWorkload {
    input: RawLength,
    output: RawLength,
}

/// As the model's distribution, with bounds that may be left out.
#[derive(Deserialize)]
#[serde(tag = "distribution", rename_all = "lowercase", deny_unknown_fields)]
enum RawLength {
    Fixed {
        value: u32,
    },
    Uniform {
        min: u32,
        max: u32,
    },
    Normal {
        mean: f64,
        std: f64,
        min: Option<u32>,
        max: Option<u32>,
    },
    Lognormal {
        median: f64,
        sigma: f64,
        min: Option<u32>,
        max: Option<u32>,
    },
}

impl RawLength {
    fn into_distribution(self) -> LengthDistribution {
        let bounds =
            |min: Option<u32>, max: Option<u32>| (min.unwrap_or(1), max.unwrap_or(DEFAULT_MAX_TOKENS));
        match self {
            Self::Fixed { value } => LengthDistribution::Fixed { value },
            Self::Uniform { min, max } => LengthDistribution::Uniform { min, max },
            Self::Normal { mean, std, min, max } => {
                let (min, max) = bounds(min, max);
                LengthDistribution::Normal { mean, std, min, max }
            }
            Self::Lognormal {
                median,
                sigma,
                min,
                max,
            } => {
                let (min, max) = bounds(min, max);
                LengthDistribution::Lognormal {
                    median,
                    sigma,
                    min,
                    max,
                }
            }
        }
    }

    fn check(&self, at: &str, faults: &mut Vec<String>) {
        let (min, max) = match *self {
            Self::Fixed { value } => (value, value),
            Self::Uniform { min, max } => (min, max),
            Self::Normal { mean, std, min, max } => {
                check(faults, mean.is_finite(), at, "mean", "must be finite");
                check(
                    faults,
                    std.is_finite() && std >= 0.0,
                    at,
                    "std",
                    "must be at least 0",
                );
                (min.unwrap_or(1), max.unwrap_or(DEFAULT_MAX_TOKENS))
            }
            Self::Lognormal {
                median,
                sigma,
                min,
                max,
            } => {
                check(
                    faults,
                    median.is_finite() && median > 0.0,
                    at,
                    "median",
                    "must be greater than 0",
                );
                check(
                    faults,
                    sigma.is_finite() && sigma >= 0.0,
                    at,
                    "sigma",
                    "must be at least 0",
                );
                (min.unwrap_or(1), max.unwrap_or(DEFAULT_MAX_TOKENS))
            }
        };
        check(faults, min >= 1, at, "min", "must be at least 1 token");
        check(faults, min <= max, at, "max", "must not be less than the minimum");
    }
}

fn check(faults: &mut Vec<String>, valid: bool, at: &str, key: &str, rule: &str) {
    if !valid {
        faults.push(format!("{at}: `{key}` {rule}"));
    }
}

impl RawServer {
    fn check(&self, faults: &mut Vec<String>) {
        let at = self.name.as_str();
        let at_least_zero = |value: f64| value.is_finite() && value >= 0.0;
        check(faults, !at.is_empty(), "a server", "name", "must not be empty");
        check(
            faults,
            self.t0_ms.is_finite() && self.t0_ms > 0.0,
            at,
            "t0_ms",
            "must be greater than 0",
        );
        check(
            faults,
            at_least_zero(self.token_us),
            at,
            "token_us",
            "must be at least 0",
        );
        check(
            faults,
            at_least_zero(self.context_ns),
            at,
            "context_ns",
            "must be at least 0",
        );
        check(
            faults,
            self.token_budget >= 1,
            at,
            "token_budget",
            "must be at least 1",
        );
        check(faults, self.max_seqs >= 1, at, "max_seqs", "must be at least 1");
        check(faults, self.kv_tokens >= 2, at, "kv_tokens", "must be at least 2");
        check(
            faults,
            (0.0..=MAX_NOISE).contains(&self.step_noise),
            at,
            "step_noise",
            "must lie between 0 and 0.2",
        );
        check(
            faults,
            self.truth.is_none_or(|truth| truth.is_finite() && truth > 0.0),
            at,
            "truth",
            "must be greater than 0",
        );
        self.workload
            .input
            .check(&format!("{at}: workload.input"), faults);
        self.workload
            .output
            .check(&format!("{at}: workload.output"), faults);
    }

    fn into_profile(self) -> ServerProfile {
        ServerProfile {
            name: self.name,
            law: StepLaw {
                base_ns: self.t0_ms * 1e6,
                token_ns: self.token_us * 1e3,
                context_ns: self.context_ns,
                noise: self.step_noise,
                token_budget: self.token_budget,
                max_seqs: self.max_seqs,
                kv_tokens: self.kv_tokens,
            },
            input: self.workload.input.into_distribution(),
            output: self.workload.output.into_distribution(),
            slos: self.slos,
            truth: self.truth,
        }
    }
}
