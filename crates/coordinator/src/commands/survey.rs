//! Which clusters a command looks at, and what of ours lives there.

use std::path::Path;

use anyhow::{Context, anyhow};
use firecrest_client::JobId;
use gipfel_experiment::Journal;
use gipfel_model::{ClusterKind, SlurmReach};
use gipfel_slurm_backend::{Living, Place};

use crate::{cli::ClusterArguments, clusters, commands::config, failure::Failure};

/// A cluster, and what of ours lives there.
pub(crate) struct Surveyed {
    pub(crate) place: Place,
    /// The error says why nobody knows.
    pub(crate) living: anyhow::Result<Vec<Living>>,
}

/// The clusters that the user means, each once.
pub(crate) fn places(config: Option<&Path>, arguments: &ClusterArguments) -> Result<Vec<Place>, Failure> {
    let reaches = match (config, named(arguments)) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage(anyhow!(
                "the clusters are those of the configuration file or those that options name, not both"
            )));
        }
        (Some(file), None) => {
            let plan = config::load(file, &arguments.site)?;
            let reaches = clusters::reaches_of(&plan.experiments);
            if reaches.is_empty() {
                let error = anyhow!("`{}` has no experiment on a Slurm cluster", file.display());
                return Err(Failure::usage(error));
            }
            reaches
        }
        (None, Some(reach)) => vec![reach],
        (None, None) => used(&arguments.results_dir)?,
    };
    let places: anyhow::Result<Vec<Place>> = reaches.into_iter().map(clusters::place).collect();
    places.map_err(Failure::usage)
}

/// The cluster that options name; nothing when they name none.
fn named(arguments: &ClusterArguments) -> Option<SlurmReach> {
    let ClusterArguments {
        cluster,
        ssh_host,
        firecrest_system,
        profile,
        scratch_base,
        site: _,
        results_dir: _,
    } = arguments;
    let meant = match (ssh_host, firecrest_system, profile) {
        (Some(_), _, _) => ClusterKind::Ssh,
        (None, None, None) if scratch_base.is_some() => ClusterKind::Commands,
        (None, None, None) => (*cluster)?,
        (None, _, _) => ClusterKind::Firecrest,
    };
    Some(SlurmReach {
        cluster: cluster.unwrap_or(meant),
        firecrest_system: firecrest_system.clone(),
        ssh_host: ssh_host.clone(),
        site: profile.clone(),
        scratch_base: scratch_base.clone(),
    })
}

/// The clusters that the campaigns of a results directory have used. A journal that cannot be read is left to
/// `gipfel list`.
fn used(results_dir: &Path) -> Result<Vec<SlurmReach>, Failure> {
    let campaigns = Journal::campaigns(results_dir).map_err(Failure::usage)?;
    let states = campaigns
        .iter()
        .filter_map(|id| Journal::load(results_dir, id).ok());
    let all: Vec<SlurmReach> = states.flat_map(|state| clusters::reaches(&state)).collect();
    Ok(clusters::once(all.iter()))
}

/// Fails when there is no cluster to look at.
pub(crate) fn expect_some(places: &[Place], results_dir: &Path) -> Result<(), Failure> {
    if !places.is_empty() {
        return Ok(());
    }
    let error = anyhow!("no campaign under `{}` has used a cluster", results_dir.display());
    Err(Failure::usage(error).hint(
        "name a configuration file, or the cluster: --firecrest-system NAME, --ssh-host HOST, or --cluster commands on a \
         login node",
    ))
}

/// Looks at each cluster. Where several places are one cluster, a job is told by the one that holds its directory.
pub(crate) async fn survey(places: Vec<Place>) -> Vec<Surveyed> {
    let mut surveyed = Vec::new();
    for place in places {
        let living = place.living().await;
        let living = living.with_context(|| format!("nobody knows what of ours lives on {}", title(&place)));
        surveyed.push(Surveyed { place, living });
    }
    leave_out_repeated(&mut surveyed);
    surveyed
}

fn leave_out_repeated(surveyed: &mut [Surveyed]) {
    for at in 0..surveyed.len() {
        let door = door(&surveyed[at].place);
        let others: Vec<(usize, JobId, bool)> = surveyed
            .iter()
            .enumerate()
            .filter(|(place, other)| *place != at && self::door(&other.place) == door)
            .flat_map(|(place, other)| {
                let living = other.living.iter().flatten();
                living.map(move |alive| (place, alive.job.id.clone(), alive.is_signed))
            })
            .collect();
        if let Ok(living) = &mut surveyed[at].living {
            living.retain(|alive| {
                let better = |(place, job, is_signed): &(usize, JobId, bool)| {
                    *job == alive.job.id && tells_better((*is_signed, *place), (alive.is_signed, at))
                };
                !others.iter().any(better)
            });
        }
    }
}

/// A place that holds the directory tells of a job rather than one that does not, then the first one.
fn tells_better(one: (bool, usize), other: (bool, usize)) -> bool {
    (one.0, std::cmp::Reverse(one.1)) > (other.0, std::cmp::Reverse(other.1))
}

/// What makes two ways lead to one cluster.
fn door(place: &Place) -> (ClusterKind, String) {
    (place.reach.cluster, place.cluster.name().to_owned())
}

/// `clariden, by FirecREST`.
pub(crate) fn title(place: &Place) -> String {
    let way = match (&place.reach.cluster, &place.reach.ssh_host) {
        (ClusterKind::Firecrest, _) => "by FirecREST".to_owned(),
        (ClusterKind::Commands, _) => "by Slurm's commands on this machine".to_owned(),
        (ClusterKind::Ssh, Some(host)) => format!("by ssh to {host}"),
        (ClusterKind::Ssh, None) => "by ssh".to_owned(),
    };
    format!("{}, {way}", place.cluster.name())
}

/// The first error of a survey, once everything else is said.
pub(crate) fn first_error(surveyed: Vec<Surveyed>) -> Option<anyhow::Error> {
    surveyed.into_iter().find_map(|one| one.living.err())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn options_name_a_cluster() {
        let check = |options: &[&str], expected: Option<(ClusterKind, &str)>| {
            let words = ["gipfel", "ps"].iter().chain(options);
            let Command::Ps(arguments) = Cli::parse_from(words).command else {
                panic!("another command")
            };
            let reach = named(&arguments.clusters);
            let found = reach.as_ref().map(|reach| (reach.cluster, reach.site()));
            assert_eq!(found, expected, "{options:?}");
        };
        check(&[], None);
        check(
            &["--cluster", "commands"],
            Some((ClusterKind::Commands, "generic")),
        );
        check(&["--ssh-host", "login"], Some((ClusterKind::Ssh, "generic")));
        check(
            &["--firecrest-system", "bristen"],
            Some((ClusterKind::Firecrest, "bristen")),
        );
        check(&["--profile", "daint"], Some((ClusterKind::Firecrest, "daint")));
        check(
            &["--cluster", "commands", "--profile", "meluxina"],
            Some((ClusterKind::Commands, "meluxina")),
        );
    }

    #[test]
    fn the_place_that_holds_the_directory_tells_of_a_job() {
        assert!(tells_better((true, 1), (false, 0)));
        assert!(tells_better((false, 0), (false, 1)));
        assert!(!tells_better((true, 1), (true, 0)));
    }
}
