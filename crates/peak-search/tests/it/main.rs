//! The search against simulated servers of known capacity, on a simulated clock.

#[path = "../../examples/accuracy/procedures.rs"]
#[expect(dead_code, reason = "the accuracy program compares more procedures")]
mod procedures;
#[path = "../../examples/accuracy/world.rs"]
mod world;

use std::time::Duration;

use gipfel_inference_sim::{Disturbance, Profiles, ServerProfile, Slowdown, Stall};
use gipfel_model::{
    ArrivalRate, Evidence, LevelRecord, LevelState, PeakAnswer, SearchSpec, Stage, Validity, Verdict,
};
use gipfel_peak_search::{AdaptiveSearch, Directive, Observation, conclude};
use world::{SECOND_NS, World};

fn server(name: &str) -> ServerProfile {
    Profiles::embedded()
        .select(Some(name))
        .expect("an embedded server")
        .clone()
}

fn rate(per_second: f64) -> ArrivalRate {
    ArrivalRate::per_second(per_second).expect("a rate")
}

/// A search, its world, and the records that a load generator would have stored.
struct Session {
    world: World,
    search: AdaptiveSearch,
    spec: SearchSpec,
    profile: ServerProfile,
    records: Vec<LevelRecord>,
    answer: Option<PeakAnswer>,
}

impl Session {
    fn new(profile: &ServerProfile, spec: &SearchSpec, seed: u64) -> Self {
        Self {
            world: World::new(profile, seed, Disturbance::default()),
            search: AdaptiveSearch::resume(spec, &profile.slos, &[], 0, Duration::ZERO),
            spec: spec.clone(),
            profile: profile.clone(),
            records: Vec::new(),
            answer: None,
        }
    }

    fn tick(&mut self) {
        let now_ns = self.world.now_ns() + SECOND_NS / 4;
        self.world
            .advance_to(now_ns)
            .expect("the server takes every request");
        let seen = self.world.look();
        let observation = Observation {
            now_ns,
            counts: &seen.counts,
            in_flight: seen.in_flight,
            waiting: seen.waiting,
            oldest_waiting_ns: seen.oldest_waiting_ns,
            e2e_ns: &seen.e2e_ns,
        };
        for directive in self.search.step(&observation) {
            self.carry_out(directive);
        }
    }

    fn carry_out(&mut self, directive: Directive) {
        match directive {
            Directive::Begin { level, stage, rate } => self.records.push(record(level, stage, rate)),
            Directive::Append {
                level,
                rate,
                from_ns,
                to_ns,
                ..
            } => {
                if let Some(record) = self.records.iter_mut().find(|one| one.level == level) {
                    if record.measured_ns == 0 {
                        record.start_ns = from_ns;
                    }
                    record.measured_ns = to_ns - record.start_ns;
                }
                self.world.append(level, rate, from_ns, to_ns);
            }
            Directive::Shed => self.world.shed(),
            Directive::Close { level, evidence } => {
                let record = self.records.iter_mut().find(|one| one.level == level);
                let record = record.expect("a level begins before it closes");
                assert_eq!(record.state, LevelState::Open, "a level closes once");
                record.state = LevelState::Complete;
                record.evidence = Some(evidence);
            }
            Directive::Done(answer) => self.answer = Some(answer),
        }
    }

    fn until_done(mut self) -> (PeakAnswer, Vec<LevelRecord>) {
        for _ in 0..4 * 3600 {
            if let Some(answer) = self.answer.take() {
                assert!(self.records.iter().all(|one| one.state != LevelState::Open));
                return (answer, self.records);
            }
            self.tick();
        }
        panic!("the search does not end within an hour");
    }

    /// As after a kill: what is closed is kept, the server is empty.
    fn resumed(mut self, seed: u64) -> Self {
        for record in self
            .records
            .iter_mut()
            .filter(|one| one.state == LevelState::Open)
        {
            record.state = LevelState::Broken;
        }
        let next_level = self.records.len() as u32;
        let spent = Duration::from_nanos(self.world.now_ns() as u64);
        self.search =
            AdaptiveSearch::resume(&self.spec, &self.profile.slos, &self.records, next_level, spent);
        self.world = World::new(&self.profile, seed, Disturbance::default());
        self
    }
}

