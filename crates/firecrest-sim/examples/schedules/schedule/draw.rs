//! What a seed stands for: the failures and the calls of its schedule. Pure.

use std::time::Duration;

use firecrest_sim::{Chance, Failure, RandomFailures, Rule, Service, Target};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A schedule.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) rules: Vec<Rule>,
    pub(crate) random: RandomFailures,
    /// Steps of a lane follow each other; lanes run side by side.
    pub(crate) lanes: Vec<Vec<Step>>,
}

/// One thing that a caller does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Submit { manner: Manner, is_long: bool },
    GetJob,
    CancelJob,
    ListJobs,
    MakeDirectory,
    Upload { bytes: usize },
    Download { bytes: usize },
    Checksum { bytes: usize },
    SendLarge { bytes: usize },
    FetchLarge { bytes: usize },
}

/// How a job is submitted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// By `submit`, whose error says what is known.
    Plain,
    /// By `submit_or_adopt`.
    Adopting,
    /// By `submit_or_adopt`, and once more by a caller that knows nothing of the first.
    Resumed,
}

/// The most bytes of a direct transfer at the site.
pub(crate) const DIRECT_BYTES: usize = 24_000;

type Random = ChaCha8Rng;

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut random = Random::seed_from_u64(seed);
        let lanes = random.random_range(1..=2);
        Self {
            seed,
            rules: (0..random.random_range(0..=6))
                .map(|_| rule(&mut random))
                .collect(),
            random: chances(&mut random, seed),
            lanes: (0..lanes).map(|_| lane(&mut random)).collect(),
        }
    }
}

fn lane(random: &mut Random) -> Vec<Step> {
    (0..random.random_range(2..=4)).map(|_| step(random)).collect()
}

fn step(random: &mut Random) -> Step {
    let small = random.random_range(1..=DIRECT_BYTES / 2);
    let large = random.random_range(DIRECT_BYTES + 1..=5 * DIRECT_BYTES);
    match random.random_range(0..20) {
        0..7 => Step::Submit {
            manner: match random.random_range(0..5) {
                0 => Manner::Plain,
                1..4 => Manner::Adopting,
                _ => Manner::Resumed,
            },
            is_long: random.random_bool(0.2),
        },
        7 | 8 => Step::GetJob,
        9 | 10 => Step::CancelJob,
        11 => Step::ListJobs,
        12 => Step::MakeDirectory,
        13 | 14 => Step::Upload { bytes: small },
        15 | 16 => Step::Download { bytes: small },
        17 => Step::Checksum { bytes: small },
        18 => Step::SendLarge { bytes: large },
        _ => Step::FetchLarge { bytes: large },
    }
}

fn failure(random: &mut Random) -> Failure {
    match random.random_range(0..17) {
        0 => Failure::ExpiredToken,
        1 => Failure::TooManyRequests {
            retry_after_s: match random.random_range(0..8) {
                0..4 => None,
                4..6 => Some(0),
                6 => Some(1),
                _ => Some(60),
            },
        },
        2 => Failure::CommandTimeout,
        3 => Failure::CommandTimeoutAfter,
        4 => Failure::ChannelLimit,
        5 => Failure::ServerError,
        6 => Failure::ServerErrorAfter,
        7 => Failure::Unhealthy,
        8 => Failure::BadGateway,
        9 => Failure::GatewayTimeout,
        10 => Failure::Slow {
            by: Duration::from_millis(random.random_range(5..450)),
        },
        11 => Failure::CutBefore,
        12 => Failure::CutAfter,
        13 => Failure::CutBody,
        14 => Failure::AccountingDown,
        15 => Failure::LostEntry,
        _ => Failure::SchedulerHung {
            appears_after: Duration::from_millis(random.random_range(0..160)),
        },
    }
}

/// Calls that rules are about; most are aimed at submissions, about which the most can go wrong.
fn target(random: &mut Random) -> Target {
    let (service, method, path) = match random.random_range(0..12) {
        0..4 => (Service::Api, Some("POST"), Some("/compute/*")),
        4 => (Service::Api, Some("GET"), Some("/compute/*")),
        5 => (Service::Api, Some("DELETE"), Some("/compute/*")),
        6 => (Service::Api, None, Some("/filesystem/*/ops/*")),
        7 => (Service::Api, None, Some("/filesystem/*/transfer/*")),
        8 => (Service::Api, None, None),
        9 | 10 => (Service::Storage, None, None),
        _ => (Service::Token, None, None),
    };
    Target {
        service,
        method: method.map(str::to_owned),
        path: path.map(str::to_owned),
    }
}

fn rule(random: &mut Random) -> Rule {
    Rule {
        failure: failure(random),
        target: target(random),
        skip: random.random_range(0..3),
        count: Some(random.random_range(1..=4)),
    }
}

fn chances(random: &mut Random, seed: u64) -> RandomFailures {
    let count = random.random_range(0..=4);
    let chances = (0..count).map(|_| Chance {
        failure: failure(random),
        target: target(random),
        probability: random.random_range(0.0..0.25),
    });
    RandomFailures {
        seed,
        chances: chances.collect(),
    }
}
