//! What no simulator can be made of.

use std::{collections::BTreeSet, path::PathBuf};

use crate::{
    options::{ClusterOptions, Options},
    running::StartError,
};

/// Refuses options that would only later turn out to be of no use.
pub(crate) fn options(options: &Options) -> Result<(), StartError> {
    let systems = options.systems.iter().map(|system| system.name.as_str());
    names("the system", systems.clone())?;
    for name in systems {
        // The server makes every path lower-case, so no call would find the system.
        if name.chars().any(char::is_uppercase) {
            return Err(refusal("the system", name, "write it in lower case"));
        }
    }
    names(
        "the cluster",
        options.clusters.iter().map(|cluster| cluster.name.as_str()),
    )?;
    names("the user", options.users.iter().map(|user| user.name.as_str()))?;
    let clients = options.users.iter().map(|user| user.client_id.as_str());
    once("the client", clients)?;
    if options.limits.part_bytes == 0 {
        return Err(refusal(
            "the limit",
            "part_bytes",
            "an upload needs parts of some bytes",
        ));
    }
    let mut slurm = options.clusters.iter().filter(|cluster| cluster.slurm);
    slurm.try_for_each(find_slurm)
}

fn refusal(what: &'static str, name: &str, reason: &'static str) -> StartError {
    StartError::Option {
        what,
        name: name.to_owned(),
        reason,
    }
}

/// Names that are folders and parts of paths.
fn names<'a>(what: &'static str, names: impl Iterator<Item = &'a str> + Clone) -> Result<(), StartError> {
    for name in names.clone() {
        if matches!(name, "" | "." | "..") || name.contains('/') {
            return Err(refusal(what, name, "it must be a name that a folder can have"));
        }
    }
    once(what, names)
}

fn once<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), StartError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(refusal(what, name, "it is there twice"));
        }
    }
    Ok(())
}

fn find_slurm(cluster: &ClusterOptions) -> Result<(), StartError> {
    let (folders, place) = match &cluster.slurm_commands {
        Some(folder) => (vec![folder.clone()], folder.display().to_string()),
        None => (search_path(), "the search path".to_owned()),
    };
    if folders.iter().any(|folder| folder.join("sbatch").is_file()) {
        return Ok(());
    }
    Err(StartError::NoSlurm {
        cluster: cluster.name.clone(),
        place,
    })
}

fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map_or_else(Vec::new, |path| std::env::split_paths(&path).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Options), expected: &str) {
        let mut changed = Options::demo(Path::new("/tmp/site"));
        change(&mut changed);
        let found = options(&changed).map_err(|error| error.to_string());
        let expected = if expected.is_empty() {
            Ok(())
        } else {
            Err(expected.to_owned())
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_of_no_use_is_refused() {
        check(|_| (), "");
        check(
            |options| "Alps".clone_into(&mut options.systems[0].name),
            "the system `Alps` is of no use: write it in lower case",
        );
        check(
            |options| "../x".clone_into(&mut options.users[0].name),
            "the user `../x` is of no use: it must be a name that a folder can have",
        );
        check(
            |options| options.systems.push(options.systems[0].clone()),
            "the system `alps` is of no use: it is there twice",
        );
        check(
            |options| options.limits.part_bytes = 0,
            "the limit `part_bytes` is of no use: an upload needs parts of some bytes",
        );
        check(
            |options| {
                options.clusters[0].slurm = true;
                options.clusters[0].slurm_commands = Some("/no/such/folder".into());
            },
            "cluster `alps` is a real Slurm, and its command `sbatch` is not in /no/such/folder",
        );
    }
}
