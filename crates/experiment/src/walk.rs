//! The exhaustive walk: every order of events up to a depth, over a world that keeps the truth of what lives.
//!
//! In each state every live job is owned by a phase that names it. From each state, a world that answers everything
//! well from then on comes to a settled campaign with nothing alive but kept servers and no data left behind.

mod invariants;
mod state;
mod world;

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    time::Duration,
};

use gipfel_model::deployment::Placement;
use proptest::prelude::*;

use self::{
    state::{Choice, Reply, State},
    world::Manner,
};
use crate::{
    campaign::Campaign,
    deployment::DeploymentPhase,
    limits::{Limits, Mutation},
    run::RunPhase,
    samples,
};

/// Small bounds, so that the walk reaches what lies behind them.
fn limits(mutation: Option<Mutation>) -> Limits {
    Limits {
        attempts: 2,
        end_attempts: 2,
        end_patience: Duration::ZERO,
        check_patience: Duration::from_secs(1),
        stop_grace: Duration::from_secs(1),
        collect_attempts: 2,
        unreachable_after: 1,
        mutation,
    }
}

struct Walk {
    limits: Limits,
    start: State,
    /// Where each state was first reached from, by fingerprint.
    reached: HashMap<u64, Option<(u64, Choice)>>,
    /// States from which a fair world comes to a good end.
    ends_well: HashSet<u64>,
}

impl Walk {
    fn new(campaign: Campaign, manner: Manner, crashes: u8, mutation: Option<Mutation>) -> Self {
        let limits = limits(mutation);
        let start = State::new(campaign, manner, crashes, &limits);
        Self {
            limits,
            start,
            reached: HashMap::new(),
            ends_well: HashSet::new(),
        }
    }

    /// Walks all event orders of `depth` events from the start and from each state on the way of a fair world to the
    /// end; the number of different states, or the first fault with its story.
    fn walk(&mut self, depth: usize) -> Result<usize, String> {
        let mut frontier = self.fair_way();
        for _ in 0..depth {
            let mut next = Vec::new();
            for state in frontier {
                let from = state.fingerprint();
                for choice in state.choices() {
                    let after = state.after(choice, &self.limits);
                    let to = after.fingerprint();
                    if self.reached.contains_key(&to) {
                        continue;
                    }
                    self.reached.insert(to, Some((from, choice)));
                    if let Some(fault) = after.fault().or_else(|| self.bad_end(&after)) {
                        return Err(self.story(to, &fault));
                    }
                    next.push(after);
                }
            }
            frontier = next;
            if frontier.is_empty() {
                break;
            }
        }
        Ok(self.reached.len())
    }

    fn fair_way(&mut self) -> Vec<State> {
        self.reached.insert(self.start.fingerprint(), None);
        let mut way = vec![self.start.clone()];
        while let Some(state) = way.last().filter(|state| !state.campaign.is_settled()) {
            let choice = fair_choice(state);
            let next = state.after(choice, &self.limits);
            self.reached
                .entry(next.fingerprint())
                .or_insert(Some((state.fingerprint(), choice)));
            way.push(next);
            assert!(way.len() < 200, "the fair way has no end");
        }
        way
    }

    /// What is wrong with the end that a fair world comes to from here.
    fn bad_end(&mut self, state: &State) -> Option<String> {
        let mut state = state.clone();
        let mut path = Vec::new();
        let mut tried_again = false;
        for _ in 0..200 {
            let fingerprint = state.fingerprint();
            if self.ends_well.contains(&fingerprint) {
                self.ends_well.extend(path);
                return None;
            }
            path.push(fingerprint);
            if !state.campaign.is_settled() {
                state = state.after(fair_choice(&state), &self.limits);
            } else if has_lost(&state.campaign) && !tried_again {
                // The user is told what lives still, and resumes the campaign when the system is well again.
                tried_again = true;
                state.crash(&self.limits);
                state.interrupts_left = 1;
                state = state.after(Choice::Interrupt, &self.limits);
            } else if let Some(fault) = state.left_over() {
                return Some(fault);
            } else {
                self.ends_well.extend(path);
                return None;
            }
            if let Some(fault) = state.fault() {
                return Some(fault);
            }
        }
        let phases: Vec<_> = state
            .campaign
            .deployments
            .iter()
            .map(|deployment| &deployment.phase)
            .collect();
        Some(format!(
            "a fair world comes to no end: {phases:?} {:?}",
            state.world
        ))
    }

    /// How a state was reached.
    fn story(&self, mut at: u64, fault: &str) -> String {
        let mut choices = Vec::new();
        while let Some(Some((from, choice))) = self.reached.get(&at) {
            choices.push(*choice);
            at = *from;
        }
        let mut story = String::new();
        let mut state = self.start.clone();
        for choice in choices.into_iter().rev() {
            let effect = match choice {
                Choice::Answer(place, _) => format!("{:?}", state.world.flights[place]),
                Choice::Stray(place) => format!("{:?}", state.world.strays[place]),
                _ => String::new(),
            };
            writeln!(story, "{choice:?} {effect}").unwrap();
            state = state.after(choice, &self.limits);
        }
        story + fault
    }
}

