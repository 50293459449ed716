//! Whose a directory of ours is: a file in it that any gipfel reads, on whatever laptop.

use firecrest_client::RemotePath;
use gipfel_backend::BackendError;
use gipfel_model::{CampaignId, DeploymentSpec, FormatHeader, format::Format};
use serde::{Deserialize, Serialize};

use super::place::{Place, within};

/// Its name in the directory of a server or a run.
pub(super) const FILE: &str = "gipfel.json";

/// More than any specification of a server.
const MOST: u64 = 1 << 20;

const FORMAT: Format = Format {
    name: "gipfel-object",
    major: 1,
    minor: 0,
};

/// What a directory on a cluster says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whose {
    header: FormatHeader,
    /// The server or run.
    pub id: String,
    /// Its campaign.
    pub campaign: CampaignId,
    /// Whether it is to outlive its campaign.
    pub kept: bool,
    /// What is served; absent for a run.
    pub server: Option<DeploymentSpec>,
}

/// Only the header of a file, of whatever version.
#[derive(Deserialize)]
struct Versioned {
    header: FormatHeader,
}

impl Whose {
    /// A run's.
    pub(super) fn run(campaign: &CampaignId, id: &str) -> Self {
        Self {
            header: FORMAT.header(),
            id: id.to_owned(),
            campaign: campaign.clone(),
            kept: false,
            server: None,
        }
    }

    /// A server's.
    pub(super) fn server(campaign: &CampaignId, id: &str, spec: &DeploymentSpec, kept: bool) -> Self {
        Self {
            kept,
            server: Some(spec.clone()),
            ..Self::run(campaign, id)
        }
    }
}

impl Place {
    /// Writes down whose a directory is.
    pub(super) async fn sign(&self, directory: &RemotePath, whose: &Whose) -> Result<(), BackendError> {
        let path = within(directory, FILE)?;
        let text = serde_json::to_vec_pretty(whose)
            .map_err(|error| BackendError::permanent(format!("write {path}"), error))?;
        self.write(&path, &text).await
    }

    /// Whose a directory is; nothing when it does not say so.
    pub(super) async fn whose(&self, directory: &RemotePath) -> Result<Option<Whose>, BackendError> {
        let path = within(directory, FILE)?;
        let operation = || format!("read {path}");
        let Some(text) = self.text(&path, MOST).await? else {
            return Ok(None);
        };
        let permanent = |error: serde_json::Error| BackendError::permanent(operation(), error);
        let Versioned { header } = serde_json::from_str(&text).map_err(permanent)?;
        FORMAT
            .check(&header)
            .map_err(|error| BackendError::permanent(operation(), error))?;
        serde_json::from_str(&text).map(Some).map_err(permanent)
    }
}
