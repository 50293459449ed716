//! What the ranks of a run write for each other. All of them are one build, which they make sure of first.

use gipfel_model::{ArrivalRate, Phase};
use gipfel_workload::{Segment, SegmentEnd, Share};
use serde::{Deserialize, Serialize};

use super::clocks::Ways;
use crate::messages::{Append, News};

/// A rank says that it is there, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// Names the process, so that the word of an earlier one is not taken for its.
    pub(super) process: String,
    pub(super) rank: u32,
    pub(super) of: u32,
    /// How many of its threads send.
    pub(super) workers: u32,
    pub(super) node: String,
    /// The sha256 of its program and of its run configuration.
    pub(super) build: String,
    pub(super) config: String,
}

impl Hello {
    /// Why this rank cannot take part with `other` in one run.
    pub(super) fn objection(&self, other: &Self) -> Option<String> {
        let (rank, of) = (self.rank, self.of);
        if of != other.of {
            let known = other.of;
            return Some(format!(
                "rank {rank} was started as one of {of} processes, rank 0 as one of {known}: start all of them with one number"
            ));
        }
        if self.build != other.build {
            return Some(format!(
                "rank {rank} on {} is another build of the load generator than rank 0 on {}: start one and the same file",
                self.node, other.node
            ));
        }
        if self.config != other.config {
            return Some(format!(
                "rank {rank} on {} has another run configuration than rank 0 on {}: give all of them one file",
                self.node, other.node
            ));
        }
        None
    }
}

/// Rank 0 says who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roll {
    /// Names the session, and the directory of its files.
    pub(super) session: String,
    /// The processes that take part.
    pub(super) processes: Vec<String>,
    /// Those that do not, and why.
    pub(super) refused: Vec<(String, String)>,
    /// The run is complete: nobody is needed.
    pub(super) over: bool,
    /// Wall clock minus monotonic clock of rank 0.
    pub(super) wall_offset_ns: i64,
    /// What rank 0 adds to its times, so that the run has one axis.
    pub(super) shift_ns: i64,
}

/// A segment. The rate travels by its bits: text may round it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct WireSegment {
    index: u32,
    rate_bits: u64,
    ramp_ns: i64,
    start_ns: i64,
    end_ns: i64,
}

/// A piece of the schedule, and who takes which share of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct WireAppend {
    level: u32,
    phase: Phase,
    span: (i64, i64),
    seconds_from_ns: i64,
    segment: Option<WireSegment>,
    first_request: u64,
    /// The first thread of each rank that takes part.
    first: Vec<(u32, u32)>,
    /// How many threads there are.
    of: u32,
}

impl WireAppend {
    pub(super) fn new(piece: &Append, first: Vec<(u32, u32)>, of: u32) -> Self {
        let segment = piece.segment.map(|segment| WireSegment {
            index: segment.index,
            rate_bits: segment.rate.get().to_bits(),
            ramp_ns: segment.ramp_ns,
            start_ns: segment.start_ns,
            end_ns: match segment.end {
                SegmentEnd::At(end_ns) => end_ns,
                SegmentEnd::Count(_) | SegmentEnd::Open => i64::MAX,
            },
        });
        Self {
            level: piece.level,
            phase: piece.phase,
            span: piece.span,
            seconds_from_ns: piece.seconds_from_ns,
            segment,
            first_request: piece.first_request,
            first,
            of,
        }
    }

    /// The piece on an axis that is `ahead_ns` ahead of rank 0's.
    pub(super) fn piece(&self, ahead_ns: i64) -> Result<Append, gipfel_model::UnitError> {
        let here = |ns: i64| ns.saturating_sub(ahead_ns);
        let segment = |wire: &WireSegment| {
            Ok(Segment {
                index: wire.index,
                rate: ArrivalRate::per_second(f64::from_bits(wire.rate_bits))?,
                ramp_ns: wire.ramp_ns,
                start_ns: here(wire.start_ns),
                end: SegmentEnd::At(here(wire.end_ns)),
            })
        };
        Ok(Append {
            level: self.level,
            phase: self.phase,
            span: (here(self.span.0), here(self.span.1)),
            seconds_from_ns: here(self.seconds_from_ns),
            segment: self.segment.as_ref().map(segment).transpose()?,
            first_request: self.first_request,
        })
    }

