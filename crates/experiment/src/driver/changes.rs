//! What has changed between two states of a campaign, for whoever shows it.

use super::Update;
use crate::{
    campaign::Campaign,
    deployment::{Deployment, DeploymentPhase},
    limits::Limits,
    run::{Run, RunPhase},
};

impl Campaign {
    /// What has changed since `before`; everything without it. Whoever watches the journal of another process is told
    /// the same as that process.
    pub fn changes_since(&self, before: Option<&Self>, limits: &Limits) -> Vec<Update> {
        let mut updates = Vec::new();
        for deployment in &self.deployments {
            let old = before.and_then(|before| before.deployment(&deployment.id));
            deployment_changes(deployment, old.map(|old| &old.phase), limits, &mut updates);
            for run in &deployment.runs {
                let old = before.and_then(|before| before.run(&run.id));
                run_changes(run, old.map(|(_, old)| &old.phase), limits, &mut updates);
            }
        }
        updates
    }
}

fn deployment_changes(
    deployment: &Deployment,
    old: Option<&DeploymentPhase>,
    limits: &Limits,
    updates: &mut Vec<Update>,
) {
    let (id, phase) = (&deployment.id, &deployment.phase);
    if old.is_none_or(|old| old.name() != phase.name()) {
        updates.push(Update::Deployment {
            id: id.clone(),
            phase: phase.clone(),
        });
    }
    let missed = old.map_or(0, DeploymentPhase::missed);
    updates.extend(unreachable(missed, phase.missed(), id.as_str(), limits));
}

fn run_changes(run: &Run, old: Option<&RunPhase>, limits: &Limits, updates: &mut Vec<Update>) {
    let (id, phase) = (&run.id, &run.phase);
    if old.is_none_or(|old| old.name() != phase.name()) {
        updates.push(Update::Run {
            id: id.clone(),
            phase: phase.clone(),
        });
    }
    let missed = old.map_or(0, RunPhase::missed);
    updates.extend(unreachable(missed, phase.missed(), id.as_str(), limits));
}

fn unreachable(before: u32, now: u32, about: &str, limits: &Limits) -> Option<Update> {
    let bound = limits.unreachable_after;
    (before < bound && now >= bound).then(|| Update::Unreachable {
        about: about.to_owned(),
    })
}
