//! What the controller and the workers tell each other. None of it lies on the request path.

use gipfel_model::{Phase, RequestRecord, Second};
use gipfel_workload::{Segment, Share};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A piece of the schedule. Pieces are sent in their order and never taken back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Append {
    pub(crate) level: u32,
    pub(crate) phase: Phase,
    /// Begin and end of the piece.
    pub(crate) span: (i64, i64),
    /// Where the level's second 0 begins for the requests of this piece.
    pub(crate) seconds_from_ns: i64,
    /// Absent when no arrival falls into the piece.
    pub(crate) segment: Option<Segment>,
    /// The number of the segment's first request in the run's schedule, where prompts come from a pool.
    pub(crate) first_request: u64,
}

/// From the controller to a worker.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Send your share of this piece after those before it.
    Append(Append, Share),
    /// Cancel the requests in flight that have no first token.
    Shed,
    /// Nothing more of this level will be asked about: hand over its gaps between tokens.
    Close(u32),
    /// Send no more, cancel what is in flight, hand everything over and say so.
    Cut,
}

/// What happened in a level since the last report; sums of workers are sums of their parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Requests handed to the request path, by phase.
    pub(crate) dispatched: u64,
    /// Those of them of the measured window.
    pub(crate) measured_dispatched: u64,
    /// Requests that ended, in any way.
    pub(crate) ended: u64,
    /// Measured requests that ended.
    pub(crate) measured_ended: u64,
    /// Requests that failed.
    pub(crate) failed: u64,
    /// Failed to connect or lost their connection before an answer.
    pub(crate) connect_errors: u64,
    /// Requests of any level whose last token came within this level's measured window.
    pub(crate) completed_in_window: u64,
    pub(crate) out_of_sockets: u64,
    pub(crate) records_lost: u64,
    /// Requests of any level that were sent within this level's measured window.
    pub(crate) sent_in_window: u64,
    /// Requests that had to wait for a connection of their own.
    pub(crate) dialled: u64,
    /// Measured requests with a first token, and those of them whose stamp is uncertain.
    pub(crate) first_tokens: u64,
    pub(crate) uncertain_stamps: u64,
    /// Requests of any level that ended, in any way, within this level's measured window, by the time that each took.
    pub(crate) time_in_flight_ns: i64,
}

impl Tally {
    /// Adds what others have done, or what happened later.
    pub(crate) fn add(&mut self, other: &Self) {
        self.dispatched += other.dispatched;
        self.measured_dispatched += other.measured_dispatched;
        self.ended += other.ended;
        self.measured_ended += other.measured_ended;
        self.failed += other.failed;
        self.connect_errors += other.connect_errors;
        self.completed_in_window += other.completed_in_window;
        self.out_of_sockets += other.out_of_sockets;
        self.records_lost += other.records_lost;
        self.sent_in_window += other.sent_in_window;
        self.dialled += other.dialled;
        self.first_tokens += other.first_tokens;
        self.uncertain_stamps += other.uncertain_stamps;
        self.time_in_flight_ns += other.time_in_flight_ns;
    }
}

/// What is new of one level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LevelNews {
    pub(crate) level: u32,
    pub(crate) tally: Tally,
    /// What to add to the level's seconds. A request whose objective was met and that fails later adds a violation
    /// without a decision, so that the sums are right.
    pub(crate) seconds: Vec<(u32, Second)>,
    /// TTFT of measured requests that ended; absent for those that failed.
    pub(crate) ttfts_ns: Vec<Option<i64>>,
    /// Schedule delays of measured requests.
    pub(crate) delays_ns: Vec<i64>,
    /// Those of the warm-up's.
    pub(crate) warmup_delays_ns: Vec<i64>,
    /// E2E latencies of the requests that ended well.
    pub(crate) e2e_ns: Vec<i64>,
    /// The reader's lags of measured requests.
    pub(crate) lags_ns: Vec<i64>,
}

