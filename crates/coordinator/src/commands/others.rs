//! What earlier campaigns of a results directory have left alive, as far as their journals know.

use std::path::Path;

use gipfel_experiment::{Journal, LiveObject};
use gipfel_model::CampaignId;

use crate::words;

/// A line for each other campaign of which something may live. Journals that cannot be read are left to `gipfel list`.
pub(crate) fn may_live(results_dir: &Path, except: Option<&CampaignId>) -> Vec<String> {
    let campaigns = Journal::campaigns(results_dir).unwrap_or_default();
    campaigns
        .iter()
        .filter(|id| Some(*id) != except)
        .filter_map(|id| line(results_dir, id))
        .collect()
}

/// A line for each campaign of which something may live on this machine.
pub(crate) fn on_this_machine(results_dir: &Path) -> Vec<String> {
    let campaigns = Journal::campaigns(results_dir).unwrap_or_default();
    let names = |id: &CampaignId| {
        let campaign = Journal::load(results_dir, id).ok()?;
        let live = campaign.live().into_iter().filter(|live| !is_far(live));
        let names: Vec<String> = live.map(|live| words::live(&live)).collect();
        (!names.is_empty()).then(|| format!("campaign {id}: {}", names.join(", ")))
    };
    campaigns.iter().filter_map(names).collect()
}

/// Whether it lives on a cluster, as its handle says.
fn is_far(live: &LiveObject) -> bool {
    live.handle.as_ref().and_then(words::place_on_cluster).is_some()
}

fn line(results_dir: &Path, id: &CampaignId) -> Option<String> {
    let campaign = Journal::load(results_dir, id).ok()?;
    let (kept, left): (Vec<_>, Vec<_>) = campaign.live().into_iter().partition(|live| live.kept);
    let names: Vec<String> = left.iter().map(words::live).collect();
    if !names.is_empty() {
        let command = |verb: &str| words::command(&format!("{verb} {id}"), results_dir);
        let place = if left.iter().any(is_far) {
            "may still live on a cluster"
        } else {
            "may still use this machine"
        };
        return Some(format!(
            "campaign {id} was left, and {place}: {}; {} goes on with it, {} ends it",
            names.join(", "),
            command("resume"),
            command("cancel")
        ));
    }
    let names: Vec<String> = kept.iter().map(words::live).collect();
    (!names.is_empty()).then(|| format!("campaign {id} has kept {}", names.join(", ")))
}
