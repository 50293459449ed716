//! When it is settled whether a submission started a job: pure, with times as durations.

use std::{collections::BTreeSet, time::Duration};

use super::types::TimeWindow;
use crate::names::JobId;

/// Whether a job of this name may have been submitted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// Never: the name is new. One look is made, for safety.
    Never,
    /// It may have been: by a process that ended, or by a call without an answer.
    Possible,
}

/// What was found of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adoption {
    /// It started this job.
    Found(JobId),
    /// It started nothing, and can no longer start anything.
    Nothing,
}

/// When a submission counts as settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdoptPolicy {
    /// How long looks must go on to find nothing. A scheduler that hung carries out late what it was asked.
    pub grace: Duration,
    /// How many looks in a row must find nothing, with the list and the mark both readable.
    pub looks: u32,
    /// The time between looks.
    pub interval: Duration,
    /// The most time for all looks.
    pub total: Duration,
    /// How often a job may be submitted until one submission is known to have started it.
    pub submits: u32,
    /// How far back the list goes.
    pub window: Option<TimeWindow>,
}

impl Default for AdoptPolicy {
    /// Nothing was started if four looks over a minute found nothing; up to 15 minutes are spent to know.
    fn default() -> Self {
        Self {
            grace: Duration::from_mins(1),
            looks: 4,
            interval: Duration::from_secs(15),
            total: Duration::from_mins(15),
            submits: 3,
            window: Some(TimeWindow::Week),
        }
    }
}

/// One look at the list of jobs and at the mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The jobs of the name; nothing when the list could not be had.
    pub listed: Option<Vec<JobId>>,
    /// The mark.
    pub mark: MarkSeen,
}

/// What a look at the mark found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkSeen {
    /// The file is not there.
    Absent,
    /// The file holds this id.
    Holds(JobId),
    /// It could not be read, or holds no id yet.
    Unclear,
}

/// What a look settles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The jobs of the submission: one, unless something is wrong.
    Found(Vec<JobId>),
    /// It started nothing, and can no longer start anything.
    Nothing,
    /// Not known yet.
    LookAgain,
    /// Not known, and the time for looks is up.
    Unsettled,
}

/// The looks so far, for whoever looks by another way than this client's.
#[derive(Debug)]
pub struct Settling {
    policy: AdoptPolicy,
    looks: u32,
    empty_since: Option<Duration>,
}

impl Settling {
    /// Before the first look.
    pub fn new(policy: AdoptPolicy) -> Self {
        Self {
            policy,
            looks: 0,
            empty_since: None,
        }
    }

