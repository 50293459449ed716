//! What is known of the load at this moment: the open levels, what is in flight, what the search has not been told.

use std::collections::BTreeMap;

use gipfel_model::Slo;
use gipfel_peak_search::Counted;

use crate::{
    board::Board,
    messages::{InFlightCount, News, ProcessLook, Source},
};

/// The sum of the workers' reports.
#[derive(Debug)]
pub(crate) struct Ledger {
    slos: Vec<Slo>,
    boards: BTreeMap<u32, Board>,
    in_flight: BTreeMap<Source, InFlightCount>,
    /// Wall clock minus monotonic clock of the other machines, as they last said.
    wall_offsets_ns: BTreeMap<Source, i64>,
    /// Connect errors since the process's start.
    pub(crate) connect_errors: u64,
    counted: Vec<Counted>,
    e2e_ns: Vec<i64>,
}

impl Ledger {
    /// Nothing is known.
    pub(crate) fn new(slos: &[Slo]) -> Self {
        Self {
            slos: slos.to_vec(),
            boards: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            wall_offsets_ns: BTreeMap::new(),
            connect_errors: 0,
            counted: Vec::new(),
            e2e_ns: Vec::new(),
        }
    }

    /// A level is open from now on.
    pub(crate) fn open(&mut self, level: u32) {
        self.boards.insert(level, Board::new(&self.slos));
    }

    /// The board of an open level; an empty one of a level that is not.
    pub(crate) fn board(&mut self, level: u32) -> &mut Board {
        let slos = &self.slos;
        self.boards.entry(level).or_insert_with(|| Board::new(slos))
    }

    /// Forgets a level that is complete or broken.
    pub(crate) fn close(&mut self, level: u32) {
        self.boards.remove(&level);
    }

    /// Takes a worker's news.
    pub(crate) fn apply(&mut self, source: Source, news: News) {
        self.in_flight.insert(source, news.in_flight);
        for (thread, time) in news.threads {
            for board in self.boards.values_mut() {
                board.look_at_thread(source, thread, time);
            }
        }
        if let Some(offset_ns) = news.wall_offset_ns {
            self.wall_offsets_ns.insert(source, offset_ns);
        }
        for level in news.levels {
            self.connect_errors += level.tally.connect_errors;
            if let Some(board) = self.boards.get_mut(&level.level) {
                board.apply(&level);
            }
            let of_level = |(second, add)| Counted {
                level: level.level,
                second,
                add,
            };
            self.counted.extend(level.seconds.into_iter().map(of_level));
            self.e2e_ns.extend(level.e2e_ns);
        }
    }

    /// Takes note that a rank is gone: the open levels lack its part.
    pub(crate) fn lose(&mut self, rank: u32) {
        self.in_flight.remove(&Source::Rank(rank));
        self.wall_offsets_ns.remove(&Source::Rank(rank));
        for board in self.boards.values_mut() {
            board.lost_ranks.push(rank);
        }
    }

    /// Looks at the requests in flight and at this process, for the levels that are being measured then.
    pub(crate) fn look(&mut self, process: &ProcessLook) {
        let in_flight = self.in_flight();
        for board in self.boards.values_mut() {
            board.look(&in_flight, process);
        }
    }

    /// The requests in flight.
    pub(crate) fn in_flight(&self) -> InFlightCount {
        let mut sum = InFlightCount::default();
        for count in self.in_flight.values() {
            sum.add(*count);
        }
        sum
    }

    /// The wall-clock offsets of the other machines.
    pub(crate) fn wall_offsets_ns(&self) -> BTreeMap<Source, i64> {
        self.wall_offsets_ns.clone()
    }

    /// The counts and the E2E latencies since the last time.
    pub(crate) fn take_new(&mut self) -> (Vec<Counted>, Vec<i64>) {
        (
            std::mem::take(&mut self.counted),
            std::mem::take(&mut self.e2e_ns),
        )
    }
}
