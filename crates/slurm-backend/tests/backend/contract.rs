//! The promises of the traits.

use gipfel_backend::{
    BoxFuture, Deployer, Finder, LoadRunner,
    contract::{DeployerHarness, RunnerHarness, deployer_contract, runner_contract},
};
use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec, LoadPlacement, RunConfig, RunId};

use crate::site::{self, Life, Site};

impl DeployerHarness for Site {
    fn deployer(&self) -> &dyn Deployer {
        &self.backend
    }
    fn finder(&self) -> &dyn Finder {
        &self.backend
    }
    fn deployment(&self, tag: &str) -> DeploymentId {
        site::deployment(tag)
    }
    fn campaign(&self) -> CampaignId {
        site::campaign()
    }
    fn spec(&self) -> DeploymentSpec {
        site::spec()
    }
    fn pause(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl RunnerHarness for Site {
    fn runner(&self) -> &dyn LoadRunner {
        &self.backend
    }
    fn finder(&self) -> &dyn Finder {
        &self.backend
    }
    fn run(&self, tag: &str) -> RunId {
        site::run(tag)
    }
    fn config(&self, run: &RunId) -> RunConfig {
        site::config(run)
    }
    fn place(&self) -> LoadPlacement {
        site::load()
    }
    fn pause(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn servers_keep_the_contract() {
    deployer_contract(&Site::new(Life::Run)).await;
}

#[tokio::test]
async fn load_generators_keep_the_contract() {
    runner_contract(&Site::new(Life::Run)).await;
}