    /// Takes a look into account that was begun at this time and has ended by `now`; the next one would come after
    /// `pause`.
    ///
    /// Only looks in a row count: after one that could not see, what was seen before proves nothing.
    pub fn observe(&mut self, look: &Look, begun: Duration, now: Duration, pause: Duration) -> Verdict {
        let mut found: BTreeSet<JobId> = look.listed.iter().flatten().map(JobId::submitted).collect();
        if let MarkSeen::Holds(id) = &look.mark {
            found.insert(id.submitted());
        }
        if !found.is_empty() {
            return Verdict::Found(found.into_iter().collect());
        }
        if look.listed.is_some() && look.mark == MarkSeen::Absent {
            self.looks += 1;
            let since = *self.empty_since.get_or_insert(begun);
            if self.looks >= self.policy.looks && begun.saturating_sub(since) >= self.policy.grace {
                return Verdict::Nothing;
            }
        } else {
            self.looks = 0;
            self.empty_since = None;
        }
        if now.saturating_add(pause) > self.policy.total {
            Verdict::Unsettled
        } else {
            Verdict::LookAgain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> JobId {
        JobId::try_new(text).expect("an id")
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    const POLICY: AdoptPolicy = AdoptPolicy {
        grace: Duration::from_secs(20),
        looks: 3,
        interval: Duration::from_secs(10),
        total: Duration::from_secs(100),
        submits: 2,
        window: None,
    };

    fn empty() -> Look {
        Look {
            listed: Some(Vec::new()),
            mark: MarkSeen::Absent,
        }
    }

    fn blind() -> Look {
        Look {
            listed: None,
            mark: MarkSeen::Absent,
        }
    }

    /// One look every ten seconds.
    fn check(looks: &[Look], expected: Verdict) {
        let mut settling = Settling::new(POLICY);
        let verdicts: Vec<Verdict> = (0u64..)
            .zip(looks)
            .map(|(index, look)| {
                settling.observe(look, seconds(10 * index), seconds(10 * index), POLICY.interval)
            })
            .collect();
        let (last, before) = verdicts.split_last().expect("a look");
        assert!(
            before.iter().all(|verdict| *verdict == Verdict::LookAgain),
            "{verdicts:?}"
        );
        assert_eq!(*last, expected);
    }

    #[test]
    fn one_empty_list_proves_nothing() {
        check(&[empty()], Verdict::LookAgain);
        check(&[empty(), empty()], Verdict::LookAgain);
        check(&[empty(), empty(), empty()], Verdict::Nothing);
    }

    #[test]
    fn looks_that_see_nothing_prove_nothing() {
        check(&[empty(), empty(), blind(), empty(), empty()], Verdict::LookAgain);
        check(
            &[empty(), empty(), blind(), empty(), empty(), empty()],
            Verdict::Nothing,
        );
        let unclear = Look {
            listed: Some(Vec::new()),
            mark: MarkSeen::Unclear,
        };
        check(&[empty(), empty(), unclear], Verdict::LookAgain);
        check(&vec![blind(); 10], Verdict::LookAgain);
        check(&vec![blind(); 11], Verdict::Unsettled);
    }

    #[test]
    fn jobs_are_found_by_the_list_and_by_the_mark() {
        let listed = |ids: &[&str]| Some(ids.iter().map(|text| id(text)).collect());
        check(
            &[
                empty(),
                Look {
                    listed: listed(&["41"]),
                    mark: MarkSeen::Absent,
                },
            ],
            Verdict::Found(vec![id("41")]),
        );
        check(
            &[Look {
                listed: None,
                mark: MarkSeen::Holds(id("41")),
            }],
            Verdict::Found(vec![id("41")]),
        );
        check(
            &[Look {
                listed: listed(&["62_0", "62_1", "62"]),
                mark: MarkSeen::Holds(id("62")),
            }],
            Verdict::Found(vec![id("62")]),
        );
        check(
            &[Look {
                listed: listed(&["7"]),
                mark: MarkSeen::Holds(id("8")),
            }],
            Verdict::Found(vec![id("7"), id("8")]),
        );
    }

    proptest! {
        /// Whatever is seen when, nothing is settled without enough clear looks over the whole grace, and the
        /// looks end.
        #[test]
        fn nothing_is_settled_too_early(sights in proptest::collection::vec((any::<bool>(), 1u64..30), 1..60)) {
            let mut settling = Settling::new(POLICY);
            let (mut now, mut clear) = (Duration::ZERO, Vec::new());
            for (is_clear, gap) in sights {
                now += seconds(gap);
                if is_clear { clear.push(now) } else { clear.clear() }
                match settling.observe(&if is_clear { empty() } else { blind() }, now, now, POLICY.interval) {
                    Verdict::Nothing => {
                        prop_assert!(clear.len() >= 3);
                        prop_assert!(now >= clear[0] + POLICY.grace);
                        break;
                    }
                    Verdict::Unsettled => {
                        prop_assert!(now + POLICY.interval > POLICY.total);
                        break;
                    }
                    Verdict::LookAgain => prop_assert!(now <= POLICY.total),
                    Verdict::Found(ids) => prop_assert!(false, "found {ids:?}"),
                }
            }
        }
    }
}
