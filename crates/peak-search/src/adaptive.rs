//! The adaptive search: ramp, bracket, track, verify.

use gipfel_model::{
    ArrivalRate, Evidence, LevelRecord, PeakAnswer, Phase, SearchProgress, SearchSpec, Second, Slo, Stage,
};

/// What was observed since the last call.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Now, in nanoseconds after the process's anchor; the axis of [`Directive::Append`].
    pub now_ns: i64,
    /// Counts to add to those of earlier calls.
    pub counts: &'a [Counted],
    /// Requests in flight.
    pub in_flight: u64,
    /// Those of them that have no first token.
    pub waiting: u64,
    /// The age of the oldest of these, from its scheduled arrival; 0 when none waits.
    pub oldest_waiting_ns: i64,
    /// E2E latencies of the requests that ended well since the last call.
    pub e2e_ns: &'a [i64],
}

/// Additions to one second of one level. Each request adds itself to `arrivals` and the token sums once, when it is sent,
/// and once to each objective, when it is decided; both in the second in which it was scheduled.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// The level.
    pub level: u32,
    /// The second, from the level's start.
    pub second: u32,
    /// What to add.
    pub add: Second,
}

/// What to do. The directives of one call are carried out in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Directive {
    /// A level begins: open a record of it. Its load follows in `Append`s, the first of which starts it.
    Begin {
        /// The next number.
        level: u32,
        /// What it is for.
        stage: Stage,
        /// The offered rate.
        rate: ArrivalRate,
    },
    /// Offer this load. Segments follow each other without gap and are never taken back; those of a level before may
    /// still have requests in flight.
    Append {
        /// The level that it belongs to.
        level: u32,
        /// Warm-up while the server settles, or measured.
        phase: Phase,
        /// The offered rate.
        rate: ArrivalRate,
        /// Its begin, after the process's anchor.
        from_ns: i64,
        /// Its end.
        to_ns: i64,
    },
    /// Cancel the requests that have no first token; those that run go on.
    Shed,
    /// The evidence of a level is final: complete its record.
    Close {
        /// The level.
        level: u32,
        /// What was learnt.
        evidence: Evidence,
    },
    /// The search is over: cancel what is in flight. Every level has been closed.
    Done(PeakAnswer),
}

/// The adaptive search. Its state between two levels is nothing but the evidence of the closed ones, so that a resumed
/// search goes on from them.
#[derive(Clone, Debug)]
pub struct AdaptiveSearch {
    spec: SearchSpec,
    slos: Vec<Slo>,
}

impl AdaptiveSearch {
    /// A search that goes on after `levels` (none for one that begins), `spent` of whose time is used. Levels that are not
    /// complete, have no evidence or are invalid teach nothing.
    pub fn resume(
        spec: &SearchSpec,
        slos: &[Slo],
        levels: &[LevelRecord],
        next_level: u32,
        spent: std::time::Duration,
    ) -> Self {
        let _ = (levels, next_level, spent);
        Self {
            spec: spec.clone(),
            slos: slos.to_vec(),
        }
    }

    /// Asks for load at least so far ahead; 300 ms unless this is called.
    #[must_use]
    pub fn with_lead(self, lead: std::time::Duration) -> Self {
        let _ = lead;
        self
    }

    /// Takes what was observed and says what to do now. To be called every 100 to 500 ms.
    pub fn step(&mut self, observation: &Observation<'_>) -> Vec<Directive> {
        let _ = observation;
        vec![Directive::Done(conclude(&self.spec, &self.slos, &[]))]
    }

    /// The client did not keep its part in this level: its evidence does not count. After two such levels in succession
    /// the search ends unresolved.
    pub fn invalidate(&mut self, level: u32) {
        let _ = level;
    }

    /// Where the search stands.
    pub fn progress(&self) -> SearchProgress {
        SearchProgress {
            stage: Stage::Ramp,
            estimate: None,
            bracket: None,
            elapsed_s: 0.0,
            budget_s: 900.0,
        }
    }
}

/// The answer that these levels give, those of an adaptive search or of listed and doubling rates. Levels that are not
/// complete, have no evidence or are invalid do not count.
pub fn conclude(spec: &SearchSpec, slos: &[Slo], levels: &[LevelRecord]) -> PeakAnswer {
    let _ = (spec, slos, levels);
    PeakAnswer::default()
}
