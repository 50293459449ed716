//! Which campaign a command is about.

use std::path::Path;

use anyhow::anyhow;
use gipfel_experiment::Journal;
use gipfel_model::CampaignId;

use crate::{failure::Failure, occupancy::Occupant, view::files::CampaignFiles, words};

/// A campaign, and who drives it.
pub(crate) struct Chosen {
    pub(crate) files: CampaignFiles,
    /// The gipfel that drives it; absent if none does.
    pub(crate) driver: Option<Occupant>,
}

/// The campaign that the user names; else the one that is driven, else the latest.
pub(crate) fn campaign(results_dir: &Path, named: Option<&str>) -> Result<Chosen, Failure> {
    let occupant = Occupant::find(results_dir);
    let id = match (named, &occupant) {
        (Some(text), _) => self::named(results_dir, text)?,
        (None, Some(occupant)) => occupant.campaign.clone(),
        (None, None) => {
            let mut campaigns = Journal::campaigns(results_dir)
                .map_err(Failure::usage)?
                .into_iter();
            campaigns.next().ok_or_else(|| {
                let error = anyhow!("there is no campaign under `{}`", results_dir.display());
                Failure::usage(error)
                    .hint("`gipfel run FILE` begins one; --results-dir looks in another directory")
            })?
        }
    };
    Ok(Chosen {
        files: CampaignFiles::new(results_dir, &id),
        driver: occupant.filter(|occupant| occupant.campaign == id),
    })
}

/// The campaign of that name, or the only one whose name holds the text.
pub(crate) fn named(results_dir: &Path, text: &str) -> Result<CampaignId, Failure> {
    let campaigns = Journal::campaigns(results_dir).map_err(Failure::usage)?;
    only_one("campaign", text, campaigns, CampaignId::as_str).map_err(|error| {
        let list = words::command("list", results_dir);
        Failure::usage(error).hint(format!("{list} names those of `{}`", results_dir.display()))
    })
}

/// The one of that name, or the only one whose name holds the text.
pub(crate) fn only_one<T>(
    kind: &str,
    text: &str,
    all: Vec<T>,
    name: impl Fn(&T) -> &str,
) -> anyhow::Result<T> {
    let mut found: Vec<T> = all.into_iter().filter(|one| name(one).contains(text)).collect();
    if let Some(exact) = found.iter().position(|one| name(one) == text) {
        return Ok(found.swap_remove(exact));
    }
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(&name).collect();
        return Err(anyhow!(
            "`{text}` is a part of several names:\n  {}",
            names.join("\n  ")
        ));
    }
    found.pop().ok_or_else(|| anyhow!("there is no {kind} `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_name_is_enough() {
        let all = || vec!["c-1_0a1f", "c-2_0b2f", "c-2_0b2f9"];
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = only_one("campaign", text, all(), |one| one).map_err(|error| error.to_string());
            match expected {
                Ok(name) => assert_eq!(found.as_deref(), Ok(name)),
                Err(part) => assert!(
                    found.as_ref().is_err_and(|error| error.contains(part)),
                    "{found:?}"
                ),
            }
        };
        check("0a1f", Ok("c-1_0a1f"));
        check("c-2_0b2f", Ok("c-2_0b2f"));
        check(
            "c-2",
            Err("`c-2` is a part of several names:\n  c-2_0b2f\n  c-2_0b2f9"),
        );
        check("c-3", Err("there is no campaign `c-3`"));
    }
}
