//! Whether the clusters of a plan answer, before a campaign exists that would have to be taken up again.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::anyhow;
use gipfel_k8s_backend::ApiError;
use gipfel_model::{ClusterKind, ExperimentSpec, LoadPlacement, SlurmReach, deployment::Placement};

use crate::{
    clusters,
    display::Display,
    doctor::kubernetes::{Right, Wanted},
    failure::Failure,
    kubernetes,
};

/// How long a cluster may take to say who the user is.
const ANSWER: Duration = Duration::from_secs(45);
const HINT: &str = "nothing was started; `gipfel doctor slurm FILE` looks at each part of the way";

/// Asks each cluster who the user is. What is suspicious is a warning; a cluster that does not answer is a failure, and
/// nothing was started.
pub(crate) async fn expect_clusters(
    experiments: &[ExperimentSpec],
    display: &Display,
) -> Result<(), Failure> {
    for reach in clusters::reaches_of(experiments) {
        let place = clusters::place(reach.clone()).map_err(Failure::usage)?;
        let asked = tokio::time::timeout(ANSWER, place.cluster.facts()).await;
        let facts = match asked {
            Ok(Ok(facts)) => facts,
            Ok(Err(error)) => return Err(Failure::experiment(error).hint(HINT)),
            Err(_) => {
                let (name, seconds) = (place.cluster.name(), ANSWER.as_secs());
                let error = anyhow!("{name} did not answer within {seconds} s");
                return Err(Failure::experiment(error).hint(HINT));
            }
        };
        if reach.cluster == ClusterKind::Firecrest && is_open(Path::new(clusters::ENV_FILE)) {
            display.note("warning: others of this machine can read `.env`: `chmod 600 .env`");
        }
        for account in accounts(experiments, &reach) {
            if !facts.accounts.is_empty() && !facts.accounts.contains(account) {
                display.note(&format!(
                    "warning: `account: {account}` is not among yours on {}: {}",
                    place.cluster.name(),
                    facts.accounts.join(", ")
                ));
            }
        }
    }
    expect_kubernetes(experiments).await
}

/// Asks the Kubernetes cluster whether the namespace is there and what the user may do in it.
async fn expect_kubernetes(experiments: &[ExperimentSpec]) -> Result<(), Failure> {
    let namespace = kubernetes::only(kubernetes::namespaces(experiments)).map_err(Failure::usage)?;
    let Some(namespace) = namespace else {
        return Ok(());
    };
    let hint = "nothing was started; `gipfel doctor k8s FILE` looks at each part of the way";
    let examiner = namespace.examiner();
    match examiner.has_namespace().await {
        // Who may use a namespace need not be allowed to look at it.
        Ok(true) | Err(ApiError::Refused { code: 403, .. }) => {}
        Ok(false) => {
            let error = anyhow!("the Kubernetes cluster has no namespace `{}`", namespace.name);
            return Err(Failure::usage(error).hint(hint));
        }
        Err(error @ ApiError::Connect(_)) => return Err(Failure::usage(error).hint(hint)),
        Err(error) => return Err(Failure::experiment(error).hint(hint)),
    }
    // What is not allowed would be found when a server runs, and some of it only when its load does.
    let rights = Right::all(&examiner, &Wanted::of(&namespace, experiments)).await;
    let missing: Vec<String> = rights.iter().filter_map(Right::missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (name, missing) = (&namespace.name, missing.join("; "));
    let error = anyhow!("you may not do all that this campaign does in the namespace `{name}`: {missing}");
    Err(Failure::usage(error).hint(Right::HINT))
}

/// The accounts that jobs of this cluster are charged to, each once.
fn accounts<'a>(experiments: &'a [ExperimentSpec], reach: &SlurmReach) -> Vec<&'a String> {
    let mut accounts: Vec<&String> = Vec::new();
    for experiment in experiments {
        let server = match &experiment.deployment.placement {
            Placement::Slurm(slurm) if slurm.reach == *reach => slurm.job.account.as_ref(),
            _ => None,
        };
        let load = match &experiment.load {
            LoadPlacement::Slurm(load) if load.reach == *reach => load.job.account.as_ref(),
            _ => None,
        };
        for account in server.into_iter().chain(load) {
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
    }
    accounts
}

/// Whether others than the owner may read a file that is there.
fn is_open(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_secrets_is_the_owners() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(".env");
        assert!(!is_open(&path), "there is none");
        std::fs::write(&path, "A=b\n").expect("written");
        let check = |mode, expected| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
            assert_eq!(is_open(&path), expected, "{mode:o}");
        };
        check(0o600, false);
        check(0o640, true);
        check(0o604, true);
    }

    #[test]
    fn accounts_of_a_cluster_are_looked_at_once() {
        let text = "experiments:\n  - { model: m, backend: vllm, deployment: slurm, account: a, rate_levels: [1] }\n  \
             - { model: n, backend: vllm, deployment: slurm, account: b, rate_levels: [1] }\n";
        let plan = gipfel_config::parse(text, "a.yaml").expect("a plan");
        let reaches = clusters::reaches_of(&plan.experiments);
        assert_eq!(reaches.len(), 1);
        assert_eq!(accounts(&plan.experiments, &reaches[0]), ["a", "b"]);
    }
}
