//! How many prompts a run may need, as far as that is known before it.

use gipfel_model::{ArrivalProcess, LevelSchedule, Rates};

/// A window that follows the server's latency grows to so many times what the user says.
const MOST_STRETCH: f64 = 10.0;
/// A count of arrivals stays within so many standard deviations of its mean.
const DEVIATIONS: f64 = 4.0;
/// The budget of a search that names none, unless answers take longer than 15 s.
const DEFAULT_BUDGET_S: f64 = 900.0;

/// How many prompts a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// For all levels as they are written, or the whole budget of a search at its highest rate; absent when the rates have
    /// no upper end.
    pub written: Option<u64>,
    /// The most that it can send, with windows that are stretched and tails that last as long as they may.
    pub most: Option<u64>,
}

impl Need {
    /// What this schedule needs.
    pub fn of(schedule: &LevelSchedule, arrivals: ArrivalProcess, drain_s: f64) -> Self {
        let spread = 1.0 / arrivals.burstiness();
        // More than the mean by chance, and one at each begin of the two windows.
        let count = |mean: f64| (mean + DEVIATIONS * (mean * spread).sqrt() + 2.0).ceil() as u64;
        match &schedule.rates {
            Rates::Listed(rates) => {
                let (mut written, mut most) = (0, 0);
                for rate in rates {
                    let warmup_s = schedule.warmup.as_secs_f64();
                    let measured_s = schedule.measured_at(*rate).as_secs_f64();
                    let counted = schedule.requests_per_level.is_some();
                    let (stretch, measured_stretch) = match (schedule.exact_windows, counted) {
                        (true, _) => (1.0, 1.0),
                        (false, true) => (MOST_STRETCH, 1.0),
                        (false, false) => (MOST_STRETCH, MOST_STRETCH),
                    };
                    written += count(rate.get() * (warmup_s + measured_s));
                    let most_s = stretch * warmup_s + measured_stretch * measured_s + drain_s;
                    most += count(rate.get() * most_s);
                }
                Self {
                    written: Some(written),
                    most: Some(most),
                }
            }
            Rates::Doubling { .. } => Self {
                written: None,
                most: None,
            },
            Rates::Search(search) => {
                let budget_s = search.budget.map(|budget| budget.as_secs_f64());
                let at = |seconds: f64| search.max_rate.map(|rate| count(rate.get() * seconds));
                Self {
                    written: at(budget_s.unwrap_or(DEFAULT_BUDGET_S)),
                    most: budget_s.and_then(at),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use gipfel_model::{ArrivalRate, SearchSpec};

    fn rate(per_second: f64) -> ArrivalRate {
        ArrivalRate::per_second(per_second).expect("a rate")
    }

    fn schedule(rates: Rates) -> LevelSchedule {
        LevelSchedule {
            rates,
            warmup: Duration::from_secs(10),
            measured: Duration::from_secs(90),
            requests_per_level: None,
            warmup_ramp: false,
            exact_windows: true,
            all_levels: false,
            total_time: None,
        }
    }

    #[test]
    fn the_need_follows_the_schedule() {
        let check = |schedule: &LevelSchedule, arrivals, written, most| {
            assert_eq!(Need::of(schedule, arrivals, 100.0), Need { written, most });
        };
        let listed = schedule(Rates::Listed(vec![rate(1.0), rate(4.0)]));
        check(&listed, ArrivalProcess::Constant, Some(504), Some(1_004));
        check(&listed, ArrivalProcess::Poisson, Some(624), Some(1_175));
        let bursty = ArrivalProcess::Gamma { burstiness: 0.25 };
        check(&listed, bursty, Some(744), Some(1_345));
        let stretched = LevelSchedule {
            exact_windows: false,
            ..listed.clone()
        };
        check(&stretched, ArrivalProcess::Constant, Some(504), Some(5_504));
        let counted = LevelSchedule {
            requests_per_level: Some(50),
            ..listed
        };
        check(&counted, ArrivalProcess::Constant, Some(154), Some(654));
        check(
            &schedule(Rates::Doubling { first: rate(1.0) }),
            ArrivalProcess::Poisson,
            None,
            None,
        );
        let search = |max_rate, budget| SearchSpec {
            max_rate,
            budget,
            ..SearchSpec::default()
        };
        let open = schedule(Rates::Search(search(None, Some(Duration::from_mins(1)))));
        check(&open, ArrivalProcess::Constant, None, None);
        let bounded = schedule(Rates::Search(search(
            Some(rate(10.0)),
            Some(Duration::from_mins(1)),
        )));
        check(&bounded, ArrivalProcess::Constant, Some(602), Some(602));
        let long = schedule(Rates::Search(search(Some(rate(10.0)), None)));
        check(&long, ArrivalProcess::Constant, Some(9_002), None);
    }
}
