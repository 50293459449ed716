//! Which level comes next: ascending rates, until two are rejected.

use std::time::Duration;

use gipfel_model::{ArrivalRate, LevelRecord, LevelSchedule, LevelState, Rates, Verdict};

/// Rejected levels in succession after which higher ones are not measured.
const REJECTED_TO_STOP: u32 = 2;
/// Invalid levels in succession after which doubling the rate again teaches nothing.
const INVALID_TO_STOP: u32 = 2;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// Offer a level, and then tell the search its verdict.
    Offer {
        /// The offered rate.
        rate: ArrivalRate,
        /// The warm-up.
        warmup: Duration,
        /// The measured window.
        measured: Duration,
    },
    /// The search is over.
    Done(DoneReason),
}

/// Why a search is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoneReason {
    /// Every level was measured.
    AllLevels,
    /// Two levels in succession were rejected.
    TwoRejected,
    /// The next level does not fit into the time that is left.
    TimeBudget,
    /// Two levels in succession were invalid: the client reaches its limits before the server does.
    ClientLimit,
}

/// A search over given or doubling rates, from the lowest up.
///
/// Its state is nothing but the verdicts so far, one for each rate, so a search that is resumed from the completed levels
/// of the database goes on exactly where the broken one would have.
///
/// Two rejected levels in succession end it, unless all listed levels are asked for. An accepted or an unresolved level
/// between them begins the succession anew; an invalid one says nothing of the server and leaves it as it was. Doubling
/// rates have no end of their own, so they also end after two invalid levels in succession, and `all_levels` does not
/// apply to them.
#[derive(Clone, Debug)]
pub struct LevelSearch {
    schedule: LevelSchedule,
    verdicts: Vec<(ArrivalRate, Standing)>,
}

/// What a verdict means for the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Rejected,
    NotRejected,
    Invalid,
}

impl Standing {
    fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Reject { .. } => Self::Rejected,
            Verdict::Accept | Verdict::Unresolved { .. } => Self::NotRejected,
            Verdict::Invalid { .. } => Self::Invalid,
        }
    }
}

impl LevelSearch {
    /// A search that has seen nothing. Listed rates are offered in ascending order and each of them once.
    pub fn new(schedule: &LevelSchedule) -> Self {
        let mut schedule = schedule.clone();
        if let Rates::Listed(rates) = &mut schedule.rates {
            rates.sort_by(|one, other| one.get().total_cmp(&other.get()));
            rates.dedup();
        }
        Self {
            schedule,
            verdicts: Vec::new(),
        }
    }

    /// A search that goes on after these levels. Those that are not complete, or have no verdict, are offered again.
    pub fn resume(schedule: &LevelSchedule, completed: &[LevelRecord]) -> Self {
        let mut search = Self::new(schedule);
        for level in completed
            .iter()
            .filter(|level| level.state == LevelState::Complete)
        {
            if let Some(verdict) = &level.verdict {
                search.observe(level.rate, verdict);
            }
        }
        search
    }

    /// What to do `elapsed` after the run's start.
    pub fn next(&self, elapsed: Duration) -> Command {
        let (mut rejected, mut invalid) = (0, 0);
        for rate in self.rates() {
            match self.standing(rate) {
                None => return self.offer(rate, elapsed),
                Some(Standing::Rejected) => (rejected, invalid) = (rejected + 1, 0),
                Some(Standing::NotRejected) => (rejected, invalid) = (0, 0),
                Some(Standing::Invalid) => invalid += 1,
            }
            if rejected >= REJECTED_TO_STOP && !(self.schedule.all_levels && self.is_listed()) {
                return Command::Done(DoneReason::TwoRejected);
            }
            if invalid >= INVALID_TO_STOP && !self.is_listed() {
                return Command::Done(DoneReason::ClientLimit);
            }
        }
        Command::Done(DoneReason::AllLevels)
    }

    /// Takes the verdict on a completed level; a later one on the same rate replaces it.
    pub fn observe(&mut self, rate: ArrivalRate, verdict: &Verdict) {
        self.verdicts.retain(|(known, _)| *known != rate);
        self.verdicts.push((rate, Standing::of(verdict)));
    }

    /// How many levels there are at most; unknown while rates double.
    pub fn planned_levels(&self) -> Option<u32> {
        match &self.schedule.rates {
            Rates::Listed(rates) => Some(rates.len() as u32),
            Rates::Doubling { .. } | Rates::Search(_) => None,
        }
    }

    fn offer(&self, rate: ArrivalRate, elapsed: Duration) -> Command {
        let LevelSchedule {
            warmup, total_time, ..
        } = self.schedule;
        let measured = self.schedule.measured_at(rate);
        let end = elapsed.saturating_add(warmup).saturating_add(measured);
        if total_time.is_some_and(|total| end > total) {
            return Command::Done(DoneReason::TimeBudget);
        }
        Command::Offer {
            rate,
            warmup,
            measured,
        }
    }

