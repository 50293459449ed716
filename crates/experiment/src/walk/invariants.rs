//! What tells states apart, and what is wrong with one.

use std::fmt::Write;

use super::{state::State, world::Load};
use crate::{
    deployment::{Deployment, DeploymentPhase},
    run::{Run, RunPhase},
};

impl State {
    /// Equal for states that go on alike.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut text = String::with_capacity(2048);
        write!(
            text,
            "{} {} {}",
            self.crashes_left, self.interrupts_left, self.campaign.interrupted
        )
        .unwrap();
        for deployment in &self.campaign.deployments {
            let Deployment {
                id,
                phase,
                attempt,
                successor,
                ..
            } = deployment;
            write!(
                text,
                "{} {phase:?} {attempt} {}",
                id.as_str(),
                successor.is_some()
            )
            .unwrap();
            for run in &deployment.runs {
                let Run {
                    id,
                    phase,
                    attempt,
                    again,
                    earlier,
                    uncollected,
                    collect_error,
                    ..
                } = run;
                let earlier = earlier.as_ref().map_or("", |earlier| &earlier.detail);
                let given_up = collect_error.is_some();
                write!(
                    text,
                    "{} {phase:?} {attempt} {again} {earlier} {uncollected} {given_up}",
                    id.as_str()
                )
                .unwrap();
            }
        }
        write!(text, "{:?}{:?}", self.world.servers, self.world.loads).unwrap();
        let mut hash = fold(&text);
        // The order of what is on its way has no meaning.
        for effects in [&self.world.flights, &self.world.strays] {
            let unordered = effects.iter().fold(0_u64, |sum, effect| {
                text.clear();
                write!(text, "{effect:?}").unwrap();
                sum.wrapping_add(fold(&text))
            });
            hash = mix(hash, unordered);
        }
        hash
    }

    /// What is wrong with this state by itself.
    pub(super) fn fault(&self) -> Option<String> {
        for server in self.world.servers.iter().filter(|server| server.lives()) {
            let deployment = self
                .campaign
                .deployments
                .iter()
                .find(|one| one.id.as_str() == server.name);
            let owner = deployment.map(|deployment| &deployment.phase);
            let owned = owner.is_some_and(|phase| {
                phase.may_live() && phase.handle().is_none_or(|handle| *handle == server.handle())
            });
            if !owned {
                return Some(format!(
                    "server {} lives, and its phase is {owner:?}",
                    server.handle()
                ));
            }
        }
        for load in self.world.loads.iter().filter(|load| load.lives()) {
            let owner = self
                .campaign
                .runs()
                .find(|(_, run)| run.id.as_str() == load.name)
                .map(|(_, run)| &run.phase);
            let owned = owner.is_some_and(|phase| {
                phase.may_live() && phase.handle().is_none_or(|handle| *handle == load.handle())
            });
            if !owned {
                return Some(format!(
                    "load generator {} lives, and its phase is {owner:?}",
                    load.handle()
                ));
            }
        }
        self.campaign.deployments.iter().find_map(|deployment| {
            let sending = deployment.runs.iter().filter(|run| {
                !matches!(run.phase, RunPhase::Lost { .. })
                    && self.world.load(run.id.as_str()).is_some_and(Load::lives)
            });
            (sending.count() > 1).then(|| format!("two load generators send to {}", deployment.id))
        })
    }

    /// What is left over now that the campaign is settled.
    pub(super) fn left_over(&self) -> Option<String> {
        if let Some(stray) = self.world.strays.first() {
            return Some(format!("{stray:?} may still take place"));
        }
        for server in self.world.servers.iter().filter(|server| server.lives()) {
            let kept = self.campaign.deployments.iter().any(|deployment| {
                deployment.id.as_str() == server.name
                    && matches!(deployment.phase, DeploymentPhase::Kept { .. })
            });
            if !kept {
                return Some(format!("server {} is left", server.handle()));
            }
        }
        for load in &self.world.loads {
            if load.lives() {
                return Some(format!("load generator {} is left", load.handle()));
            }
            let given_up = self
                .campaign
                .runs()
                .any(|(_, run)| run.id.as_str() == load.name && run.collect_error.is_some());
            if load.data && !given_up {
                return Some(format!("the data of {} was not collected", load.name));
            }
        }
        None
    }
}

/// A hash that is quick without optimisation, where the standard one is most of the walk's time.
fn fold(text: &str) -> u64 {
    text.as_bytes().chunks(8).fold(0, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(hash, u64::from_le_bytes(word))
    })
}

fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}