fn record(level: u32, stage: Stage, rate: ArrivalRate) -> LevelRecord {
    LevelRecord {
        level,
        rate,
        stage,
        state: LevelState::Open,
        start_ns: 0,
        warmup_ns: 0,
        measured_ns: 0,
        started_unix_ns: 0,
        ended_unix_ns: None,
        offered_rate: 0.0,
        sent_rate: 0.0,
        completed_rate: 0.0,
        attainment: Vec::new(),
        validity: Validity::default(),
        verdict: None,
        evidence: None,
    }
}

#[test]
fn the_peak_of_known_servers_is_found() {
    let check = |name: &str, seed| {
        let profile = server(name);
        let truth = profile.truth.expect("a known capacity");
        let found = procedures::ours(&profile, seed, &SearchSpec::default(), Disturbance::default())
            .expect("an answer");
        let rate = found.rate.expect("a rate");
        let error = rate / truth - 1.0;
        assert!(
            error.abs() < 0.06,
            "{name} seed {seed}: {rate} instead of {truth}"
        );
        assert_eq!(found.unresolved, None, "{name} seed {seed}");
        let (low, high) = found.interval.expect("an interval");
        assert!(low < rate && rate < high);
    };
    check("quickstart", 1);
    check("8B_slots256", 2);
}

#[test]
fn the_answer_is_that_of_the_stored_evidence() {
    let profile = server("quickstart");
    let spec = SearchSpec {
        budget: Some(Duration::from_mins(4)),
        ..SearchSpec::default()
    };
    let (answer, records) = Session::new(&profile, &spec, 1).until_done();
    assert!(answer.estimate.is_some());
    assert_eq!(conclude(&spec, &profile.slos, &records), answer);
}

#[test]
fn a_resumed_search_goes_on_from_its_observations() {
    let profile = server("quickstart");
    let spec = SearchSpec {
        budget: Some(Duration::from_mins(8)),
        ..SearchSpec::default()
    };
    let mut session = Session::new(&profile, &spec, 3);
    while !session
        .records
        .iter()
        .any(|one| one.stage == Stage::Track && one.state == LevelState::Complete)
    {
        session.tick();
    }
    let before = session.records.len();
    let (answer, records) = session.resumed(4).until_done();
    assert!(
        records[before..].iter().all(|one| one.stage == Stage::Track),
        "neither ramp nor bracket is offered again"
    );
    let estimate = answer.estimate.expect("an estimate");
    let truth = profile.truth.expect("a known capacity");
    assert!((estimate.peak_qps / truth - 1.0).abs() < 0.06, "{estimate:?}");
}

#[test]
fn a_search_ends_with_its_budget() {
    let check = |budget_s: u64, resolved: bool| {
        let spec = SearchSpec {
            budget: Some(Duration::from_secs(budget_s)),
            ..SearchSpec::default()
        };
        let found =
            procedures::ours(&server("quickstart"), 5, &spec, Disturbance::default()).expect("an end");
        assert!(
            found.wall_s <= budget_s as f64 + 2.0,
            "{} of {budget_s}",
            found.wall_s
        );
        assert_eq!(found.unresolved.is_none(), resolved, "{:?}", found.unresolved);
    };
    check(20, false);
    check(60, false);
    check(600, true);
}

#[test]
fn a_server_whose_violations_do_not_come_from_the_rate_has_no_peak() {
    let check = |disturbance, expected: &str| {
        let profile = server("quickstart");
        let found = procedures::ours(&profile, 1, &SearchSpec::default(), disturbance).expect("an end");
        let unresolved = found.unresolved.unwrap_or_default();
        assert!(unresolved.contains(expected), "{:?}: {unresolved}", found.rate);
    };
    let stall = Stall {
        every_ns: 30 * SECOND_NS,
        for_ns: 5 * SECOND_NS,
    };
    let slower = Slowdown {
        after_ns: 500 * SECOND_NS,
        share: 0.7,
    };
    check(
        Disturbance {
            stall: Some(stall),
            ..Disturbance::default()
        },
        "something else than the rate",
    );
    check(
        Disturbance {
            slower: Some(slower),
            ..Disturbance::default()
        },
        "the server changed",
    );
}