    fn standing(&self, rate: ArrivalRate) -> Option<Standing> {
        let known = self.verdicts.iter().find(|(known, _)| *known == rate);
        known.map(|(_, standing)| *standing)
    }

    fn is_listed(&self) -> bool {
        matches!(self.schedule.rates, Rates::Listed(_))
    }

    /// The rates of the schedule from the lowest up; doubling ends where numbers do.
    fn rates(&self) -> Box<dyn Iterator<Item = ArrivalRate> + '_> {
        match &self.schedule.rates {
            Rates::Listed(rates) => Box::new(rates.iter().copied()),
            // An adaptive search has no levels of this kind.
            Rates::Search(_) => Box::new(std::iter::empty()),
            Rates::Doubling { first } => Box::new(std::iter::successors(Some(*first), |rate| {
                Some(rate.doubled()).filter(|doubled| doubled > rate)
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::level;
    use insta::assert_snapshot;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_hours(24);

    fn schedule(rates: Rates) -> LevelSchedule {
        LevelSchedule {
            rates,
            warmup: Duration::from_secs(30),
            measured: Duration::from_mins(1),
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: false,
            all_levels: false,
            total_time: None,
        }
    }

    fn rate(per_second: f64) -> ArrivalRate {
        ArrivalRate::per_second(per_second).expect("a rate")
    }

    fn listed(rates: &[f64]) -> LevelSchedule {
        schedule(Rates::Listed(rates.iter().copied().map(rate).collect()))
    }

    fn doubling(first: f64) -> LevelSchedule {
        schedule(Rates::Doubling { first: rate(first) })
    }

    /// a: accept, r: reject, u: unresolved, i: invalid.
    fn verdict(letter: char) -> Verdict {
        let reason = "a reason".to_owned();
        match letter {
            'a' => Verdict::Accept,
            'r' => Verdict::Reject {
                slo: "ttft p95 <= 500ms".parse().expect("an objective"),
            },
            'u' => Verdict::Unresolved { reason },
            _ => Verdict::Invalid { reason },
        }
    }

    /// Offers levels until the search or the script of verdicts ends.
    fn walk(schedule: &LevelSchedule, verdicts: &str) -> String {
        let mut search = LevelSearch::new(schedule);
        let mut trace = Vec::new();
        for letter in verdicts.chars() {
            match search.next(Duration::ZERO) {
                Command::Offer { rate, .. } => {
                    trace.push(format!("{}{letter}", rate.get()));
                    search.observe(rate, &verdict(letter));
                }
                Command::Done(_) => break,
            }
        }
        trace.push(match search.next(Duration::ZERO) {
            Command::Offer { rate, .. } => format!("next {}", rate.get()),
            Command::Done(reason) => format!("{reason:?}"),
        });
        trace.join(" ")
    }

    #[test]
    fn listed_levels_ascend_until_two_are_rejected() {
        let schedule = listed(&[5.0, 10.0, 20.0, 40.0, 80.0]);
        assert_snapshot!(walk(&schedule, ""), @"next 5");
        assert_snapshot!(walk(&schedule, "aaaaa"), @"5a 10a 20a 40a 80a AllLevels");
        assert_snapshot!(walk(&schedule, "aarra"), @"5a 10a 20r 40r TwoRejected");
        assert_snapshot!(walk(&schedule, "rr"), @"5r 10r TwoRejected");
        assert_snapshot!(walk(&schedule, "ararr"), @"5a 10r 20a 40r 80r TwoRejected");
        assert_snapshot!(walk(&schedule, "rurur"), @"5r 10u 20r 40u 80r AllLevels");
        assert_snapshot!(walk(&schedule, "ariir"), @"5a 10r 20i 40i 80r TwoRejected");
        assert_snapshot!(walk(&schedule, "iiiii"), @"5i 10i 20i 40i 80i AllLevels");
        assert_snapshot!(walk(&listed(&[]), ""), @"AllLevels");
    }

    #[test]
    fn all_levels_means_all_listed_levels() {
        let all = |schedule| LevelSchedule {
            all_levels: true,
            ..schedule
        };
        assert_snapshot!(walk(&all(listed(&[5.0, 10.0, 20.0])), "rrr"), @"5r 10r 20r AllLevels");
        assert_snapshot!(walk(&all(doubling(1.0)), "rrr"), @"1r 2r TwoRejected");
    }

    #[test]
    fn rates_are_sorted_and_each_is_offered_once() {
        let schedule = listed(&[20.0, 5.0, 20.0, 10.0]);
        assert_snapshot!(walk(&schedule, "aaaa"), @"5a 10a 20a AllLevels");
        assert_eq!(LevelSearch::new(&schedule).planned_levels(), Some(3));
        assert_eq!(LevelSearch::new(&doubling(1.0)).planned_levels(), None);
    }

    #[test]
    fn doubling_goes_on_until_server_or_client_give_out() {
        let schedule = doubling(1.5);
        assert_snapshot!(walk(&schedule, "uuaaarrr"), @"1.5u 3u 6a 12a 24a 48r 96r TwoRejected");
        assert_snapshot!(walk(&schedule, "aiaii"), @"1.5a 3i 6a 12i 24i ClientLimit");
        assert_snapshot!(walk(&schedule, "rirr"), @"1.5r 3i 6r TwoRejected");
        // Numbers end after three.
        let levels = walk(&doubling(f64::MAX / 3.0), "aaaa");
        assert!(levels.ends_with(" AllLevels"), "{levels}");
    }

    #[test]
    fn a_level_starts_only_if_it_can_end_in_time() {
        let schedule = LevelSchedule {
            total_time: Some(Duration::from_secs(200)),
            ..listed(&[5.0])
        };
        let search = LevelSearch::new(&schedule);
        let check = |elapsed_ms, fits| {
            let expected = if fits {
                Command::Offer {
                    rate: rate(5.0),
                    warmup: Duration::from_secs(30),
                    measured: Duration::from_mins(1),
                }
            } else {
                Command::Done(DoneReason::TimeBudget)
            };
            assert_eq!(
                search.next(Duration::from_millis(elapsed_ms)),
                expected,
                "{elapsed_ms}"
            );
        };
        check(0, true);
        check(110_000, true);
        check(110_001, false);
        check(u64::MAX, false);
        // A search that is over says why, however late it is.
        let mut search = search;
        search.observe(rate(5.0), &Verdict::Accept);
        assert_eq!(search.next(DAY), Command::Done(DoneReason::AllLevels));
    }

    #[test]
    fn resuming_offers_what_is_not_complete() {
        let schedule = listed(&[5.0, 10.0, 20.0, 40.0]);
        let check = |levels: &[LevelRecord], expected: Command| {
            assert_eq!(LevelSearch::resume(&schedule, levels).next(DAY), expected);
        };
        let offer = |per_second| Command::Offer {
            rate: rate(per_second),
            warmup: schedule.warmup,
            measured: schedule.measured,
        };
        let complete = |per_second, letter| level(per_second, LevelState::Complete, Some(verdict(letter)));
        let broken = |per_second| level(per_second, LevelState::Broken, None);
        check(&[], offer(5.0));
        check(&[complete(5.0, 'a'), broken(10.0)], offer(10.0));
        check(
            &[complete(5.0, 'a'), level(10.0, LevelState::Open, None)],
            offer(10.0),
        );
        check(
            &[complete(5.0, 'a'), level(10.0, LevelState::Complete, None)],
            offer(10.0),
        );
        check(
            &[
                complete(5.0, 'a'),
                level(10.0, LevelState::Broken, Some(verdict('a'))),
            ],
            offer(10.0),
        );
        check(
            &[complete(5.0, 'a'), broken(10.0), complete(10.0, 'r')],
            offer(20.0),
        );
        check(
            &[complete(5.0, 'r'), complete(10.0, 'r')],
            Command::Done(DoneReason::TwoRejected),
        );
        check(&[complete(10.0, 'r'), complete(20.0, 'r')], offer(5.0));
    }

    proptest! {
        #[test]
        fn a_resumed_search_goes_on_as_the_broken_one_would(
            rates in prop::collection::vec(1_u32..50, 1..8),
            is_listed: bool,
            all_levels: bool,
            letters in prop::collection::vec(prop::sample::select(vec!['a', 'r', 'u', 'i']), 0..12),
        ) {
            let rates: Vec<f64> = rates.into_iter().map(f64::from).collect();
            let schedule = if is_listed { listed(&rates) } else { doubling(rates[0]) };
            let schedule = LevelSchedule { all_levels, ..schedule };
            let mut search = LevelSearch::new(&schedule);
            let mut levels = Vec::new();
            for letter in letters {
                let command = search.next(Duration::ZERO);
                prop_assert_eq!(LevelSearch::resume(&schedule, &levels).next(Duration::ZERO), command);
                let Command::Offer { rate, .. } = command else { break };
                prop_assert!(levels.iter().all(|level: &LevelRecord| level.rate < rate));
                levels.push(level(rate.get(), LevelState::Broken, None));
                prop_assert_eq!(LevelSearch::resume(&schedule, &levels).next(Duration::ZERO), command);
                levels.push(level(rate.get(), LevelState::Complete, Some(verdict(letter))));
                search.observe(rate, &verdict(letter));
            }
        }
    }
}
