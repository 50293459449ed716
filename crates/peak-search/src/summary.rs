//! The answer that a run's levels give.

use gipfel_model::{ArrivalRate, LevelRecord, LevelState, Verdict};

/// The complete level of the highest rate that was accepted; the latest attempt of equals.
pub fn highest_passing_level(levels: &[LevelRecord]) -> Option<&LevelRecord> {
    complete(levels)
        .filter(|(_, verdict)| **verdict == Verdict::Accept)
        .map(|(level, _)| level)
        .max_by(|one, other| one.rate.get().total_cmp(&other.rate.get()))
}

/// A rejected rate below an accepted one, which no server of steady capacity shows: the lowest rejected rate and the
/// highest accepted one.
pub fn non_monotonic(levels: &[LevelRecord]) -> Option<(ArrivalRate, ArrivalRate)> {
    let rejected = complete(levels)
        .filter(|(_, verdict)| matches!(verdict, Verdict::Reject { .. }))
        .map(|(level, _)| level.rate)
        .min_by(|one, other| one.get().total_cmp(&other.get()))?;
    let accepted = highest_passing_level(levels)?.rate;
    (rejected < accepted).then_some((rejected, accepted))
}

fn complete(levels: &[LevelRecord]) -> impl Iterator<Item = (&LevelRecord, &Verdict)> {
    levels
        .iter()
        .filter(|level| level.state == LevelState::Complete)
        .filter_map(|level| Some((level, level.verdict.as_ref()?)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use gipfel_model::{Stage, Validity};

    pub(crate) fn level(per_second: f64, state: LevelState, verdict: Option<Verdict>) -> LevelRecord {
        LevelRecord {
            level: 0,
            rate: ArrivalRate::per_second(per_second).expect("a rate"),
            stage: Stage::Level,
            state,
            start_ns: 0,
            warmup_ns: 0,
            measured_ns: 0,
            started_unix_ns: 0,
            ended_unix_ns: None,
            offered_rate: per_second,
            sent_rate: per_second,
            completed_rate: per_second,
            attainment: Vec::new(),
            validity: Validity::default(),
            verdict,
            evidence: None,
        }
    }

    fn complete(per_second: f64, verdict: Verdict) -> LevelRecord {
        level(per_second, LevelState::Complete, Some(verdict))
    }

    fn reject() -> Verdict {
        Verdict::Reject {
            slo: "ttft p95 <= 500ms".parse().expect("an objective"),
        }
    }

    #[test]
    fn the_highest_accepted_complete_level_passes() {
        let check = |levels: &[LevelRecord], expected: Option<f64>| {
            assert_eq!(
                highest_passing_level(levels).map(|level| level.rate.get()),
                expected
            );
        };
        let unresolved = Verdict::Unresolved {
            reason: String::new(),
        };
        check(&[], None);
        check(&[complete(10.0, reject())], None);
        check(
            &[
                complete(20.0, Verdict::Accept),
                complete(10.0, Verdict::Accept),
                complete(40.0, reject()),
            ],
            Some(20.0),
        );
        check(
            &[complete(10.0, Verdict::Accept), complete(20.0, unresolved)],
            Some(10.0),
        );
        check(&[level(10.0, LevelState::Broken, Some(Verdict::Accept))], None);
        check(&[level(10.0, LevelState::Open, None)], None);
    }

    #[test]
    fn the_latest_of_equal_levels_passes() {
        let attempt = |number| LevelRecord {
            level: number,
            ..complete(10.0, Verdict::Accept)
        };
        let levels = [attempt(0), attempt(1)];
        assert_eq!(highest_passing_level(&levels).map(|level| level.level), Some(1));
    }

    #[test]
    fn a_rejected_level_below_an_accepted_one_is_told() {
        let check = |levels: &[LevelRecord], expected: Option<(f64, f64)>| {
            let found = non_monotonic(levels).map(|(rejected, accepted)| (rejected.get(), accepted.get()));
            assert_eq!(found, expected);
        };
        check(&[], None);
        check(&[complete(10.0, Verdict::Accept), complete(20.0, reject())], None);
        check(
            &[complete(10.0, reject()), complete(20.0, Verdict::Accept)],
            Some((10.0, 20.0)),
        );
        check(
            &[
                complete(5.0, Verdict::Accept),
                complete(10.0, reject()),
                complete(20.0, reject()),
                complete(40.0, Verdict::Accept),
                complete(80.0, reject()),
            ],
            Some((10.0, 40.0)),
        );
        check(
            &[
                level(10.0, LevelState::Broken, Some(reject())),
                complete(20.0, Verdict::Accept),
            ],
            None,
        );
    }
}