fn has_lost(campaign: &Campaign) -> bool {
    campaign
        .deployments
        .iter()
        .any(|deployment| matches!(deployment.phase, DeploymentPhase::Lost { .. }))
        || campaign
            .runs()
            .any(|(_, run)| matches!(run.phase, RunPhase::Lost { .. }))
}

/// Answers what is asked, then lets the world get on, then lets time pass.
fn fair_choice(state: &State) -> Choice {
    if !state.world.flights.is_empty() {
        return Choice::Answer(0, Reply::Success);
    }
    let turn = state.world.turns().into_iter().find(|turn| turn.is_fair());
    turn.map_or(Choice::Tick, Choice::Turn)
}

fn check(campaign: Campaign, manner: Manner, crashes: u8, depth: usize, at_least: usize) {
    let states = Walk::new(campaign, manner, crashes, None)
        .walk(depth)
        .unwrap_or_else(|story| panic!("{story}"));
    // A walk that goes nowhere finds no fault either.
    assert!(states >= at_least, "only {states} states");
}

fn one_run(placement: Placement) -> Campaign {
    samples::campaign(vec![samples::experiment("m", placement)], false)
}

#[test]
fn nothing_is_forgotten_on_this_machine() {
    check(one_run(samples::local()), Manner::Local, 1, 9, 30_000);
}

#[test]
fn nothing_is_forgotten_on_a_cluster() {
    check(one_run(samples::kubernetes()), Manner::Cluster, 1, 9, 40_000);
}

#[test]
fn nothing_is_forgotten_of_a_load_generator_that_waits_for_its_server() {
    let campaign = samples::campaign(vec![samples::two_jobs("m")], false);
    check(campaign, Manner::Cluster, 1, 9, 60_000);
}

#[test]
fn nothing_is_forgotten_of_runs_that_share_a_server() {
    let experiment = samples::experiment("m", samples::kubernetes());
    check(
        samples::campaign(vec![experiment.clone(), experiment], false),
        Manner::Cluster,
        1,
        6,
        20_000,
    );
}

#[test]
fn nothing_is_forgotten_of_servers_side_by_side() {
    let experiments = ["m", "n"]
        .map(|model| samples::experiment(model, samples::local()))
        .to_vec();
    let mut campaign = samples::campaign(experiments, false);
    campaign.max_parallel = 2;
    check(campaign, Manner::Local, 1, 4, 10_000);
}

#[test]
fn nothing_is_forgotten_when_the_driver_dies_twice() {
    check(one_run(samples::local()), Manner::Local, 2, 7, 10_000);
}

#[test]
fn nothing_but_a_kept_server_is_left() {
    let campaign = samples::campaign(vec![samples::experiment("m", samples::local())], true);
    check(campaign, Manner::Local, 1, 9, 25_000);
}

fn is_caught(mutation: Mutation) {
    for manner in [Manner::Local, Manner::Cluster] {
        let story = Walk::new(one_run(samples::local()), manner, 0, Some(mutation)).walk(9);
        assert!(
            story.as_ref().is_err_and(|story| story.contains("r-1")),
            "{story:?}"
        );
    }
}

#[test]
fn the_walk_catches_an_interrupt_that_ignores_an_open_submission() {
    is_caught(Mutation::IgnoreOpenSubmission);
}

#[test]
fn the_walk_catches_a_load_generator_forgotten_with_its_server() {
    is_caught(Mutation::ForgetRunHandleOnServerDeath);
}

proptest! {
    /// Far beyond the depth of the walk, by chance; on the way, the journal holds the whole state, and recovering
    /// it twice is recovering it once.
    #[test]
    fn nothing_is_forgotten_by_chance(seeds in proptest::collection::vec(any::<u16>(), 0..150), cluster: bool) {
        let manner = if cluster { Manner::Cluster } else { Manner::Local };
        let experiments = ["m", "m", "n"].map(|model| match manner {
            Manner::Cluster => samples::two_jobs(model),
            Manner::Local => samples::experiment(model, samples::local()),
        }).to_vec();
        let mut campaign = samples::campaign(experiments, false);
        campaign.max_parallel = 2;
        let mut walk = Walk::new(campaign, manner, 3, None);
        let mut state = walk.start.clone();
        for seed in seeds {
            let choices = state.choices();
            state = state.after(choices[usize::from(seed) % choices.len()], &walk.limits);
            prop_assert_eq!(state.fault(), None);
        }
        let journal = serde_json::to_string(&state.campaign).unwrap();
        let mut read: Campaign = serde_json::from_str(&journal).unwrap();
        prop_assert_eq!(&read, &state.campaign);
        let mut recovered = state.campaign.clone();
        recovered.recover(7, &walk.limits);
        read.recover(7, &walk.limits);
        prop_assert_eq!(&read, &recovered);
        read.recover(7, &walk.limits);
        prop_assert_eq!(&read, &recovered);
        prop_assert_eq!(walk.bad_end(&state), None);
    }
}
