//! What the controller and the workers tell each other. None of it lies on the request path.

use gipfel_model::{Phase, RequestRecord, record::Latency};
use gipfel_workload::Segment;
use hdrhistogram::Histogram;

/// A level as the workers get it: its segments in order, each with its phase.
#[derive(Clone, Debug)]
pub(crate) struct LevelOrder {
    pub(crate) level: u32,
    pub(crate) segments: Vec<(Phase, Segment)>,
}

/// From the controller to a worker.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Send this level.
    Begin(LevelOrder),
    /// Send no more of the level, cancel what is in flight, hand everything over and say so.
    Cut,
}

/// How a worker's share of the level stands to one objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SloTally {
    pub(crate) decided: u64,
    pub(crate) violated: u64,
}

/// A worker's share of the level, counted from its begin.
#[derive(Clone, Debug, Default, PartialEq)]
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
    pub(crate) in_flight: u64,
    /// Requests whose last token came within the measured window.
    pub(crate) completed_in_window: u64,
    pub(crate) out_of_sockets: u64,
    pub(crate) records_lost: u64,
    /// Measured requests, one entry for each objective.
    pub(crate) slos: Vec<SloTally>,
}

/// From a worker to the controller.
#[derive(Debug)]
pub(crate) enum Report {
    /// Where the level stands; the vectors hold what is new since the last report.
    Update {
        worker: usize,
        level: u32,
        tally: Tally,
        ttfts: Vec<Latency>,
        delays_ns: Vec<i64>,
    },
    /// Everything of the level is handed over; what is left are the gaps between the tokens of measured requests.
    Flushed { level: u32, gaps: Box<Gaps> },
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
