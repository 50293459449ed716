//! Why Slurm refuses a job or will never start it, with what the cluster has in its place.

use firecrest_client::JobId;
use gipfel_backend::{Failure, FailureReason};
use gipfel_model::{SlurmJob, Walltime};

use super::place::Place;
use crate::cluster::{
    JobFacts, SubmitEffect, SubmitFailure,
    offers::Asked,
    refusal::{JobRole, Refusal},
};

/// A refusal in our words; Slurm's own are its source.
#[derive(Debug, thiserror::Error)]
#[error("Slurm refuses {}{}", role.words(), why(because.as_deref()))]
struct Explained {
    role: JobRole,
    because: Option<String>,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn why(because: Option<&str>) -> String {
    because.map_or_else(String::new, |because| format!(": {because}"))
}

/// Adds what is known of the cluster to a submission that Slurm refused.
pub(super) async fn explained(place: &Place, asked: &Asked<'_>, mut failure: SubmitFailure) -> SubmitFailure {
    if failure.effect != SubmitEffect::NotStarted {
        return failure;
    }
    let Some(refusal) = Refusal::of_text(&chain(failure.source.source.as_ref())) else {
        return failure;
    };
    failure.source.source = Box::new(Explained {
        role: asked.role,
        because: because(place, refusal, asked).await,
        source: failure.source.source,
    });
    failure
}

/// The failure of a job that would wait for ever.
pub(super) async fn never(
    place: &Place,
    role: JobRole,
    id: &JobId,
    facts: Option<&JobFacts>,
    reason: &str,
) -> Failure {
    let refusal = Refusal::of_text(reason);
    let because = match (refusal, facts.map(asked_for)) {
        (Some(refusal), Some(job)) => {
            let asked = Asked {
                role,
                cluster: place.cluster.name(),
                job: &job,
                // Slurm tells nodes that a job has, not those that it asks for.
                nodes: 0,
                gpus: 0,
            };
            because(place, refusal, &asked).await
        }
        (None, _) | (_, None) => None,
    };
    let class = match (refusal, role) {
        (Some(Refusal::Walltime), _) => FailureReason::TimeLimit,
        (_, JobRole::Server) => FailureReason::ServerFailed,
        (_, JobRole::Load) => FailureReason::LoadFailed,
    };
    Failure {
        reason: class,
        message: format!(
            "Slurm will never start {} {id} ({reason}){}; it was cancelled",
            role.words(),
            why(because.as_deref())
        ),
        log_tail: String::new(),
    }
}

/// The failure of a load generator that waits for a place that its own server holds.
pub(super) fn held_up(facts: &JobFacts, reason: &str) -> Failure {
    let partition = facts.partition.as_deref().unwrap_or("its partition");
    Failure {
        reason: FailureReason::LoadFailed,
        message: format!(
            "Slurm will never start {} {} ({reason}): so many of your jobs run at once in `{partition}`, and the one that \
             does is the server, which waits for it; it was cancelled",
            JobRole::Load.words(),
            facts.id
        ),
        log_tail: String::new(),
    }
}

async fn because(place: &Place, refusal: Refusal, asked: &Asked<'_>) -> Option<String> {
    let offers = place.cluster.offers().await;
    let known = offers.inspect_err(|error| {
        tracing::debug!(%error, "the cluster does not tell what it offers");
    });
    known.ok()?.explain(refusal, asked)
}

/// What a job asked for, as far as Slurm tells it.
fn asked_for(facts: &JobFacts) -> SlurmJob {
    let walltime = facts.limit.and_then(|limit| Walltime::from_secs(limit.as_secs()));
    SlurmJob {
        account: None,
        partition: facts.partition.clone().unwrap_or_default(),
        qos: None,
        reservation: None,
        constraint: None,
        exclude: None,
        walltime: walltime.unwrap_or(Walltime::DEFAULT),
        sbatch_args: Vec::new(),
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
