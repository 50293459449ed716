//! The procedures that are compared: each turns a server and a seed into a rate and a wall time.

use gipfel_inference_sim::{Disturbance, ServerProfile};
use gipfel_model::{ArrivalRate, Decided, PeakAnswer, SearchSpec, Slo};
use gipfel_peak_search::{AdaptiveSearch, Directive, Observation};

use crate::world::{SECOND_NS, World};

/// How often the search is asked.
const TICK_NS: i64 = SECOND_NS / 4;
/// No procedure takes longer than this.
const LONGEST_S: i64 = 2 * 3600;

/// What a procedure says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The rate; absent when it has none.
    pub(crate) rate: Option<f64>,
    /// The 90 % interval, if it gives one.
    pub(crate) interval: Option<(f64, f64)>,
    /// It says itself that it does not know.
    pub(crate) unresolved: Option<String>,
    /// Simulated wall time, in seconds.
    pub(crate) wall_s: f64,
    /// For the log.
    pub(crate) trace: Vec<String>,
}

/// Ours, the code that the load generator runs.
pub(crate) fn ours(
    profile: &ServerProfile,
    seed: u64,
    spec: &SearchSpec,
    disturbance: Disturbance,
) -> anyhow::Result<Answer> {
    let mut world = World::new(profile, seed, disturbance);
    let mut search = AdaptiveSearch::resume(spec, &profile.slos, &[], 0, std::time::Duration::ZERO);
    let mut trace = Vec::new();
    loop {
        world.advance_to(world.now_ns() + TICK_NS)?;
        let seen = world.look();
        let observation = Observation {
            now_ns: world.now_ns(),
            counts: &seen.counts,
            in_flight: seen.in_flight,
            waiting: seen.waiting,
            oldest_waiting_ns: seen.oldest_waiting_ns,
            e2e_ns: &seen.e2e_ns,
        };
        for directive in search.step(&observation) {
            match directive {
                Directive::Begin { level, stage, rate } => {
                    trace.push(format!(
                        "{:.0} s: {level} {stage} {:.3}",
                        world.now_ns() as f64 / 1e9,
                        rate.get()
                    ));
                }
                Directive::Append {
                    level,
                    rate,
                    from_ns,
                    to_ns,
                    ..
                } => world.append(level, rate, from_ns, to_ns),
                Directive::Shed => {
                    trace.push(format!("{:.0} s: shed", world.now_ns() as f64 / 1e9));
                    world.shed();
                }
                Directive::Close { level, evidence } => {
                    let shares: Vec<String> = (0..profile.slos.len())
                        .map(|at| {
                            let (n, v) = evidence.seconds.iter().skip(evidence.settle_s as usize).fold(
                                (0, 0),
                                |sum, second| {
                                    let one = second.objectives.get(at).copied().unwrap_or_default();
                                    (sum.0 + one.decided, sum.1 + one.violated)
                                },
                            );
                            format!("{v}/{n}")
                        })
                        .collect();
                    trace.push(format!(
                        "  closed {level}: {} s for {} s, {}{}, e2e {:.2?}, search {:?}",
                        evidence.seconds.len(),
                        evidence.stands_for_s,
                        shares.join(" "),
                        if evidence.overloaded.is_some() {
                            ", overloaded"
                        } else {
                            ""
                        },
                        evidence.e2e_p50_s,
                        search
                            .progress()
                            .estimate
                            .map(|one| (one.low, one.mean, one.high)),
                    ));
                }
                Directive::Done(answer) => {
                    let wall_s = world.now_ns() as f64 / 1e9;
                    return Ok(Answer {
                        trace,
                        ..read(&answer, wall_s)
                    });
                }
            }
        }
        if world.now_ns() > LONGEST_S * SECOND_NS {
            return Ok(Answer {
                unresolved: Some("it did not end".to_owned()),
                wall_s: world.now_ns() as f64 / 1e9,
                trace,
                ..Answer::default()
            });
        }
    }
}

fn read(answer: &PeakAnswer, wall_s: f64) -> Answer {
    let estimate = answer.estimate.as_ref();
    Answer {
        rate: estimate.map(|one| one.peak_qps),
        interval: estimate.map(|one| (one.low, one.high)),
        unresolved: answer.unresolved.clone(),
        wall_s,
        trace: Vec::new(),
    }
}

/// A level of the simple procedures: warm-up, window, then no load until nothing is in flight, at most `drain_s`.
/// Whether the window meets every objective.
struct Simple {
    world: World,
    slos: Vec<Slo>,
    level: u32,
}

impl Simple {
    fn new(profile: &ServerProfile, seed: u64, disturbance: Disturbance) -> Self {
        Self {
            world: World::new(profile, seed, disturbance),
            slos: profile.slos.clone(),
            level: 0,
        }
    }

    fn passes(&mut self, rate: f64, warmup_s: i64, measured_s: i64, drain_s: i64) -> anyhow::Result<bool> {
        let start_ns = self.world.now_ns();
        let end_ns = start_ns + (warmup_s + measured_s) * SECOND_NS;
        self.level += 1;
        self.world
            .append(self.level, ArrivalRate::per_second(rate)?, start_ns, end_ns);
        let last_ns = end_ns + drain_s * SECOND_NS;
        let mut totals = vec![Decided::default(); self.slos.len()];
        while self.world.now_ns() < end_ns || self.world.in_flight() > 0 && self.world.now_ns() < last_ns {
            self.world.advance_to(self.world.now_ns() + SECOND_NS)?;
            for counted in self.world.look().counts {
                if counted.level == self.level && i64::from(counted.second) >= warmup_s {
                    for (total, more) in totals.iter_mut().zip(&counted.add.objectives) {
                        total.add(*more);
                    }
                }
            }
        }
        self.world.cut();
        let met = |(slo, total): (&Slo, &Decided)| {
            total.decided > 0
                && u64::from(total.violated) <= slo.allowed_violations(total.decided as usize) as u64
        };
        Ok(self.slos.iter().zip(&totals).all(met))
    }

    fn answer(self, rate: Option<f64>) -> Answer {
        Answer {
            rate,
            wall_s: self.world.now_ns() as f64 / 1e9,
            ..Answer::default()
        }
    }
}

/// The predecessor's grid: its levels, 30 s warm-up, 60 s window, every level drained for up to ten minutes.
pub(crate) fn seed_grid(
    profile: &ServerProfile,
    seed: u64,
    disturbance: Disturbance,
) -> anyhow::Result<Answer> {
    let mut simple = Simple::new(profile, seed, disturbance);
    let mut highest = None;
    for rate in [5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 150.0] {
        if simple.passes(rate, 30, 60, 600)? {
            highest = Some(rate);
        }
    }
    Ok(simple.answer(highest))
}

/// Doubling from 1 req/s, then bisection to 2 %, each level 10 s warm-up and a window of 60 s, drained.
pub(crate) fn bisection(
    profile: &ServerProfile,
    seed: u64,
    disturbance: Disturbance,
) -> anyhow::Result<Answer> {
    let mut simple = Simple::new(profile, seed, disturbance);
    let (mut good, mut bad) = (None, 1.0);
    while simple.passes(bad, 10, 60, 600)? {
        good = Some(bad);
        bad *= 2.0;
    }
    let Some(mut good) = good else {
        return Ok(simple.answer(None));
    };
    while bad / good > 1.02 {
        let middle = f64::midpoint(good, bad);
        if simple.passes(middle, 10, 60, 600)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(simple.answer(Some(good)))
}
