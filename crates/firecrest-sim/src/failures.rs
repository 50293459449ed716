//! Failures on demand: which call fails, and how.

use std::{collections::HashMap, time::Duration};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::span;

/// How a call fails.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Failure {
    /// 401: the token has expired; the storage answers 403.
    ExpiredToken,
    /// 429 in the gateway's form.
    TooManyRequests {
        /// The seconds of `Retry-After`; the header is not there without them.
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// 408 without an effect.
    CommandTimeout,
    /// 408 after the effect.
    CommandTimeoutAfter,
    /// 424: no channel to the system.
    ChannelLimit,
    /// 500 without an effect.
    ServerError,
    /// 500 after the effect.
    ServerErrorAfter,
    /// 503: the health check says no.
    Unhealthy,
    /// 502 as a page of the gateway.
    BadGateway,
    /// 504 as a page of the gateway, after the effect.
    GatewayTimeout,
    /// The answer comes late.
    Slow {
        /// By how much.
        #[serde(deserialize_with = "span::deserialize")]
        by: Duration,
    },
    /// The connection ends before the effect.
    CutBefore,
    /// The connection ends after the effect, without an answer.
    CutAfter,
    /// The connection ends in the middle of the answer's body.
    CutBody,
    /// The accounting database does not answer during this call.
    AccountingDown,
    /// A list lacks its last entry.
    LostEntry,
    /// The scheduler does not answer; a submitted job appears afterwards.
    SchedulerHung {
        /// How long the job takes to appear.
        #[serde(deserialize_with = "span::deserialize")]
        appears_after: Duration,
    },
}

impl Failure {
    /// The name of the kind.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ExpiredToken => "expired-token",
            Self::TooManyRequests { .. } => "too-many-requests",
            Self::CommandTimeout => "command-timeout",
            Self::CommandTimeoutAfter => "command-timeout-after",
            Self::ChannelLimit => "channel-limit",
            Self::ServerError => "server-error",
            Self::ServerErrorAfter => "server-error-after",
            Self::Unhealthy => "unhealthy",
            Self::BadGateway => "bad-gateway",
            Self::GatewayTimeout => "gateway-timeout",
            Self::Slow { .. } => "slow",
            Self::CutBefore => "cut-before",
            Self::CutAfter => "cut-after",
            Self::CutBody => "cut-body",
            Self::AccountingDown => "accounting-down",
            Self::LostEntry => "lost-entry",
            Self::SchedulerHung { .. } => "scheduler-hung",
        }
    }
}

/// Which of the servers a call is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// The API itself.
    #[default]
    Api,
    /// The token endpoint.
    Token,
    /// The storage.
    Storage,
}

/// Which calls are meant.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// The server.
    pub service: Service,
    /// The method; every one without it.
    pub method: Option<String>,
    /// A pattern of the path, in which `*` stands for any text; every path without it.
    pub path: Option<String>,
}

impl Target {
    fn matches(&self, service: Service, method: &str, path: &str) -> bool {
        self.service == service
            && self
                .method
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self
                .path
                .as_ref()
                .is_none_or(|pattern| pattern_matches(pattern, path))
    }
}

/// Whether `text` is of the form of `pattern`, in which `*` stands for any text.
fn pattern_matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    text.char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .any(|at| pattern_matches(rest, &text[at..]))
}

/// A failure of chosen calls.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What happens.
    pub failure: Failure,
    /// To which calls.
    #[serde(default)]
    pub target: Target,
    /// How many of them pass first.
    #[serde(default)]
    pub skip: u64,
    /// To how many of them it happens; to all without it.
    #[serde(default)]
    pub count: Option<u64>,
}

impl Rule {
    /// The next call of `method` on a path of the form `path` fails.
    pub fn once(failure: Failure, method: &str, path: &str) -> Self {
        let target = Target {
            service: Service::Api,
            method: Some(method.to_owned()),
            path: Some(path.to_owned()),
        };
        Self {
            failure,
            target,
            skip: 0,
            count: Some(1),
        }
    }
}

/// A failure that happens with a probability.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// What happens.
    pub failure: Failure,
    /// To which calls.
    #[serde(default)]
    pub target: Target,
    /// How often, from 0 to 1.
    pub probability: f64,
}

/// Failures by chance: equal seeds give the same to the nth call of a method on a path, whatever happens between.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RandomFailures {
    /// The seed.
    pub seed: u64,
    /// What may happen; the first that does counts.
    pub chances: Vec<Chance>,
}

/// The failures to come.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    rules: Vec<(Rule, u64)>,
    random: RandomFailures,
    calls: HashMap<(Service, String, String), u64>,
}

impl Failures {
    pub(crate) fn add(&mut self, rule: Rule) {
        self.rules.push((rule, 0));
    }