    /// The share of a rank's thread; nothing for a rank that takes no part any more.
    pub(super) fn share(&self, rank: u32, worker: u32) -> Option<Share> {
        let (_, first) = self.first.iter().find(|(known, _)| *known == rank)?;
        Some(Share {
            worker: first + worker,
            of: self.of,
        })
    }
}

/// From rank 0 to all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Command {
    /// How much later than rank 0's the axis of each rank begins.
    Agreed(Vec<(u32, i64)>),
    /// The server answers at this URL, and this is the name that requests carry.
    Start { model: String, endpoint: String },
    /// Send your share of this piece after those before it.
    Append(WireAppend),
    /// Cancel the requests in flight that have no first token.
    Shed,
    /// Nothing more of this level will be asked about.
    Close(u32),
    /// Send no more, cancel what is in flight, hand everything over and say so.
    Cut,
    /// This rank is given up; whoever it is must not send any more.
    Lost(u32),
    /// Rank 0 lives.
    Beat,
    /// It is over.
    Leave,
}

/// From a rank to rank 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// How much later than rank 0's its axis begins by the wall clocks, and how long rank 0's lines have seemed to take.
    Compared {
        by_wall_clock_ns: i64,
        ways: Option<Ways>,
    },
    /// How the load stands, on rank 0's axis; also a sign of life.
    News(News),
    /// Everything is handed over, as the cut asked.
    Flushed,
    /// It cannot go on.
    Failed(String),
    /// It leaves; its part of the database is closed and this long, which a directory may show only later.
    Gone { part: String, bytes: u64 },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_travels_without_a_change() {
        let segment = Segment {
            index: 7,
            rate: ArrivalRate::per_second(0.1 + 0.2).expect("a rate"),
            ramp_ns: 200,
            start_ns: 1_500,
            end: SegmentEnd::At(9_000),
        };
        let piece = Append {
            level: 3,
            phase: Phase::Measured,
            span: (1_000, 9_000),
            seconds_from_ns: 500,
            segment: Some(segment),
            first_request: 12_345,
        };
        let wire = WireAppend::new(&piece, vec![(0, 0), (2, 4)], 6);
        let line = serde_json::to_string(&wire).expect("JSON");
        let wire: WireAppend = serde_json::from_str(&line).expect("its own form");
        assert_eq!(wire.piece(0).expect("a piece"), piece);
        let there = wire.piece(400).expect("a piece");
        assert_eq!((there.span, there.seconds_from_ns), ((600, 8_600), 100));
        let segment = there.segment.expect("a segment");
        assert_eq!((segment.start_ns, segment.end), (1_100, SegmentEnd::At(8_600)));
        assert_eq!(wire.share(2, 1), Some(Share { worker: 5, of: 6 }));
        assert_eq!(wire.share(1, 0), None);
    }

    #[test]
    fn ranks_that_do_not_fit_are_refused() {
        let hello = |rank, of, build: &str, config: &str| Hello {
            process: "p".to_owned(),
            rank,
            of,
            workers: 1,
            node: format!("nid{rank}"),
            build: build.to_owned(),
            config: config.to_owned(),
        };
        let zero = hello(0, 2, "a", "c");
        let check = |other: Hello, expected: Option<&str>| {
            assert_eq!(other.objection(&zero).as_deref(), expected);
        };
        check(hello(1, 2, "a", "c"), None);
        check(
            hello(1, 3, "a", "c"),
            Some(
                "rank 1 was started as one of 3 processes, rank 0 as one of 2: start all of them with one number",
            ),
        );
        check(
            hello(1, 2, "b", "c"),
            Some(
                "rank 1 on nid1 is another build of the load generator than rank 0 on nid0: start one and the same file",
            ),
        );
        check(
            hello(1, 2, "a", "d"),
            Some(
                "rank 1 on nid1 has another run configuration than rank 0 on nid0: give all of them one file",
            ),
        );
    }
}