impl LevelNews {
    /// Adds the news of another worker.
    pub(crate) fn add(&mut self, other: Self) {
        self.tally.add(&other.tally);
        self.seconds.extend(other.seconds);
        self.ttfts_ns.extend(other.ttfts_ns);
        self.delays_ns.extend(other.delays_ns);
        self.warmup_delays_ns.extend(other.warmup_delays_ns);
        self.e2e_ns.extend(other.e2e_ns);
        self.lags_ns.extend(other.lags_ns);
    }
}

/// The processor time of a sending thread so far, as the system tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "every number of nanoseconds says its unit"
)]
pub(crate) struct ThreadTime {
    /// When this was looked up, after the process's anchor.
    pub(crate) at_ns: i64,
    /// On a core.
    pub(crate) run_ns: u64,
    /// Ready to run, and no core free.
    pub(crate) wait_ns: u64,
}

/// A look at this process and its machine. Absent is what the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessLook {
    /// When, after the process's anchor.
    pub(crate) at_ns: i64,
    /// The processor time of all threads so far.
    pub(crate) run_ns: Option<i64>,
    /// The clock of the machine's own oscillator, which nobody steers, minus the monotonic one.
    pub(crate) raw_offset_ns: Option<i64>,
    /// Wall clock minus monotonic clock; absent, like the other, when the look at both was disturbed.
    pub(crate) wall_offset_ns: Option<i64>,
    /// Files and sockets that are open.
    pub(crate) open_files: Option<u64>,
    /// The longest time that the disk took since the last look.
    pub(crate) commit_ns: i64,
}

/// The requests in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InFlightCount {
    pub(crate) all: u64,
    /// Those without a first token.
    pub(crate) waiting: u64,
    /// The scheduled time of the oldest of these, after the process's anchor.
    pub(crate) oldest_waiting_ns: Option<i64>,
    /// For how long all of them together have been in flight.
    pub(crate) age_ns: i64,
    /// Connections that were open at one time, at most, since the last report; 0 where that is not known.
    pub(crate) connections: u64,
    /// Connections that were dialled so far.
    pub(crate) dialled: u64,
}

impl InFlightCount {
    /// Adds those of another worker.
    pub(crate) fn add(&mut self, other: Self) {
        self.all += other.all;
        self.waiting += other.waiting;
        self.age_ns += other.age_ns;
        self.connections += other.connections;
        self.dialled += other.dialled;
        self.oldest_waiting_ns = match (self.oldest_waiting_ns, other.oldest_waiting_ns) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
    }
}

/// What a worker, or a whole rank, has to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct News {
    pub(crate) in_flight: InFlightCount,
    pub(crate) levels: Vec<LevelNews>,
    /// The threads that send, by their number within the rank.
    pub(crate) threads: Vec<(usize, ThreadTime)>,
    /// Wall clock minus monotonic clock on the other machine; absent on this one.
    pub(crate) wall_offset_ns: Option<i64>,
}

/// Who reports: a thread of this process, or another rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    Worker(usize),
    Rank(u32),
}

/// To the controller.
#[derive(Debug)]
pub(crate) enum Report {
    News(Source, News),
    /// The gaps between the tokens of a level's measured requests; the last word on it if nothing of it is in flight.
    Gaps {
        worker: usize,
        level: u32,
        gaps: Box<Gaps>,
        last: bool,
    },
    /// Everything is handed over, as the cut asked.
    Flushed(Source),
    /// A rank is gone, with its part of the load.
    RankLost(u32),
    /// The worker cannot go on.
    Failed(String),
}

/// Gaps between tokens, in nanoseconds.
pub(crate) type Gaps = Histogram<u64>;

/// No gap yet; they are kept from 1 µs to one hour with two significant digits.
pub(crate) fn no_gaps() -> Gaps {
    Histogram::new_with_bounds(1_000, 3_600_000_000_000, 2).expect("the bounds are valid constants")
}

/// Rows on their way to the database.
pub(crate) type Rows = Vec<RequestRecord>;