    pub(crate) fn set_random(&mut self, random: RandomFailures) {
        self.random = random;
        self.calls.clear();
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What happens to this call.
    pub(crate) fn decide(&mut self, service: Service, method: &str, path: &str) -> Option<Failure> {
        let key = (service, method.to_owned(), path.to_owned());
        let number = self.calls.entry(key).or_default();
        *number += 1;
        let number = *number;
        for (rule, seen) in &mut self.rules {
            if !rule.target.matches(service, method, path) {
                continue;
            }
            *seen += 1;
            let is_due = *seen > rule.skip && rule.count.is_none_or(|count| *seen <= rule.skip + count);
            if is_due {
                return Some(rule.failure.clone());
            }
        }
        self.by_chance(service, method, path, number)
    }

    fn by_chance(&self, service: Service, method: &str, path: &str, number: u64) -> Option<Failure> {
        if self.random.chances.is_empty() {
            return None;
        }
        let mut random = ChaCha8Rng::seed_from_u64(self.random.seed);
        random.set_stream(stream(service, method, path, number));
        let mut drawn = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let matching = self
            .random
            .chances
            .iter()
            .filter(|chance| chance.target.matches(service, method, path));
        let mut happening = matching.filter(|chance| drawn() < chance.probability);
        happening.next().map(|chance| chance.failure.clone())
    }
}

/// The stream of random numbers of a call: FNV, which is the same in every build.
fn stream(service: Service, method: &str, path: &str, number: u64) -> u64 {
    let text = format!("{service:?} {method} {path} {number}");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decisions(failures: &mut Failures, method: &str, path: &str, calls: usize) -> Vec<&'static str> {
        let mut decide = || failures.decide(Service::Api, method, path);
        (0..calls)
            .map(|_| decide().map_or("", |failure| failure.name()))
            .collect()
    }

    #[test]
    fn a_rule_skips_and_counts() {
        let mut failures = Failures::default();
        let mut rule = Rule::once(Failure::CutAfter, "post", "/compute/*/jobs");
        rule.skip = 1;
        rule.count = Some(2);
        failures.add(rule);
        assert_eq!(decisions(&mut failures, "GET", "/compute/alps/jobs", 1), [""]);
        let expected = ["", "cut-after", "cut-after", ""];
        assert_eq!(
            decisions(&mut failures, "POST", "/compute/alps/jobs", 4),
            expected
        );
        assert_eq!(
            failures.decide(Service::Storage, "POST", "/compute/alps/jobs"),
            None
        );
    }

    #[test]
    fn equal_seeds_fail_alike_whatever_happens_between() {
        let failures = |seed| {
            let mut failures = Failures::default();
            let chances = vec![
                Chance {
                    failure: Failure::CutBefore,
                    target: Target::default(),
                    probability: 0.2,
                },
                Chance {
                    failure: Failure::ServerError,
                    target: Target::default(),
                    probability: 0.5,
                },
            ];
            failures.set_random(RandomFailures { seed, chances });
            failures
        };
        let alone = decisions(&mut failures(7), "GET", "/a", 40);
        let mut mixed = failures(7);
        decisions(&mut mixed, "GET", "/b", 5);
        assert_eq!(decisions(&mut mixed, "GET", "/a", 40), alone);
        assert_ne!(decisions(&mut failures(8), "GET", "/a", 40), alone);
        for name in ["", "cut-before", "server-error"] {
            assert!(alone.contains(&name), "{name:?} happens at all");
        }
    }

    #[test]
    fn failures_are_read_from_json() {
        let check = |text: &str, expected| assert_eq!(serde_json::from_str::<Failure>(text).ok(), expected);
        check(r#"{"kind": "cut-body"}"#, Some(Failure::CutBody));
        check(
            r#"{"kind": "slow", "by": "250ms"}"#,
            Some(Failure::Slow {
                by: Duration::from_millis(250),
            }),
        );
        check(
            r#"{"kind": "too-many-requests", "retry_after_s": 1}"#,
            Some(Failure::TooManyRequests {
                retry_after_s: Some(1),
            }),
        );
        check(r#"{"kind": "slow", "by": 250}"#, None);
        check(r#"{"kind": "nosuch"}"#, None);
    }

    proptest! {
        #[test]
        fn a_star_stands_for_any_text(start in "[a/]{0,4}", middle in "[a/*]{0,4}", end in "[a/]{0,4}") {
            let (pattern, text) = (format!("{start}*{end}"), format!("{start}{middle}{end}"));
            prop_assert!(pattern_matches(&pattern, &text));
            prop_assert!(!pattern_matches(&(start.clone() + "b"), &start));
        }
    }
}
