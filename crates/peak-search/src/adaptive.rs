//! The adaptive search: ramp, bracket, track, verify.
//!
//! The load never stops between two levels: a server that has become empty looks faster than it is. A level ends when it
//! has told enough, a shed cancels only what waits, and what was not seen for that reason counts as violating.

mod course;
mod live;

use std::time::Duration;

use gipfel_model::{
    ArrivalRate, Evidence, LevelRecord, LevelState, PeakAnswer, Phase, SearchProgress, SearchSpec, Second,
    Slo, Stage, Verdict,
};

use crate::{
    conclude::{answer, is_client_late},
    evidence::median,
    fit::{Learnt, estimate, fit, typical_e2e},
};
use course::{Course, Outcome, Plan};
use live::Live;

const SECOND_NS: i64 = 1_000_000_000;
/// Load is asked for so far ahead.
const LEAD: Duration = Duration::from_millis(300);
/// The median E2E latency is that of so many requests that ended last.
const RECENT: usize = 1000;
/// Without a budget of the user: this, or so many median E2E latencies if that is more.
const BUDGET: Duration = Duration::from_mins(15);
const BUDGET_E2E: f64 = 60.0;

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
    lead_ns: i64,
    /// Time used by earlier processes.
    spent: Duration,
    started_ns: Option<i64>,
    /// The end of the load that was asked for.
    scheduled_until_ns: i64,
    next_level: u32,
    levels: Vec<Live>,
    course: Course,
    recent_e2e: std::collections::VecDeque<i64>,
    is_over: bool,
}

impl AdaptiveSearch {
    /// A search that goes on after `levels` (none for one that begins), `spent` of whose time is used. Levels that are not
    /// complete, have no evidence or are invalid teach nothing.
    pub fn resume(
        spec: &SearchSpec,
        slos: &[Slo],
        levels: &[LevelRecord],
        next_level: u32,
        spent: Duration,
    ) -> Self {
        let levels: Vec<Live> = levels
            .iter()
            .filter(|level| level.state == LevelState::Complete)
            .filter(|level| !matches!(level.verdict, Some(Verdict::Invalid { .. })))
            .filter_map(Live::from_record)
            .collect();
        let mut search = Self {
            spec: spec.clone(),
            slos: slos.to_vec(),
            lead_ns: LEAD.as_nanos() as i64,
            spent,
            started_ns: None,
            scheduled_until_ns: 0,
            next_level,
            course: Course::new(spec),
            levels: Vec::new(),
            recent_e2e: std::collections::VecDeque::new(),
            is_over: false,
        };
        for level in levels {
            let outcome = course::outcome_of(&level, slos);
            search.levels.push(level);
            search.advance_course(outcome);
        }
        search.course.begin_cold();
        search
    }

    /// Asks for load at least so far ahead; 300 ms unless this is called.
    #[must_use]
    pub fn with_lead(mut self, lead: Duration) -> Self {
        self.lead_ns = i64::try_from(lead.as_nanos()).unwrap_or(i64::MAX / 4);
        self
    }

    /// Takes what was observed and says what to do now. To be called every 100 to 500 ms.
    pub fn step(&mut self, observation: &Observation<'_>) -> Vec<Directive> {
        if self.is_over {
            return Vec::new();
        }
        let now_ns = observation.now_ns;
        let started_ns = *self.started_ns.get_or_insert(now_ns);
        if started_ns == now_ns {
            self.scheduled_until_ns = now_ns + self.lead_ns;
        }
        self.absorb(observation);
        let mut directives = Vec::new();
        if let Some(outcome) = self.look(observation) {
            if outcome.sheds {
                directives.push(Directive::Shed);
            }
            self.end_level(&outcome);
            self.advance_course(outcome.outcome);
        }
        self.close_decided(now_ns, &mut directives);
        if self.is_finished(now_ns) {
            self.finish(now_ns, &mut directives);
        } else {
            self.append(now_ns, &mut directives);
        }
        directives
    }

