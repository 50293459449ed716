//! What is said of a level.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::slo::Slo;

/// How the measured requests of a level stand to one objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attainment {
    /// The objective.
    pub slo: Slo,
    /// Requests scheduled in the measured window.
    pub scheduled: u64,
    /// Those of them that are decided.
    pub decided: u64,
    /// Those of the decided that violate the objective.
    pub violated: u64,
    /// How many independent requests the decided ones are worth, since violations come in bursts; absent when nothing
    /// is known of their order.
    #[serde(default)]
    pub n_eff: Option<f64>,
    /// The 95 % interval of the violating share on `n_eff`; absent without it.
    #[serde(default)]
    pub interval: Option<(f64, f64)>,
}

impl Attainment {
    /// The violating share of the decided requests; absent when none is decided.
    pub fn violating_share(&self) -> Option<f64> {
        (self.decided > 0).then(|| self.violated as f64 / self.decided as f64)
    }

    /// The objective that is violated most, by its violating share over its allowed one; the first one of equals.
    pub fn worst(all: &[Self]) -> Option<&Self> {
        let severity = |one: &Self| {
            let share = one.violating_share().unwrap_or(0.0);
            // An allowed share of nothing is exceeded by the first violation.
            share / one.slo.allowed_share().max(1e-9)
        };
        all.iter().reduce(|worst, one| {
            if severity(one) > severity(worst) {
                one
            } else {
                worst
            }
        })
    }
}

/// The answer for one level. A level that is not valid is never accepted or rejected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verdict {
    /// Every objective is met and the sample supports each percentile.
    Accept,
    /// An objective is violated.
    Reject {
        /// The violated objective; the worst when several are.
        slo: Slo,
    },
    /// The sample does not support an answer.
    Unresolved {
        /// What is missing.
        reason: String,
    },
    /// The client did not keep its part, so the figures say nothing of the server.
    Invalid {
        /// What it failed to keep.
        reason: String,
    },
}

impl Verdict {
    /// The verdict's name in databases and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject { .. } => "reject",
            Self::Unresolved { .. } => "unresolved",
            Self::Invalid { .. } => "invalid",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Reject { slo } => write!(f, "reject ({slo})"),
            Self::Unresolved { reason } => write!(f, "unresolved ({reason})"),
            Self::Invalid { reason } => write!(f, "invalid ({reason})"),
        }
    }
}

/// Why a level's figures say nothing of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum ValidityFault {
    /// The client sent later than it had scheduled.
    ScheduleDelay {
        /// The 99th percentile of send − scheduled, in milliseconds.
        p99_ms: f64,
        /// What is allowed, in milliseconds.
        limit_ms: f64,
    },
    /// The client sent fewer requests than it had scheduled.
    Underdelivered {
        /// Sent over scheduled, 0 to 1.
        share: f64,
        /// What is asked, 0 to 1.
        limit: f64,
    },
    /// The client ran out of sockets or ports.
    Sockets {
        /// Requests that got none.
        count: u64,
    },
    /// The wall clock stepped against the monotonic clock.
    Clock {
        /// By how much, in milliseconds.
        step_ms: f64,
    },
    /// A rank of the load generator was lost, with its part of the load.
    RankLost {
        /// Which.
        rank: u32,
    },
    /// The client read late, and in one read with the first token came more, so that its late reading may be in the figures.
    ReaderLag {
        /// The 99th percentile of the time from the kernel's stamp of a first token to its reading, in milliseconds.
        p99_ms: f64,
        /// What is allowed, in milliseconds.
        limit_ms: f64,
        /// The share of the first tokens whose stamp is uncertain, 0 to 1.
        uncertain: f64,
    },
    /// Records were lost because the writer fell behind.
    RecordsLost {
        /// How many.
        count: u64,
    },
    /// Gaps between tokens violate an objective, and the client waited for a core so long that they may be its own.
    Starved {
        /// The share of its time that a sending thread was ready to run and had no core, 0 to 1.
        run_queue: f64,
        /// What is allowed, 0 to 1.
        limit: f64,
    },
}

