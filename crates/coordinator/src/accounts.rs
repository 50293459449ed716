//! What jobs took: recorded with the runs, and said at the end.

use std::path::Path;

use gipfel_experiment::{Campaign as State, Deployment, Run};
use gipfel_model::{LoadPlacement, Provenance, Usage, UsageOf, deployment::Placement};
use gipfel_results_db::ResultsDb;

use crate::words::clock;

/// Records in each collected database what its load generator could not know: how long jobs waited and loaded, and what
/// they took. Gives what could not be recorded, in words.
pub(crate) async fn record(state: &State, directory: &Path) -> Vec<String> {
    let mut troubles = Vec::new();
    for (deployment, run) in state.runs() {
        let (Some(database), Some(facts)) = (&run.database, facts(deployment, run)) else {
            continue;
        };
        let path = directory.join(database);
        let recorded = async {
            let database = ResultsDb::open(&path).await?;
            database
                .complete_run(&run.id, &facts, deployment.load_time)
                .await?;
            database.close_as_one_file().await
        };
        if let Err(error) = recorded.await {
            troubles.push(format!(
                "what the jobs of run {} took is not in {}: {error}",
                run.id,
                path.display()
            ));
        }
    }
    troubles
}

/// The facts of a run that jobs of a cluster carried out; nothing for any other.
fn facts(deployment: &Deployment, run: &Run) -> Option<Provenance> {
    let has_jobs = matches!(deployment.spec.placement, Placement::Slurm(_))
        || matches!(run.experiment.load, LoadPlacement::Slurm(_));
    if !has_jobs {
        return None;
    }
    let mut facts = deployment.provenance.clone();
    if let Some(usage) = &deployment.usage {
        facts.0.extend(usage.facts(UsageOf::Server).0);
    }
    if let Some(usage) = run.usage.last() {
        facts.0.extend(usage.facts(UsageOf::LoadGenerator).0);
    }
    Some(facts)
}

/// What all jobs of a campaign took, a line each and their sum; nothing where none was a job.
pub(crate) fn lines(state: &State) -> Vec<String> {
    let servers = state.deployments.iter().filter_map(|deployment| {
        let usage = deployment.usage.as_ref()?;
        Some((format!("server {}", deployment.id), usage, deployment.load_time))
    });
    let loads = state.runs().flat_map(|(_, run)| {
        run.usage
            .iter()
            .map(|usage| (format!("run {}", run.id), usage, None))
    });
    let all: Vec<_> = servers.chain(loads).collect();
    let sum: f64 = all.iter().filter_map(|(_, usage, _)| usage.node_hours()).sum();
    if all.is_empty() {
        return Vec::new();
    }
    let lines = all.iter().map(|(whose, usage, loading)| {
        let loading = loading.map(|time| format!("{} to load", clock(time.as_secs_f64())));
        format!("  {whose}: {}", usage_words(usage, loading))
    });
    std::iter::once(format!("the jobs took {sum:.2} node-hours"))
        .chain(lines)
        .collect()
}

/// `job 17, 0.33 node-hours: 20:00 on 1 node, 2:00 in the queue, 3:00 to load`.
fn usage_words(usage: &Usage, loading: Option<String>) -> String {
    let cost = usage.node_hours().map_or_else(
        || "what it took is not known".to_owned(),
        |hours| format!("{hours:.2} node-hours"),
    );
    let nodes = if usage.nodes == 1 { "node" } else { "nodes" };
    let ran = usage
        .ran
        .map(|time| format!("{} on {} {nodes}", clock(time.as_secs_f64()), usage.nodes));
    let queued = usage
        .queued
        .map(|time| format!("{} in the queue", clock(time.as_secs_f64())));
    let parts: Vec<String> = [ran, queued, loading].into_iter().flatten().collect();
    let parts = if parts.is_empty() {
        String::new()
    } else {
        format!(": {}", parts.join(", "))
    };
    format!("job {}, {cost}{parts}", usage.job)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_job_says_what_it_took() {
        let usage = Usage {
            job: "17".to_owned(),
            nodes: 2,
            queued: Some(Duration::from_secs(125)),
            ran: Some(Duration::from_mins(15)),
        };
        let check = |usage: &Usage, loading: Option<&str>, expected: &str| {
            assert_eq!(usage_words(usage, loading.map(str::to_owned)), expected);
        };
        check(
            &usage,
            Some("3:00 to load"),
            "job 17, 0.50 node-hours: 15:00 on 2 nodes, 2:05 in the queue, 3:00 to load",
        );
        let unknown = Usage {
            job: "18".to_owned(),
            ..Usage::default()
        };
        check(&unknown, None, "job 18, what it took is not known");
    }
}