    /// The client did not keep its part in this level: its evidence does not count. After three such levels in succession,
    /// or six steps of the ramp, the search ends unresolved.
    pub fn invalidate(&mut self, level: u32) {
        if let Some(one) = self.levels.iter_mut().find(|one| one.level == level) {
            one.is_valid = false;
        }
    }

    fn is_client_at_its_limit(&self) -> bool {
        let closed = self.levels.iter().filter(|level| level.is_closed);
        is_client_late(closed.map(|level| (level.stage, level.is_valid)))
    }

    /// Where the search stands.
    pub fn progress(&self) -> SearchProgress {
        let learnt = self.learnt();
        SearchProgress {
            stage: self.levels.last().map_or(Stage::Ramp, |level| level.stage),
            estimate: self
                .course
                .is_tracking()
                .then(|| estimate(&self.slos, &learnt, typical_e2e(&learnt)))
                .flatten(),
            bracket: self.course.bracket(),
            elapsed_s: self.elapsed_s(self.scheduled_until_ns - self.lead_ns),
            budget_s: self.budget_s(),
        }
    }

    fn absorb(&mut self, observation: &Observation<'_>) {
        for counted in observation.counts {
            if let Some(level) = self.levels.iter_mut().find(|level| level.level == counted.level) {
                level.count(counted.second, &counted.add);
            }
        }
        if let Some(level) = self.levels.last_mut().filter(|level| level.is_offered) {
            level.see_in_flight(observation.now_ns, observation.in_flight);
            // Under overload the latency is that of the queue, which is no scale of the server's.
            if level.is_overloaded_now(&self.slos) {
                return;
            }
            level.ended_e2e_ns.extend_from_slice(observation.e2e_ns);
        }
        for nanos in observation.e2e_ns {
            if self.recent_e2e.len() == RECENT {
                self.recent_e2e.pop_front();
            }
            self.recent_e2e.push_back(*nanos);
        }
    }

    /// The median E2E latency of late, in seconds; 0 while nothing has ended.
    fn e2e_s(&self) -> f64 {
        let mut recent: Vec<i64> = self.recent_e2e.iter().copied().collect();
        median(&mut recent)
            .map(|nanos| nanos / 1e9)
            .or_else(|| typical_e2e(&self.learnt()))
            .unwrap_or(0.0)
    }

    /// Whether the level that is offered is over.
    fn look(&self, observation: &Observation<'_>) -> Option<Ended> {
        let level = self.levels.last().filter(|level| level.is_offered)?;
        let view = course::View {
            level,
            slos: &self.slos,
            e2e_s: self.e2e_s(),
            now_ns: observation.now_ns,
            is_due: self.is_due(observation.now_ns),
            oldest_waiting_s: observation.oldest_waiting_ns as f64 / 1e9,
            estimate: self.course.mean(),
        };
        let outcome = course::look(&view);
        let out_of_time = self.spec.budget.is_some() && self.is_out_of_time(observation.now_ns)
            || self.is_client_at_its_limit();
        match outcome {
            Some(outcome) => Some(Ended {
                sheds: outcome.sheds(),
                outcome,
            }),
            None if out_of_time => Some(Ended {
                sheds: false,
                outcome: Outcome::TimeOver,
            }),
            None => None,
        }
    }

    fn end_level(&mut self, ended: &Ended) {
        let slos = &self.slos;
        if let Some(level) = self.levels.last_mut() {
            level.is_offered = false;
            if let Outcome::Overloaded { objective } = ended.outcome {
                level.overloaded = slos.get(objective).copied();
                if level.stage == Stage::Track {
                    level.stands_for_s = level.stands_for_s.max(level.planned_s);
                }
            }
        }
    }

    /// The last level of `self.levels` is over.
    fn advance_course(&mut self, outcome: Outcome) {
        let learnt = self.learnt();
        let e2e_s = typical_e2e(&learnt);
        let fit = fit(&self.slos, &learnt, e2e_s);
        let Some(level) = self.levels.last() else { return };
        self.course.advance(level, outcome, fit.as_ref());
    }