#[test]
fn what_lies_beyond_the_bounds_is_said() {
    let check = |min: f64, max: f64, expected: &str| {
        let spec = SearchSpec {
            min_rate: rate(min),
            max_rate: Some(rate(max)),
            ..SearchSpec::default()
        };
        let (answer, records) = Session::new(&server("quickstart"), &spec, 6).until_done();
        assert!(records.iter().all(|one| (min..=max).contains(&one.rate.get())));
        let said = match (answer.nothing_passes, answer.unresolved) {
            (true, _) => "nothing passes".to_owned(),
            (false, Some(text)) => text,
            (false, None) => "an answer".to_owned(),
        };
        assert!(said.contains(expected), "{said}");
    };
    check(0.5, 20.0, "the highest rate that may be offered");
    check(60.0, 90.0, "nothing passes");
}

#[test]
fn a_client_that_is_late_ends_the_search() {
    let check = |in_ramp: bool, most: usize| {
        let profile = server("quickstart");
        let mut session = Session::new(&profile, &SearchSpec::default(), 7);
        let mut told = Vec::new();
        while session.answer.is_none() {
            session.tick();
            for record in &session.records {
                let is_new = record.state == LevelState::Complete && !told.contains(&record.level);
                if is_new && in_ramp == (record.stage == Stage::Ramp) {
                    told.push(record.level);
                    session.search.invalidate(record.level);
                }
            }
        }
        let in_ramp = |one: &&LevelRecord| in_ramp == (one.stage == Stage::Ramp);
        let offered = session.records.iter().filter(in_ramp).count();
        assert!(offered <= most, "{offered} levels");
        let (answer, _) = session.until_done();
        assert!(answer.unresolved.is_some_and(|text| text.contains("the client")));
    };
    check(false, 5);
    check(true, 8);
}

#[test]
fn a_hard_reject_counts_as_violating_however_short_it_was() {
    // What was seen before it was broken off had met the objective.
    let slos = server("quickstart").slos;
    let seconds = |violated: u32, count: usize| {
        let second = gipfel_model::Second {
            arrivals: 50,
            objectives: vec![gipfel_model::Decided {
                decided: 50,
                violated,
            }],
            ..gipfel_model::Second::default()
        };
        vec![second; count]
    };
    let level = |index: u32, stage, per_second, evidence: Evidence| LevelRecord {
        state: LevelState::Complete,
        start_ns: i64::from(index) * 100 * SECOND_NS,
        evidence: Some(evidence),
        ..record(index, stage, rate(per_second))
    };
    let clean = |count: usize| Evidence {
        seconds: seconds(0, count),
        stands_for_s: count as u32,
        ..Evidence::default()
    };
    let broken_off = Evidence {
        overloaded: slos.first().copied(),
        ..clean(3)
    };
    let mean = |test: Evidence| {
        let levels = [
            level(0, Stage::Track, 50.0, clean(100)),
            level(1, Stage::Bracket, 60.0, test),
        ];
        let answer = conclude(&SearchSpec::default(), &slos, &levels);
        answer.estimate.expect("an estimate").mean
    };
    assert!(mean(broken_off) < 0.98 * mean(clean(3)));
}

#[test]
fn invalid_and_broken_levels_teach_nothing() {
    let slos = server("quickstart").slos;
    let evidence = Evidence {
        seconds: vec![
            gipfel_model::Second {
                arrivals: 50,
                objectives: vec![gipfel_model::Decided {
                    decided: 50,
                    violated: 50
                }],
                ..gipfel_model::Second::default()
            };
            60
        ],
        ..Evidence::default()
    };
    let level = LevelRecord {
        evidence: Some(evidence),
        ..record(0, Stage::Track, rate(10.0))
    };
    let check = |level: LevelRecord, counts: bool| {
        let answer = conclude(&SearchSpec::default(), &slos, &[level]);
        assert_eq!(answer.estimate.is_some(), counts);
    };
    let complete = LevelRecord {
        state: LevelState::Complete,
        ..level.clone()
    };
    let reason = "a reason".to_owned();
    check(complete.clone(), true);
    check(
        LevelRecord {
            verdict: Some(Verdict::Invalid { reason }),
            ..complete.clone()
        },
        false,
    );
    check(
        LevelRecord {
            state: LevelState::Broken,
            ..complete.clone()
        },
        false,
    );
    check(
        LevelRecord {
            evidence: None,
            ..complete
        },
        false,
    );
}
