//! The labels by which our objects are found.

use std::collections::BTreeMap;

use gipfel_model::{CampaignId, DeploymentId, RunId};

use crate::name::label_value;

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const CAMPAIGN: &str = "gipfel/campaign";
const DEPLOYMENT: &str = "gipfel/deployment";
const RUN: &str = "gipfel/run";
/// Which of the Jobs of a run an object belongs to.
pub(crate) const ATTEMPT: &str = "gipfel/attempt";
const PART: &str = "gipfel/part";
const CLAIM: &str = "claim";
const GIPFEL: &str = "gipfel";

/// The labels of every object of a deployment.
pub fn labels(campaign: &CampaignId, deployment: &DeploymentId) -> BTreeMap<String, String> {
    [
        (MANAGED_BY, GIPFEL.to_owned()),
        (CAMPAIGN, label_value(campaign.as_str())),
        (DEPLOYMENT, label_value(deployment.as_str())),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The labels of every object of a run.
pub fn labels_of_run(campaign: &CampaignId, run: &RunId) -> BTreeMap<String, String> {
    [
        (MANAGED_BY, GIPFEL.to_owned()),
        (CAMPAIGN, label_value(campaign.as_str())),
        (RUN, label_value(run.as_str())),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// What tells a run's claim from the other ConfigMaps of the run, which are large.
pub(crate) fn claim_label() -> (String, String) {
    (PART.to_owned(), CLAIM.to_owned())
}

/// Selects what belongs to a campaign's servers, without the megabytes of its load generators.
pub(crate) fn servers_of_campaign(campaign: &CampaignId) -> String {
    format!("{},{DEPLOYMENT}", of_campaign(campaign))
}

/// Selects the claims of a campaign's runs.
pub(crate) fn claims_of_campaign(campaign: &CampaignId) -> String {
    format!("{},{PART}={CLAIM}", of_campaign(campaign))
}

/// Selects everything of one of a run's starts.
pub(crate) fn of_attempt(run: &str, attempt: u32) -> String {
    format!("{},{ATTEMPT}={attempt}", of_run(run))
}

/// Selects everything of a run.
pub fn of_run(run: &str) -> String {
    format!("{MANAGED_BY}={GIPFEL},{RUN}={}", label_value(run))
}

/// The labels of what outlives its deployment.
pub(crate) fn lasting_labels() -> BTreeMap<String, String> {
    [(MANAGED_BY.to_owned(), GIPFEL.to_owned())].into()
}

/// What the pods of a deployment are chosen by; it never changes for a name.
pub(crate) fn pod_labels(deployment: &DeploymentId) -> BTreeMap<String, String> {
    [(DEPLOYMENT.to_owned(), label_value(deployment.as_str()))].into()
}

/// Selects the pods of a deployment. Operators write their own name over who manages their pods.
pub fn of_pods(deployment: &str) -> String {
    format!("{DEPLOYMENT}={}", label_value(deployment))
}

/// Selects everything of a deployment.
pub fn of_deployment(deployment: &str) -> String {
    format!("{MANAGED_BY}={GIPFEL},{DEPLOYMENT}={}", label_value(deployment))
}

/// Selects everything of a campaign.
pub fn of_campaign(campaign: &CampaignId) -> String {
    format!(
        "{MANAGED_BY}={GIPFEL},{CAMPAIGN}={}",
        label_value(campaign.as_str())
    )
}