    /// What is known of all valid levels, those included that are not closed.
    fn learnt(&self) -> Vec<Learnt<'_>> {
        self.levels
            .iter()
            .filter(|level| level.is_valid)
            .map(|level| Learnt {
                stage: level.stage,
                rate: level.rate.get(),
                start_s: level.start_ns as f64 / 1e9,
                evidence: &level.evidence,
            })
            .collect()
    }

    /// Closes the levels before the one that is offered once all their requests are decided.
    fn close_decided(&mut self, now_ns: i64, directives: &mut Vec<Directive>) {
        let e2e_s = self.e2e_s();
        for level in &mut self.levels {
            if !level.is_offered && !level.is_closed && level.is_decided(&self.slos, now_ns, e2e_s) {
                directives.push(level.close(&self.slos, now_ns, e2e_s));
            } else if !level.is_closed {
                level.refresh(&self.slos, now_ns, e2e_s);
            }
        }
    }

    fn elapsed_s(&self, now_ns: i64) -> f64 {
        let here = self.started_ns.map_or(0, |started| (now_ns - started).max(0));
        self.spent.as_secs_f64() + here as f64 / 1e9
    }

    fn budget_s(&self) -> f64 {
        match self.spec.budget {
            Some(budget) => budget.as_secs_f64(),
            None => BUDGET.as_secs_f64().max(BUDGET_E2E * self.course.e2e_s()),
        }
    }

    fn is_out_of_time(&self, now_ns: i64) -> bool {
        self.elapsed_s(now_ns) >= self.budget_s()
    }

    /// Whether the search ends here: between two levels only.
    fn is_finished(&self, now_ns: i64) -> bool {
        let is_between = self.levels.last().is_none_or(|level| !level.is_offered);
        if !is_between {
            return false;
        }
        let plan = self.course.plan();
        let fits = match (&plan, self.spec.budget) {
            (Some(plan), Some(_)) => self.elapsed_s(now_ns) + plan.least_s() <= self.budget_s(),
            _ => !self.is_out_of_time(now_ns),
        };
        let is_precise = self.course.is_precise(self.spec.precision);
        plan.is_none() || !fits || is_precise || self.is_client_at_its_limit()
    }

    fn finish(&mut self, now_ns: i64, directives: &mut Vec<Directive>) {
        let e2e_s = self.e2e_s();
        let is_client_at_its_limit = self.is_client_at_its_limit();
        for level in self.levels.iter_mut().filter(|level| !level.is_closed) {
            directives.push(level.close(&self.slos, now_ns, e2e_s));
        }
        self.is_over = true;
        let learnt = self.learnt();
        let found = answer(&self.spec, &self.slos, &learnt, is_client_at_its_limit);
        directives.push(Directive::Done(found));
    }

    /// Keeps the load that was asked for ahead of the time.
    fn append(&mut self, now_ns: i64, directives: &mut Vec<Directive>) {
        while self.is_due(now_ns) {
            let is_between = self.levels.last().is_none_or(|level| !level.is_offered);
            if is_between {
                let Some(plan) = self.course.plan() else { return };
                self.begin(&plan, directives);
            }
            let Some(level) = self.levels.last_mut() else {
                return;
            };
            level.settle_on(now_ns);
            directives.push(level.append());
            self.scheduled_until_ns = level.end_ns;
        }
    }

    /// Whether the next second of load has to be asked for now; half a second is left to whoever asks seldom.
    fn is_due(&self, now_ns: i64) -> bool {
        self.scheduled_until_ns - now_ns < self.lead_ns + SECOND_NS / 2
    }

    fn begin(&mut self, plan: &Plan, directives: &mut Vec<Directive>) {
        let level = Live::new(self.next_level, plan, self.scheduled_until_ns);
        self.next_level += 1;
        directives.push(Directive::Begin {
            level: level.level,
            stage: level.stage,
            rate: level.rate,
        });
        self.levels.push(level);
    }
}

/// A level is over.
struct Ended {
    outcome: Outcome,
    sheds: bool,
}