impl fmt::Display for ValidityFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ScheduleDelay { p99_ms, limit_ms } => {
                write!(
                    f,
                    "the client was late: schedule delay p99 {p99_ms:.1} ms, allowed {limit_ms:.1} ms"
                )
            }
            Self::Underdelivered { share, limit } => {
                write!(
                    f,
                    "the client sent {:.2} % of the scheduled requests, at least {:.1} % are asked",
                    share * 100.0,
                    limit * 100.0
                )
            }
            Self::Sockets { count } => write!(
                f,
                "the client ran out of sockets for {count} requests; raise the limit of open files, `ulimit -n`"
            ),
            Self::Clock { step_ms } => {
                write!(f, "the wall clock stepped by {step_ms:.1} ms during the level")
            }
            Self::RankLost { rank } => write!(f, "rank {rank} of the load generator was lost"),
            Self::ReaderLag {
                p99_ms,
                limit_ms,
                uncertain,
            } => {
                write!(
                    f,
                    "the client read late: reader lag p99 {p99_ms:.1} ms, allowed {limit_ms:.1} ms, and {:.1} % of the first \
                     tokens have no certain stamp",
                    uncertain * 100.0
                )
            }
            Self::RecordsLost { count } => {
                write!(f, "{count} records were lost because the disk was too slow")
            }
            Self::Starved { run_queue, limit } => {
                write!(
                    f,
                    "the client waited for a core {:.0} % of the time, at most {:.0} % are allowed where gaps between tokens \
                     violate an objective",
                    run_queue * 100.0,
                    limit * 100.0
                )
            }
        }
    }
}

/// What the client says of itself for one level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// Median of send − scheduled over the measured requests, in nanoseconds.
    pub schedule_delay_p50_ns: i64,
    /// 99th percentile of the same.
    pub schedule_delay_p99_ns: i64,
    /// Maximum of the same.
    pub schedule_delay_max_ns: i64,
    /// Empty when the level is valid.
    pub faults: Vec<ValidityFault>,
    /// What the load generator's own machine had to bear.
    #[serde(default)]
    pub client: ClientHealth,
}

/// What the load generator's own process had to bear during a level. Absent where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientHealth {
    /// The busiest sending thread's share of a core, 0 to 1.
    pub busiest_thread: Option<f64>,
    /// The share of its time that the worst-off sending thread was ready to run and had no core, 0 to 1.
    pub run_queue: Option<f64>,
    /// The cores that the whole process used; of several ranks, rank 0's.
    #[serde(default)]
    pub process: Option<f64>,
    /// How much later than their arrival first tokens were read, where the kernel stamps them.
    #[serde(default)]
    pub reader_lag: Option<ReaderLag>,
    /// The share of the first tokens whose stamp may be that of what came after them, 0 to 1.
    #[serde(default)]
    pub uncertain_stamps: Option<f64>,
    /// The largest number of files and sockets that the process had open; of several ranks, rank 0's.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// The largest number of connections that were open at one time.
    #[serde(default)]
    pub sockets: Option<u64>,
    /// Connections that were dialled; where that is not known, the requests that waited for one of their own.
    #[serde(default)]
    pub dialled: Option<u64>,
    /// Whether the requests in flight are what rates and latencies make them.
    #[serde(default)]
    pub little: Option<Little>,
    /// By how much the wall clock stepped against the monotonic one at most, in nanoseconds.
    #[serde(default)]
    pub clock_step_ns: Option<i64>,
    /// How much faster than the machine's own oscillator the monotonic clock ran, in parts per million.
    #[serde(default)]
    pub clock_slew_ppm: Option<f64>,
    /// The longest time that the disk took to keep what was measured, in seconds.
    #[serde(default)]
    pub slowest_commit_s: Option<f64>,
}

/// Order statistics of the reader's lag, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReaderLag {
    /// Median.
    pub p50_ns: i64,
    /// 99th percentile.
    pub p99_ns: i64,
    /// Maximum.
    pub max_ns: i64,
}

/// Little's law: the mean number of requests in flight is their rate times the mean time that each takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Little {
    /// The mean of the looks at the requests in flight.
    pub in_flight: f64,
    /// What the records of the same time make it.
    pub expected: f64,
    /// By which share the two may differ.
    pub allowed: f64,
}

impl Little {
    /// Whether the two agree.
    pub fn holds(&self) -> bool {
        (self.in_flight - self.expected).abs() <= self.allowed * self.expected.max(self.in_flight)
    }
}

impl Validity {
    /// Whether the level's figures can be used.
    pub fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }

    /// All faults in one sentence; absent when there is none.
    pub fn reason(&self) -> Option<String> {
        let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        (!faults.is_empty()).then(|| faults.join("; "))
    }
}
