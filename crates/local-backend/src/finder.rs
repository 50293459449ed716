//! What lives, by name and by mark.

use gipfel_backend::{BackendError, BoxFuture, Finder, Found, Handle};
use gipfel_model::{CampaignId, DeploymentId, RunId};

use crate::LocalBackend;

impl Finder for LocalBackend {
    fn find_deployment<'a>(&'a self, id: &'a DeploymentId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(self.machine.find(id.as_str(), false))
    }

    fn find_run<'a>(&'a self, id: &'a RunId) -> BoxFuture<'a, Result<Found, BackendError>> {
        Box::pin(self.machine.find(id.as_str(), true))
    }

    fn find_campaign<'a>(&'a self, id: &'a CampaignId) -> BoxFuture<'a, Result<Vec<Handle>, BackendError>> {
        Box::pin(async move { self.machine.find_campaign(id) })
    }
}
