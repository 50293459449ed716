//! What is sent: arrivals, lengths, seed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    deployment::names,
    prompts::PromptSource,
    slo::{LatencyMetric, Slo},
};

/// How the gaps between arrivals are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ArrivalProcess {
    /// Exponential gaps: an open system's arrivals.
    Poisson,
    /// Equal gaps.
    Constant,
    /// Gaps of a gamma distribution: bursts below a shape of 1, more even than Poisson above it.
    Gamma {
        /// The shape of the distribution: the variance of a gap is its mean squared over this.
        burstiness: f64,
    },
}

impl ArrivalProcess {
    /// The names of all processes in configurations.
    pub const NAMES: &[&str] = &["poisson", "constant", "gamma"];

    /// The name in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poisson => "poisson",
            Self::Constant => "constant",
            Self::Gamma { .. } => "gamma",
        }
    }

    /// The shape of the distribution of gaps; infinite for equal ones.
    pub fn burstiness(self) -> f64 {
        match self {
            Self::Poisson => 1.0,
            Self::Constant => f64::INFINITY,
            Self::Gamma { burstiness } => burstiness,
        }
    }
}

impl fmt::Display for ArrivalProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gamma { burstiness } => write!(f, "gamma({burstiness})"),
            Self::Poisson | Self::Constant => f.pad(self.as_str()),
        }
    }
}

names! {
    /// The API that requests ask.
    ApiEndpoint {
        /// A conversation of one message.
        Chat = "chat",
        /// A bare text that is continued.
        Completions = "completions",
    }
}

/// In what form requests are sent and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestForm {
    /// The API.
    pub endpoint: ApiEndpoint,
    /// Whether tokens come as they are made, or all at the end.
    pub stream: bool,
}

impl Default for RequestForm {
    fn default() -> Self {
        Self {
            endpoint: ApiEndpoint::Chat,
            stream: true,
        }
    }
}

impl RequestForm {
    /// Whether this is the usual one, streamed chat.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what the objective is about can be seen in such requests: when the first token was there, and how far
    /// apart tokens were, is known only of streams.
    pub fn shows(&self, slo: &Slo) -> bool {
        match slo {
            Slo::Latency { metric, .. } => match metric {
                LatencyMetric::E2e => true,
                LatencyMetric::Ttft | LatencyMetric::Tpot | LatencyMetric::Itl => self.stream,
            },
            Slo::ErrorRate { .. } => true,
        }
    }
}

/// How many tokens a prompt or an answer has. Draws are rounded and clamped to `[min, max]`, never redrawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "distribution", rename_all = "lowercase", deny_unknown_fields)]
pub enum LengthDistribution {
    /// Always the same.
    Fixed {
        /// Tokens.
        value: u32,
    },
    /// Every whole number of the range alike.
    Uniform {
        /// The least.
        min: u32,
        /// The most, included.
        max: u32,
    },
    /// The normal distribution.
    Normal {
        /// Its mean, before clamping.
        mean: f64,
        /// Its standard deviation.
        std: f64,
        /// The least.
        min: u32,
        /// The most, included.
        max: u32,
    },
    /// The log-normal distribution.
    Lognormal {
        /// Its median, before clamping.
        median: f64,
        /// The standard deviation of the logarithm.
        sigma: f64,
        /// The least.
        min: u32,
        /// The most, included.
        max: u32,
    },
}

impl LengthDistribution {
    /// The least and the most that is drawn.
    pub fn bounds(&self) -> (u32, u32) {
        match *self {
            Self::Fixed { value } => (value, value),
            Self::Uniform { min, max } | Self::Normal { min, max, .. } | Self::Lognormal { min, max, .. } => {
                (min, max)
            }
        }
    }

    /// A typical value: the mean or the median before clamping.
    pub fn typical(&self) -> f64 {
        match *self {
            Self::Fixed { value } => f64::from(value),
            Self::Uniform { min, max } => f64::midpoint(f64::from(min), f64::from(max)),
            Self::Normal { mean, .. } => mean,
            Self::Lognormal { median, .. } => median,
        }
    }
}

impl fmt::Display for LengthDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { value } => write!(f, "{value}"),
            Self::Uniform { min, max } => write!(f, "uniform({min}..{max})"),
            Self::Normal { mean, std, .. } => write!(f, "normal({mean}, {std})"),
            Self::Lognormal { median, sigma, .. } => write!(f, "lognormal({median}, {sigma})"),
        }
    }
}

/// One workload: with the seed it fixes every arrival, length and prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Where prompts come from.
    #[serde(default, skip_serializing_if = "PromptSource::is_usual")]
    pub prompts: PromptSource,
    /// How gaps are drawn.
    pub arrivals: ArrivalProcess,
    /// Tokens of a prompt that is no entry of a data set.
    pub input_length: LengthDistribution,
    /// Tokens of an answer, unless a data set says so itself; asked for exactly.
    pub output_length: LengthDistribution,
    /// Equal seeds give equal arrivals, lengths and prompts (but for the run's nonce).
    pub seed: u64,
    /// The form of requests and answers.
    #[serde(default, skip_serializing_if = "RequestForm::is_usual")]
    pub requests: RequestForm,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_streams_show_when_tokens_came() {
        let check = |stream, slo: &str, shown| {
            let form = RequestForm {
                stream,
                ..RequestForm::default()
            };
            assert_eq!(form.shows(&slo.parse().expect("an objective")), shown, "{slo}");
        };
        for slo in ["ttft p95 <= 500ms", "tpot p95 <= 50ms", "itl p99 <= 1s"] {
            check(true, slo, true);
            check(false, slo, false);
        }
        for slo in ["e2e p95 <= 5s", "error_rate <= 1%"] {
            check(true, slo, true);
            check(false, slo, true);
        }
    }
}
