//! The promises of the traits.

use std::time::Duration;

use gipfel_backend::{
    BoxFuture, Deployer, Finder, LoadRunner,
    contract::{DeployerHarness, RunnerHarness, deployer_contract, runner_contract},
};
use gipfel_model::{CampaignId, DeploymentId, DeploymentSpec, RunConfig, RunId};

use crate::harness::{Site, config, serving, spec};

fn moment() -> BoxFuture<'static, ()> {
    Box::pin(tokio::time::sleep(Duration::from_millis(25)))
}

impl DeployerHarness for Site {
    fn deployer(&self) -> &dyn Deployer {
        &self.backend
    }
    fn finder(&self) -> &dyn Finder {
        &self.backend
    }
    fn deployment(&self, tag: &str) -> DeploymentId {
        Site::deployment(self, tag)
    }
    fn campaign(&self) -> CampaignId {
        Site::campaign(self)
    }
    fn spec(&self) -> DeploymentSpec {
        spec(serving())
    }
    fn pause(&self) -> BoxFuture<'_, ()> {
        moment()
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
        Site::run(self, tag)
    }
    fn config(&self, run: &RunId) -> RunConfig {
        config(self, run, 1)
    }
    fn place(&self) -> gipfel_model::LoadPlacement {
        gipfel_model::LoadPlacement::Local
    }
    fn pause(&self) -> BoxFuture<'_, ()> {
        moment()
    }
}

#[tokio::test]
async fn servers_keep_the_contract() {
    deployer_contract(&Site::new()).await;
}

#[tokio::test]
async fn load_generators_keep_the_contract() {
    runner_contract(&Site::new()).await;
}
